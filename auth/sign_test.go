package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

const issuer = "https://vitrine.example"

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	later  = noon.Add(72 * time.Hour)
	oldKey = auth.SigningKey{ID: "k1", Secret: []byte("an old secret of 32 bytes, older"), Created: noon.Add(-time.Hour)}
	newKey = auth.SigningKey{ID: "k2", Secret: []byte("a secret that has 32 bytes, new!"), Created: noon}
	person = artifact.Caller{
		Kind: artifact.CallerOAuth, Tenant: "pf_demo", User: "usr_1", Key: "key_1", Client: "dyn_1", Grant: "g1",
		Token: "t1", Scopes: artifact.Scopes{artifact.Read, artifact.Write, artifact.Offline}, Expires: later,
	}
	robot = artifact.Caller{
		Kind: artifact.CallerKey, Tenant: "pf_demo", Key: "key_1", Token: "t2",
		Scopes: artifact.Scopes{artifact.Read, artifact.Delete, artifact.Admin}, Expires: later,
	}
)

func newSigner(t testing.TB, keys ...auth.SigningKey) *auth.Signer {
	t.Helper()
	s, err := auth.NewSigner(issuer, keys)
	if err != nil {
		t.Fatalf("NewSigner: %v", err)
	}
	return s
}

func sign(t testing.TB, s *auth.Signer, c artifact.Caller) string {
	t.Helper()
	token, err := s.Sign(&c, noon, later)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return token
}

// encode is a part of a JWT.
func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func decode(t testing.TB, part string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatalf("decode %q: %v", part, err)
	}
	return string(text)
}

// forge makes an HS256 JWT without the library.
func forge(secret []byte, header, payload string) string {
	front := encode(header) + "." + encode(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(front))
	return front + "." + encode(string(mac.Sum(nil)))
}

// changed returns the claims of a token with one of them set, or taken away.
func changed(t *testing.T, token, name string, value any) string {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(decode(t, strings.Split(token, ".")[1])), &m); err != nil {
		t.Fatalf("claims of %s: %v", token, err)
	}
	m[name] = value
	if value == nil {
		delete(m, name)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const plainHeader = `{"alg":"HS256","kid":"k2","typ":"JWT"}`

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[*artifact.Error](err); !ok || e.Kind != artifact.Unauthorized || e.Code != code {
		t.Errorf("got the error %v, want %s", err, code)
	}
}

func TestSignAndVerify(t *testing.T) {
	s := newSigner(t, oldKey, newKey)
	for _, want := range []artifact.Caller{person, robot} {
		got, err := s.Verify(sign(t, s, want), noon)
		if err != nil {
			t.Errorf("Verify: %v", err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("the caller changed on its way through a token (-want +got):\n%s", diff)
		}
	}
}

// The token is written out, so that a change of its form is a decision.
func TestSignedTokensAreTheseBytes(t *testing.T) {
	s := newSigner(t, oldKey, newKey)
	tests := []struct {
		caller artifact.Caller
		claims string
	}{
		{person, `{"iss":"https://vitrine.example","aud":"https://vitrine.example","sub":"usr_1","tenant_id":"pf_demo",` +
			`"scope":"read write offline_access","iat":1772366400,"exp":1772625600,"jti":"t1","client_id":"dyn_1",` +
			`"key_id":"key_1","grant":"g1","typ":"access"}`},
		{robot, `{"iss":"https://vitrine.example","aud":"https://vitrine.example","tenant_id":"pf_demo",` +
			`"scope":"read delete admin","iat":1772366400,"exp":1772625600,"jti":"t2","key_id":"key_1","typ":"access"}`},
	}
	for _, tt := range tests {
		got, want := sign(t, s, tt.caller), forge(newKey.Secret, plainHeader, tt.claims)
		if got != want {
			t.Errorf("Sign made %s with claims %s, want %s", got, decode(t, strings.Split(got, ".")[1]), want)
		}
		if again := sign(t, s, tt.caller); again != got {
			t.Errorf("the same input made two tokens, %s and %s", got, again)
		}
		if !strings.HasPrefix(got, "eyJ") {
			t.Errorf("%s does not begin with eyJ, by which clients know a JWT", got)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	s := newSigner(t, newKey)
	tests := map[string]func(*artifact.Caller){
		"no tenant":          func(c *artifact.Caller) { c.Tenant = "" },
		"a bad tenant":       func(c *artifact.Caller) { c.Tenant = "demo" },
		"no token id":        func(c *artifact.Caller) { c.Token = "" },
		"no key or client":   func(c *artifact.Caller) { c.Key, c.Client = "", "" },
		"a kind of its own":  func(c *artifact.Caller) { c.Kind = artifact.CallerSystem },
		"a key, says OAuth":  func(c *artifact.Caller) { c.Client = "" },
		"a client, says key": func(c *artifact.Caller) { c.Kind = artifact.CallerKey },
		"too long":           func(c *artifact.Caller) { c.User = strings.Repeat("u", 8<<10) },
	}
	for name, change := range tests {
		c := person
		change(&c)
		if token, err := s.Sign(&c, noon, later); err == nil {
			t.Errorf("%s: signed as %s", name, token)
		}
	}
	if token, err := s.Sign(&person, later, noon); err == nil {
		t.Errorf("a token that expires before it is issued: %s", token)
	}
}

func TestVerifyLooksAtTime(t *testing.T) {
	s := newSigner(t, newKey)
	token := sign(t, s, person)
	for _, now := range []time.Time{noon, noon.Add(-time.Minute), later.Add(-time.Microsecond)} {
		if _, err := s.Verify(token, now); err != nil {
			t.Errorf("Verify at %s: %v", now, err)
		}
	}
	// To the second: a token ends with its key, and no other clock has a part in it.
	_, err := s.Verify(token, later)
	wantCode(t, err, "AUTH_TOKEN_EXPIRED")
	_, err = s.Verify(token, noon.Add(-time.Minute-time.Second))
	wantCode(t, err, "AUTH_TOKEN_INVALID")

	_, err = s.Verify(forge(newKey.Secret, plainHeader, changed(t, token, "nbf", noon.Add(61*time.Second).Unix())), noon)
	wantCode(t, err, "AUTH_TOKEN_INVALID")
	if _, err := s.Verify(forge(newKey.Secret, plainHeader, changed(t, token, "nbf", noon.Unix())), noon); err != nil {
		t.Errorf("Verify from nbf on: %v", err)
	}
}

// A bad signature of an expired token is a bad token: what nobody signed says
// nothing, not even when it expired.
func TestVerifyLooksAtTheSignatureFirst(t *testing.T) {
	s := newSigner(t, newKey)
	token := sign(t, s, person)
	_, err := s.Verify(token[:len(token)-43]+encode(strings.Repeat("x", 32)), later.Add(time.Hour))
	wantCode(t, err, "AUTH_TOKEN_INVALID")
}

func TestKeysFollowOneAnother(t *testing.T) {
	s := newSigner(t, oldKey)
	old := sign(t, s, person)
	if err := s.SetKeys([]auth.SigningKey{newKey, oldKey}); err != nil {
		t.Fatal(err)
	}
	young := sign(t, s, person)
	for token, id := range map[string]string{old: "k1", young: "k2"} {
		if header := decode(t, strings.Split(token, ".")[0]); !strings.Contains(header, `"kid":"`+id+`"`) {
			t.Errorf("a token has the header %s, want the key %s", header, id)
		}
		if _, err := s.Verify(token, noon); err != nil {
			t.Errorf("Verify with %s: %v", id, err)
		}
	}
	if err := s.SetKeys([]auth.SigningKey{newKey}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Verify(old, noon)
	wantCode(t, err, "AUTH_TOKEN_INVALID")
	if !errors.Is(err, auth.ErrUnknownKey) || !errors.Is(err, auth.ErrTokenInvalid) {
		t.Errorf("Verify with a key that is gone: %v, want ErrTokenInvalid with ErrUnknownKey", err)
	}
	if _, err := s.Verify(young[:len(young)-1], noon); errors.Is(err, auth.ErrUnknownKey) {
		t.Errorf("a bad signature of a known key: %v", err)
	}
}

// The newest key is the one made last, whatever it is called.
func TestTheNewestKeySigns(t *testing.T) {
	newest := auth.SigningKey{ID: "a1", Secret: oldKey.Secret, Created: later}
	s := newSigner(t, newKey, newest, oldKey)
	if kid, _ := s.MAC("share"); kid != newest.ID {
		t.Errorf("%s signs, want %s", kid, newest.ID)
	}
}

// Keys of one time come in any order from the database; all nodes choose one.
func TestKeysOfOneTime(t *testing.T) {
	twin := auth.SigningKey{ID: "k9", Secret: oldKey.Secret, Created: newKey.Created}
	one, other := newSigner(t, newKey, twin, oldKey), newSigner(t, oldKey, twin, newKey)
	if a, b := sign(t, one, person), sign(t, other, person); a != b {
		t.Errorf("two orders of keys sign %s and %s", a, b)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	s := newSigner(t, newKey)
	before := sign(t, s, person)
	for name, keys := range map[string][]auth.SigningKey{
		"none":       nil,
		"short":      {newKey, {ID: "k3", Secret: newKey.Secret[1:], Created: later}},
		"no name":    {{Secret: newKey.Secret}},
		"underscore": {{ID: "k_3", Secret: newKey.Secret}},
		"twice":      {newKey, newKey},
	} {
		if _, err := auth.NewSigner(issuer, keys); err == nil {
			t.Errorf("%s: NewSigner took the keys", name)
		}
		if err := s.SetKeys(keys); err == nil {
			t.Errorf("%s: SetKeys took the keys", name)
		}
	}
	if after := sign(t, s, person); after != before {
		t.Errorf("refused keys changed what is signed: %s, before %s", after, before)
	}
	if _, err := auth.NewSigner("", []auth.SigningKey{newKey}); err == nil {
		t.Error("an issuer without a name was made")
	}
	if a, b := auth.NewSigningKey(noon), auth.NewSigningKey(noon); a.ID == b.ID || string(a.Secret) == string(b.Secret) {
		t.Error("two new keys are alike")
	}
	newSigner(t, auth.NewSigningKey(noon))
}

func TestKeysChangeWhileTokensAreChecked(t *testing.T) {
	s := newSigner(t, newKey)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				token, err := s.Sign(&person, noon, later)
				if err == nil {
					_, err = s.Verify(token, noon)
				}
				if err != nil {
					t.Errorf("while keys change: %v", err)
				}
			}
		})
	}
	for i := range 100 {
		if err := s.SetKeys([]auth.SigningKey{newKey, oldKey}[:1+i%2]); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

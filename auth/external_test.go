package auth_test

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

func TestExternalTokens(t *testing.T) {
	rs, ec, ed := newRSA(t, "rs"), newEC(t, "ec", elliptic.P256()), newEd25519(t, "ed")
	f := newForeign(t, rs, ec, ed)
	e := f.external(t)
	now := time.Now().Truncate(time.Second).UTC()
	want := &artifact.Caller{
		Kind: artifact.CallerExternal, Tenant: "pf_demo", User: "auth0|42", Token: "j1",
		Scopes: artifact.Scopes{artifact.Read, artifact.Write}, Expires: now.Add(time.Hour),
	}
	typed := (&jose.SignerOptions{}).WithType("at+jwt")
	for name, token := range map[string]string{
		"RS256":         signAs(t, jose.RS256, rs, f.claims(now, nil), nil),
		"ES256":         signAs(t, jose.ES256, ec, f.claims(now, nil), nil),
		"EdDSA":         signAs(t, jose.EdDSA, ed, f.claims(now, nil), typed),
		"names no key":  signAs(t, jose.ES256, ec.Key, f.claims(now, nil), nil),
		"two audiences": signAs(t, jose.RS256, rs, f.claims(now, map[string]any{"aud": []string{"x", audience}}), nil),
		"a list":        signAs(t, jose.RS256, rs, f.claims(now, map[string]any{"scope": []string{"read", "x", "write"}}), nil),
		"a fraction":    signAs(t, jose.RS256, rs, f.claims(now, map[string]any{"nbf": float64(now.Unix()) + 0.5}), nil),
	} {
		got, err := e.Verify(t.Context(), token, now)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: another caller (-want +got):\n%s", name, diff)
		}
		if got := auth.UnverifiedIssuer(token); got != e.Issuer() || got != f.URL {
			t.Errorf("%s: is of the issuer %q, which calls itself %q", name, got, e.Issuer())
		}
	}
	if got := f.requests(); got != 2 {
		t.Errorf("the issuer got %d requests, want one for its description and one for its keys", got)
	}
}

func TestExternalScopes(t *testing.T) {
	key := newEd25519(t, "ed")
	f := newForeign(t, key)
	now := time.Now()
	e, err := auth.NewExternal(t.Context(), auth.ExternalConfig{
		Issuer: f.URL, Audience: audience, TenantClaim: "https://vitrine.example/tenant", ScopeClaim: "scp",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		claim any
		want  string
	}{
		{"read write run delete admin", "read write run delete admin"},
		{"read", "read"},
		{"profile offline_access READ read:all reader", ""},
		{[]string{"run", "read"}, "run read"},
		{[]string{"read write", "read"}, "read write"},
		{[]any{"read", 1}, ""},
		{map[string]bool{"read": true}, ""},
		{true, ""},
		{nil, ""},
	} {
		token := signAs(t, jose.EdDSA, key, f.claims(now, map[string]any{
			"scp": tt.claim, "https://vitrine.example/tenant": "pf_other", "scope": "admin",
		}), nil)
		got, err := e.Verify(t.Context(), token, now)
		if err != nil {
			t.Errorf("scopes %v: %v", tt.claim, err)
			continue
		}
		if got.Scopes.String() != tt.want || got.Tenant != "pf_other" {
			t.Errorf("scopes %v are taken as %q of %s, want %q of pf_other", tt.claim, got.Scopes, got.Tenant, tt.want)
		}
	}
}

// Each row has one thing wrong, as in TestVerifyRefuses.
func TestExternalRefuses(t *testing.T) {
	rs, ec, ed := newRSA(t, "rs"), newEC(t, "ec", elliptic.P256()), newEd25519(t, "ed")
	p384 := newEC(t, "p384", elliptic.P384())
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	weak := private(t, "weak", short, err)
	f := newForeign(t, rs, ec, ed, p384, weak)
	crypt := newRSA(t, "crypt")
	crypt.Use = "enc"
	pss := newRSA(t, "pss")
	pss.Algorithm = "PS256"
	f.set(func() {
		f.keys = append(f.keys, crypt.Public(), pss.Public(), jose.JSONWebKey{KeyID: "oct", Key: newKey.Secret},
			map[string]string{"kty": "OKP", "crv": "Ed448", "kid": "448", "x": "AAAA"}, "no key at all")
	})
	e := f.external(t)
	now := time.Now()
	der, err := x509.MarshalPKIXPublicKey(&rs.Key.(*rsa.PrivateKey).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := signAs(t, jose.RS256, rs, f.claims(now, nil), nil)
	if _, err := e.Verify(t.Context(), good, now); err != nil {
		t.Fatalf("the token that the rows change: %v", err)
	}
	parts := strings.Split(good, ".")
	text := decode(t, parts[1])
	claim := func(name string, value any) string {
		return signAs(t, jose.EdDSA, ed, f.claims(now, map[string]any{name: value}), nil)
	}
	with := func(alg jose.SignatureAlgorithm, key jose.JSONWebKey, id string) string {
		key.KeyID = id
		return signAs(t, alg, key, f.claims(now, nil), nil)
	}
	invalid := map[string]string{
		"empty":                "",
		"alg none":             encode(`{"alg":"none"}`) + "." + parts[1] + ".",
		"alg none, signed":     encode(`{"alg":"none","kid":"rs"}`) + "." + parts[1] + "." + parts[2],
		"HS256 by PEM":         forge(public, `{"alg":"HS256","kid":"rs"}`, text),
		"HS256 by DER":         forge(der, `{"alg":"HS256","kid":"rs"}`, text),
		"HS256 by their oct":   forge(newKey.Secret, `{"alg":"HS256","kid":"oct"}`, text),
		"RS512":                with(jose.RS512, rs, "rs"),
		"PS256":                with(jose.PS256, rs, "rs"),
		"PS256, its own":       with(jose.PS256, pss, "pss"),
		"RS256 by key of PSS":  with(jose.RS256, pss, "pss"),
		"a weak key":           with(jose.RS256, weak, "weak"),
		"ES384":                with(jose.ES384, p384, "p384"),
		"a key to encrypt":     with(jose.RS256, crypt, "crypt"),
		"another's key":        with(jose.RS256, newRSA(t, ""), "rs"),
		"the kid of another":   with(jose.ES256, ec, "rs"),
		"an unknown kid":       with(jose.RS256, rs, "rs2"),
		"a key it brings":      signAs(t, jose.EdDSA, newEd25519(t, ""), f.claims(now, nil), &jose.SignerOptions{EmbedJWK: true}),
		"for logout":           signAs(t, jose.EdDSA, ed, f.claims(now, nil), (&jose.SignerOptions{}).WithType("logout+jwt")),
		"nested":               signAs(t, jose.EdDSA, ed, f.claims(now, nil), (&jose.SignerOptions{}).WithContentType("JWT")),
		"payload changed":      parts[0] + "." + encode(strings.Replace(text, "pf_demo", "pf_damo", 1)) + "." + parts[2],
		"signature cut":        good[:len(good)-4],
		"line end":             good + "\n",
		"our own token":        sign(t, newSigner(t, newKey), person),
		"wrong issuer":         claim("iss", issuer),
		"no issuer":            claim("iss", nil),
		"wrong audience":       claim("aud", "https://other.example"),
		"no audience":          claim("aud", nil),
		"never expires":        claim("exp", nil),
		"exp is a text":        claim("exp", "soon"),
		"not yet issued":       claim("iat", now.Add(2*time.Minute).Unix()),
		"not yet valid":        claim("nbf", now.Add(2*time.Minute).Unix()),
		"valid in ages":        claim("nbf", 1e300),
		"nbf is a text":        claim("nbf", "soon"),
		"no subject":           claim("sub", nil),
		"subject of two lines": claim("sub", "a\nb"),
		"subject too long":     claim("sub", strings.Repeat("s", 256)),
		"jti is a number":      claim("jti", 7),
		"jti too long":         claim("jti", strings.Repeat("j", 256)),
		"no tenant":            claim("tenant_id", nil),
		"tenant is null":       claim("tenant_id", json.RawMessage("null")),
		"tenant is a list":     claim("tenant_id", []string{"pf_demo"}),
		"tenant is a number":   claim("tenant_id", 1),
		"tenant is malformed":  claim("tenant_id", "demo"),
		"tenant in capitals":   signAs(t, jose.EdDSA, ed, f.claims(now, map[string]any{"tenant_id": nil, "Tenant_ID": "pf_demo"}), nil),
		"too long":             claim("padding", strings.Repeat("x", maxToken)),
	}
	for name, token := range invalid {
		if c, err := e.Verify(t.Context(), token, now); err == nil {
			t.Errorf("%s: passes as %+v", name, c)
		} else {
			wantCode(t, err, "AUTH_TOKEN_INVALID")
		}
	}
}

func TestExternalTokensExpire(t *testing.T) {
	key := newEC(t, "ec", elliptic.P256())
	f := newForeign(t, key)
	e := f.external(t)
	now := time.Now().Truncate(time.Second)
	token := signAs(t, jose.ES256, key, f.claims(now, nil), nil)
	end := now.Add(time.Hour)
	if _, err := e.Verify(t.Context(), token, end.Add(time.Minute-time.Second)); err != nil {
		t.Errorf("Verify within the leeway: %v", err)
	}
	_, err := e.Verify(t.Context(), token, end.Add(time.Minute))
	wantCode(t, err, "AUTH_TOKEN_EXPIRED")
}

func TestExternalKeysRotate(t *testing.T) {
	first, second := newRSA(t, "a"), newEd25519(t, "b")
	f := newForeign(t, first)
	e := f.external(t)
	now := time.Now()
	verify := func(alg jose.SignatureAlgorithm, key jose.JSONWebKey, after time.Duration) error {
		at := now.Add(after)
		_, err := e.Verify(t.Context(), signAs(t, alg, key, f.claims(at, nil), nil), at)
		return err
	}
	if err := verify(jose.RS256, first, 0); err != nil {
		t.Fatal(err)
	}
	f.publish(second)
	if err := verify(jose.EdDSA, second, 10*time.Second); err != nil {
		t.Errorf("the new key: %v", err)
	}
	wantCode(t, verify(jose.RS256, first, 11*time.Second), "AUTH_TOKEN_INVALID")

	// A key that is withdrawn while no new one is used goes too, in time.
	f.publish(first)
	if err := verify(jose.EdDSA, second, time.Minute); err != nil {
		t.Errorf("a key that was seen a minute ago: %v", err)
	}
	wantCode(t, verify(jose.EdDSA, second, time.Hour), "AUTH_TOKEN_INVALID")
}

// Names of keys are free to invent; the issuer must not pay for them.
func TestUnknownKeysDoNotFloodTheIssuer(t *testing.T) {
	key, other := newEd25519(t, "a"), newEd25519(t, "b")
	f := newForeign(t, key)
	e := f.external(t)
	now := time.Now()
	token := signAs(t, jose.EdDSA, other, f.claims(now, nil), nil)
	before := f.requests()
	for i := range 100 {
		_, err := e.Verify(t.Context(), token, now.Add(time.Duration(i)*100*time.Millisecond))
		wantCode(t, err, "AUTH_TOKEN_INVALID")
	}
	if got := f.requests() - before; got > 4 {
		t.Errorf("100 tokens in 10 s made %d requests, want 2 each 5 s", got)
	}
}

func TestIssuerIsDownAtStart(t *testing.T) {
	key := newEC(t, "ec", elliptic.P256())
	f := newForeign(t, key)
	f.down(true)
	e := f.external(t)
	now := time.Now()
	token := signAs(t, jose.ES256, key, f.claims(now, nil), nil)
	for _, after := range []time.Duration{0, time.Second} {
		if _, err := e.Verify(t.Context(), token, now.Add(after)); !errors.Is(err, auth.ErrIssuer) || artifact.KindOf(err) != artifact.Unavailable {
			t.Errorf("Verify while the issuer is down: %v, want ErrIssuer", err)
		}
	}
	f.down(false)
	if _, err := e.Verify(t.Context(), token, now.Add(time.Minute)); err != nil {
		t.Errorf("Verify when the issuer is back: %v", err)
	}
}

// Keys that were got count for a day while the issuer is down, and no longer.
func TestIssuerGoesDown(t *testing.T) {
	key := newEC(t, "ec", elliptic.P256())
	f := newForeign(t, key)
	e := f.external(t)
	now := time.Now()
	verify := func(key jose.JSONWebKey, after time.Duration) error {
		at := now.Add(after)
		_, err := e.Verify(t.Context(), signAs(t, jose.ES256, key, f.claims(at, nil), nil), at)
		return err
	}
	f.down(true)
	for _, after := range []time.Duration{0, time.Hour, 23 * time.Hour} {
		if err := verify(key, after); err != nil {
			t.Errorf("Verify %s after the keys were got: %v", after, err)
		}
	}
	if err := verify(newEC(t, "new", elliptic.P256()), 23*time.Hour+time.Minute); !errors.Is(err, auth.ErrIssuer) {
		t.Errorf("Verify with a key that the issuer may have by now: %v, want ErrIssuer", err)
	}
	if err := verify(key, 25*time.Hour); !errors.Is(err, auth.ErrIssuer) {
		t.Errorf("Verify with keys of yesterday: %v, want ErrIssuer", err)
	}
}

// A silent issuer holds up one request, and nobody whose key is known.
func TestIssuerIsSilent(t *testing.T) {
	key := newEd25519(t, "a")
	f := newForeign(t, key)
	e := f.external(t)
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	f.set(func() {
		f.answer = func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-answer
			http.Error(w, "awake", http.StatusServiceUnavailable)
		}
	})
	now := time.Now().Add(time.Hour)
	token := signAs(t, jose.EdDSA, key, f.claims(now, nil), nil)
	unknown := signAs(t, jose.EdDSA, newEd25519(t, "b"), f.claims(now, nil), nil)
	first := make(chan error, 1)
	go func() {
		_, err := e.Verify(t.Context(), token, now)
		first <- err
	}()
	<-asked
	if _, err := e.Verify(t.Context(), token, now); err != nil {
		t.Errorf("a known key, while somebody asks: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Verify(ctx, unknown, now); !errors.Is(err, context.Canceled) {
		t.Errorf("an unknown key, by a client that left: %v, want its context's error", err)
	}
	close(answer)
	if err := <-first; err != nil {
		t.Errorf("the request that asked: %v", err)
	}
}

func TestIssuerMisbehaves(t *testing.T) {
	key := newEd25519(t, "a")
	elsewhere := newForeign(t, key)
	for name, set := range map[string]func(*foreign){
		"calls itself another": func(f *foreign) { f.extra = map[string]string{"issuer": "https://other.example"} },
		"has no keys":          func(f *foreign) { f.keys = nil },
		"names no place":       func(f *foreign) { f.extra = map[string]string{"jwks_uri": ""} },
		"names a bad place":    func(f *foreign) { f.extra = map[string]string{"jwks_uri": "://"} },
		"names a file":         func(f *foreign) { f.extra = map[string]string{"jwks_uri": "file:///etc/passwd"} },
		"has no such page":     func(f *foreign) { f.extra = map[string]string{"jwks_uri": f.URL + "/none"} },
		"sends no JSON": func(f *foreign) {
			f.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }
		},
		"sends too much": func(f *foreign) {
			f.keys = append(f.keys, map[string]string{"kty": strings.Repeat("x", 2<<20)})
		},
		"redirects": func(f *foreign) {
			f.answer = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
			}
		},
	} {
		f := newForeign(t, key)
		f.set(func() { set(f) })
		e := f.external(t)
		now := time.Now()
		_, err := e.Verify(t.Context(), signAs(t, jose.EdDSA, key, f.claims(now, nil), nil), now)
		if !errors.Is(err, auth.ErrIssuer) {
			t.Errorf("an issuer that %s: %v, want ErrIssuer", name, err)
		}
	}
	if elsewhere.requests() > 0 {
		t.Error("a redirect was followed")
	}
}

// The keys of an issuer behind TLS are not got without it.
func TestKeysOfASecureIssuerAreSecure(t *testing.T) {
	key := newEd25519(t, "a")
	f := newForeign(t, key)
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	plain := f.URL
	f.URL = server.URL
	cfg := auth.ExternalConfig{Issuer: server.URL, Audience: audience, HTTP: server.Client()}
	now := time.Now()
	token := signAs(t, jose.EdDSA, key, f.claims(now, nil), nil)
	for place, ok := range map[string]bool{server.URL: true, plain: false} {
		f.set(func() { f.extra = map[string]string{"jwks_uri": place + "/keys"} })
		e, err := auth.NewExternal(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Verify(t.Context(), token, now); (err == nil) != ok {
			t.Errorf("keys at %s: %v", place, err)
		}
	}
}

func TestExternalConfig(t *testing.T) {
	for name, cfg := range map[string]auth.ExternalConfig{
		"nothing":     {},
		"no issuer":   {Audience: audience},
		"no audience": {Issuer: issuer},
		"no URL":      {Issuer: "://", Audience: audience},
		"no host":     {Issuer: "https://", Audience: audience},
		"a name":      {Issuer: "issuer.example", Audience: audience},
		"a file":      {Issuer: "file:///issuer", Audience: audience},
		"a query":     {Issuer: issuer + "?x=1", Audience: audience},
		"a password":  {Issuer: "https://u:p@vitrine.example", Audience: audience},
	} {
		if _, err := auth.NewExternal(t.Context(), cfg); err == nil {
			t.Errorf("%s: NewExternal took %+v", name, cfg)
		} else if strings.Contains(err.Error(), "u:p@") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

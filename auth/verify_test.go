package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// Everything that must not pass for an access token. The claims are good and,
// unless the name says otherwise, the right secret signed them: each row has one
// thing wrong.
func TestVerifyRefuses(t *testing.T) {
	s := newSigner(t, oldKey, newKey)
	good := sign(t, s, person)
	parts := strings.Split(good, ".")
	header, payload, mac := parts[0], parts[1], parts[2]
	text := decode(t, payload)
	if forge(newKey.Secret, plainHeader, text) != good {
		t.Fatal("forge does not make what Sign makes; the rows below prove nothing")
	}
	with := func(header string) string { return forge(newKey.Secret, header, text) }
	claim := func(name string, value any) string {
		return forge(newKey.Secret, plainHeader, changed(t, good, name, value))
	}
	for name, token := range map[string]string{
		"empty":                  "",
		"garbage":                "garbage",
		"dots":                   "..",
		"no header":              "." + payload + "." + mac,
		"no payload":             header + ".." + mac,
		"no signature":           header + "." + payload + ".",
		"two parts":              header + "." + payload,
		"four parts":             good + "." + mac,
		"alg none, unsigned":     encode(`{"alg":"none","typ":"JWT"}`) + "." + payload + ".",
		"alg none, signature":    encode(`{"alg":"none","kid":"k2"}`) + "." + payload + "." + mac,
		"alg None":               with(`{"alg":"None","kid":"k2","typ":"JWT"}`),
		"alg HS384":              with(`{"alg":"HS384","kid":"k2","typ":"JWT"}`),
		"alg HS512":              with(`{"alg":"HS512","kid":"k2","typ":"JWT"}`),
		"alg RS256":              with(`{"alg":"RS256","kid":"k2","typ":"JWT"}`),
		"alg missing":            with(`{"kid":"k2","typ":"JWT"}`),
		"alg twice":              with(`{"alg":"HS256","alg":"none","kid":"k2"}`),
		"kid missing":            with(`{"alg":"HS256","typ":"JWT"}`),
		"kid of nobody":          with(`{"alg":"HS256","kid":"k3","typ":"JWT"}`),
		"kid of the other key":   with(`{"alg":"HS256","kid":"k1","typ":"JWT"}`),
		"kid is a number":        with(`{"alg":"HS256","kid":2,"typ":"JWT"}`),
		"nested":                 with(`{"alg":"HS256","kid":"k2","typ":"JWT","cty":"JWT"}`),
		"a type of its own":      with(`{"alg":"HS256","kid":"k2","typ":"logout+jwt"}`),
		"type is a number":       with(`{"alg":"HS256","kid":"k2","typ":1}`),
		"an unknown must":        with(`{"alg":"HS256","kid":"k2","typ":"JWT","crit":["exp"]}`),
		"a JWE":                  encode(`{"alg":"dir","enc":"A256GCM"}`) + "." + ".AAAA.AAAA.AAAA",
		"JSON form":              `{"payload":"` + payload + `","protected":"` + header + `","signature":"` + mac + `"}`,
		"another secret":         forge([]byte(strings.Repeat("x", 32)), plainHeader, text),
		"empty secret":           forge(nil, plainHeader, text),
		"the MACs' code":         header + "." + payload + "." + macOf(s, header+"."+payload),
		"payload changed":        header + "." + encode(strings.Replace(text, "pf_demo", "pf_damo", 1)) + "." + mac,
		"scope widened":          header + "." + encode(strings.Replace(text, "read write", "read admin", 1)) + "." + mac,
		"header changed":         encode(`{"alg":"HS256","kid":"k2","typ":"jwt"}`) + "." + payload + "." + mac,
		"signature cut":          good[:len(good)-1],
		"signature longer":       good + "A",
		"signature of another":   header + "." + payload + "." + strings.Split(sign(t, s, robot), ".")[2],
		"padded":                 good + "=",
		"line end":               good + "\n",
		"space before":           " " + good,
		"line end in the middle": header + ".\n" + payload + "." + mac,
		"wrong issuer":           claim("iss", "https://other.example"),
		"issuer with a slash":    claim("iss", issuer+"/"),
		"no issuer":              claim("iss", nil),
		"wrong audience":         claim("aud", "https://other.example"),
		"several audiences":      claim("aud", []string{issuer, "https://other.example"}),
		"no audience":            claim("aud", nil),
		"no type":                claim("typ", nil),
		"type refresh":           claim("typ", "refresh"),
		"no tenant":              claim("tenant_id", nil),
		"bad tenant":             claim("tenant_id", "pf_Demo"),
		"several tenants":        claim("tenant_id", []string{"pf_demo"}),
		"no token id":            claim("jti", nil),
		"never expires":          claim("exp", nil),
		"exp is a text":          claim("exp", "1772625600"),
		"too long":               claim("sub", strings.Repeat("u", 8<<10)),
		"no claims":              forge(newKey.Secret, plainHeader, "[]"),
		"no JSON":                forge(newKey.Secret, plainHeader, "claims"),
		"a refresh token":        s.Refresh("g1", 1),
		"an API key":             auth.NewKey("pf_demo"),
		"nobody's": forge(newKey.Secret, plainHeader,
			strings.NewReplacer(`"client_id":"dyn_1",`, "", `"key_id":"key_1",`, "").Replace(text)),
	} {
		if c, err := s.Verify(token, noon); err == nil {
			t.Errorf("%s: passes as %+v", name, c)
		} else {
			wantCode(t, err, "AUTH_TOKEN_INVALID")
		}
	}
}

func macOf(s *auth.Signer, text string) string {
	_, mac := s.MAC("", text)
	return mac
}

// Every character counts: no other one in its place makes the same token, not
// even the last, of which a lax decoder ignores two bits.
func TestVerifyTakesOneSpelling(t *testing.T) {
	s := newSigner(t, newKey)
	good := sign(t, s, person)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	dot := strings.LastIndex(good, ".")
	for i := range len(good) {
		others := "A-"
		if i > dot {
			others = letters
		}
		for _, c := range []byte(others) {
			if c == good[i] {
				continue
			}
			if _, err := s.Verify(good[:i]+string(c)+good[i+1:], noon); err == nil {
				t.Errorf("passes with %c instead of %c at %d of %d", c, good[i], i, len(good))
			}
		}
	}
}

// The classic confusion: a verifier that lets the token choose takes the text of
// an RSA key, which everybody has, for the secret of an HMAC.
func TestAlgorithmsAreNotConfused(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	s := newSigner(t, newKey)
	text := decode(t, strings.Split(sign(t, s, person), ".")[1])

	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: "k2"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rs256, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"RS256 with the name of our key": rs256,
		"HS256 with the text of the key": forge(public, plainHeader, text),
		"HS256 with the key's DER":       forge(der, plainHeader, text),
	} {
		_, err := s.Verify(token, noon)
		if err == nil {
			t.Errorf("%s: passes", name)
		}
		wantCode(t, err, "AUTH_TOKEN_INVALID")
	}
}

func TestUnverifiedIssuer(t *testing.T) {
	s := newSigner(t, newKey)
	for token, want := range map[string]string{
		sign(t, s, person): issuer,
		forge([]byte("x"), `{"alg":"none"}`, `{"iss":"https://x.example"}`):                 "https://x.example",
		forge([]byte("x"), `{"alg":"none"}`, `{"iss":1}`):                                   "",
		forge([]byte("x"), `{"alg":"none"}`, `[]`):                                          "",
		forge([]byte("x"), `{"alg":"none"}`, `{"iss":"`+strings.Repeat("x", maxToken)+`"}`): "",
		"":                        "",
		"garbage":                 "",
		s.Refresh("g1", 1):        "",
		auth.NewKey("pf_demo"):    "",
		encode(`{"iss":"x"}`):     "",
		"a." + encode(`{}`) + ".": "",
	} {
		if got := auth.UnverifiedIssuer(token); got != want {
			t.Errorf("UnverifiedIssuer(%.60q) = %q, want %q", token, got, want)
		}
	}
}

const maxToken = 8 << 10

// Nothing passes but the tokens that were signed here.
func FuzzVerify(f *testing.F) {
	s, err := auth.NewSigner(issuer, []auth.SigningKey{oldKey, newKey})
	if err != nil {
		f.Fatal(err)
	}
	ours := map[string]bool{}
	for _, c := range []artifact.Caller{person, robot} {
		token := sign(f, s, c)
		ours[token] = true
		f.Add(token)
		payload := decode(f, strings.Split(token, ".")[1])
		f.Add(forge(oldKey.Secret[1:], plainHeader, payload))
		f.Add(forge(nil, `{"alg":"none"}`, payload))
	}
	f.Add("a.b.c")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := s.Verify(token, noon)
		if (err == nil) != ours[token] || (c == nil) != (err != nil) {
			t.Fatalf("Verify(%q) = %+v, %v", token, c, err)
		}
		if err != nil {
			wantCode(t, err, "AUTH_TOKEN_INVALID")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := newSigner(b, oldKey, newKey)
	token := sign(b, s, person)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Verify(token, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s := newSigner(b, oldKey, newKey)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(&person, noon, later); err != nil {
			b.Fatal(err)
		}
	}
}

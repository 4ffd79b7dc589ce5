package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vitrine-hq/vitrine/auth"
)

const audience = "https://vitrine.example/api"

// foreign is an issuer that publishes its keys, as others run one.
type foreign struct {
	URL string

	mu     sync.Mutex
	keys   []any             // of the JWKS
	asked  int               // requests
	answer http.HandlerFunc  // instead of everything, if not nil
	extra  map[string]string // of the description
}

func newForeign(t *testing.T, keys ...jose.JSONWebKey) *foreign {
	t.Helper()
	f := &foreign{}
	f.publish(keys...)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

func (f *foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	answer, keys := f.answer, f.keys
	about := map[string]string{"issuer": f.URL, "jwks_uri": f.URL + "/keys"}
	maps.Copy(about, f.extra)
	f.asked++
	f.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(about)
	case r.URL.Path == "/keys":
		json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	default:
		http.NotFound(w, r)
	}
}

// publish replaces the keys with the public halves of these.
func (f *foreign) publish(keys ...jose.JSONWebKey) {
	var public []any
	for _, k := range keys {
		public = append(public, k.Public())
	}
	f.set(func() { f.keys = public })
}

func (f *foreign) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// requests is how many have come so far.
func (f *foreign) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// down answers everything with a fault.
func (f *foreign) down(yes bool) {
	f.set(func() {
		f.answer = nil
		if yes {
			f.answer = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }
		}
	})
}

// external returns what takes the issuer's tokens.
func (f *foreign) external(t *testing.T) *auth.External {
	t.Helper()
	e, err := auth.NewExternal(t.Context(), auth.ExternalConfig{Issuer: f.URL, Audience: audience})
	if err != nil {
		t.Fatalf("NewExternal: %v", err)
	}
	return e
}

// claims returns those of a good token, with changes; nil takes one away.
func (f *foreign) claims(now time.Time, changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": f.URL, "aud": audience, "sub": "auth0|42", "jti": "j1", "tenant_id": "pf_demo",
		"scope": "openid read write", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func private(t testing.TB, id string, key crypto.PrivateKey, err error) jose.JSONWebKey {
	t.Helper()
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	return jose.JSONWebKey{KeyID: id, Key: key}
}

func newRSA(t testing.TB, id string) jose.JSONWebKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	return private(t, id, k, err)
}

func newEC(t testing.TB, id string, curve elliptic.Curve) jose.JSONWebKey {
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	return private(t, id, k, err)
}

func newEd25519(t testing.TB, id string) jose.JSONWebKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return private(t, id, k, err)
}

// signAs signs claims with any key and algorithm.
func signAs(t testing.TB, alg jose.SignatureAlgorithm, key any, claims any, opt *jose.SignerOptions) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opt)
	if err != nil {
		t.Fatalf("signer of %s: %v", alg, err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatalf("sign with %s: %v", alg, err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

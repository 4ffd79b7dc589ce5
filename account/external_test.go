package account

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// elsewhere is another issuer, with one key.
type elsewhere struct {
	url    string
	signer jose.Signer
}

func newElsewhere(h *house) *elsewhere {
	h.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		h.Fatal(err)
	}
	e := &elsewhere{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": e.url, "jwks_uri": e.url + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "k", Key: public}}})
	})
	server := httptest.NewServer(mux)
	h.Cleanup(server.Close)
	e.url = server.URL
	e.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{KeyID: "k", Key: private}}, nil)
	if err != nil {
		h.Fatal(err)
	}
	return e
}

func (e *elsewhere) token(h *house, tenant string, life time.Duration) string {
	h.Helper()
	text, err := json.Marshal(map[string]any{
		"iss": e.url, "aud": "vitrine", "sub": "ada", "tenant_id": tenant, "scope": "openid read", "jti": tenant + life.String(),
		"iat": h.Now().Unix(), "exp": h.Now().Add(life).Unix(),
	})
	if err != nil {
		h.Fatal(err)
	}
	jws, err := e.signer.Sign(text)
	if err != nil {
		h.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		h.Fatal(err)
	}
	return token
}

// TestExternal takes tokens of another issuer for tenants of ours.
func TestExternal(t *testing.T) {
	each(t, func(h *house) {
		e := newElsewhere(h)
		external, err := auth.NewExternal(h.Context(), auth.ExternalConfig{Issuer: e.url, Audience: "vitrine"})
		if err != nil {
			h.Fatal(err)
		}
		a, err := Open(h.Context(), h.db, Options{Issuer: "http://vitrine.test", Now: h.Now, External: external})
		if err != nil {
			h.Fatal(err)
		}
		h.Cleanup(func() { a.Close() })
		secret, _ := h.member(home, artifact.Read)
		ours, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		if _, err := a.Authenticate(h.Context(), ours.Access); err != nil {
			h.Errorf("our own token beside another issuer: %v", err)
		}
		theirs := e.token(h, home, 100*24*time.Hour)
		for range 2 { // from the signature, and from memory
			c, err := a.Authenticate(h.Context(), theirs)
			if err != nil || c.Kind != artifact.CallerExternal || c.Tenant != home || c.User != "ada" || c.Scopes.String() != "read" {
				h.Fatalf("their token makes %+v, %v", c, err)
			}
		}
		if _, err := a.Authenticate(h.Context(), e.token(h, "pf_none", time.Hour)); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("their token for a tenant that is not there: %v, want ErrTokenInvalid", err)
		}
		if _, err := h.node(h.db).Authenticate(h.Context(), theirs); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("their token where they are not known: %v, want ErrTokenInvalid", err)
		}
		if err := a.SuspendTenant(h.Context(), home); err != nil {
			h.Fatal(err)
		}
		// The token lives longer than the revocation is known.
		for _, pass := range []time.Duration{0, 80 * time.Hour} {
			h.pass(pass)
			if err := a.Prune(h.Context()); err != nil {
				h.Fatal(err)
			}
			if _, err := a.Authenticate(h.Context(), theirs); !errors.Is(err, auth.ErrTokenInvalid) {
				h.Errorf("suspended %v ago: %v, want ErrTokenInvalid", pass, err)
			}
		}
	})
}

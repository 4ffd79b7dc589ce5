package auth

import (
	"cmp"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vitrine-hq/vitrine/artifact"
)

const minSecret = 32 // bytes of a signing key

// SigningKey is a secret of our own issuer. Its ID is letters and digits and
// stands in what it signs, so that keys can follow one another.
type SigningKey struct {
	ID      string
	Secret  []byte // 32 random bytes or more
	Created time.Time
}

// NewSigningKey returns a new key.
func NewSigningKey(now time.Time) SigningKey {
	secret := make([]byte, minSecret)
	rand.Read(secret) // never fails
	return SigningKey{ID: NewID(""), Secret: secret, Created: now}
}

// Signer is our own issuer: it makes access tokens, refresh tokens and MACs
// with its newest key and knows them again by any of its keys. It may be used
// by many goroutines.
type Signer struct {
	issuer string
	ring   atomic.Pointer[ring]
}

// ring is a set of keys that does not change.
type ring struct {
	newest *derived
	byID   map[string]*derived
}

// derived is a key in the forms in which it is used. JWTs and MACs have secrets
// of their own: otherwise whoever gets a MAC of a text that reads like the front
// of a token has the token.
type derived struct {
	id     string
	secret []byte // of JWTs
	mac    []byte
	jwt    jose.Signer
}

// NewSigner returns the issuer of that name, which is also the only audience of
// its tokens. An error names a key that will not do.
func NewSigner(issuer string, keys []SigningKey) (*Signer, error) {
	if issuer == "" {
		return nil, errors.New("an issuer needs a name")
	}
	s := &Signer{issuer: issuer}
	if err := s.SetKeys(keys); err != nil {
		return nil, err
	}
	return s, nil
}

// SetKeys replaces the keys, all at once. After an error the old ones stay.
func (s *Signer) SetKeys(keys []SigningKey) error {
	if len(keys) == 0 {
		return errors.New("no signing key")
	}
	r := &ring{byID: make(map[string]*derived, len(keys))}
	for _, k := range keys {
		if r.byID[k.ID] != nil {
			return fmt.Errorf("two signing keys are called %q", k.ID)
		}
		d, err := derive(k)
		if err != nil {
			return fmt.Errorf("signing key %q: %w", k.ID, err)
		}
		r.byID[k.ID] = d
	}
	// Keys of one time are told apart by name, so that all nodes choose the same.
	newest := slices.MaxFunc(keys, func(a, b SigningKey) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	r.newest = r.byID[newest.ID]
	s.ring.Store(r)
	return nil
}

func derive(k SigningKey) (*derived, error) {
	if k.ID == "" || len(k.ID) > 64 || !all(k.ID, alphanumeric) {
		return nil, errors.New("its name is not 1 to 64 letters and digits")
	}
	if len(k.Secret) < minSecret {
		return nil, fmt.Errorf("has %d bytes, fewer than %d", len(k.Secret), minSecret)
	}
	d := &derived{id: k.ID, secret: slices.Clone(k.Secret)}
	var err error
	if d.mac, err = hkdf.Key(sha256.New, d.secret, nil, "vitrine mac", sha256.Size); err != nil {
		return nil, err
	}
	opt := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", k.ID)
	d.jwt, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: d.secret}, opt)
	return d, err
}

// access marks an access token, so that nothing else that we sign is taken for one.
const access = "access"

// claims are what our access tokens say (contract, auth §7).
type claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	Subject   string `json:"sub,omitempty"`
	Tenant    string `json:"tenant_id"`
	Scope     string `json:"scope,omitempty"`
	Issued    int64  `json:"iat"`
	NotBefore int64  `json:"nbf,omitempty"` // we set none, but heed it
	Expires   int64  `json:"exp"`
	Token     string `json:"jti"`
	Client    string `json:"client_id,omitempty"`
	Key       string `json:"key_id,omitempty"`
	Grant     string `json:"grant,omitempty"`
	Type      string `json:"typ"`
}

// Sign returns an access token that makes its bearer the caller. The caller is
// of kind key or OAuth, names its tenant and key or client, and has the token's
// id in Token. The same input and key make the same token, to the byte.
func (s *Signer) Sign(c *artifact.Caller, issued, expires time.Time) (string, error) {
	text := claims{
		Issuer: s.issuer, Audience: s.issuer, Subject: c.User, Tenant: c.Tenant, Scope: c.Scopes.String(),
		Issued: issued.Unix(), Expires: expires.Unix(), Token: c.Token,
		Client: c.Client, Key: c.Key, Grant: c.Grant, Type: access,
	}
	kind, err := text.kind()
	switch {
	case err != nil:
	case kind != c.Kind:
		err = fmt.Errorf("the caller is of kind %q and looks like %q", c.Kind, kind)
	case text.Expires <= text.Issued:
		err = errors.New("expires before it is issued")
	}
	var token string
	if err == nil {
		token, err = s.ring.Load().newest.sign(text)
	}
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return token, nil
}

func (k *derived) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	jws, err := k.jwt.Sign(payload)
	if err != nil {
		return "", err
	}
	token, err := jws.CompactSerialize()
	if err == nil && len(token) > maxToken {
		err = errTooLong // Verify would refuse it
	}
	return token, err
}

// kind returns whose token it is. An error says what it lacks.
func (c *claims) kind() (artifact.CallerKind, error) {
	if _, err := artifact.ParseTenant(c.Tenant); err != nil {
		return "", fmt.Errorf("tenant %q: %w", c.Tenant, err)
	}
	switch {
	case c.Token == "":
		return "", errors.New("the token has no id")
	case c.Client != "":
		return artifact.CallerOAuth, nil // a key may have approved it
	case c.Key != "":
		return artifact.CallerKey, nil
	}
	return "", errors.New("neither of a key nor of a client")
}

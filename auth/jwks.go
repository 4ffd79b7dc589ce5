package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	startPatience = 2 * time.Second  // of the question at the start
	fetchPatience = 10 * time.Second // of one question
	fetchPace     = 5 * time.Second  // between two questions; tokens that name unknown keys cost nothing to make
	freshFor      = 15 * time.Minute // then a key that the issuer withdrew is noticed
	staleFor      = 24 * time.Hour   // how long keys count while the issuer does not answer
	maxDocument   = 1 << 20          // bytes of an answer
	maxRemoteKeys = 100
	minRSA        = 2048 // bits
)

// remoteKeys are the keys that an issuer publishes. oidc.RemoteKeySet does the
// same, but keeps a withdrawn key until an unknown one comes along and asks for
// every token that names an unknown one.
type remoteKeys struct {
	issuer string
	client *http.Client

	asking chan struct{} // holds one value while the issuer is asked

	mu    sync.Mutex
	keys  []jose.JSONWebKey
	at    time.Time // when they were got; zero is never
	tried time.Time // when the issuer was last asked
	err   error     // of that question
}

func newRemoteKeys(issuer string, client *http.Client) *remoteKeys {
	var c http.Client
	if client != nil {
		c = *client
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	c.Transport = bounded{c.Transport}
	c.CheckRedirect = func(*http.Request, []*http.Request) error {
		return errors.New("the issuer redirects") // to where nobody configured it
	}
	return &remoteKeys{issuer: issuer, client: &c, asking: make(chan struct{}, 1)}
}

// bounded cuts off answers that are too long for what they should be.
type bounded struct{ next http.RoundTripper }

// RoundTrip asks and limits the answer.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxDocument)
	}
	return resp, err
}

// verify returns what one of the issuer's keys signed. A key that is not known
// is looked for at the issuer, at its pace. Errors are ErrTokenInvalid,
// ErrIssuer, or the context's.
func (r *remoteKeys) verify(ctx context.Context, jws *jose.JSONWebSignature, now time.Time) ([]byte, error) {
	keys, fresh := r.known(now)
	payload, ok := verifyAny(jws, keys)
	if ok && fresh {
		return payload, nil
	}
	// With keys that are merely old nobody waits for one who asks already, so
	// that a silent issuer does not hold up everybody.
	if err := r.renew(ctx, now, !ok); err != nil {
		return nil, err
	}
	keys, _ = r.known(now)
	if payload, ok = verifyAny(jws, keys); ok {
		return payload, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil { // it may have the key by now
		return nil, fmt.Errorf("%w: %w", ErrIssuer, r.err)
	}
	return nil, invalid(errors.New("no key of the issuer signed it"))
}

// known returns the keys that count, and whether they are fresh.
func (r *remoteKeys) known(now time.Time) ([]jose.JSONWebKey, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !within(r.at, now, staleFor) {
		return nil, false
	}
	return r.keys, within(r.at, now, freshFor)
}

// within reports whether t, if there was such a time, and now lie less than d
// apart. Requests overtake each other, so either may be the earlier.
func within(t, now time.Time, d time.Duration) bool {
	return !t.IsZero() && now.Sub(t).Abs() < d
}

// renew asks the issuer, unless it was asked a moment ago. If somebody else is
// asking, it waits for that or leaves it at that. Errors are the context's.
func (r *remoteKeys) renew(ctx context.Context, now time.Time, wait bool) error {
	select {
	case r.asking <- struct{}{}:
	default:
		if !wait {
			return nil
		}
		select {
		case r.asking <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("wait for the issuer's keys: %w", ctx.Err())
		}
	}
	defer func() { <-r.asking }()
	r.mu.Lock()
	tooSoon := within(r.tried, now, fetchPace)
	r.mu.Unlock()
	if tooSoon {
		return nil
	}
	// Others wait for the answer too, so it is not given up with this client.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchPatience)
	defer cancel()
	r.ask(ctx, now)
	return nil
}

// ask gets the keys and keeps them, or the error. One goroutine at a time may.
func (r *remoteKeys) ask(ctx context.Context, now time.Time) {
	keys, err := r.fetch(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried, r.err = now, err
	if err == nil {
		r.keys, r.at = keys, now
	}
}

// warm asks before the first token comes. After an error that token asks again.
func (r *remoteKeys) warm(ctx context.Context, now time.Time) error {
	keys, err := r.fetch(ctx)
	if err == nil {
		r.keys, r.at, r.tried = keys, now, now
	}
	return err
}

// fetch reads the issuer's description and then its keys. The description is
// read each time, since it may name another place.
func (r *remoteKeys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, r.client), r.issuer)
	if err != nil {
		return nil, fmt.Errorf("discover issuer: %w", err)
	}
	var place struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&place); err != nil {
		return nil, fmt.Errorf("discover issuer: %w", err)
	}
	if strings.HasPrefix(r.issuer, "https:") && !strings.HasPrefix(place.URL, "https:") {
		return nil, fmt.Errorf("the issuer's keys are at %q, which is not secure", place.URL)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("get the issuer's keys: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get the issuer's keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get the issuer's keys: %s", resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("get the issuer's keys: %w", err)
	}
	return parseKeys(text)
}

// parseKeys returns the keys of a JWKS that can sign for us. Others stand beside
// them by right and are left out (RFC 7517 §5).
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read the issuer's keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) != nil {
			continue
		}
		alg := algorithmOf(k.Key)
		if alg == "" || k.Algorithm != "" && k.Algorithm != string(alg) || k.Use != "" && k.Use != "sig" {
			continue
		}
		k.Algorithm = string(alg)
		if keys = append(keys, k); len(keys) == maxRemoteKeys {
			break
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the issuer has no key of RS256, ES256 or EdDSA")
	}
	return keys, nil
}

// algorithmOf returns the one algorithm that a public key is good for, or "".
func algorithmOf(key any) jose.SignatureAlgorithm {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSA {
			return jose.RS256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256
		}
	case ed25519.PublicKey:
		return jose.EdDSA
	}
	return ""
}

// verifyAny returns the payload of a JWT that one of the keys signed. Only a
// token that names no key is held against all of them.
func verifyAny(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, bool) {
	header := jws.Signatures[0].Protected
	for i := range keys {
		k := &keys[i]
		if k.Algorithm != header.Algorithm || header.KeyID != "" && header.KeyID != k.KeyID {
			continue
		}
		if payload, err := jws.Verify(k); err == nil {
			return payload, true
		}
	}
	return nil, false
}

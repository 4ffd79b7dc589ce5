package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/vitrine-hq/vitrine/artifact"
)

// ErrIssuer says that the external issuer cannot be asked for its keys, so that
// a token of its can be neither taken nor refused.
var ErrIssuer = &artifact.Error{Kind: artifact.Unavailable, Msg: "The issuer of the token does not answer"}

// ExternalConfig says whose tokens to take besides our own.
type ExternalConfig struct {
	Issuer      string       // a URL, as it stands in the tokens
	Audience    string       // what the issuer calls us
	TenantClaim string       // of the tenant's id, a text; "" is "tenant_id"
	ScopeClaim  string       // of the scopes, a text or a list; "" is "scope"
	HTTP        *http.Client // nil is that of net/http
}

// External takes access tokens of an issuer that publishes its keys (OpenID
// Connect Discovery and JWKS). It may be used by many goroutines.
type External struct {
	cfg  ExternalConfig
	keys *remoteKeys
	cold error
}

// NewExternal returns the external issuer of cfg; an error says what in it will
// not do. It asks the issuer for its keys for a moment, so that the first token
// need not wait; an issuer that does not answer is asked again with the tokens.
func NewExternal(ctx context.Context, cfg ExternalConfig) (*External, error) {
	u, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("external issuer: %w", err)
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "", u.User != nil:
		return nil, fmt.Errorf("external issuer %s: not the URL of an issuer", u.Redacted())
	case cfg.Audience == "":
		// Without one, tokens that the issuer made for others would pass.
		return nil, errors.New("external issuer: needs an audience")
	}
	if cfg.TenantClaim == "" {
		cfg.TenantClaim = "tenant_id"
	}
	if cfg.ScopeClaim == "" {
		cfg.ScopeClaim = "scope"
	}
	e := &External{cfg: cfg, keys: newRemoteKeys(cfg.Issuer, cfg.HTTP)}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	e.cold = e.keys.warm(ctx, time.Now())
	return e, nil
}

// Cold returns why the issuer's keys could not be got when it was made, or nil.
func (e *External) Cold() error { return e.cold }

// Issuer returns the issuer's name, which is the iss of its tokens.
func (e *External) Issuer() string { return e.cfg.Issuer }

// Verify returns whom a token of the issuer makes its bearer. The algorithm is
// one of RS256, ES256 and EdDSA and that of the issuer's key. Scopes called read,
// write, run, delete and admin are taken as they are, so that the issuer decides
// on them like one of our own keys; others mean something to somebody else and
// are dropped. Errors are [ErrTokenExpired], [ErrTokenInvalid], [ErrIssuer], or
// the context's.
func (e *External) Verify(ctx context.Context, token string, now time.Time) (*artifact.Caller, error) {
	jws, err := parseJWT(token, externalAlgorithms...)
	if err != nil {
		return nil, err
	}
	lookup := &lookup{keys: e.keys, jws: jws, now: now}
	id, err := oidc.NewVerifier(e.cfg.Issuer, lookup, &oidc.Config{
		ClientID:             e.cfg.Audience,
		SupportedSigningAlgs: algorithmNames,
		SkipExpiryCheck:      true, // its leeway is not ours
	}).Verify(ctx, token)
	switch {
	case lookup.err != nil: // which the library keeps as text only
		return nil, lookup.err
	case err != nil:
		return nil, invalid(err)
	}
	var c map[string]json.RawMessage
	if err := id.Claims(&c); err != nil {
		return nil, invalid(err)
	}
	return e.accept(id, c, now)
}

// accept turns what a good signature covers into a caller.
func (e *External) accept(id *oidc.IDToken, c map[string]json.RawMessage, now time.Time) (*artifact.Caller, error) {
	if err := (span{issued: id.IssuedAt, expires: id.Expiry, late: leeway}).check(now); err != nil {
		return nil, err
	}
	var notBefore float64 // which may have a fraction
	if raw, ok := c["nbf"]; ok && json.Unmarshal(raw, &notBefore) != nil || notBefore > float64(now.Add(leeway).Unix()) {
		return nil, invalid(errors.New("nbf is not a time, or not yet"))
	}
	var tenant, jti string
	if c[e.cfg.TenantClaim] == nil {
		return nil, invalid(fmt.Errorf("claim %q is missing", e.cfg.TenantClaim))
	}
	if err := json.Unmarshal(c[e.cfg.TenantClaim], &tenant); err != nil {
		return nil, invalid(fmt.Errorf("claim %q: %w", e.cfg.TenantClaim, err))
	}
	if _, err := artifact.ParseTenant(tenant); err != nil {
		return nil, invalid(fmt.Errorf("claim %q: %w", e.cfg.TenantClaim, err))
	}
	if raw, ok := c["jti"]; ok && json.Unmarshal(raw, &jti) != nil {
		return nil, invalid(errors.New("jti is not a text"))
	}
	if id.Subject == "" || !shortText(id.Subject) || !shortText(jti) {
		return nil, invalid(errors.New("sub or jti is not a short text"))
	}
	return &artifact.Caller{
		Kind: artifact.CallerExternal, Tenant: tenant, User: id.Subject, Token: jti,
		Scopes: externalScopes(c[e.cfg.ScopeClaim]), Expires: id.Expiry.UTC(),
	}, nil
}

// shortText reports whether s can stand in a row and a line of the audit log.
func shortText(s string) bool {
	return len(s) <= 255 && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// externalScopes reads a claim that has scopes between spaces, or a list of
// them. Anything else allows nothing.
func externalScopes(claim json.RawMessage) artifact.Scopes {
	var text string
	var list []string
	if json.Unmarshal(claim, &text) != nil && json.Unmarshal(claim, &list) == nil {
		text = strings.Join(list, " ")
	}
	return artifact.ParseScopes(text).Intersect(artifact.Scopes{
		artifact.Read, artifact.Write, artifact.Run, artifact.Delete, artifact.Admin,
	})
}

// lookup is the key set for one token. It is made for each, to know the time and
// to keep the error.
type lookup struct {
	keys *remoteKeys
	jws  *jose.JSONWebSignature
	now  time.Time
	err  error
}

// VerifySignature returns the payload of the token, which was read before, if
// one of the issuer's keys signed it.
func (l *lookup) VerifySignature(ctx context.Context, _ string) (payload []byte, err error) {
	payload, l.err = l.keys.verify(ctx, l.jws, l.now)
	return payload, l.err
}

// The algorithms that an external issuer may use. None of them has a secret, so
// a public key is never taken for one.
var (
	externalAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}
	algorithmNames     = []string{oidc.RS256, oidc.ES256, oidc.EdDSA}
)

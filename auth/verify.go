package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vitrine-hq/vitrine/artifact"
)

// ErrUnknownKey says that a token names a key that the Signer does not have.
// Another node may have made it: load the keys and try again, but not for every
// such token, since anybody can invent a name.
var ErrUnknownKey = errors.New("signed with an unknown key")

// Verify returns whom an access token of ours makes its bearer, of kind key or
// OAuth. Errors are [ErrTokenExpired], or [ErrTokenInvalid], which may wrap
// [ErrUnknownKey]. Whether token, key, client or grant were revoked it does not
// know.
func (s *Signer) Verify(token string, now time.Time) (*artifact.Caller, error) {
	return s.VerifyLate(token, now, 0)
}

// VerifyLate is Verify for a token that may have expired, up to late ago. It
// tells whose it was, and lets nobody in.
func (s *Signer) VerifyLate(token string, now time.Time, late time.Duration) (*artifact.Caller, error) {
	jws, err := parseJWT(token, jose.HS256)
	if err != nil {
		return nil, err
	}
	k := s.ring.Load().byID[jws.Signatures[0].Protected.KeyID]
	if k == nil {
		return nil, invalid(ErrUnknownKey)
	}
	payload, err := jws.Verify(k.secret)
	if err != nil {
		return nil, invalid(err)
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, invalid(err)
	}
	return s.accept(&c, now, late)
}

// accept turns what a good signature covers into a caller.
func (s *Signer) accept(c *claims, now time.Time, late time.Duration) (*artifact.Caller, error) {
	times := span{issued: second(c.Issued), notBefore: second(c.NotBefore), expires: second(c.Expires), late: late}
	if err := times.check(now); err != nil {
		return nil, err
	}
	switch {
	case c.Issuer != s.issuer:
		return nil, invalid(fmt.Errorf("issued by %q", c.Issuer))
	case c.Audience != s.issuer:
		return nil, invalid(fmt.Errorf("meant for %q", c.Audience))
	case c.Type != access:
		return nil, invalid(fmt.Errorf("of type %q", c.Type))
	}
	kind, err := c.kind()
	if err != nil {
		return nil, invalid(err)
	}
	return &artifact.Caller{
		Kind: kind, Tenant: c.Tenant, User: c.Subject, Key: c.Key, Client: c.Client, Grant: c.Grant,
		Token: c.Token, Scopes: artifact.ParseScopes(c.Scope), Expires: times.expires,
	}, nil
}

// second returns the time of a claim, which is zero when it is missing.
func second(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

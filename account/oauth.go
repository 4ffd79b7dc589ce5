package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// The errors of OAuth (RFC 6749 §5.2, RFC 7591 §3.2.2, RFC 8628 §3.5, RFC 8707
// §2). Their code is the word that clients know.
var (
	ErrInvalidRequest     = oauth("invalid_request", "The request lacks a parameter, or has one that is not understood")
	ErrUnknownClient      = &artifact.Error{Kind: artifact.Unauthorized, Code: "invalid_client", Msg: "The client is not known; it has to register"}
	ErrInvalidGrant       = oauth("invalid_grant", "The code or token is not good, has expired, was used before, or is another client's")
	ErrUnauthorizedClient = oauth("unauthorized_client", "The client did not register for this grant type")
	ErrUnsupportedGrant   = oauth("unsupported_grant_type", "The grant type is not known here")
	ErrInvalidScope       = oauth("invalid_scope", "The scope is not known, or is more than was granted")
	ErrInvalidTarget      = oauth("invalid_target", "The resource is not served here")
	ErrInvalidRedirect    = oauth("invalid_redirect_uri", "A redirect URI is https, http on a loopback address, or of a private scheme with a dot; it has no fragment and no user")
	ErrInvalidMetadata    = oauth("invalid_client_metadata", "The metadata is not understood")
	ErrPending            = oauth("authorization_pending", "Nobody has answered yet")
	ErrSlowDown           = oauth("slow_down", "Ask less often")
	ErrAccessDenied       = oauth("access_denied", "The request was denied")
	ErrExpiredCode        = oauth("expired_token", "The code has expired")
)

func oauth(code, msg string) *artifact.Error {
	return &artifact.Error{Kind: artifact.Invalid, Code: code, Msg: msg}
}

// because returns an error of OAuth with a sentence of its own for the client.
func because(err *artifact.Error, msg string) *artifact.Error {
	e := *err
	e.Msg = msg
	return &e
}

// GrantableScopes are those that a client of OAuth can have.
var GrantableScopes = artifact.Scopes{artifact.Read, artifact.Write, artifact.Run, artifact.Profile, artifact.Offline}

// standardScopes is what a client asks for that does not say.
var standardScopes = artifact.Scopes{artifact.Read, artifact.Write}

// asks returns the scopes that a client asks for; without a word those that it
// registered. What no client can have is left out; [ErrInvalidScope] says that
// nothing is left.
func (c *Client) asks(scope string) (artifact.Scopes, error) {
	if strings.TrimSpace(scope) == "" {
		scope = c.Scope
	}
	scopes := artifact.ParseScopes(scope).Intersect(GrantableScopes)
	switch {
	case scope == "":
		return standardScopes, nil
	case useless(scopes):
		return nil, ErrInvalidScope
	}
	return scopes, nil
}

// useless reports whether scopes allow nothing.
func useless(scopes artifact.Scopes) bool {
	return len(scopes) == 0 || len(scopes) == 1 && scopes[0] == artifact.Offline
}

// canGive returns which of the scopes that a client asks for a person can
// give it: those that they have, and the two that only clients have. run is
// given only if they said so.
func canGive(want artifact.Scopes, by *artifact.Caller, run bool) artifact.Scopes {
	have := append(artifact.Scopes{artifact.Profile, artifact.Offline}, by.Scopes...)
	var got artifact.Scopes
	for _, s := range want.Intersect(GrantableScopes).Intersect(have) {
		if s != artifact.Run || run {
			got = append(got, s)
		}
	}
	return got
}

// errNoDecision is for who may not let a client in: nobody, and other clients.
var errNoDecision = artifact.Errorf(artifact.Denied, "Only a member of a tenant can decide this")

// Decides reports whether the caller is a person, who can let a client in.
func Decides(c *artifact.Caller) bool {
	return c.Kind == artifact.CallerKey || c.Kind == artifact.CallerExternal || c.Kind == artifact.CallerProxy
}

// consents returns what a person gives to a client that asks for some scopes.
// A Denied error says that they cannot decide, or have nothing to give.
func (a *Accounts) consents(ctx context.Context, r *store.Reads, want artifact.Scopes, by *artifact.Caller, run bool, now time.Time) (artifact.Scopes, error) {
	g := store.Grant{Tenant: by.Tenant, Owner: by.User, Key: by.Key, Client: "any", Scopes: canGive(want, by, run)}
	_, err := a.standing(ctx, r, &g, now)
	switch {
	case errors.Is(err, auth.ErrTokenInvalid):
		return nil, errNoDecision
	case err == nil && useless(g.Scopes):
		err = artifact.Errorf(artifact.Denied, "Your account has none of the permissions that are asked for")
	}
	return g.Scopes, err
}

// ByKey returns who an API key makes its bearer, for one decision, or an
// [auth.ErrBadCredentials].
func (a *Accounts) ByKey(ctx context.Context, key string) (*artifact.Caller, error) {
	k, err := a.checkKey(ctx, key)
	if err != nil {
		return nil, err
	}
	c := holder(&store.Grant{Tenant: k.Tenant, Owner: k.Owner, Key: k.ID, Scopes: k.Scopes})
	return artifact.CallerOf(as(ctx, c)), nil
}

// Owner returns what the member is called that a caller acts for, or a NotFound
// error.
func (a *Accounts) Owner(ctx context.Context, c *artifact.Caller) (string, error) {
	u, err := a.db.User(ctx, c.Tenant, c.User)
	if err == nil && u.Name == "" {
		return u.ID, nil
	}
	return u.Name, err
}

// refused makes an error about a grant one of OAuth: who refreshes or exchanges
// is not told more.
func refused(err error) error {
	if artifact.KindOf(err) == artifact.Unauthorized {
		e := *ErrInvalidGrant
		e.Err = err
		return &e
	}
	return err
}

// CSRF returns what a form has to bring back to prove that the caller's own
// browser was shown it. It is good for as long as the caller's token.
func (a *Accounts) CSRF(c *artifact.Caller) string {
	kid, mac := a.keys.at(a.opt.Now()).MAC(csrfPurpose, csrfParts(c)...)
	return kid + "." + mac
}

// CheckCSRF reports whether CSRF made the text for the caller.
func (a *Accounts) CheckCSRF(c *artifact.Caller, text string) bool {
	kid, mac, _ := strings.Cut(text, ".")
	return a.keys.all().CheckMAC(kid, mac, csrfPurpose, csrfParts(c)...)
}

const csrfPurpose = "csrf"

func csrfParts(c *artifact.Caller) []string {
	return []string{string(c.Kind), c.Tenant, c.User, c.Grant, c.Token}
}

// Issuer returns the public address of the server, without a slash at its end.
func (a *Accounts) Issuer() string { return a.opt.Issuer }

// checkResource returns [ErrInvalidTarget] unless the resource that a client
// wants tokens for, if it says so, is this server (RFC 8707).
func (a *Accounts) checkResource(resource string) error {
	if r := strings.TrimSuffix(resource, "/"); resource != "" && r != a.opt.Issuer && r != a.opt.Issuer+"/mcp" {
		return ErrInvalidTarget
	}
	return nil
}

// hashCode returns what is kept of a device code or an authorization code.
func hashCode(code string) string { return auth.HashSecret(code) }

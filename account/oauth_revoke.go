package account

import (
	"context"
	"errors"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// RefreshClient returns the tokens that follow a refresh token of a client. The
// access token can be narrowed to a scope; the grant stays as it is. Errors are
// [ErrInvalidGrant], [ErrInvalidScope] and [ErrUnknownClient].
func (a *Accounts) RefreshClient(ctx context.Context, client, refresh, scope, resource string) (Tokens, error) {
	if _, err := a.Client(ctx, client); err != nil {
		return Tokens{}, err
	}
	if err := a.checkResource(resource); err != nil {
		return Tokens{}, err
	}
	narrow := artifact.ParseScopes(scope)
	g, err := a.rotate(ctx, refresh, func(g store.Grant) error {
		switch {
		case g.Client == "" || g.Client != client:
			return ErrInvalidGrant
		case !g.Scopes.Has(narrow...):
			return ErrInvalidScope
		}
		return nil
	})
	if err != nil {
		return Tokens{}, refused(err)
	}
	t, err := a.tokens(g, g.Rotated)
	if err != nil || len(narrow) == 0 {
		return t, refused(err)
	}
	g.Scopes = narrow.Intersect(g.Scopes)
	less, err := a.tokens(g, g.Rotated)
	less.Refresh = t.Refresh
	return less, refused(err)
}

// RevokeToken ends the grant of an access or refresh token, whoever shows it;
// with a client, only if it is that client's. A token that is not good is no
// error (RFC 7009 §2.2).
func (a *Accounts) RevokeToken(ctx context.Context, client, token string) error {
	id, err := a.grantOf(ctx, token)
	if err != nil || id == "" {
		return err
	}
	g, err := a.db.Grant(ctx, id)
	switch {
	case errors.Is(err, store.ErrNoGrant):
		return nil
	case err != nil:
		return err
	case client != "" && client != g.Client, !g.Revoked.IsZero():
		return nil
	}
	return a.revoke(as(ctx, holder(&g)), func(tx *store.Tx) error {
		tx.Audit(g.Tenant, artifact.AuditEntry{Action: "token.revoke", Object: "grant:" + g.ID})
		return a.endGrant(tx, g.ID)
	})
}

// grantOf returns the grant that a token of ours names, or "". An access token
// may have expired, since its grant goes on.
func (a *Accounts) grantOf(ctx context.Context, token string) (string, error) {
	id, _, err := a.parseRefresh(ctx, token)
	if err == nil {
		return id, nil
	}
	if artifact.KindOf(err) != artifact.Unauthorized {
		return "", err
	}
	if auth.UnverifiedIssuer(token) != a.opt.Issuer {
		return "", nil // another issuer's tokens have no grant here
	}
	c, err := a.verify(ctx, token, a.opt.Now(), a.opt.RefreshLife)
	switch {
	case err == nil:
		return c.Grant, nil
	case artifact.KindOf(err) == artifact.Unauthorized:
		return "", nil
	}
	return "", err
}

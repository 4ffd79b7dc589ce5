package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Exchange returns tokens for an API key, or an [auth.ErrBadCredentials], which
// says the same and takes about as long whatever is wrong with a key.
func (a *Accounts) Exchange(ctx context.Context, key string) (Tokens, error) {
	return a.login(ctx, key, "key", a.opt.RefreshLife)
}

// CookieLogin is Exchange for a browser, which gets an access token only. Its
// grant is its own, so that logging out ends nothing else.
func (a *Accounts) CookieLogin(ctx context.Context, key string) (Tokens, error) {
	t, err := a.login(ctx, key, "cookie", a.opt.AccessLife)
	t.Refresh = ""
	return t, err
}

// login makes a grant for a key, for a while.
func (a *Accounts) login(ctx context.Context, key, how string, life time.Duration) (Tokens, error) {
	k, err := a.checkKey(ctx, key)
	if err != nil {
		return Tokens{}, err
	}
	g := store.Grant{ID: auth.NewID(""), Tenant: k.Tenant, Owner: k.Owner, Key: k.ID}
	err = a.db.Tx(as(ctx, holder(&g)), func(tx *store.Tx) error {
		g.Scopes, g.Expires = k.Scopes, tx.Now().Add(life)
		if err := a.newGrant(tx, &g); err != nil {
			return err
		}
		tx.Audit(k.Tenant, artifact.AuditEntry{Action: "login", Object: "grant:" + g.ID, Details: map[string]any{"by": how}})
		return tx.UseKey(k.ID, tx.Now().Add(-time.Minute))
	})
	if errors.Is(err, auth.ErrTokenInvalid) { // it was revoked just now
		return Tokens{}, fmt.Errorf("%w: %w", auth.ErrBadCredentials, err)
	}
	if err != nil {
		return Tokens{}, err
	}
	t, err := a.tokens(g, g.Rotated)
	if errors.Is(err, auth.ErrTokenExpired) { // the key has no second left
		err = fmt.Errorf("%w: %w", auth.ErrBadCredentials, err)
	}
	if err == nil {
		a.tallies.logins.Add(1)
	}
	return t, err
}

// checkKey returns the row of an API key that is good, or an
// [auth.ErrBadCredentials].
func (a *Accounts) checkKey(ctx context.Context, key string) (k store.Key, err error) {
	defer func() {
		if errors.Is(err, auth.ErrBadCredentials) {
			a.tallies.refused.Add(1)
		}
	}()
	parsed, ok := auth.ParseKey(key)
	if !ok { // which says nothing about anybody's keys
		return store.Key{}, refuse(auth.ErrBadCredentials, "not an API key")
	}
	hash := auth.HashKey(key)
	k, err = a.db.KeyByHash(ctx, hash)
	if err == nil && auth.SameHash(k.Hash, hash) {
		_, err = a.standing(ctx, &a.db.Reads, &store.Grant{Tenant: k.Tenant, Owner: k.Owner, Key: k.ID}, a.opt.Now())
		if err == nil {
			return k, nil
		}
	}
	if !errors.Is(err, store.ErrNoKey) && !errors.Is(err, auth.ErrTokenInvalid) {
		return k, err
	}
	select {
	case a.refusals <- refusal{*artifact.CallerOf(as(ctx, nobody)), parsed.Tenant, k.ID}:
	case <-ctx.Done():
		return store.Key{}, ctx.Err()
	}
	return store.Key{}, fmt.Errorf("%w: %w", auth.ErrBadCredentials, err)
}

// Refresh returns the tokens that follow a refresh token of a grant that an API
// key was exchanged for. Errors are [auth.ErrTokenInvalid], also for those of
// OAuth, and [auth.ErrTokenExpired].
func (a *Accounts) Refresh(ctx context.Context, refresh string) (Tokens, error) {
	g, err := a.rotate(ctx, refresh, func(g store.Grant) error {
		if g.Client != "" {
			return refuse(auth.ErrTokenInvalid, "a refresh token of OAuth")
		}
		return nil
	})
	if err != nil {
		return Tokens{}, err
	}
	return a.tokens(g, g.Rotated)
}

// Logout ends what the caller came with: its grant with all tokens, or the one
// token of an external issuer. A Denied error says that it is nothing that
// could be told from others.
func (a *Accounts) Logout(ctx context.Context, c *artifact.Caller) error {
	if c.Grant == "" && c.Token == "" {
		return artifact.Errorf(artifact.Denied, "What you came with is no login of this server and has no id, so it cannot be ended here")
	}
	return a.revoke(ctx, func(tx *store.Tx) error {
		if c.Grant != "" {
			tx.Audit(c.Tenant, artifact.AuditEntry{Action: "logout", Object: "grant:" + c.Grant})
			return a.endGrant(tx, c.Grant)
		}
		tx.Audit(c.Tenant, artifact.AuditEntry{Action: "logout", Object: "token:" + c.Token})
		return tx.Revoke(ofToken, c.Token, c.Expires.Add(skew))
	})
}

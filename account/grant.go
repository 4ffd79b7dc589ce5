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

// Tokens is what a client gets for a credential.
type Tokens struct {
	Access  string
	Refresh string // empty where none is given
	Tenant  string
	Scopes  artifact.Scopes
	Life    time.Duration // of the access token, from when it was issued
}

// holder returns who comes with a grant's tokens.
func holder(g *store.Grant) artifact.Caller {
	kind := artifact.CallerKey
	if g.Client != "" {
		kind = artifact.CallerOAuth
	}
	return artifact.Caller{Kind: kind, Tenant: g.Tenant, User: g.Owner, Key: g.Key, Client: g.Client, Grant: g.ID, Scopes: g.Scopes}
}

// newGrant adds a grant and fills in its id and times. An Unauthorized error
// says that who it is for is no longer good. Its scopes and its life are cut to
// those of the key that it names.
func (a *Accounts) newGrant(tx *store.Tx, g *store.Grant) error {
	k, err := a.standing(context.Background(), tx.Reads(), g, tx.Now())
	if err != nil {
		return err
	}
	if g.ID == "" {
		g.ID = auth.NewID("")
	}
	g.Created, g.Rotated, g.Generation = tx.Now(), tx.Now(), 0
	if g.Expires.IsZero() {
		g.Expires = tx.Now().Add(a.opt.RefreshLife)
		if g.Client != "" && !g.Scopes.Has(artifact.Offline) { // it has no refresh token to go on by
			g.Expires = tx.Now().Add(a.opt.AccessLife)
		}
	}
	g.Expires = earlier(g.Expires, k.Expires)
	return tx.CreateGrant(*g)
}

// standing returns the key that a grant names, and leaves the grant no scopes
// but the key's. Where tenant, owner or key are no longer good it returns an
// [auth.ErrTokenInvalid].
func (a *Accounts) standing(ctx context.Context, r *store.Reads, g *store.Grant, now time.Time) (store.Key, error) {
	var k store.Key
	t, err := r.Tenant(ctx, g.Tenant)
	switch {
	case err != nil:
		return k, gone(err)
	case t.Suspended != 0 || t.Deleted != 0:
		return k, refuse(auth.ErrTokenInvalid, "the tenant is suspended or deleted")
	}
	u, err := r.User(ctx, g.Tenant, g.Owner)
	switch {
	case err != nil:
		return k, gone(err)
	case !u.Removed.IsZero():
		return k, refuse(auth.ErrTokenInvalid, "the member was removed")
	case g.Key == "":
		return k, nil
	}
	k, err = r.Key(ctx, g.Tenant, g.Key)
	switch {
	case err != nil:
		return k, gone(err)
	case !k.Revoked.IsZero():
		return k, refuse(auth.ErrTokenInvalid, "the key was revoked")
	case over(k.Expires, now):
		return k, refuse(auth.ErrTokenInvalid, "the key has expired")
	}
	if g.Client == "" {
		g.Scopes = g.Scopes.Intersect(k.Scopes)
	} else { // some scopes of clients are none that a key could have
		g.Scopes = g.Scopes.Intersect(append(artifact.Scopes{artifact.Profile, artifact.Offline}, k.Scopes...))
	}
	return k, nil
}

// gone makes a row that is not there a token that is not good.
func gone(err error) error {
	if artifact.KindOf(err) == artifact.NotFound {
		return fmt.Errorf("%w: %w", auth.ErrTokenInvalid, err)
	}
	return err
}

// over reports whether a time that may be never has come.
func over(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// earlier returns the earlier of a time and one that may be never.
func earlier(t, limit time.Time) time.Time {
	if over(limit, t) {
		return limit
	}
	return t
}

// tokens returns the tokens of a grant's generation, which was issued then. All
// nodes return the same, whenever they are asked.
func (a *Accounts) tokens(g store.Grant, issued time.Time) (Tokens, error) {
	expires := earlier(issued.Add(a.opt.AccessLife), g.Expires)
	// Tokens count in seconds.
	if expires.Unix() <= issued.Unix() {
		return Tokens{}, auth.ErrTokenExpired
	}
	c := holder(&g)
	c.Token = fmt.Sprintf("%s.%d", g.ID, g.Generation)
	signer := a.keys.at(issued)
	access, err := signer.Sign(&c, issued, expires)
	if err != nil {
		return Tokens{}, err
	}
	t := Tokens{Access: access, Tenant: g.Tenant, Scopes: g.Scopes, Life: expires.Sub(issued)}
	if g.Client == "" || g.Scopes.Has(artifact.Offline) {
		t.Refresh = signer.Refresh(g.ID, g.Generation)
	}
	return t, nil
}

// rotate begins the generation of a grant that follows the one a refresh token
// stands for, and returns the grant. want says whether the grant may be used
// here. Once the generation has followed, the same is returned for as long as
// the grace lasts; after that somebody else must have the token, and the grant
// is revoked.
//
// Errors are [auth.ErrTokenInvalid], [auth.ErrTokenExpired], and those of want.
func (a *Accounts) rotate(ctx context.Context, refresh string, want func(store.Grant) error) (store.Grant, error) {
	var none store.Grant
	id, generation, err := a.parseRefresh(ctx, refresh)
	if err != nil {
		return none, err
	}
	for {
		g, err := a.db.Grant(ctx, id)
		if err != nil {
			return none, gone(err)
		}
		if err := want(g); err != nil {
			return none, err
		}
		now := a.opt.Now()
		switch {
		case !g.Revoked.IsZero():
			return none, errRevoked
		case over(g.Expires, now):
			return none, auth.ErrTokenExpired
		}
		k, err := a.standing(ctx, &a.db.Reads, &g, now)
		switch {
		case err != nil:
			return none, err
		case generation == g.Generation:
			won, err := a.turn(ctx, &g, k.Expires)
			if won || err != nil {
				return g, err
			}
			// Another request was faster: look again.
		case generation == g.Generation-1 && now.Sub(g.Rotated) <= a.opt.Grace:
			return g, nil
		default:
			return none, a.reused(ctx, &g, generation)
		}
	}
}

// parseRefresh returns what a refresh token stands for.
func (a *Accounts) parseRefresh(ctx context.Context, refresh string) (id string, generation int64, err error) {
	id, generation, err = a.keys.all().ParseRefresh(refresh)
	if errors.Is(err, auth.ErrUnknownKey) {
		read, rerr := a.keys.unknown(ctx, a.db, a.opt.Now())
		if rerr != nil {
			return "", 0, rerr
		}
		if read {
			return a.keys.all().ParseRefresh(refresh)
		}
	}
	return id, generation, err
}

// turn begins the next generation of g, and reports whether it was this call
// that did.
func (a *Accounts) turn(ctx context.Context, g *store.Grant, limit time.Time) (won bool, err error) {
	next := *g
	err = a.db.Tx(as(ctx, holder(g)), func(tx *store.Tx) (err error) {
		next.Generation, next.Rotated = g.Generation+1, tx.Now()
		next.Expires = earlier(tx.Now().Add(a.opt.RefreshLife), limit)
		won, err = tx.RotateGrant(g.ID, g.Generation, next.Expires)
		if won {
			tx.Audit(g.Tenant, artifact.AuditEntry{Action: "token.refresh", Object: "grant:" + g.ID})
		}
		return err
	})
	if won && err == nil {
		*g = next
	}
	return won && err == nil, err
}

// reused ends a grant whose refresh token came again after it was used.
func (a *Accounts) reused(ctx context.Context, g *store.Grant, generation int64) error {
	err := a.revoke(as(ctx, holder(g)), func(tx *store.Tx) error {
		tx.Audit(g.Tenant, artifact.AuditEntry{
			Action: "token.reuse", Object: "grant:" + g.ID, Outcome: "denied",
			Details: map[string]any{"generation": generation, "current": g.Generation},
		})
		return a.endGrant(tx, g.ID)
	})
	if err != nil {
		return err
	}
	return refuse(auth.ErrTokenInvalid, "the refresh token was used before; its grant is revoked")
}

// endGrant revokes a grant with all of its tokens.
func (a *Accounts) endGrant(tx *store.Tx, id string) error {
	if _, err := tx.RevokeGrant(id); err != nil {
		return err
	}
	return a.end(tx, ofGrant, id)
}

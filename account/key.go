package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// KeyInfo is what may be told of an API key.
type KeyInfo struct {
	ID       string
	Name     string
	Owner    string // id of a member
	Scopes   artifact.Scopes
	Created  time.Time
	Expires  time.Time // zero is never
	LastUsed time.Time // to the minute
}

func infoOf(k store.Key) KeyInfo {
	return KeyInfo{ID: k.ID, Name: k.Name, Owner: k.Owner, Scopes: k.Scopes, Created: k.Created, Expires: k.Expires, LastUsed: k.LastUsed}
}

// KeyRequest asks for an API key.
type KeyRequest struct {
	Name    string
	Owner   string          // id of a member; empty is who asks, or the oldest member
	Scopes  artifact.Scopes // nil is all but admin, as far as who asks has them
	Expires time.Time       // zero is never
}

var (
	// everything is what a key can be allowed.
	everything = artifact.Scopes{artifact.Read, artifact.Write, artifact.Delete, artifact.Run, artifact.Admin}
	usual      = artifact.Scopes{artifact.Read, artifact.Write, artifact.Delete, artifact.Run}
)

// CreateKey makes an API key of a tenant and returns it, this once. A caller
// that is not the system cannot give more than it has: scopes that it does not
// hold, and a time after the end of its own key, are Denied. Without a time the
// key ends with that of the caller. An empty list of scopes is Invalid: it is
// not meant to be all of them. Unauthorized says that the key of the caller is no
// longer good.
func (a *Accounts) CreateKey(ctx context.Context, tenant string, ask KeyRequest) (secret string, info KeyInfo, err error) {
	k := store.Key{ID: auth.NewID("key_"), Tenant: tenant}
	if k.Name, err = cleanName(ask.Name); err != nil {
		return "", info, err
	}
	if k.Scopes, err = grantable(artifact.CallerOf(ctx), ask.Scopes); err != nil {
		return "", info, err
	}
	if over(ask.Expires, a.opt.Now()) {
		return "", info, invalid("expires_in", "The key would have expired")
	}
	secret = auth.NewKey(tenant)
	k.Hash = auth.HashKey(secret)
	err = a.db.Tx(ctx, func(tx *store.Tx) error {
		if err := openTenant(ctx, tx, tenant); err != nil {
			return err
		}
		limit, err := a.makerEnds(ctx, tx)
		if err != nil {
			return err
		}
		if k.Expires = ask.Expires; k.Expires.IsZero() {
			k.Expires = limit
		}
		if outlasts(k.Expires, limit) {
			return tooLate("key", limit)
		}
		if k.Owner, err = ownerOf(ctx, tx, tenant, ask.Owner); err != nil {
			return err
		}
		k.Created = tx.Now()
		tx.Audit(tenant, keyMade(&k))
		return tx.CreateKey(k)
	})
	if err != nil {
		return "", info, err
	}
	return secret, infoOf(k), nil
}

func keyMade(k *store.Key) artifact.AuditEntry {
	return artifact.AuditEntry{Action: "key.create", Object: "key:" + k.ID, Details: map[string]any{
		"name": k.Name, "owner": k.Owner, "scopes": k.Scopes,
	}}
}

// makerEnds returns when the key ends that the caller came with: nothing that it
// makes is good for longer. Zero is never. Revocations of the key come before
// the transaction, as an Unauthorized error, or after it.
func (a *Accounts) makerEnds(ctx context.Context, tx *store.Tx) (time.Time, error) {
	c := artifact.CallerOf(ctx)
	if c.Key == "" {
		return time.Time{}, nil
	}
	if err := tx.Alone(); err != nil {
		return time.Time{}, err
	}
	k, err := a.standing(ctx, tx.Reads(), &store.Grant{Tenant: c.Tenant, Owner: c.User, Key: c.Key}, tx.Now())
	return k.Expires, err
}

// outlasts reports whether a time comes after a limit; either may be never.
func outlasts(t, limit time.Time) bool {
	return !limit.IsZero() && (t.IsZero() || t.After(limit))
}

// tooLate is the error of a key or a share that would outlast its maker's key.
func tooLate(what string, limit time.Time) error {
	e := artifact.Errorf(artifact.Denied, "The %s would last longer than the key that it is made with, which ends at %s", what, artifact.Stamp(limit))
	e.Field, e.Facts = "expires_in", map[string]any{"latest": artifact.Stamp(limit)}
	return e
}

// grantable returns which scopes a caller gives a key.
func grantable(c *artifact.Caller, ask artifact.Scopes) (artifact.Scopes, error) {
	system := c.Kind == artifact.CallerSystem || c.Kind == ""
	switch {
	case ask != nil && len(ask) == 0:
		return nil, invalid("permissions", "A key needs at least one scope")
	case ask == nil && system:
		ask = usual
	case ask == nil:
		ask = usual.Intersect(c.Scopes)
	}
	// In the order in which we write them, each once.
	scopes := everything.Intersect(ask)
	for _, s := range ask {
		if !everything.Has(s) {
			return nil, invalid("permissions", "Scopes of a key are read, write, delete, run and admin")
		}
	}
	if len(scopes) == 0 || !system && !c.Scopes.Has(scopes...) {
		e := artifact.Errorf(artifact.Denied, "A key cannot be given scopes that its maker does not hold")
		e.Code, e.Field = "AUTH_INSUFFICIENT_PERMISSIONS", "permissions"
		return nil, e
	}
	return scopes, nil
}

// ownerOf returns the member that a key acts for.
func ownerOf(ctx context.Context, tx *store.Tx, tenant, ask string) (string, error) {
	c := artifact.CallerOf(ctx)
	named := ask != ""
	if !named && c.Tenant == tenant {
		ask = c.User
	}
	if ask != "" {
		u, err := tx.Reads().User(ctx, tenant, ask)
		switch {
		case err == nil && u.Removed.IsZero():
			return u.ID, nil
		case err != nil && !errors.Is(err, store.ErrNoUser):
			return "", err
		case named || c.Kind != artifact.CallerLocal:
			// Whom others vouch for is no member, and gets no key of one unasked.
			return "", invalid("member_id", "The owner of a key must be a member of the tenant")
		}
	}
	return oldestMember(ctx, tx, tenant)
}

// Keys returns the API keys of a tenant that were not revoked, oldest first.
func (a *Accounts) Keys(ctx context.Context, tenant string) ([]KeyInfo, error) {
	list, err := a.db.Keys(ctx, tenant)
	infos := make([]KeyInfo, len(list))
	for i, k := range list {
		infos[i] = infoOf(k)
	}
	return infos, err
}

// RevokeKey ends an API key with all that came from it, also the shares that
// were made with it, or returns a NotFound error. Keys that were made with it
// stay.
func (a *Accounts) RevokeKey(ctx context.Context, tenant, id string) error {
	return a.revoke(ctx, func(tx *store.Tx) error {
		// First, so that no share is made meanwhile.
		if err := a.end(tx, ofKey, id); err != nil {
			return err
		}
		if err := tx.RevokeKey(tenant, id); err != nil {
			return err
		}
		n, err := tx.RevokeSharesOfKey(tenant, id)
		tx.Audit(tenant, artifact.AuditEntry{Action: "key.revoke", Object: "key:" + id, Details: map[string]any{"shares": n}})
		return err
	})
}

// invalid is an Invalid error about a field.
func invalid(field, msg string) error {
	return &artifact.Error{Kind: artifact.Invalid, Msg: msg, Field: field}
}

// maxName is how many characters the name of a key, member or tenant may have.
const maxName = 100

// cleanName returns a name without the spaces around it, or an Invalid error.
func cleanName(s string) (string, error) {
	s = strings.TrimSpace(s)
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxName || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return "", invalid("name", fmt.Sprintf("A name is text of at most %d characters on one line", maxName))
	}
	return s, nil
}

// openTenant returns an error where a tenant is not there or was deleted.
func openTenant(ctx context.Context, tx *store.Tx, tenant string) error {
	t, err := tx.Reads().Tenant(ctx, tenant)
	if err == nil && t.Deleted != 0 {
		err = store.ErrNoTenant
	}
	return err
}

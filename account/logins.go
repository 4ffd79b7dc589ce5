package account

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// Login is a grant that is good, as told to who may end it.
type Login struct {
	ID         string
	Client     string // OAuth client; empty for a login by an API key
	ClientName string // as it called itself
	Key        string // id of the API key that was exchanged for it, or approved it
	Owner      string // id of a member
	Scopes     artifact.Scopes
	Created    time.Time
	Refreshed  time.Time // last; zero is never
	Expires    time.Time // unless it is refreshed before
}

// LoginCursor is a place in the list of logins. The zero value is its front.
type LoginCursor = store.LoginCursor

// LoginPage is a part of the list of logins.
type LoginPage struct {
	Logins []Login
	Next   *LoginCursor // where the list goes on, or nil
}

// ownLogins returns which logins a caller sees: with admin those of the tenant,
// else those of its key and of the member whose key that is. A client of OAuth
// sees the one that it came with, and whom others vouch for has none.
func ownLogins(c *artifact.Caller) (q store.LoginQuery, some bool) {
	q.Tenant = c.Tenant
	switch {
	case c.Kind == artifact.CallerOAuth:
		q.ID, q.All = c.Grant, true
		return q, q.ID != ""
	case c.Scopes.Has(artifact.Admin):
		q.All = true
	case c.Kind == artifact.CallerKey:
		q.Key, q.Owner = c.Key, c.User
	default:
		return q, false
	}
	return q, true
}

// Logins returns up to limit logins that the caller sees, newest first, after a
// place in the list.
func (a *Accounts) Logins(ctx context.Context, after LoginCursor, limit int) (LoginPage, error) {
	q, some := ownLogins(artifact.CallerOf(ctx))
	if !some {
		return LoginPage{}, nil
	}
	q.At, q.Before, q.Limit = a.opt.Now(), after, limit+1
	rows, err := a.db.Logins(ctx, q)
	if err != nil {
		return LoginPage{}, err
	}
	var page LoginPage
	if len(rows) > limit {
		rows = rows[:limit]
		last := &rows[limit-1]
		page.Next = &LoginCursor{Created: last.Created, ID: last.ID}
	}
	for i := range rows {
		l, err := loginOf(&rows[i])
		if err != nil {
			return LoginPage{}, err
		}
		page.Logins = append(page.Logins, l)
	}
	return page, nil
}

func loginOf(row *store.Login) (Login, error) {
	l := Login{ID: row.ID, Client: row.Client, Key: row.Key, Owner: row.Owner, Scopes: row.Scopes, Created: row.Created, Expires: row.Expires}
	if row.Generation > 0 {
		l.Refreshed = row.Rotated
	}
	if row.ClientMetadata != "" {
		var m Metadata
		if err := json.Unmarshal([]byte(row.ClientMetadata), &m); err != nil {
			return l, fmt.Errorf("read client %s: %w", row.Client, err)
		}
		l.ClientName = m.Name
	}
	return l, nil
}

// EndLogin ends a login that the caller sees, with its tokens and its streams.
// Errors are NotFound, and Denied where another key of the member made it and
// the caller holds less than it.
func (a *Accounts) EndLogin(ctx context.Context, id string) error {
	c := artifact.CallerOf(ctx)
	q, some := ownLogins(c)
	if !some || id == "" || q.ID != "" && q.ID != id {
		return store.ErrNoLogin
	}
	q.ID, q.Limit = id, 1
	return a.revoke(ctx, func(tx *store.Tx) error {
		q.At = tx.Now()
		list, err := tx.Reads().Logins(ctx, q)
		if err == nil && len(list) == 0 {
			err = store.ErrNoLogin
		}
		if err != nil {
			return err
		}
		l := &list[0]
		// A key for little things must not put its member's other keys out.
		if needs := everything.Intersect(l.Scopes); !q.All && l.Key != c.Key && !c.Scopes.Has(needs...) {
			e := artifact.Errorf(artifact.Denied, "The login holds more than the key that you came with. Required scope(s): %s", needs)
			e.Code, e.Facts = "AUTH_INSUFFICIENT_PERMISSIONS", map[string]any{"required_scopes": needs}
			return e
		}
		tx.Audit(c.Tenant, artifact.AuditEntry{Action: "login.revoke", Object: "grant:" + id, Details: map[string]any{
			"client": l.Client, "owner": l.Owner, "scopes": l.Scopes,
		}})
		return a.endGrant(tx, id)
	})
}

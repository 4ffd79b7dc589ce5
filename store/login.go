package store

import (
	"context"
	"math"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Login is a grant that is good, with what its client said of itself.
type Login struct {
	Grant
	ClientMetadata string // JSON; empty for a grant of an API key
}

// LoginQuery says which of a tenant's logins are meant.
type LoginQuery struct {
	Tenant     string
	ID         string // this one only, unless it is empty
	All        bool   // and not only those of the key or the owner
	Key, Owner string
	At         time.Time
	Before     LoginCursor
	Limit      int
}

// LoginCursor is a place in the list of logins. The zero value is its front.
type LoginCursor struct {
	Created time.Time
	ID      string
}

// ErrNoLogin is the NotFound error for a login that is not there, is over, or is
// somebody else's.
var ErrNoLogin = artifact.Errorf(artifact.NotFound, "Login not found")

// Whether member and key of a grant are good its own row does not say.
const loginsQuery = "SELECT g.id, g.tenant, g.owner, g.key_id, g.client, g.scopes, g.created, g.generation, g.rotated, g.expires, COALESCE(c.metadata, '') " +
	"FROM grants g LEFT JOIN clients c ON c.id = g.client " +
	"WHERE g.tenant = ? AND g.revoked = 0 AND g.expires > ? AND (? = '' OR g.id = ?) AND (? = 1 OR g.key_id = ? OR g.owner = ?) " +
	"AND EXISTS (SELECT 1 FROM users u WHERE u.tenant = g.tenant AND u.id = g.owner AND u.removed = 0) " +
	"AND (g.key_id = '' OR EXISTS (SELECT 1 FROM api_keys k WHERE k.id = g.key_id AND k.revoked = 0)) " +
	"AND (g.created, g.id) < (?, ?) ORDER BY g.created DESC, g.id DESC LIMIT ?"

// Logins returns up to q.Limit logins, newest first.
func (r *Reads) Logins(ctx context.Context, q LoginQuery) ([]Login, error) {
	all, before := 0, int64(math.MaxInt64)
	if q.All {
		all = 1
	}
	if q.Before.ID != "" {
		before = micros(q.Before.Created)
	}
	args := []any{q.Tenant, micros(q.At), q.ID, q.ID, all, q.Key, q.Owner, before, q.Before.ID, q.Limit}
	var list []Login
	err := r.q.rows(ctx, loginsQuery, args, func(scan func(...any) error) error {
		var l Login
		var scopes string
		var created, rotated, expires int64
		err := scan(&l.ID, &l.Tenant, &l.Owner, &l.Key, &l.Client, &scopes, &created, &l.Generation, &rotated, &expires, &l.ClientMetadata)
		l.Scopes = artifact.ParseScopes(scopes)
		l.Created, l.Rotated, l.Expires = fromMicros(created), fromMicros(rotated), fromMicros(expires)
		list = append(list, l)
		return err
	})
	return list, r.d.explain(err)
}

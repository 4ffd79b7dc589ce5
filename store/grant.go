package store

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Grant is what a family of tokens stands for. Refresh tokens name it and one
// of its generations, of which the last is good.
type Grant struct {
	ID         string
	Tenant     string
	Owner      string // id of the user it acts for
	Key        string // API key that was exchanged for it, or approved it
	Client     string // OAuth client; empty for a grant of an API key
	Scopes     artifact.Scopes
	Created    time.Time
	Generation int64
	Rotated    time.Time // when the generation began
	Expires    time.Time
	Revoked    time.Time
}

// ErrNoGrant is the NotFound error for a grant that is not there.
var ErrNoGrant = artifact.Errorf(artifact.NotFound, "Grant not found")

const grantColumns = "id, tenant, owner, key_id, client, scopes, created, generation, rotated, expires, revoked"

// Grant returns a grant, also one that was revoked or has expired, or
// [ErrNoGrant].
func (r *Reads) Grant(ctx context.Context, id string) (Grant, error) {
	var g Grant
	err := r.q.rows(ctx, "SELECT "+grantColumns+" FROM grants WHERE id = ?", []any{id}, func(scan func(...any) error) error {
		var scopes string
		var created, rotated, expires, revoked int64
		err := scan(&g.ID, &g.Tenant, &g.Owner, &g.Key, &g.Client, &scopes, &created, &g.Generation, &rotated, &expires, &revoked)
		g.Scopes = artifact.ParseScopes(scopes)
		g.Created, g.Rotated, g.Expires, g.Revoked = fromMicros(created), fromMicros(rotated), fromMicros(expires), orNever(revoked)
		return err
	})
	if err == nil && g.ID == "" {
		return g, ErrNoGrant
	}
	return g, r.d.explain(err)
}

// CreateGrant adds a grant in its first generation, which begins now.
func (tx *Tx) CreateGrant(g Grant) error {
	us := tx.now.UnixMicro()
	_, err := tx.exec("INSERT INTO grants (id, tenant, owner, key_id, client, scopes, created, rotated, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		g.ID, g.Tenant, g.Owner, g.Key, g.Client, g.Scopes.String(), us, us, micros(g.Expires))
	return err
}

// RotateGrant begins the generation that follows a given one, and reports
// whether it did: of all who try, one succeeds.
func (tx *Tx) RotateGrant(id string, generation int64, expires time.Time) (bool, error) {
	n, err := tx.exec("UPDATE grants SET generation = generation + 1, rotated = ?, expires = ? WHERE id = ? AND generation = ? AND revoked = 0",
		tx.now.UnixMicro(), micros(expires), id, generation)
	return n == 1, err
}

// RevokeGrant ends a grant, and reports whether it was still good.
func (tx *Tx) RevokeGrant(id string) (bool, error) {
	n, err := tx.exec("UPDATE grants SET revoked = ? WHERE id = ? AND revoked = 0", tx.now.UnixMicro(), id)
	return n == 1, err
}

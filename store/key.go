package store

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Key is an API key of a tenant. What is kept of the key itself is Hash.
type Key struct {
	ID       string
	Tenant   string
	Owner    string // id of the user it acts for
	Name     string
	Hash     string
	Scopes   artifact.Scopes
	Created  time.Time
	Expires  time.Time // zero is never, as in all times here
	LastUsed time.Time
	Revoked  time.Time
}

// ErrNoKey is the NotFound error for an API key that is not there.
var ErrNoKey = artifact.Errorf(artifact.NotFound, "API key not found")

const keyColumns = "id, tenant, owner, name, hash, scopes, created, expires, last_used, revoked"

func (r *Reads) keys(ctx context.Context, where string, args ...any) ([]Key, error) {
	var list []Key
	err := r.q.rows(ctx, "SELECT "+keyColumns+" FROM api_keys WHERE "+where, args, func(scan func(...any) error) error {
		var k Key
		var scopes string
		var created, expires, used, revoked int64
		err := scan(&k.ID, &k.Tenant, &k.Owner, &k.Name, &k.Hash, &scopes, &created, &expires, &used, &revoked)
		k.Scopes = artifact.ParseScopes(scopes)
		k.Created, k.Expires, k.LastUsed, k.Revoked = orNever(created), orNever(expires), orNever(used), orNever(revoked)
		list = append(list, k)
		return err
	})
	return list, r.d.explain(err)
}

func (r *Reads) oneKey(ctx context.Context, where string, args ...any) (Key, error) {
	list, err := r.keys(ctx, where, args...)
	if err == nil && len(list) == 0 {
		err = ErrNoKey
	}
	if err != nil {
		return Key{}, err
	}
	return list[0], nil
}

// Key returns an API key, also one that was revoked, or [ErrNoKey].
func (r *Reads) Key(ctx context.Context, tenant, id string) (Key, error) {
	return r.oneKey(ctx, "tenant = ? AND id = ?", tenant, id)
}

// KeyByHash returns the API key with that hash, also one that was revoked, or
// [ErrNoKey].
func (r *Reads) KeyByHash(ctx context.Context, hash string) (Key, error) {
	return r.oneKey(ctx, "hash = ?", hash)
}

// Keys returns the API keys of a tenant that were not revoked, oldest first.
func (r *Reads) Keys(ctx context.Context, tenant string) ([]Key, error) {
	return r.keys(ctx, "tenant = ? AND revoked = 0 ORDER BY created, id", tenant)
}

// AnyKey reports whether there ever was an API key.
func (r *Reads) AnyKey(ctx context.Context) (bool, error) {
	list, err := r.keys(ctx, "TRUE LIMIT 1")
	return len(list) > 0, err
}

// CreateKey adds an API key.
func (tx *Tx) CreateKey(k Key) error {
	_, err := tx.exec("INSERT INTO api_keys (id, tenant, owner, name, hash, scopes, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		k.ID, k.Tenant, k.Owner, k.Name, k.Hash, k.Scopes.String(), tx.now.UnixMicro(), micros(k.Expires))
	return err
}

// UseKey notes that a key was used now, unless it was used after since.
func (tx *Tx) UseKey(id string, since time.Time) error {
	_, err := tx.exec("UPDATE api_keys SET last_used = ? WHERE id = ? AND last_used <= ?", tx.now.UnixMicro(), id, micros(since))
	return err
}

// RevokeKey ends an API key, or returns [ErrNoKey].
func (tx *Tx) RevokeKey(tenant, id string) error {
	n, err := tx.exec("UPDATE api_keys SET revoked = ? WHERE tenant = ? AND id = ? AND revoked = 0", tx.now.UnixMicro(), tenant, id)
	if err == nil && n == 0 {
		return ErrNoKey
	}
	return err
}

// RevokeKeysOf ends the API keys of a user and returns how many there were.
func (tx *Tx) RevokeKeysOf(tenant, user string) (int64, error) {
	return tx.exec("UPDATE api_keys SET revoked = ? WHERE tenant = ? AND owner = ? AND revoked = 0", tx.now.UnixMicro(), tenant, user)
}

// orNever is fromMicros for times that may never come.
func orNever(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return fromMicros(us)
}

// micros is what a time is in a row.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

package store

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// User is a member of a tenant.
type User struct {
	ID      string
	Tenant  string
	Name    string
	Created time.Time
	Removed time.Time
}

// ErrNoUser is the NotFound error for a member that is not there.
var ErrNoUser = artifact.Errorf(artifact.NotFound, "Member not found")

func (r *Reads) users(ctx context.Context, where string, args ...any) ([]User, error) {
	var list []User
	err := r.q.rows(ctx, "SELECT id, tenant, name, created, removed FROM users WHERE "+where, args, func(scan func(...any) error) error {
		var u User
		var created, removed int64
		err := scan(&u.ID, &u.Tenant, &u.Name, &created, &removed)
		u.Created, u.Removed = fromMicros(created), orNever(removed)
		list = append(list, u)
		return err
	})
	return list, r.d.explain(err)
}

// User returns a member, also one that was removed, or [ErrNoUser].
func (r *Reads) User(ctx context.Context, tenant, id string) (User, error) {
	list, err := r.users(ctx, "tenant = ? AND id = ?", tenant, id)
	if err == nil && len(list) == 0 {
		err = ErrNoUser
	}
	if err != nil {
		return User{}, err
	}
	return list[0], nil
}

// Users returns the members of a tenant, oldest first.
func (r *Reads) Users(ctx context.Context, tenant string) ([]User, error) {
	return r.users(ctx, "tenant = ? AND removed = 0 ORDER BY created, id", tenant)
}

// CreateUser adds a member.
func (tx *Tx) CreateUser(u User) error {
	_, err := tx.exec("INSERT INTO users (id, tenant, name, created) VALUES (?, ?, ?, ?)", u.ID, u.Tenant, u.Name, tx.now.UnixMicro())
	return err
}

// RemoveUser removes a member, or returns [ErrNoUser]. Its row stays, for the
// audit log.
func (tx *Tx) RemoveUser(tenant, id string) error {
	n, err := tx.exec("UPDATE users SET removed = ? WHERE tenant = ? AND id = ? AND removed = 0", tx.now.UnixMicro(), tenant, id)
	if err == nil && n == 0 {
		return ErrNoUser
	}
	return err
}

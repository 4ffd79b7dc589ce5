package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Usage is what a tenant uses, or what a transaction adds to that.
type Usage struct {
	Bytes    int64 // of every version that is kept, and of what is kept as metadata of files
	Files    int64 // uploads, live workspace files, library artifacts
	Sessions int64
}

func (u Usage) plus(v Usage) Usage {
	return Usage{u.Bytes + v.Bytes, u.Files + v.Files, u.Sessions + v.Sessions}
}

func (u Usage) negative() Usage { return Usage{-u.Bytes, -u.Files, -u.Sessions} }

// use adds to what the transaction changes of a tenant's usage. It counts, and
// is held against the quota, when the closure has ended.
func (tx *Tx) use(tenant string, u Usage) {
	if u == (Usage{}) {
		return
	}
	if tx.usage == nil {
		tx.usage = make(map[string]Usage, 1)
	}
	tx.usage[tenant] = tx.usage[tenant].plus(u)
}

// Tenant is who owns sessions and a library.
type Tenant struct {
	ID        string
	Name      string
	Created   int64 // microseconds, as all times here; 0 is never
	Suspended int64
	Deleted   int64
	Usage
	Quota artifact.Quota    // what counts
	Own   map[string]*int64 // limits of its own by name: bytes, files, sessions, followers; nil is the default
}

// Allows returns the Full error where u more would break a limit, or Denied
// where the tenant was deleted. Nothing forbids using less.
func (t *Tenant) Allows(u Usage) error {
	if t.Deleted != 0 {
		if u.Bytes <= 0 && u.Files <= 0 && u.Sessions <= 0 {
			return nil // what it left behind goes
		}
		return artifact.Errorf(artifact.Denied, "The tenant was deleted")
	}
	q, used := t.Quota, t.Usage
	for _, limit := range []struct {
		what             string
		limit, used, add int64
	}{{"bytes", q.Bytes, used.Bytes, u.Bytes}, {"files", q.Files, used.Files, u.Files}, {"sessions", q.Sessions, used.Sessions, u.Sessions}} {
		if limit.limit > 0 && limit.add > 0 && limit.used+limit.add > limit.limit {
			return OverQuota(limit.what, limit.limit, limit.used)
		}
	}
	return nil
}

// ErrNoTenant is the NotFound error for a tenant that is not there.
var ErrNoTenant = artifact.Errorf(artifact.NotFound, "Tenant not found")

const tenantColumns = "id, name, created, suspended, deleted, bytes, files, sessions, max_bytes, max_files, max_sessions, max_followers"

func scanTenant(scan func(...any) error, standard artifact.Quota) (Tenant, error) {
	var t Tenant
	var own [4]sql.NullInt64
	err := scan(&t.ID, &t.Name, &t.Created, &t.Suspended, &t.Deleted, &t.Bytes, &t.Files, &t.Sessions, &own[0], &own[1], &own[2], &own[3])
	if err == nil {
		_, err = artifact.ParseTenant(t.ID)
	}
	t.Quota, t.Own = standard, make(map[string]*int64, 4)
	for i, limit := range []struct {
		name string
		to   *int64
	}{{"bytes", &t.Quota.Bytes}, {"files", &t.Quota.Files}, {"sessions", &t.Quota.Sessions}, {"followers", &t.Quota.Followers}} {
		t.Own[limit.name] = nil
		if own[i].Valid {
			*limit.to = own[i].Int64
			t.Own[limit.name] = &own[i].Int64
		}
	}
	return t, err
}

// readTenant reads a tenant; lock is what makes others wait who would change it.
func readTenant(ctx context.Context, s *statements, standard artifact.Quota, id, lock string) (Tenant, error) {
	var t Tenant
	err := s.rows(ctx, "SELECT "+tenantColumns+" FROM tenants WHERE id = ?"+lock, []any{id}, func(scan func(...any) error) (err error) {
		t, err = scanTenant(scan, standard)
		return err
	})
	if err == nil && t.ID == "" {
		return t, ErrNoTenant
	}
	return t, err
}

// Tenant returns a tenant, also one that was deleted, or [ErrNoTenant].
func (r *Reads) Tenant(ctx context.Context, id string) (Tenant, error) {
	t, err := readTenant(ctx, r.q, r.quota, id, "")
	return t, r.d.explain(err)
}

// Tenants returns every tenant that was not deleted, in the order of their ids.
func (r *Reads) Tenants(ctx context.Context) ([]Tenant, error) {
	var list []Tenant
	err := r.q.rows(ctx, "SELECT "+tenantColumns+" FROM tenants WHERE deleted = 0 ORDER BY id", nil, func(scan func(...any) error) error {
		t, err := scanTenant(scan, r.quota)
		list = append(list, t)
		return err
	})
	return list, r.d.explain(err)
}

// CreateTenant makes a tenant, or returns an Exists error, also where there was
// one of that id once.
func (tx *Tx) CreateTenant(id, name string) error {
	n, err := tx.exec("INSERT INTO tenants (id, name, created) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", id, name, tx.now.UnixMicro())
	if err != nil || n == 1 {
		return err
	}
	if t, err := tx.Reads().Tenant(tx.ctx, id); err == nil && t.Deleted != 0 {
		return artifact.Errorf(artifact.Exists, "Tenant was deleted, and its id is not given again")
	}
	return artifact.Errorf(artifact.Exists, "Tenant already exists")
}

// SuspendTenant suspends a tenant, or lets it in again.
func (tx *Tx) SuspendTenant(id string, suspend bool) error {
	since := int64(0)
	if suspend {
		since = tx.now.UnixMicro()
	}
	return tx.oneTenant("UPDATE tenants SET suspended = ? WHERE id = ? AND deleted = 0", since, id)
}

// SetQuota gives a tenant limits of its own; nil is the server's default.
func (tx *Tx) SetQuota(id string, bytes, files, sessions, followers *int64) error {
	return tx.oneTenant("UPDATE tenants SET max_bytes = ?, max_files = ?, max_sessions = ?, max_followers = ? WHERE id = ? AND deleted = 0", bytes, files, sessions, followers, id)
}

// DeleteTenant marks a tenant as deleted. Its sessions and logs are left to the
// caller.
func (tx *Tx) DeleteTenant(id string) error {
	return tx.oneTenant("UPDATE tenants SET deleted = ? WHERE id = ? AND deleted = 0", tx.now.UnixMicro(), id)
}

// ForgetTenant removes what is known of the people of a tenant that was deleted:
// members, keys, grants, shares, replays.
func (tx *Tx) ForgetTenant(id string) error {
	for _, table := range []string{"users", "api_keys", "grants", "shares", "replays", "auth_codes", "device_codes"} {
		if _, err := tx.exec("DELETE FROM "+table+" WHERE tenant = ? AND EXISTS (SELECT 1 FROM tenants WHERE id = ? AND deleted <> 0)", id, id); err != nil {
			return err
		}
	}
	return nil
}

// oneTenant runs an update of one tenant, or returns ErrNoTenant.
func (tx *Tx) oneTenant(query string, args ...any) error {
	tx.ledger.reread()
	n, err := tx.exec(query, args...)
	if err == nil && n == 0 {
		return ErrNoTenant
	}
	return err
}

// UsageFaults returns a sentence for each tenant whose usage is not the sum of
// what its logs say.
func (r *Reads) UsageFaults(ctx context.Context) ([]string, error) {
	var faults []string
	const query = "SELECT t.id, t.bytes, t.files, t.sessions, COALESCE(SUM(s.size + s.extra), 0), COALESCE(SUM(s.attachments + s.artifacts), 0), COUNT(CASE WHEN s." + notALog + " THEN 1 END)" +
		" FROM tenants t LEFT JOIN sessions s ON s.tenant = t.id WHERE t.deleted = 0 GROUP BY t.id, t.bytes, t.files, t.sessions"
	err := r.q.rows(ctx, query, nil, func(scan func(...any) error) error {
		var id string
		var said, sum Usage
		if err := scan(&id, &said.Bytes, &said.Files, &said.Sessions, &sum.Bytes, &sum.Files, &sum.Sessions); err != nil {
			return err
		}
		if said != sum {
			faults = append(faults, fmt.Sprintf("tenant %s: uses %+v by its count, %+v by its sessions", id, said, sum))
		}
		return nil
	})
	return faults, r.d.explain(err)
}

// errNoRows is what a query for one row says where there is none.
func errNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

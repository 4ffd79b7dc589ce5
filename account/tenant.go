package account

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Tenant is who owns sessions, a library and keys.
type Tenant struct {
	ID        string
	Name      string
	Created   time.Time
	Suspended time.Time // zero is not
	Deleted   time.Time
	Bytes     int64 // what it uses
	Files     int64
	Sessions  int64
	Quota     artifact.Quota // what counts
	Limits    Limits         // what of that is its own
}

// Limits are what of a quota a tenant has for itself: nil is the server's
// default, 0 is none.
type Limits struct{ Bytes, Files, Sessions, Followers *int64 }

func tenantOf(t store.Tenant) Tenant {
	return Tenant{
		ID: t.ID, Name: t.Name, Created: moment(t.Created), Suspended: moment(t.Suspended), Deleted: moment(t.Deleted),
		Bytes: t.Bytes, Files: t.Files, Sessions: t.Sessions, Quota: t.Quota,
		Limits: Limits{t.Own["bytes"], t.Own["files"], t.Own["sessions"], t.Own["followers"]},
	}
}

// moment returns the time of a row's microseconds, where 0 is never.
func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Tenant returns a tenant, or a NotFound error, also for one that was deleted.
func (a *Accounts) Tenant(ctx context.Context, id string) (Tenant, error) {
	t, err := a.db.Tenant(ctx, id)
	if err == nil && t.Deleted != 0 {
		err = store.ErrNoTenant
	}
	if err != nil {
		return Tenant{}, err
	}
	return tenantOf(t), nil
}

// Tenants returns all tenants that were not deleted, in the order of their ids.
func (a *Accounts) Tenants(ctx context.Context) ([]Tenant, error) {
	list, err := a.db.Tenants(ctx)
	tenants := make([]Tenant, len(list))
	for i, t := range list {
		tenants[i] = tenantOf(t)
	}
	return tenants, err
}

// CreateTenant makes a tenant with one member, its owner. Errors are Invalid, and
// Exists, also where there was a tenant of that id once.
func (a *Accounts) CreateTenant(ctx context.Context, id, name string) (Tenant, error) {
	if _, err := artifact.ParseTenant(id); err != nil {
		return Tenant{}, err
	}
	name, err := cleanName(name)
	if err != nil {
		return Tenant{}, err
	}
	err = a.db.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.CreateTenant(id, name); err != nil {
			return err
		}
		tx.Audit(id, artifact.AuditEntry{Action: "tenant.create", Object: "tenant:" + id, Details: map[string]any{"name": name}})
		_, err := createOwner(tx, id)
		return err
	})
	if err != nil {
		return Tenant{}, err
	}
	return a.Tenant(ctx, id)
}

// createOwner adds the member that a tenant begins with.
func createOwner(tx *store.Tx, tenant string) (id string, err error) {
	u := store.User{ID: auth.NewID("usr_"), Tenant: tenant, Name: "owner"}
	tx.Audit(tenant, artifact.AuditEntry{Action: "member.add", Object: "member:" + u.ID, Details: map[string]any{"name": u.Name}})
	return u.ID, tx.CreateUser(u)
}

// oldestMember returns the member that a tenant began with. A tenant that is
// older than accounts gets one now.
func oldestMember(ctx context.Context, tx *store.Tx, tenant string) (id string, err error) {
	list, err := tx.Reads().Users(ctx, tenant)
	switch {
	case err != nil:
		return "", err
	case len(list) == 0:
		return createOwner(tx, tenant)
	}
	return list[0].ID, nil
}

// SuspendTenant lets nobody of a tenant in until it is resumed, and ends its
// streams. Errors are NotFound.
func (a *Accounts) SuspendTenant(ctx context.Context, id string) error {
	return a.shut(ctx, id, "tenant.suspend", func(tx *store.Tx) error { return tx.SuspendTenant(id, true) })
}

// MarkTenantDeleted lets nobody of a tenant in for ever. What it has is still to
// be deleted. Errors are NotFound.
func (a *Accounts) MarkTenantDeleted(ctx context.Context, id string) error {
	return a.shut(ctx, id, "tenant.delete", func(tx *store.Tx) error { return tx.DeleteTenant(id) })
}

func (a *Accounts) shut(ctx context.Context, id, action string, how func(*store.Tx) error) error {
	return a.revoke(ctx, func(tx *store.Tx) error {
		if err := how(tx); err != nil {
			return err
		}
		tx.Audit(id, artifact.AuditEntry{Action: action, Object: "tenant:" + id})
		return a.end(tx, ofTenant, id)
	})
}

// ResumeTenant lets a tenant in again that was suspended. Its tokens are good
// again. Errors are NotFound.
func (a *Accounts) ResumeTenant(ctx context.Context, id string) error {
	return a.revoke(ctx, func(tx *store.Tx) error {
		if err := tx.SuspendTenant(id, false); err != nil {
			return err
		}
		tx.Audit(id, artifact.AuditEntry{Action: "tenant.resume", Object: "tenant:" + id})
		return a.end(tx, resumed, id)
	})
}

// SetQuota gives a tenant limits of its own. Errors are NotFound and Invalid.
func (a *Accounts) SetQuota(ctx context.Context, id string, l Limits) error {
	details := make(map[string]any, 4)
	for name, limit := range map[string]*int64{"bytes": l.Bytes, "files": l.Files, "sessions": l.Sessions, "followers": l.Followers} {
		if limit == nil {
			continue
		}
		if *limit < 0 {
			return invalid("quota."+name, "A limit is not negative")
		}
		details[name] = *limit
	}
	return a.db.Tx(ctx, func(tx *store.Tx) error {
		tx.Audit(id, artifact.AuditEntry{Action: "tenant.quota", Object: "tenant:" + id, Details: details})
		return tx.SetQuota(id, l.Bytes, l.Files, l.Sessions, l.Followers)
	})
}

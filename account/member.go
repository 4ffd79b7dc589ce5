package account

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Member is a person, or a program, that belongs to a tenant.
type Member struct {
	ID      string
	Name    string
	Created time.Time
}

// Members returns the members of a tenant, oldest first.
func (a *Accounts) Members(ctx context.Context, tenant string) ([]Member, error) {
	list, err := a.db.Users(ctx, tenant)
	members := make([]Member, len(list))
	for i, u := range list {
		members[i] = Member{ID: u.ID, Name: u.Name, Created: u.Created}
	}
	return members, err
}

// AddMember adds a member to a tenant. Names need not differ.
func (a *Accounts) AddMember(ctx context.Context, tenant, name string) (Member, error) {
	name, err := cleanName(name)
	if err != nil {
		return Member{}, err
	}
	if name == "" {
		return Member{}, invalid("name", "A member needs a name")
	}
	m := Member{ID: auth.NewID("usr_"), Name: name}
	err = a.db.Tx(ctx, func(tx *store.Tx) error {
		if err := openTenant(ctx, tx, tenant); err != nil {
			return err
		}
		m.Created = tx.Now()
		tx.Audit(tenant, artifact.AuditEntry{Action: "member.add", Object: "member:" + m.ID, Details: map[string]any{"name": name}})
		return tx.CreateUser(store.User{ID: m.ID, Tenant: tenant, Name: name})
	})
	if err != nil {
		return Member{}, err
	}
	return m, nil
}

// RemoveMember removes a member, and revokes its keys, the shares that it made
// and whatever was granted to it. Errors are NotFound, and Invalid for the last member of a tenant.
func (a *Accounts) RemoveMember(ctx context.Context, tenant, id string) error {
	return a.revoke(ctx, func(tx *store.Tx) error {
		// First, so that of two members who remove each other one stays.
		if err := a.end(tx, ofUser, id); err != nil {
			return err
		}
		if err := tx.RemoveUser(tenant, id); err != nil {
			return err
		}
		if left, err := tx.Reads().Users(ctx, tenant); err != nil {
			return err
		} else if len(left) == 0 {
			return invalid("member_id", "The last member of a tenant stays")
		}
		keys, err := tx.RevokeKeysOf(tenant, id)
		if err != nil {
			return err
		}
		shares, err := tx.RevokeSharesOf(tenant, id)
		tx.Audit(tenant, artifact.AuditEntry{Action: "member.remove", Object: "member:" + id, Details: map[string]any{"keys": keys, "shares": shares}})
		return err
	})
}

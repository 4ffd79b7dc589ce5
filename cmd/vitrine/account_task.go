package main

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

// account returns what the task does on accounts, or nil for other tasks.
func (t task) account() func(ctx context.Context, on holdings, t *task) (any, error) {
	switch t.Name {
	case "key-create":
		return createKey
	case "key-list":
		return listKeys
	case "key-revoke":
		return revokeKey
	case "key-rotate":
		return rotateSigning
	case "tenant-create":
		return createTenant
	case "tenant-list":
		return listTenants
	case "tenant-show":
		return showTenant
	case "tenant-suspend":
		return suspendTenant
	case "tenant-resume":
		return resumeTenant
	case "tenant-quota":
		return limitTenant
	case "tenant-delete":
		return deleteTenant
	}
	return nil
}

// keyInfo is what is told of an API key, as the API tells it.
type keyInfo struct {
	ID          string          `json:"id"`
	Key         string          `json:"key,omitempty"` // once, when it is made
	Tenant      string          `json:"tenant_id"`
	Name        string          `json:"name"`
	Permissions artifact.Scopes `json:"permissions"`
	Member      string          `json:"member_id"`
	Created     time.Time       `json:"created_at"`
	Expires     time.Time       `json:"expires_at,omitzero"`
	LastUsed    time.Time       `json:"last_used_at,omitzero"`
}

func tellKey(tenant string, k *account.KeyInfo) keyInfo {
	return keyInfo{ID: k.ID, Tenant: tenant, Name: k.Name, Permissions: k.Scopes, Member: k.Owner, Created: k.Created, Expires: k.Expires, LastUsed: k.LastUsed}
}

func createKey(ctx context.Context, on holdings, t *task) (any, error) {
	secret, info, err := on.accounts.CreateKey(ctx, t.Tenant, account.KeyRequest{Name: t.Called, Scopes: t.Scopes, Expires: t.Expires})
	k := tellKey(t.Tenant, &info)
	k.Key = secret
	return k, err
}

func listKeys(ctx context.Context, on holdings, t *task) (any, error) {
	if _, err := on.accounts.Tenant(ctx, t.Tenant); err != nil {
		return nil, err
	}
	list, err := on.accounts.Keys(ctx, t.Tenant)
	keys := make([]keyInfo, len(list))
	for i := range list {
		keys[i] = tellKey(t.Tenant, &list[i])
	}
	return keys, err
}

func revokeKey(ctx context.Context, on holdings, t *task) (any, error) {
	return nil, on.accounts.RevokeKey(ctx, t.Tenant, t.ID)
}

func rotateSigning(ctx context.Context, on holdings, _ *task) (any, error) {
	return nil, on.accounts.RotateSigningKey(ctx)
}

// tenantInfo is what is told of a tenant.
type tenantInfo struct {
	ID        string    `json:"tenant_id"`
	Name      string    `json:"name"`
	Created   time.Time `json:"created_at"`
	Suspended time.Time `json:"suspended_at,omitzero"`
	Usage     amounts   `json:"usage"`
	Quota     amounts   `json:"quota"`      // what counts; 0 is no limit
	Own       []string  `json:"own_limits"` // which of that are its own, not the server's
	Rate      int       `json:"rate_limit"` // requests a minute, on each server; 0 is no limit
}

// amounts are what a quota is about.
type amounts struct {
	Bytes     int64 `json:"bytes"`
	Files     int64 `json:"files"`
	Sessions  int64 `json:"sessions"`
	Followers int64 `json:"followers"`
}

func tellTenant(on holdings, t *account.Tenant) tenantInfo {
	info := tenantInfo{
		ID: t.ID, Name: t.Name, Created: t.Created, Suspended: t.Suspended, Own: []string{},
		Usage: amounts{t.Bytes, t.Files, t.Sessions, on.depot.FollowersOf(t.ID)},
		Rate:  on.rate,
		Quota: amounts{t.Quota.Bytes, t.Quota.Files, t.Quota.Sessions, t.Quota.Followers},
	}
	for _, name := range limited {
		if *limitOf(&t.Limits, name) != nil {
			info.Own = append(info.Own, name)
		}
	}
	return info
}

// limited are the things that a tenant can be limited in.
var limited = []string{"bytes", "files", "sessions", "followers"}

func limitOf(l *account.Limits, name string) **int64 {
	switch name {
	case "bytes":
		return &l.Bytes
	case "files":
		return &l.Files
	case "sessions":
		return &l.Sessions
	}
	return &l.Followers
}

func createTenant(ctx context.Context, on holdings, t *task) (any, error) {
	made, err := on.accounts.CreateTenant(ctx, t.Tenant, t.Called)
	return tellTenant(on, &made), err
}

func listTenants(ctx context.Context, on holdings, _ *task) (any, error) {
	list, err := on.accounts.Tenants(ctx)
	tenants := make([]tenantInfo, len(list))
	for i := range list {
		tenants[i] = tellTenant(on, &list[i])
	}
	return tenants, err
}

func showTenant(ctx context.Context, on holdings, t *task) (any, error) {
	found, err := on.accounts.Tenant(ctx, t.Tenant)
	return tellTenant(on, &found), err
}

func suspendTenant(ctx context.Context, on holdings, t *task) (any, error) {
	return nil, on.accounts.SuspendTenant(ctx, t.Tenant)
}

func resumeTenant(ctx context.Context, on holdings, t *task) (any, error) {
	return nil, on.accounts.ResumeTenant(ctx, t.Tenant)
}

// limitTenant changes the limits that the task names and keeps the others.
func limitTenant(ctx context.Context, on holdings, t *task) (any, error) {
	found, err := on.accounts.Tenant(ctx, t.Tenant)
	if err != nil {
		return nil, err
	}
	for name, l := range t.Limits {
		*limitOf(&found.Limits, name) = l
	}
	if err := on.accounts.SetQuota(ctx, t.Tenant, found.Limits); err != nil {
		return nil, err
	}
	return showTenant(ctx, on, t)
}

// deleteTenant lets nobody in any more, and then deletes what the tenant has.
// Called again, it goes on where it was interrupted.
func deleteTenant(ctx context.Context, on holdings, t *task) (any, error) {
	if t.Tenant == on.accounts.FirstTenant() {
		return nil, artifact.Errorf(artifact.Denied, "%s is the first tenant, for which an open server acts; it stays", t.Tenant)
	}
	found, err := on.depot.Usage(ctx, t.Tenant)
	if err == nil && found.Deleted == 0 {
		err = on.accounts.MarkTenantDeleted(ctx, t.Tenant)
	}
	if err != nil {
		return nil, err
	}
	return nil, on.depot.DeleteTenant(ctx, t.Tenant)
}

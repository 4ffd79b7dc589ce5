package depot

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// DeleteTenant deletes the sessions, the library and the people of a tenant,
// which has to be marked as deleted before, so that nothing is added meanwhile. It can be
// called again after it was interrupted. The audit log stays: who deleted what
// must be known afterwards.
func (d *Depot) DeleteTenant(ctx context.Context, tenant string) error {
	for {
		list, err := d.db.Sessions(ctx, store.SessionQuery{Tenant: tenant, Limit: pageSize})
		if err != nil {
			return err
		}
		for i := range list {
			err := d.DeleteSession(ctx, tenant, list[i].ID)
			if err != nil && !errors.Is(err, store.ErrNoSession) { // somebody else was faster
				return err
			}
		}
		if len(list) < pageSize {
			break
		}
	}
	if err := d.db.Tx(ctx, func(tx *store.Tx) error { return tx.ForgetTenant(tenant) }); err != nil {
		return err
	}
	lib, err := d.db.Log(ctx, tenant, artifact.LibraryLog)
	if err != nil || lib.Key == 0 {
		return err
	}
	return d.deleteSession(ctx, &lib, time.Time{})
}

// within runs put with a limit of bytes that is also what the tenant's quota
// leaves, so that no disk is filled with what would be refused. A limit of 0 is
// none.
func (d *Depot) within(ctx context.Context, tenant string, limit int64, put func(limit int64) error) error {
	t, err := d.db.Tenant(ctx, tenant)
	if err != nil {
		return err
	}
	left := t.Quota.Bytes - t.Bytes
	if t.Quota.Bytes == 0 || limit > 0 && limit <= left {
		return put(limit)
	}
	full := store.OverQuota("bytes", t.Quota.Bytes, t.Bytes)
	if left <= 0 {
		return full
	}
	if err = put(left); errors.Is(err, blob.ErrTooLarge) {
		return full
	}
	return err
}

// undone reports whether a transaction with this error certainly kept nothing.
func undone(err error) bool {
	switch artifact.KindOf(err) {
	case artifact.Internal, artifact.Unavailable:
		return false
	}
	return err != nil
}

// Usage returns what a tenant uses and may use.
func (d *Depot) Usage(ctx context.Context, tenant string) (store.Tenant, error) {
	return d.db.Tenant(ctx, tenant)
}

// followers counts the open streams of each tenant on this node.
type followers struct {
	mu sync.Mutex
	m  map[seat]int64
}

// seat says whom a follower counts against: those who come with a share, who
// are strangers, leave the places of members free.
type seat struct {
	tenant string
	share  bool
}

// sharedPart is which part of the quota of followers all shares of a tenant have
// besides, at least one.
const sharedPart = 4

// take counts one more in, or returns a Full error where the quota is used up.
func (f *followers) take(who seat, quota int64) error {
	if who.share && quota > 0 {
		quota = max(1, quota/sharedPart)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.m[who]; quota > 0 && n >= quota {
		return store.OverQuota("followers", quota, n)
	}
	if f.m == nil {
		f.m = make(map[seat]int64)
	}
	f.m[who]++
	return nil
}

func (f *followers) give(who seat) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[who]--; f.m[who] == 0 {
		delete(f.m, who)
	}
}

// FollowersOf returns how many streams of a tenant are open on this node, without
// those of its shares.
func (d *Depot) FollowersOf(tenant string) int64 {
	d.followers.mu.Lock()
	defer d.followers.mu.Unlock()
	return d.followers.m[seat{tenant: tenant}]
}

package account

import (
	"context"
	"fmt"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// RotateSigningKey makes a signing key, which signs after some seconds. The old
// ones are known for as long as anything is good that they signed, so nobody is
// logged out.
func (a *Accounts) RotateSigningKey(ctx context.Context) error {
	err := a.db.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.Alone(); err != nil {
			return err
		}
		keys, err := tx.Reads().SigningKeys(ctx)
		if err != nil {
			return err
		}
		id, err := createSigningKey(tx, keys)
		tx.Audit(a.db.FirstTenant(), artifact.AuditEntry{Action: "signing.rotate", Object: "signing_key:" + id})
		return err
	})
	if err != nil {
		return err
	}
	return a.keys.read(context.WithoutCancel(ctx), a.db)
}

// pruneEvery is the time between two prunings.
const pruneEvery = time.Hour

// tidy prunes now and then.
func (a *Accounts) tidy(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := a.Prune(ctx); err != nil && ctx.Err() == nil {
			a.opt.Log.Error("old accounts' rows cannot be pruned", "error", err) // and will be in an hour
		}
	}
}

// Prune removes what is worth nothing any more: grants, codes and shares a day
// after their end, clients that nobody used within a day, answers kept for
// repeated requests for a day, revocations of what has expired since, and
// signing keys that nothing is signed with.
func (a *Accounts) Prune(ctx context.Context) error {
	now := a.opt.Now()
	a.revoked.forget(now)
	const day = 24 * time.Hour
	for _, rows := range []struct {
		stale  store.Stale
		before time.Time
	}{
		{store.StaleGrants, now.Add(-day)},
		{store.StaleDeviceCodes, now.Add(-day)},
		{store.StaleCodes, now.Add(-day)},
		{store.StaleClients, now.Add(-day)},
		{store.StaleReplays, now.Add(-day)},
		{store.StaleShares, now.Add(-day)},
		{store.StaleRevocations, now},
	} {
		for done := false; !done; {
			err := a.db.Tx(ctx, func(tx *store.Tx) (err error) {
				done, err = tx.Prune(rows.stale, rows.before)
				return err
			})
			if err != nil {
				return fmt.Errorf("prune: %w", err)
			}
		}
	}
	if err := a.pruneSigningKeys(ctx, now); err != nil {
		return fmt.Errorf("prune signing keys: %w", err)
	}
	return nil
}

// pruneSigningKeys removes keys that another one followed so long ago that
// every token and share of theirs is over.
func (a *Accounts) pruneSigningKeys(ctx context.Context, now time.Time) error {
	needed := now.Add(-a.opt.RefreshLife - a.opt.AccessLife)
	oldest, err := a.db.OldestShare(ctx, now)
	if err != nil {
		return err
	}
	// A share is signed a moment before its row is written.
	if !oldest.IsZero() {
		needed = earlier(needed, oldest.Add(-time.Minute))
	}
	keys, err := a.db.SigningKeys(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	for i, k := range keys[:len(keys)-1] {
		if next := keys[i+1].Created.Add(ripening); !next.Before(needed) {
			break
		}
		if err := a.db.Tx(ctx, func(tx *store.Tx) error { return tx.DeleteSigningKey(k.ID) }); err != nil {
			return err
		}
		a.opt.Log.Info("signing key removed", "key", k.ID, "made", k.Created)
	}
	return a.keys.read(ctx, a.db)
}

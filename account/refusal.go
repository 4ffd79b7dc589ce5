package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// refusal is a key that was not good. The tenant is told of it, if there is one,
// while the answer is on its way: the time that it takes does not say which
// tenants there are.
type refusal struct {
	caller      artifact.Caller
	tenant, key string // key is its id, where there is one
}

const (
	maxRefusals = 1000        // that wait to be told; more than that wait with their answer
	foldLife    = time.Minute // between two entries of one address
	maxFolds    = 60          // addresses of a tenant that are told apart
)

// folds are the refusals that a tenant was told of lately, by address. Anybody
// can try keys, and each entry is a row that stays: so of one address the first
// is told at once, and then one a minute says how many there were. Addresses
// beyond maxFolds count together, under "".
type folds map[string]map[string]*fold

// fold is an address, from which count keys came since its last entry.
type fold struct {
	last  refusal
	count int
	until time.Time
}

// tell tells tenants of refusals, also of those that are left when it is to end.
// Each node counts for itself, and one that is killed loses a minute's count.
func (a *Accounts) tell(ctx context.Context) {
	told := make(folds)
	look := time.NewTicker(a.opt.Recheck)
	defer look.Stop()
	for {
		select {
		case r := <-a.refusals:
			a.hear(ctx, told, r)
		case <-look.C:
			a.tellCounts(ctx, told, a.opt.Now())
		case <-ctx.Done():
			for {
				select {
				case r := <-a.refusals:
					a.hear(ctx, told, r)
					continue
				default:
				}
				a.tellCounts(ctx, told, never)
				return
			}
		}
	}
}

// never is a time that is after every other.
var never = time.Unix(1<<40, 0)

// hear tells of a refusal, or counts it.
func (a *Accounts) hear(ctx context.Context, told folds, r refusal) {
	of, from := told[r.tenant], stranger(r.caller.Remote)
	if of[from] == nil && len(of) >= maxFolds {
		from, r.caller = "", nobody
	}
	if f := of[from]; f != nil {
		if f.count > 0 && f.last.key != r.key {
			r.key = "" // several
		}
		f.last = r
		f.count++
		return
	}
	until := a.opt.Now().Add(foldLife)
	if !a.tellOf(ctx, &r, 1) {
		return
	}
	if of == nil {
		of = make(map[string]*fold)
		told[r.tenant] = of
	}
	of[from] = &fold{until: until}
}

// tellCounts tells of what was counted until now, and forgets addresses that are
// quiet again.
func (a *Accounts) tellCounts(ctx context.Context, told folds, now time.Time) {
	var all sync.WaitGroup // together they share a commit
	for tenant, of := range told {
		for from, f := range of {
			switch {
			case now.Before(f.until):
			case f.count == 0:
				delete(of, from)
			default:
				last, count := f.last, f.count
				all.Go(func() { a.tellOf(ctx, &last, count) })
				f.count, f.until = 0, now.Add(foldLife)
			}
		}
		if len(of) == 0 {
			delete(told, tenant)
		}
	}
	all.Wait()
}

// tellOf tells a tenant of so many refusals, the last of which was r. It reports
// whether there is that tenant.
func (a *Accounts) tellOf(ctx context.Context, r *refusal, count int) (there bool) {
	ctx, cancel := context.WithTimeout(artifact.WithCaller(context.WithoutCancel(ctx), &r.caller), patience)
	defer cancel()
	err := a.db.Tx(ctx, func(tx *store.Tx) error {
		there = false
		if err := openTenant(ctx, tx, r.tenant); errors.Is(err, store.ErrNoTenant) {
			return nil
		} else if err != nil {
			return err
		}
		there = true
		e := artifact.AuditEntry{Action: "login.failed", Object: "key", Outcome: "denied"}
		if r.key != "" {
			e.Object = "key:" + r.key
		}
		if count > 1 {
			e.Details = map[string]any{"count": count}
		}
		tx.Audit(r.tenant, e)
		return nil
	})
	if err != nil { // nobody waits for it
		a.opt.Log.Error("a refused login is missing in the audit log", "tenant", r.tenant, "count", count, "error", err)
	}
	return there
}

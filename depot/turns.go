package depot

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// turns is a pass over what is pending in which every tenant that waits has one
// version looked at, then each its next one, and so on: who comes with little
// does not wait behind who came with a lot.
type turns struct {
	*scanning
	start func(store.Looked) bool // false when there is no more time
	wake  time.Time               // when to look again
	from  map[string]store.Looked // by tenant: up to here nothing is due; none begins with the oldest
}

// errStop ends a pass at once.
var errStop = errors.New("no more now")

// pass starts a look at everything that is due and returns how long it is until
// the next pass. start returns false when there is no more time.
func (s *scanning) pass(ctx context.Context, start func(store.Looked) bool) time.Duration {
	begin := time.Now()
	t := turns{s, start, begin.Add(s.d.recheck()), make(map[string]store.Looked)}
	for time.Since(begin) < scanPass {
		begun := 0
		for tenant := ""; ; {
			if wait := s.sleep(ctx); wait > 0 {
				return wait
			}
			next, err := s.d.db.Waiting(ctx, tenant)
			if err == nil && next != "" {
				var one bool
				if one, err = t.turn(ctx, next); one {
					begun++
				}
			}
			if errors.Is(err, errStop) {
				return time.Millisecond
			}
			if err != nil {
				s.complain(ctx, "what is to be scanned cannot be read", err)
				return s.d.recheck()
			}
			if tenant = next; tenant == "" {
				break
			}
		}
		if begun == 0 {
			return max(time.Until(t.wake), time.Millisecond)
		}
	}
	return time.Millisecond
}

// turn starts a look at the oldest version of a tenant that is due, and reports
// whether there is one. Where several servers look at the same queue it is one
// of the oldest, so that they seldom look at the same.
func (t *turns) turn(ctx context.Context, tenant string) (begun bool, err error) {
	if t.full(tenant) {
		return false, nil
	}
	from, ok := t.from[tenant]
	if !ok {
		from.Session.Tenant = tenant
	}
	shared := t.d.db.Engine() != "sqlite"
	page := 2 * scanners
	if shared {
		page = 100
	}
	for {
		list, err := t.d.db.Looked(ctx, artifact.ScanPending, &from, page)
		if err != nil {
			return false, err
		}
		more := len(list) == page
		if i := slices.IndexFunc(list, func(l store.Looked) bool { return l.Session.Tenant != tenant }); i >= 0 {
			list, more = list[:i], false
		}
		behind := from
		if len(list) > 0 {
			behind = list[len(list)-1]
		}
		if shared {
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		for _, l := range list {
			due, free := t.take(l)
			if free {
				t.from[tenant] = from
				if !t.start(l) || t.down() {
					return true, errStop
				}
				return true, nil
			}
			if !due.IsZero() && due.Before(t.wake) {
				t.wake = due
			}
		}
		if from = behind; !more {
			delete(t.from, tenant)
			return false, nil
		}
		page = pageSize
	}
}

package account

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// How many user codes that are not good somebody may try. There are 20^8 codes:
// all strangers together, who have 200 tries and then 20 a minute, hit one of
// ten that wait once in two hundred years.
const (
	guessesAtOnce  = 10 // of one guesser
	guessesRefill  = time.Minute
	allAtOnce      = 200 // of all strangers
	allRefill      = 3 * time.Second
	maxGuessers    = 10_000 // that are remembered
	guesserNetwork = 64     // bits of an IPv6 address that one stranger has
)

// guesses bounds how often user codes are guessed. Each node counts for itself.
type guesses struct {
	mu  sync.Mutex
	all bucket // of strangers
	by  map[string]*bucket
}

// bucket is what was taken, which flows back with time.
type bucket struct {
	taken float64
	at    time.Time
}

// refill lets flow back what has until now, one in every so long.
func (b *bucket) refill(now time.Time, every time.Duration) {
	if passed := now.Sub(b.at); passed > 0 {
		b.taken = max(0, b.taken-float64(passed)/float64(every))
		b.at = now
	}
}

// wait returns for how long nothing can be taken, so many at once and then one
// in every so long.
func (b *bucket) wait(atOnce float64, every time.Duration) time.Duration {
	return time.Duration((b.taken + 1 - atOnce) * float64(every))
}

// guess is one try. It counts unless it was right.
type guess struct {
	g    *guesses
	from []*bucket
}

// begin takes a try, before it is known whether it is right: many at once get no
// more than one after the other. A Limited error says when to come again.
//
// Members of a tenant count by tenant and not among strangers, so that those
// cannot lock them out.
func (g *guesses) begin(c *artifact.Caller, now time.Time) (guess, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := guess{g: g}
	if Decides(c) {
		t.from = []*bucket{g.bucket(c.Tenant, now)}
	} else {
		g.all.refill(now, allRefill)
		t.from = []*bucket{g.bucket(stranger(c.Remote), now), &g.all}
	}
	wait := t.from[0].wait(guessesAtOnce, guessesRefill)
	if len(t.from) > 1 {
		wait = max(wait, g.all.wait(allAtOnce, allRefill))
	}
	if wait > 0 {
		e := artifact.Errorf(artifact.Limited, "Too many codes were tried that are not good")
		e.Facts = map[string]any{"retry_after": int(math.Ceil(wait.Seconds()))}
		return t, e
	}
	for _, b := range t.from {
		b.taken++
	}
	return t, nil
}

// right takes the try back.
func (t guess) right() {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	for _, b := range t.from {
		b.taken = max(0, b.taken-1)
	}
}

// bucket returns that of a guesser, as it is now. mu must be held.
func (g *guesses) bucket(who string, now time.Time) *bucket {
	b := g.by[who]
	if b == nil {
		g.forget(now)
		b = &bucket{at: now}
		g.by[who] = b
	}
	b.refill(now, guessesRefill)
	return b
}

// forget makes room for one more. Where nobody can be forgotten, all are: who
// has so many addresses is still bounded by what all strangers may try. mu must
// be held.
func (g *guesses) forget(now time.Time) {
	if g.by == nil {
		g.by = make(map[string]*bucket)
	}
	if len(g.by) < maxGuessers {
		return
	}
	for who, b := range g.by {
		if b.refill(now, guessesRefill); b.taken == 0 {
			delete(g.by, who)
		}
	}
	if len(g.by) >= maxGuessers {
		clear(g.by)
	}
}

// stranger returns what an address counts as.
func stranger(remote string) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		ap, err := netip.ParseAddrPort(remote)
		if err != nil {
			return remote
		}
		addr = ap.Addr()
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(guesserNetwork); err == nil {
			addr = p.Addr()
		}
	}
	return addr.String()
}

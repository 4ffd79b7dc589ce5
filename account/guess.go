package account

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// How many user codes that are not good somebody may try: each key, each member
// who has none and each address of strangers a few, and all members of a tenant or
// all strangers together not many more.
//
// There are 20^8 codes. With 200 tries and then 20 a minute, 10 million a year,
// such a crowd hits one of ten that wait once in two hundred years, and of as many
// as can wait (maxDevices) one every three months. A stranger sees then what a
// program calls itself. A member can let a device of somebody else into the
// member's own account, and gets nothing that is theirs.
const (
	guessesAtOnce  = 10 // of one guesser
	guessesRefill  = time.Minute
	crowdAtOnce    = 200 // of a crowd
	crowdRefill    = 3 * time.Second
	maxGuessers    = 10_000 // of a crowd that are remembered, and tenants
	guesserNetwork = 64     // bits of an IPv6 address that one stranger has
)

// guesses bounds how often user codes are guessed. Each node counts for itself.
type guesses struct {
	mu        sync.Mutex
	strangers crowd
	tenants   map[string]*crowd
}

// crowd is who guesses, together and each.
type crowd struct {
	all bucket
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
	from [2]*bucket
}

// begin takes a try, before it is known whether it is right: many at once get no
// more than one after the other. A Limited error says when to come again.
//
// Members do not count among strangers, nor among those of other tenants, so that
// nobody else can lock them out. Within a tenant it takes twenty keys to do so.
func (g *guesses) begin(c *artifact.Caller, now time.Time) (guess, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	crowd, who := &g.strangers, stranger(c.Remote)
	if Decides(c) {
		crowd, who = g.tenant(c.Tenant, now), "key "+c.Key
		if c.Key == "" {
			who = "user " + c.User
		}
	}
	crowd.all.refill(now, crowdRefill)
	// Who comes while nobody may guess is not remembered.
	wait := crowd.all.wait(crowdAtOnce, crowdRefill)
	var own *bucket
	if wait <= 0 {
		own = crowd.bucket(who, now)
		wait = own.wait(guessesAtOnce, guessesRefill)
	}
	if wait > 0 {
		e := artifact.Errorf(artifact.Limited, "Too many codes were tried that are not good")
		e.Facts = map[string]any{"retry_after": int(math.Ceil(wait.Seconds()))}
		return guess{}, e
	}
	own.taken++
	crowd.all.taken++
	return guess{g, [2]*bucket{own, &crowd.all}}, nil
}

// right takes the try back.
func (t guess) right() {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	for _, b := range t.from {
		b.taken = max(0, b.taken-1)
	}
}

// tenant returns the members of a tenant. There are no more than tenants, and
// where those are many, who has not guessed lately is forgotten. mu must be held.
func (g *guesses) tenant(id string, now time.Time) *crowd {
	c := g.tenants[id]
	if c != nil {
		return c
	}
	if g.tenants == nil {
		g.tenants = make(map[string]*crowd)
	}
	if len(g.tenants) >= maxGuessers {
		for id, c := range g.tenants {
			c.all.refill(now, crowdRefill)
			if c.forget(now); c.all.taken == 0 && len(c.by) == 0 {
				delete(g.tenants, id)
			}
		}
	}
	c = &crowd{all: bucket{at: now}}
	g.tenants[id] = c
	return c
}

// bucket returns that of a guesser, as it is now.
func (c *crowd) bucket(who string, now time.Time) *bucket {
	b := c.by[who]
	if b == nil {
		if len(c.by) >= maxGuessers {
			c.forget(now)
		}
		// Where nobody can be forgotten, all are: what they try together is still
		// bounded.
		if c.by == nil || len(c.by) >= maxGuessers {
			c.by = make(map[string]*bucket)
		}
		b = &bucket{at: now}
		c.by[who] = b
	}
	b.refill(now, guessesRefill)
	return b
}

// forget forgets who has not guessed lately.
func (c *crowd) forget(now time.Time) {
	for who, b := range c.by {
		if b.refill(now, guessesRefill); b.taken == 0 {
			delete(c.by, who)
		}
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

package api

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/vitrine-hq/vitrine/artifact"
)

// RateLimits are how often may be asked in a minute; 0 is any number.
type RateLimits struct {
	Tenant int // by everybody of one tenant
	Login  int // by one address, where keys and codes are tried
}

// limits keeps the buckets of a server (contract, auth §8). Each node has its
// own.
type limits struct {
	now     func() time.Time
	tenants buckets
	logins  buckets
}

func newLimits(l RateLimits, now func() time.Time) *limits {
	return &limits{now: now, tenants: buckets{perMinute: l.Tenant}, logins: buckets{perMinute: l.Login}}
}

// allow takes a request out of its bucket, or returns a Limited error. Answers
// of /api/v2 tell how much is left.
func (l *limits) allow(rt route, w http.ResponseWriter, c *artifact.Caller) error {
	b, key := &l.tenants, c.Tenant
	if rt.login {
		b, key = &l.logins, address(c.Remote)
	}
	if b.perMinute == 0 || key == "" {
		return nil
	}
	now := l.now()
	bucket := b.get(key, now)
	ok := bucket.AllowN(now, 1)
	left := bucket.TokensAt(now)
	perSecond := float64(b.perMinute) / 60
	if wordingAt(rt.pattern) == (libraryWording{}) {
		full := now.Add(time.Duration((float64(b.perMinute) - left) / perSecond * float64(time.Second)))
		tellRate(w.Header(), b.perMinute, int(left), full)
	}
	if ok {
		return nil
	}
	wait := max(1, int(math.Ceil((1-left)/perSecond)))
	e := artifact.Errorf(artifact.Limited, "Rate limit of %d requests a minute exceeded; try again in %d s", b.perMinute, wait)
	e.Facts = map[string]any{"retry_after": wait, "limit": b.perMinute}
	return e
}

// tellRate sets the headers that tell of a limit a minute, and of when all of it
// is there again.
func tellRate(h http.Header, limit, left int, full time.Time) {
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(full.Unix()+1, 10))
}

// address returns what is counted together: an address, of IPv6 the network of
// a subscriber.
func address(remote string) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil || !addr.Is6() {
		return remote
	}
	network, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return remote
	}
	return network.String()
}

// maxBuckets bounds what is remembered. Beyond it full buckets go, and where
// there is none, all: whoever can fill so many has addresses enough.
const maxBuckets = 1 << 16

// buckets are token buckets by key.
type buckets struct {
	perMinute int

	mu sync.Mutex
	m  map[string]*rate.Limiter
}

func (b *buckets) get(key string, now time.Time) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.m[key]; ok {
		return l
	}
	if b.m == nil || len(b.m) >= maxBuckets {
		b.prune(now)
	}
	l := rate.NewLimiter(rate.Limit(float64(b.perMinute)/60), b.perMinute)
	b.m[key] = l
	return l
}

// prune forgets buckets that are full. mu must be held.
func (b *buckets) prune(now time.Time) {
	for key, l := range b.m {
		if l.TokensAt(now) >= float64(b.perMinute) {
			delete(b.m, key)
		}
	}
	if b.m == nil || len(b.m) >= maxBuckets {
		b.m = make(map[string]*rate.Limiter)
	}
}

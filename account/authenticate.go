package account

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Authenticate returns who comes with an access token, of our own issuer or of
// the external one. The caller is the asker's own, to say where it is.
//
// Errors are [auth.ErrBadCredentials] for an API key, [auth.ErrTokenExpired],
// [auth.ErrTokenInvalid], and [auth.ErrIssuer].
func (a *Accounts) Authenticate(ctx context.Context, token string) (*artifact.Caller, error) {
	if auth.LooksLikeKey(token) {
		return nil, refuse(auth.ErrBadCredentials, "an API key where a token is due")
	}
	sum := sha256.Sum256([]byte(token))
	now := a.opt.Now()
	c, seen := a.seen.get(sum, now)
	if !seen {
		verified, err := a.verify(ctx, token, now, 0)
		if err != nil {
			return nil, err
		}
		if err := a.admit(ctx, verified.Tenant); err != nil {
			return nil, err
		}
		c = *verified
		a.seen.put(sum, c, earlier(now.Add(sightingLife), c.Expires))
	}
	// Each time, and after it was looked up: what is revoked meanwhile is heard of.
	if err := a.revoked.check(&c); err != nil {
		return nil, err
	}
	return &c, nil
}

// Admit returns an [auth.ErrTokenInvalid] for a caller whose tenant is not
// there or suspended, or who came with something that was revoked. It is for
// callers that somebody else vouches for.
//
// That the tenant is there is remembered as long as news from other nodes may
// take anyway.
func (a *Accounts) Admit(ctx context.Context, c *artifact.Caller) error {
	sum, now := sha256.Sum256([]byte("tenant "+c.Tenant)), a.opt.Now()
	if _, seen := a.seen.get(sum, now); !seen {
		if err := a.admit(ctx, c.Tenant); err != nil {
			return err
		}
		a.seen.put(sum, artifact.Caller{}, now.Add(a.opt.Recheck))
	}
	return a.revoked.check(c)
}

// admitNow is Admit that remembers nothing.
func (a *Accounts) admitNow(ctx context.Context, c *artifact.Caller) error {
	if err := a.admit(ctx, c.Tenant); err != nil {
		return err
	}
	return a.revoked.check(c)
}

func (a *Accounts) admit(ctx context.Context, tenant string) error {
	t, err := a.db.Tenant(ctx, tenant)
	switch {
	case err != nil:
		return gone(fmt.Errorf("%s: %w", tenant, err))
	case t.Suspended != 0 || t.Deleted != 0:
		return refuse(auth.ErrTokenInvalid, "the tenant is suspended or deleted")
	}
	return nil
}

// Leaving is Authenticate for who wants to log out: a token of ours that has
// expired still names the grant to end, if that goes on.
func (a *Accounts) Leaving(ctx context.Context, token string) (*artifact.Caller, error) {
	c, expired := a.Authenticate(ctx, token)
	if !errors.Is(expired, auth.ErrTokenExpired) {
		return c, expired
	}
	now := a.opt.Now()
	c, err := a.verify(ctx, token, now, a.opt.RefreshLife)
	if err != nil {
		return nil, err
	}
	g, err := a.db.Grant(ctx, c.Grant)
	switch {
	case errors.Is(err, store.ErrNoGrant):
		return nil, expired
	case err != nil:
		return nil, err
	case !g.Revoked.IsZero(), over(g.Expires, now):
		return nil, expired
	}
	if err := a.admitNow(ctx, c); err != nil {
		return nil, err
	}
	return c, nil
}

// verify checks a token with the issuer that it claims to be of, which has its
// own algorithms whatever the token says. One of ours may have expired, up to
// late ago.
func (a *Accounts) verify(ctx context.Context, token string, now time.Time, late time.Duration) (*artifact.Caller, error) {
	if e := a.opt.External; e != nil && auth.UnverifiedIssuer(token) == e.Issuer() {
		return e.Verify(ctx, token, now)
	}
	c, err := a.keys.all().VerifyLate(token, now, late)
	if !errors.Is(err, auth.ErrUnknownKey) {
		return c, err
	}
	read, rerr := a.keys.unknown(ctx, a.db, now)
	switch {
	case rerr != nil:
		return nil, fmt.Errorf("read signing keys: %w", rerr)
	case !read:
		return nil, err
	}
	return a.keys.all().VerifyLate(token, now, late)
}

// sightings has tokens that were good, by their hash, so that the next request
// with one costs no signature and no query.
type sightings struct {
	mu           sync.Mutex
	fresh, stale map[[sha256.Size]byte]sighting
}

type sighting struct {
	caller artifact.Caller
	until  time.Time
}

const (
	maxSightings = 4096            // in both halves together
	sightingLife = 5 * time.Minute // then the external issuer may have dropped a key
)

// get returns whose token it was, unless that is too long ago.
func (s *sightings) get(sum [sha256.Size]byte, now time.Time) (artifact.Caller, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, ok := s.fresh[sum]
	if !ok {
		if seen, ok = s.stale[sum]; ok {
			s.add(sum, seen)
		}
	}
	if !ok || !now.Before(seen.until) {
		return artifact.Caller{}, false
	}
	return seen.caller, true
}

func (s *sightings) put(sum [sha256.Size]byte, c artifact.Caller, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(sum, sighting{c, until})
}

// add puts a token into the new half. A full half becomes the old one, whose
// tokens were not seen for long. mu must be held.
func (s *sightings) add(sum [sha256.Size]byte, seen sighting) {
	if s.fresh == nil || len(s.fresh) >= maxSightings/2 {
		s.fresh, s.stale = make(map[[sha256.Size]byte]sighting, len(s.fresh)), s.fresh
	}
	s.fresh[sum] = seen
}

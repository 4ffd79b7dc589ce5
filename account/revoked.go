package account

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// What can be revoked. A token that names the target is no longer good, and its
// streams end.
const (
	ofKey    = "key"
	ofClient = "client"
	ofGrant  = "grant"
	ofUser   = "user"
	ofTenant = "tenant"
	ofToken  = "token"
	ofShare  = "share"
	resumed  = "resumed" // takes the revocation of a tenant back
)

// mark is what a revocation speaks of.
type mark struct{ kind, target string }

// revocations is what this node knows to be revoked, and who has to hear of it.
type revocations struct {
	opt     *Options
	reading sync.Mutex   // so that they are applied in their order
	heard   atomic.Int64 // how many were applied

	mu       sync.RWMutex
	cursor   int64              // the last that was applied; written under both locks
	ended    map[mark]time.Time // until when it has to be known
	watchers map[*watcher]struct{}
}

// watcher is somebody whose stream ends with what it came with.
type watcher struct {
	caller *artifact.Caller
	end    context.CancelCauseFunc
}

// read applies what was revoked since it was last called.
func (r *revocations) read(ctx context.Context, db *store.DB) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	for {
		const page = 1000
		list, err := db.Revocations(ctx, r.cursor, page)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			r.apply(list)
		}
		if len(list) < page {
			return nil
		}
	}
}

func (r *revocations) apply(list []store.Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = make(map[mark]time.Time)
	}
	r.heard.Add(int64(len(list)))
	for _, v := range list {
		r.cursor = v.Seq
		if v.Kind == resumed {
			delete(r.ended, mark{ofTenant, v.Target})
			continue
		}
		r.ended[mark{v.Kind, v.Target}] = v.Forget
	}
	for w := range r.watchers {
		if r.covers(w.caller) {
			w.end(errRevoked)
			delete(r.watchers, w)
		}
	}
}

var errRevoked = refuse(auth.ErrTokenInvalid, "revoked")

// covers reports whether something that the caller came with was revoked. mu
// must be held.
func (r *revocations) covers(c *artifact.Caller) bool {
	for _, m := range [...]mark{
		{ofTenant, c.Tenant}, {ofKey, c.Key}, {ofGrant, c.Grant}, {ofToken, c.Token},
		{ofUser, c.User}, {ofClient, c.Client}, {ofShare, c.Share},
	} {
		if m.target == "" {
			continue
		}
		if _, ended := r.ended[m]; ended {
			return true
		}
	}
	return false
}

// check returns an error if something that the caller came with was revoked.
func (r *revocations) check(c *artifact.Caller) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.covers(c) {
		return errRevoked
	}
	return nil
}

// forget drops what can end nothing any more.
func (r *revocations) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m, until := range r.ended {
		if until.Before(now) {
			delete(r.ended, m)
		}
	}
}

// skew is how much longer than a token lives its revocation is known, because
// clocks differ.
const skew = 5 * time.Minute

// end revokes something that only tokens of ours can name.
func (a *Accounts) end(tx *store.Tx, kind, target string) error {
	return tx.Revoke(kind, target, tx.Now().Add(a.opt.AccessLife+skew))
}

// Watch returns a context that ends when something that c came with is revoked;
// its cause is an Unauthorized error then. Call the function when the watching
// is over.
func (a *Accounts) Watch(ctx context.Context, c *artifact.Caller) (context.Context, context.CancelFunc) {
	r := &a.revoked
	ctx, end := context.WithCancelCause(ctx)
	w := &watcher{caller: c, end: end}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.covers(c) {
		end(errRevoked)
	} else {
		if r.watchers == nil {
			r.watchers = make(map[*watcher]struct{})
		}
		r.watchers[w] = struct{}{}
	}
	return ctx, func() {
		r.mu.Lock()
		delete(r.watchers, w)
		r.mu.Unlock()
		end(nil)
	}
}

// Expiring returns a context that ends when what c came with expires; its cause
// is [auth.ErrTokenExpired] then. Call the function when it is over.
func (a *Accounts) Expiring(ctx context.Context, c *artifact.Caller) (context.Context, context.CancelFunc) {
	if c.Expires.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, c.Expires.Sub(a.opt.Now()), auth.ErrTokenExpired)
}

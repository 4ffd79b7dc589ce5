package depot

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/store"
)

const (
	appears = 500 * time.Millisecond // how often a workspace that is not there is looked for
	looks   = 4                      // at a time, of all sessions

	// Files of this size that are being written are captured when they have
	// been left alone, because each capture may cost a copy: by the watcher,
	// and when somebody reads. maxPatience bounds the wait.
	largeForWatch = 8 << 20
	largeForRead  = 256 << 20
	maxPatience   = 30 * time.Second
)

// schedule looks at sessions when hints, intervals or expiry make it due, until
// ctx ends.
func (w *watcher) schedule(ctx context.Context) {
	var wg sync.WaitGroup
	room := make(chan struct{}, looks)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-w.kick:
		case <-timer.C:
		}
		timer.Reset(w.dispatch(func(x *watched) {
			wg.Go(func() {
				select {
				case room <- struct{}{}:
					defer func() { <-room }()
				case <-ctx.Done():
				}
				_ = w.lookAt(ctx, x, largeForWatch) // it has logged it
			})
		}, func(key int64) {
			wg.Go(func() { w.drop(ctx, key) })
		}))
	}
	wg.Wait()
	if w.events != nil {
		_ = w.events.Close() // ends read
	}
}

// dispatch hands out what is due and returns how long it is until the next.
func (w *watcher) dispatch(start func(*watched), drop func(key int64)) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	wake := now.Add(activeFor)
	for key, x := range w.active {
		if now.After(x.until) && x.running == nil {
			w.release(x, "")
			delete(w.active, key)
			continue
		}
		due := x.due()
		if x.absent && !now.Before(due) && !w.d.hasWorkspace(&x.session) {
			x.next = now.Add(appears)
			due = x.next
		}
		if x.running == nil && !now.Before(due) {
			x.running = make(chan struct{})
			start(x)
			continue
		}
		if x.running == nil && due.Before(wake) {
			wake = due
		}
		if x.until.Before(wake) {
			wake = x.until
		}
	}
	for key := range w.stale {
		if w.active[key] == nil && !w.dropping[key] {
			w.dropping[key] = true
			drop(key)
		}
	}
	return max(time.Until(wake), time.Millisecond)
}

// due returns when to look at a session. mu must be held.
func (x *watched) due() time.Time {
	switch t := earlier(x.last.Add(quiet), x.first.Add(longest)); {
	case x.absent, x.polled && !x.full:
		return x.next
	case !x.full && len(x.dirty) == 0:
		return x.until
	case t.Before(x.next):
		return x.next
	default:
		return t
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// lookAt looks at what is pending in a session whose running channel the caller
// has made, and closes that.
func (w *watcher) lookAt(ctx context.Context, x *watched, large int64) error {
	w.mu.Lock()
	paths := x.pending()
	session := x.session
	w.mu.Unlock()
	start := time.Now()
	var err error
	var again []string
	if paths == nil || len(paths) > 0 {
		_, again, err = w.d.scan(ctx, &session, look{paths: paths, calm: large})
	}
	if errors.Is(err, store.ErrNoSession) {
		w.forget(session.Key)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	close(x.running)
	x.running = nil
	rest := min(4*time.Since(start), longest)
	if x.polled {
		rest = max(w.poll, 20*time.Since(start))
	}
	if t := time.Now().Add(rest); x.next.Before(t) {
		x.next = t
	}
	if paths != nil {
		w.later(x, again)
	}
	w.failed(ctx, x, err)
	w.wake()
	return err
}

// failed has everything looked at again after an error, each time a little
// later. mu must be held.
func (w *watcher) failed(ctx context.Context, x *watched, err error) {
	if err == nil {
		x.failures = 0
		return
	}
	w.hint(x, "")
	if ctx.Err() != nil || errors.Is(err, store.ErrNoSession) {
		return
	}
	if x.failures == 0 {
		w.d.opt.Log.Warn("workspace cannot be looked through", "session", x.session.ID, "err", err)
	}
	x.failures = min(x.failures+1, 6)
	x.next = time.Now().Add(time.Second << x.failures)
}

// settle looks at what is pending in a watched session and waits for a look
// that is under way.
func (w *watcher) settle(ctx context.Context, key int64) error {
	for {
		w.mu.Lock()
		x := w.active[key]
		if x == nil || x.running == nil && !x.full && len(x.dirty) == 0 {
			w.mu.Unlock()
			return nil
		}
		running := x.running
		if running == nil {
			x.running = make(chan struct{})
		}
		w.mu.Unlock()
		if running == nil {
			return w.lookAt(ctx, x, largeForRead)
		}
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drop removes the watches of a session that is no longer active.
func (w *watcher) drop(ctx context.Context, key int64) {
	lock := w.lock(key)
	defer w.unlock(key, lock)
	select {
	case lock.free <- struct{}{}:
		w.mu.Lock()
		delete(w.dropping, key)
		w.mu.Unlock()
		w.unwatch(key)
		<-lock.free
	case <-ctx.Done():
	}
}

// patient reports whether a large file is left for later because it is being
// written. A file that never rests is captured now and then.
func (w *watcher) patient(key int64, f found, large int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.active[key]
	if x == nil || large == 0 || f.seen.size < large {
		return false
	}
	now := time.Now()
	since, known := x.unfinished[f.path]
	if now.UnixNano()-f.seen.mtime > int64(racy) || known && now.Sub(since) > maxPatience {
		delete(x.unfinished, f.path)
		return false
	}
	if !known {
		x.unfinished[f.path] = now
	}
	return true
}

// caughtUp reports whether every change made so far in a session's workspace is
// known to the watcher: it makes a file and waits for the event.
func (w *watcher) caughtUp(ctx context.Context, key int64) bool {
	if !w.covers(key) {
		return false
	}
	name, c := rand.Text(), make(chan struct{})
	w.mu.Lock()
	w.fences[name] = c
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.fences, name)
		w.mu.Unlock()
	}()
	file := filepath.Join(w.fenceDir, name)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	_ = f.Close()
	_ = os.Remove(file)
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case <-c:
		return w.covers(key)
	case <-ctx.Done():
		return false
	}
}

func (w *watcher) covers(key int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.active[key]
	return x != nil && x.covered
}

// pending takes what is to be looked at; nil paths are everything. mu must be held.
func (x *watched) pending() []string {
	if x.full || !x.covered {
		return nil
	}
	paths := slices.AppendSeq([]string{}, maps.Keys(x.dirty)) // not nil
	clear(x.dirty)
	return paths
}

package depot

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/store"
)

const (
	scanners   = 5                // contents that are looked at at a time
	tenantMost = scanners - 1     // of them of one tenant, so that one is there for others
	scanTries  = 5                // of one content, by a scanner that is there
	scanPause  = time.Second      // after the first try that failed; then four times as long each time
	scanAsleep = time.Minute      // at most, between two questions to a scanner that does not answer
	scanPass   = time.Minute      // after which a pass begins anew, with what was passed over
	scanTidy   = 10 * time.Minute // between two looks for copies of what is quarantined
	pingTime   = 30 * time.Second // in which a scanner has to answer
)

// scanning has the scanner look at what the rows say is pending. The rows are
// its only queue: a server that starts finds there what another one left, and of
// two servers that look at the same content the first one's verdict is kept.
type scanning struct {
	d    *Depot
	kick chan struct{}

	clean, found, failed atomic.Int64

	mu      sync.Mutex
	running map[scanID]bool
	busy    map[string]int // how many of them, by tenant
	retries map[scanID]retry
	asleep  time.Duration // how long the scanner is left alone before it is asked again; 0 while it answers
	until   time.Time     // when it is asked again
}

// scanID is a version that is pending.
type scanID struct {
	session int64
	seq     artifact.Seq
}

// retry is a content that could not be looked at.
type retry struct {
	tries int // that the scanner made
	waits int
	due   time.Time
}

func newScanning(d *Depot) *scanning {
	return &scanning{d: d, kick: make(chan struct{}, 1), running: map[scanID]bool{}, busy: map[string]int{}, retries: map[scanID]retry{}}
}

// wake says that there may be something to look at.
func (s *scanning) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// down reports whether the scanner does not answer.
func (s *scanning) down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asleep > 0
}

// patience returns how many seconds a client should wait before it asks for
// something that is pending.
func (s *scanning) patience() int {
	if s.down() {
		return int(scanAsleep / time.Second)
	}
	return 1
}

// run looks at what is pending until ctx ends.
func (s *scanning) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	s.again(ctx)
	room := make(chan struct{}, scanners)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tidied time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		case <-timer.C:
		}
		if time.Since(tidied) > scanTidy {
			s.tidy(ctx)
			tidied = time.Now()
		}
		timer.Reset(s.pass(ctx, func(l store.Looked) bool {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				s.release(l)
				return false
			}
			wg.Go(func() {
				defer func() { <-room }()
				s.look(ctx, l)
				s.release(l)
				s.wake() // after the release: the next pass is to see what is due
			})
			return true
		}))
	}
}

// again gives what could not be looked at another chance: the scanner may have
// got other limits since.
func (s *scanning) again(ctx context.Context) {
	for more := true; more; {
		err := s.d.db.Tx(ctx, func(tx *store.Tx) (err error) {
			more, err = tx.ScanAgain()
			return err
		})
		if err != nil {
			s.complain(ctx, "what could not be scanned is left as it is", err)
			return
		}
	}
}

// complain logs an error, unless the server is on its way down.
func (s *scanning) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		s.d.opt.Log.Warn("trouble with scanning", "what", what, "err", err)
	}
}

func idOf(l *store.Looked) scanID { return scanID{l.Session.Key, l.Version.Seq} }

// take reports whether a version can be looked at now, and if it is to be tried
// again later, when. One that is free is the caller's until release.
func (s *scanning) take(l store.Looked) (due time.Time, free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[idOf(&l)] {
		return time.Time{}, false
	}
	if r := s.retries[idOf(&l)]; time.Now().Before(r.due) {
		return r.due, false
	}
	s.running[idOf(&l)] = true
	s.busy[l.Session.Tenant]++
	return time.Time{}, true
}

// full reports whether as much of a tenant's is being looked at as may be.
func (s *scanning) full(tenant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy[tenant] >= tenantMost
}

func (s *scanning) release(l store.Looked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, idOf(&l))
	if s.busy[l.Session.Tenant]--; s.busy[l.Session.Tenant] == 0 {
		delete(s.busy, l.Session.Tenant)
	}
}

// sleep returns how long the scanner is still to be left alone. When that is
// over it is asked whether it is back.
func (s *scanning) sleep(ctx context.Context) time.Duration {
	s.mu.Lock()
	asleep, until := s.asleep, s.until
	s.mu.Unlock()
	if asleep == 0 {
		return 0
	}
	if wait := time.Until(until); wait > 0 {
		return wait
	}
	if err := s.ping(ctx); err != nil {
		return s.doze(ctx, err)
	}
	s.mu.Lock()
	s.asleep = 0
	s.mu.Unlock()
	s.d.opt.Log.Info("the scanner answers again")
	return 0
}

func (s *scanning) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	return s.d.opt.Scanner.Ping(ctx)
}

// doze leaves a scanner that does not answer alone, each time for longer, and
// returns for how long.
func (s *scanning) doze(ctx context.Context, err error) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asleep == 0 {
		s.complain(ctx, "the scanner does not answer", err)
	}
	if now := time.Now(); !now.Before(s.until) {
		s.asleep = min(max(2*s.asleep, s.d.opt.scanPause), scanAsleep)
		s.until = now.Add(s.asleep)
	}
	return max(time.Until(s.until), time.Millisecond)
}

// notNow is why a content cannot be looked at that is no fault of the content:
// it is tried again for as long as it takes.
type notNow struct{ error }

var errDown = notNow{errors.New("the scanner does not answer")}

// look asks the scanner about one version and keeps what it says, or when to ask
// again.
func (s *scanning) look(ctx context.Context, l store.Looked) {
	state, err := s.d.db.ScanState(ctx, l.Version.Key)
	if err == nil && state != artifact.ScanPending || artifact.KindOf(err) == artifact.NotFound {
		s.forget(l) // settled by another server, or gone
		return
	}
	if err == nil {
		err = s.judge(ctx, l)
	}
	switch {
	case err == nil:
		s.forget(l)
	case ctx.Err() == nil && !errors.Is(err, errDown):
		if first := s.later(l); first {
			s.d.opt.Log.Warn("a content cannot be scanned now", append(logged(&l), "err", err)...)
		}
	}
}

// judge looks at one version. An error means that it is to be tried again.
func (s *scanning) judge(ctx context.Context, l store.Looked) error {
	verdict, err := s.ask(ctx, &l.Version)
	_, wait := errors.AsType[notNow](err)
	switch {
	case errors.Is(err, scan.ErrTooLarge):
		return s.fail(ctx, l, "too_large", err)
	case err != nil && (wait || ctx.Err() != nil || s.failedAgain(l) < scanTries):
		return err
	case err != nil:
		return s.fail(ctx, l, "scanner_error", err)
	case verdict.Clean:
		_, err = s.settle(ctx, l, artifact.ScanClean, &s.clean, func(*store.Tx) error { return nil })
		return err
	}
	return s.quarantine(ctx, l, verdict.Found)
}

// source remembers why bytes could not be read: that is not the scanner's fault.
type source struct {
	io.Reader
	err error
}

func (r *source) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// ask hands the bytes of a version to the scanner.
func (s *scanning) ask(ctx context.Context, v *artifact.Version) (scan.Verdict, error) {
	var none scan.Verdict
	r, err := s.d.open(ctx, v)
	switch {
	case artifact.KindOf(err) == artifact.NotFound:
		return none, err // the bytes are gone for good
	case err != nil:
		return none, notNow{err}
	}
	defer r.Close() // only read
	from := &source{Reader: r}
	verdict, err := s.d.opt.Scanner.Scan(ctx, v.ID(), from)
	switch {
	case err == nil, errors.Is(err, scan.ErrTooLarge), ctx.Err() != nil, artifact.KindOf(from.err) == artifact.NotFound:
		return verdict, err
	case from.err != nil:
		return none, notNow{err}
	}
	if perr := s.ping(ctx); perr != nil {
		s.doze(ctx, perr)
		return none, errDown
	}
	return none, err
}

// failedAgain counts what the scanner could not do, and returns how often that
// was.
func (s *scanning) failedAgain(l store.Looked) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.retries[idOf(&l)]
	r.tries++
	s.retries[idOf(&l)] = r
	return r.tries
}

// later has a version looked at again after a while, and reports whether that is
// the first time.
func (s *scanning) later(l store.Looked) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.retries[idOf(&l)]
	r.due = time.Now().Add(min(s.d.opt.scanPause<<min(2*r.waits, 16), scanAsleep))
	r.waits++
	s.retries[idOf(&l)] = r
	return r.waits == 1
}

func (s *scanning) forget(l store.Looked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.retries, idOf(&l))
}

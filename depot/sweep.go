package depot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// SweptItem is one thing that a sweep removes.
type SweptItem struct {
	Kind     string             `json:"kind"`                 // "blob", "folder", "entries" or "session"
	Name     string             `json:"name,omitempty"`       // key of a blob; path of a folder below the WareHouse
	Tenant   string             `json:"tenant,omitempty"`     // of a session
	Session  artifact.SessionID `json:"session_id,omitempty"` // whose entries go, or that goes itself
	Entries  int64              `json:"entries,omitempty"`    // how many go from the beginning of the log
	Bytes    int64              `json:"bytes,omitempty"`
	Modified float64            `json:"modified,omitempty"` // time of the last change, in seconds
}

// Swept is what a sweep removed, or would remove.
type Swept struct {
	DryRun   bool        `json:"dry_run"`
	Blobs    int64       `json:"blobs"`    // bytes that no row names
	Folders  int64       `json:"folders"`  // of the WareHouse, that belong to nothing
	Entries  int64       `json:"entries"`  // of logs, beyond what is kept
	Sessions int64       `json:"sessions"` // older than the retention
	Bytes    int64       `json:"bytes"`    // of blobs, folders and sessions
	Items    []SweptItem `json:"items"`
}

func (s *Swept) count(it *SweptItem) {
	s.Bytes += it.Bytes
	switch it.Kind {
	case "blob":
		s.Blobs++
	case "folder":
		s.Folders++
	case "entries":
		s.Entries += it.Entries
	case "session":
		s.Sessions++
	}
}

// Sweep removes what nothing needs any more: blobs and parts of uploads that no
// row names, folders of the WareHouse without a row, entries of logs beyond
// KeepEvents and sessions older than Retention. What is younger than SweepGrace
// stays, because an upload that will name it may be on its way. A dry run only
// lists. What cannot be removed keeps nothing else; the errors are returned
// together with what was done.
//
// Sweep waits while a check or a backup runs.
func (d *Depot) Sweep(ctx context.Context, dryRun bool) (Swept, error) {
	done := Swept{DryRun: dryRun, Items: []SweptItem{}}
	if err := d.finishDeletions(ctx); err != nil {
		return done, err
	}
	if !dryRun {
		release, err := d.sweeping.clear(ctx)
		if err != nil {
			return done, err
		}
		defer release()
	}
	err := d.sweep(ctx, dryRun, func(it *SweptItem) {
		done.count(it)
		done.Items = append(done.Items, *it)
	})
	return done, err
}

// sweep tells each of what goes before it goes. Blobs come first and sessions
// last, so that a dry run, after which nothing has gone, lists the same.
func (d *Depot) sweep(ctx context.Context, dry bool, each func(*SweptItem)) error {
	now := d.opt.Now()
	w := &sweeper{d: d, dry: dry, now: now, limit: now.Add(-d.opt.SweepGrace), each: each}
	return errors.Join(w.blobs(ctx), w.folders(ctx), w.entries(ctx), w.sessions(ctx))
}

// sweeper is one sweep.
type sweeper struct {
	d     *Depot
	dry   bool
	now   time.Time
	limit time.Time // what changed since stays
	each  func(*SweptItem)
}

// remove tells of an item and, unless this is a dry run, runs f to remove it.
func (w *sweeper) remove(it *SweptItem, f func() error) error {
	w.each(it)
	if w.dry {
		return nil
	}
	return f()
}

func (w *sweeper) blobs(ctx context.Context) error {
	var errs first
	live := func(keys []string) (map[string]bool, error) { return w.d.db.LiveBlobs(ctx, keys) }
	for b, err := range w.d.bucket.Garbage(ctx, w.limit, live) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		it := &SweptItem{Kind: "blob", Name: b.Key, Bytes: b.Size, Modified: artifact.UnixSeconds(b.Modified)}
		errs.add(w.remove(it, func() error { return w.d.bucket.Delete(ctx, b.Key) }))
	}
	return errs.err
}

// eachSession calls f with the sessions of all tenants, newest first.
func (d *Depot) eachSession(ctx context.Context, idle time.Time, f func(*artifact.Session) error) error {
	q := store.SessionQuery{Idle: idle, Limit: pageSize}
	for {
		list, err := d.db.Sessions(ctx, q)
		if err != nil {
			return err
		}
		for i := range list {
			if err := f(&list[i]); err != nil {
				return err
			}
		}
		if len(list) < q.Limit {
			return nil
		}
		q.Before = list[len(list)-1].Key
	}
}

func (w *sweeper) entries(ctx context.Context) error {
	keep := w.d.opt.KeepEvents
	if keep <= 0 {
		return nil
	}
	return w.d.eachSession(ctx, time.Time{}, func(s *artifact.Session) error {
		excess := int64(s.LastSeq-s.FirstSeq) + 1 - keep
		if excess <= 0 {
			return nil
		}
		it := &SweptItem{Kind: "entries", Tenant: s.Tenant, Session: s.ID, Entries: excess}
		return w.remove(it, func() error { return w.d.trim(ctx, s.Key, keep) })
	})
}

func (d *Depot) trim(ctx context.Context, key, keep int64) error {
	for more := true; more; {
		err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
			more, err = tx.Trim(key, keep)
			return err
		})
		if errors.Is(err, store.ErrNoSession) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("trim log: %w", err)
		}
	}
	return nil
}

func (w *sweeper) sessions(ctx context.Context) error {
	if w.d.opt.Retention <= 0 {
		return nil
	}
	limit := w.now.Add(-w.d.opt.Retention)
	return w.d.eachSession(ctx, limit, func(s *artifact.Session) error {
		if !expendable(s, limit) {
			return nil
		}
		it := &SweptItem{Kind: "session", Tenant: s.Tenant, Session: s.ID, Bytes: s.Bytes, Modified: artifact.UnixSeconds(s.Updated)}
		return w.remove(it, func() error { return w.d.expire(ctx, s.Key, limit) })
	})
}

// expendable reports whether a session may go: nothing was told in it since
// limit, and nothing is going on.
func expendable(s *artifact.Session, limit time.Time) bool {
	return s.Updated.Before(limit) && s.Status != artifact.StatusRunning && s.Status != artifact.StatusWaiting
}

// expire deletes a session for its age, unless it has come to life since it was
// listed.
func (d *Depot) expire(ctx context.Context, key int64, limit time.Time) error {
	s, err := d.db.SessionByKey(ctx, key)
	if err == nil && expendable(&s, limit) {
		err = d.deleteSession(ctx, &s, limit)
	}
	if errors.Is(err, store.ErrNoSession) {
		return nil
	}
	return err
}

// Times of the sweep that runs by itself.
const (
	firstSweep = time.Minute // after the start
	nextSweep  = time.Hour
	retrySweep = time.Minute // when a check or a backup was running
)

// sweepLoop sweeps until ctx ends.
func (d *Depot) sweepLoop(ctx context.Context) {
	timer := time.NewTimer(firstSweep)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		release, ok := d.sweeping.tryClear()
		if !ok {
			timer.Reset(retrySweep)
			continue
		}
		d.sweepOnce(ctx)
		release()
		timer.Reset(nextSweep)
	}
}

// sweepOnce sweeps without remembering each item. The next round takes up what
// failed.
func (d *Depot) sweepOnce(ctx context.Context) {
	var done Swept
	start := time.Now()
	err := d.sweep(ctx, false, done.count)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		d.opt.Log.Error("sweep is incomplete", "err", err)
	}
	if done.Blobs+done.Folders+done.Entries+done.Sessions > 0 {
		d.opt.Log.Info("swept", "blobs", done.Blobs, "folders", done.Folders, "entries", done.Entries,
			"sessions", done.Sessions, "bytes", done.Bytes, "took", time.Since(start))
	}
}

// first keeps the first of many errors.
type first struct{ err error }

func (f *first) add(err error) {
	if f.err == nil {
		f.err = err
	}
}

// hold keeps blobs where they are while a check or a backup goes through rows
// that may be deleted meanwhile. The zero hold is ready. It knows of this
// process only; on other nodes the grace has to do.
type hold struct {
	once     sync.Once
	sem      *semaphore.Weighted
	cleaning sync.Mutex // held during CleanUploads
}

// holders bounds how many may keep blobs at the same time.
const holders = 1 << 20

func (h *hold) semaphore() *semaphore.Weighted {
	h.once.Do(func() { h.sem = semaphore.NewWeighted(holders) })
	return h.sem
}

// keep waits until no blob is being deleted, and lets none be until release.
func (h *hold) keep(ctx context.Context) (release func(), err error) {
	if err := h.semaphore().Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { h.sem.Release(1) }, nil
}

// clear waits until nobody keeps blobs; until release nobody will.
func (h *hold) clear(ctx context.Context) (release func(), err error) {
	if err := h.semaphore().Acquire(ctx, holders); err != nil {
		return nil, err
	}
	return func() { h.sem.Release(holders) }, nil
}

// tryClear is clear that does not wait.
func (h *hold) tryClear() (release func(), ok bool) {
	if !h.semaphore().TryAcquire(holders) {
		return nil, false
	}
	return func() { h.sem.Release(holders) }, true
}

package depot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/vitrine-hq/vitrine/artifact"
)

// watcher knows which workspaces to look at again, and when. Sessions that are
// active are watched: file system events say which paths to look at. Where
// there are no events, or too many folders for them, active sessions are looked
// through every few seconds. All others are looked through when they are read.
//
// Events are hints. A folder is watched before it is read, so whatever happens
// in it is either seen by the look or announced after it. One goroutine, read,
// takes the events and does nothing else; schedule, in rescan.go, acts on them.
type watcher struct {
	d        *Depot
	events   *fsnotify.Watcher // nil where there are none
	fenceDir string
	kick     chan struct{} // tells schedule that something may be due
	reported atomic.Bool   // that some sessions cannot be watched

	mu       sync.Mutex
	poll     time.Duration // between looks where there are no events
	limit    int           // folders watched in one session
	locks    map[int64]*scanLock
	active   map[int64]*watched
	folders  map[string]folder        // watched ones, by absolute path
	stale    map[int64][]string       // folders whose watches are to go, by session
	dropping map[int64]bool           // sessions for which somebody does that
	fences   map[string]chan struct{} // closed when the event of the file of that name is read
}

// folder is a watched folder of a workspace.
type folder struct {
	of  *watched
	rel string
}

// watched is an active session.
type watched struct {
	session artifact.Session
	until   time.Time // when it stops being active
	folders map[string]bool
	adding  bool // a full look is under way that watches what it reads
	covered bool // all folders are watched, since before they were read
	polled  bool // it is looked through at intervals instead
	absent  bool // its workspace is not there yet

	full        bool            // look at everything
	dirty       map[string]bool // look at these paths
	first, last time.Time       // of the hints that led to that
	next        time.Time       // not before
	failures    int
	running     chan struct{}        // closed at the end of the look that is under way; nil if none is
	unfinished  map[string]time.Time // large files that are being written, since when
}

const (
	activeFor  = 10 * time.Minute
	quiet      = 100 * time.Millisecond // without events before a look
	longest    = time.Second            // that a look waits for quiet
	pollEvery  = 3 * time.Second
	maxFolders = 4096 // watched in one session
	maxDirty   = maxLookup
)

// scanLock lets one look at a session at a time pass.
type scanLock struct {
	users int           // guarded by watcher.mu
	free  chan struct{} // holds one value while a look is under way
	began atomic.Int64  // full looks that have begun
	done  int64         // the last of them that ended well; for the holder only
}

// fences is the folder of the WareHouse in which files are made to find out
// whether all events so far have been read.
const fences = ".watch"

func newWatcher(d *Depot) *watcher {
	w := &watcher{
		d: d, fenceDir: filepath.Join(d.opt.WareHouse, fences), poll: pollEvery, limit: maxFolders, kick: make(chan struct{}, 1),
		locks: map[int64]*scanLock{}, active: map[int64]*watched{}, folders: map[string]folder{},
		stale: map[int64][]string{}, dropping: map[int64]bool{}, fences: map[string]chan struct{}{},
	}
	if !d.opt.Watch {
		return w
	}
	if err := w.open(); err != nil {
		w.report(err)
	}
	if w.events != nil {
		d.background(w.read)
	}
	d.background(w.schedule)
	return w
}

var errRemote = errors.New("the folder lies on a network file system")

func (w *watcher) open() error {
	if remoteFS(w.d.opt.WareHouse) {
		return errRemote
	}
	if err := os.MkdirAll(w.fenceDir, 0o700); err != nil {
		return err
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	if err := events.Add(w.fenceDir); err != nil {
		_ = events.Close()
		return err
	}
	w.events = events
	return nil
}

// report says once that changes are noticed more slowly, and why.
func (w *watcher) report(err error) {
	if !w.reported.Swap(true) {
		w.d.opt.Log.Warn("some workspaces cannot be watched and are looked through at intervals", "err", err)
	}
}

// lock returns the lock of a session; unlock gives it back.
func (w *watcher) lock(key int64) *scanLock {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.locks[key]
	if l == nil {
		l = &scanLock{free: make(chan struct{}, 1)}
		w.locks[key] = l
	}
	l.users++
	return l
}

func (w *watcher) unlock(key int64, l *scanLock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(w.locks, key)
	}
}

// touch says that a session is active: its workspace is watched from now on
// for some minutes.
func (d *Depot) touch(s *artifact.Session) {
	w := d.watch
	if !d.opt.Watch || s.Key == 0 || s.IsLog() {
		return
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.active[s.Key]; x != nil {
		x.until = now.Add(activeFor)
		return
	}
	w.active[s.Key] = &watched{
		session: artifact.Session{Key: s.Key, Tenant: s.Tenant, ID: s.ID}, until: now.Add(activeFor), polled: w.events == nil,
		folders: map[string]bool{}, dirty: map[string]bool{}, unfinished: map[string]time.Time{}, full: true,
	}
	w.wake()
}

func (w *watcher) wake() {
	select {
	case w.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// forget ends the watching of a session, without waiting.
func (w *watcher) forget(key int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.active[key]; x != nil {
		w.release(x, "")
		delete(w.active, key)
		w.wake()
	}
}

// release gives up the watches of a folder and of those below it; "" is the
// workspace. mu must be held.
func (w *watcher) release(x *watched, rel string) {
	for name := range x.folders {
		if rel == "" || name == rel || strings.HasPrefix(name, rel+"/") {
			delete(x.folders, name)
			abs := w.abs(x, name)
			delete(w.folders, abs)
			w.stale[x.session.Key] = append(w.stale[x.session.Key], abs)
		}
	}
}

func (w *watcher) abs(x *watched, rel string) string {
	return filepath.Join(w.d.workspace(&x.session), filepath.FromSlash(rel))
}

// read takes the events until the source is closed.
func (w *watcher) read(context.Context) {
	for {
		select {
		case e, ok := <-w.events.Events:
			if !ok {
				return
			}
			w.take(e)
		case err, ok := <-w.events.Errors:
			if !ok {
				return
			}
			w.lost(err)
		}
	}
}

// lost has everything looked at again, because events may be missing.
func (w *watcher) lost(err error) {
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		w.d.opt.Log.Warn("file system events failed", "err", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.active {
		w.hint(x, "")
	}
}

// take notes what one event says.
func (w *watcher) take(e fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir, name := filepath.Split(e.Name)
	dir = filepath.Clean(dir)
	if dir == w.fenceDir {
		if c, ok := w.fences[name]; ok {
			close(c)
			delete(w.fences, name)
		}
		return
	}
	if f, ok := w.folders[e.Name]; ok && e.Has(fsnotify.Remove|fsnotify.Rename) {
		// Which files were in it only a full look tells.
		w.release(f.of, f.rel)
		f.of.covered = f.of.covered && f.rel != ""
		w.hint(f.of, "")
		return
	}
	if f, ok := w.folders[dir]; ok {
		if p := join(f.rel, name); p != artifact.AttachmentsDir {
			w.hint(f.of, p)
		}
	}
}

// hint asks for a look at a path, or at everything if that is "". mu must be held.
func (w *watcher) hint(x *watched, path string) {
	now := time.Now()
	if !x.full && len(x.dirty) == 0 {
		x.first = now
		w.wake()
	}
	x.last = now
	if path == "" || len(x.dirty) >= maxDirty {
		x.full = true
	}
	if x.full {
		clear(x.dirty)
		return
	}
	x.dirty[path] = true
}

// enter returns what a look calls before it reads a folder.
func (w *watcher) enter(s *artifact.Session) func(rel string) {
	return func(rel string) {
		w.mu.Lock()
		x := w.active[s.Key]
		if x == nil || x.polled || !x.adding && !x.covered {
			w.mu.Unlock()
			return
		}
		if len(x.folders) >= w.limit {
			w.giveUp(x)
			w.mu.Unlock()
			w.report(errors.New("too many folders"))
			return
		}
		abs := w.abs(x, rel)
		x.folders[rel], w.folders[abs] = true, folder{x, rel}
		w.mu.Unlock()
		err := w.events.Add(abs) // without mu: read must be able to go on
		if err == nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(x.folders, rel)
		delete(w.folders, abs)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fsnotify.ErrClosed) {
			w.giveUp(x)
			w.report(err)
		}
	}
}

// giveUp has a session looked through at intervals. mu must be held.
func (w *watcher) giveUp(x *watched) {
	w.release(x, "")
	x.polled, x.covered = true, false
	x.next = time.Now().Add(w.poll)
	w.wake()
}

// begin is called when a full look begins, by the holder of the scan lock.
func (w *watcher) begin(key int64) {
	w.unwatch(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.active[key]; x != nil {
		x.adding = !x.polled
		x.full = false
		clear(x.dirty)
	}
}

// end is called when a full look has ended; again are paths to look at soon.
func (w *watcher) end(key int64, err error, again []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.active[key]
	if x == nil {
		return
	}
	if err == nil {
		x.absent = !x.polled && x.adding && !x.folders[""]
		x.covered = x.adding && x.folders[""]
	}
	x.adding = false
	if err != nil {
		w.hint(x, "")
	}
	w.later(x, again)
}

// later asks for another look at paths in a while. mu must be held.
func (w *watcher) later(x *watched, paths []string) {
	for _, p := range paths {
		w.hint(x, p)
	}
	if t := time.Now().Add(longest); len(paths) > 0 && x.next.Before(t) {
		x.next = t
	}
}

// unwatch removes watches that nobody needs; the caller holds the scan lock, so
// that no look adds them again meanwhile.
func (w *watcher) unwatch(key int64) {
	w.mu.Lock()
	list := w.stale[key]
	delete(w.stale, key)
	w.mu.Unlock()
	for _, name := range list {
		_ = w.events.Remove(name) // fails where the kernel did it already
	}
}

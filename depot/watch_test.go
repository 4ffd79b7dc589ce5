package depot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/vitrine-hq/vitrine/artifact"
)

// patience is how long tests wait for what takes a fraction of it.
const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// watching begins to watch the session and waits until all of it is.
func (p *place) watching() {
	p.t.Helper()
	p.touch(&p.s)
	eventually(p.t, "watching", func() bool { return p.watch.covers(p.s.Key) })
}

// entries returns the changes told so far, each as "change path".
func (p *place) entries() []string {
	p.t.Helper()
	list, err := p.db.Entries(p.t.Context(), &p.s, 0, 10_000)
	if err != nil {
		p.t.Fatal(err)
	}
	var all []artifact.Version
	for _, e := range list {
		if e.Version != nil {
			all = append(all, *e.Version)
		}
	}
	return told(all)
}

// hears waits until the log tells of all these changes.
func (p *place) hears(want ...string) {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		woken := p.db.Woken(p.s.Key) // before reading
		got := p.entries()
		missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(got, w) })
		if len(missing) == 0 {
			return
		}
		select {
		case <-woken:
		case <-deadline:
			p.t.Fatalf("the log does not tell of %q within %v; it has %q", missing, patience, got)
		}
	}
}

// watched returns the folders of the session that the kernel watches.
func (p *place) watched() (list []string) {
	for _, name := range p.watch.events.WatchList() {
		if rel, err := filepath.Rel(p.dir, name); err == nil && !strings.HasPrefix(rel, "..") {
			list = append(list, rel)
		}
	}
	return list
}

func TestWatcherSeesChanges(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.write("old.txt", "old")
	p.watching()
	p.hears("created old.txt")
	p.write("new.txt", "new")
	p.hears("created new.txt")
	p.write("new.txt", "newer")
	p.hears("updated new.txt")
	p.remove("old.txt")
	p.hears("deleted old.txt")
	if err := os.Rename(filepath.Join(p.dir, "new.txt"), filepath.Join(p.dir, "moved.txt")); err != nil {
		t.Fatal(err)
	}
	p.hears("deleted new.txt", "created moved.txt")
	p.write("attachments/att_x/file", "an upload")
	p.write("last.txt", "x")
	p.hears("created last.txt")
	for _, e := range p.entries() {
		if strings.Contains(e, "attachments") {
			t.Errorf("an upload was told as %q", e)
		}
	}
}

func TestWatcherFollowsFolders(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	var want []string
	for i := range 50 {
		p.write(fmt.Sprintf("d%02d/sub/a.txt", i), "a")
		want = append(want, fmt.Sprintf("created d%02d/sub/a.txt", i))
	}
	p.write("node_modules/m/a.js", "x")
	p.watching()
	p.hears(want...)
	if got := len(p.watched()); got != 101 {
		t.Errorf("%d folders are watched, want 101", got)
	}
	want = nil
	for i := range 50 {
		p.write(fmt.Sprintf("d%02d/sub/b.txt", i), "b")
		want = append(want, fmt.Sprintf("created d%02d/sub/b.txt", i))
	}
	p.write("new/deeper/and/deeper/c.txt", "c")
	p.hears(append(want, "created new/deeper/and/deeper/c.txt")...)
	p.write("new/deeper/d.txt", "d")
	p.hears("created new/deeper/d.txt")

	if err := os.Rename(filepath.Join(p.dir, "new"), filepath.Join(p.dir, "moved")); err != nil {
		t.Fatal(err)
	}
	p.hears("deleted new/deeper/d.txt", "created moved/deeper/and/deeper/c.txt", "created moved/deeper/d.txt")
	eventually(t, "watching", func() bool { return slices.Contains(p.watched(), "moved/deeper/and") })
	p.write("moved/deeper/and/e.txt", "e")
	p.hears("created moved/deeper/and/e.txt")

	p.remove("d07")
	p.hears("deleted d07/sub/a.txt", "deleted d07/sub/b.txt")
	p.write("d07/sub/a.txt", "again")
	eventually(t, "watching", func() bool { return slices.Contains(p.watched(), "d07/sub") })
	p.write("d07/sub/z.txt", "z")
	p.hears("created d07/sub/z.txt")
}

// Under writing without a pause the log still gets news, but far fewer than
// there are writes.
func TestWatcherUnderConstantWriting(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.watching()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	writes := 0
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ; ctx.Err() == nil; writes++ {
			if err := os.WriteFile(filepath.Join(p.dir, "busy.txt"), fmt.Append(nil, writes), 0o600); err != nil {
				t.Error(err)
			}
			<-tick.C
		}
	})
	p.hears("created busy.txt", "updated busy.txt")
	stop()
	wg.Wait()
	if n := len(p.entries()); writes < 20 || n > writes/10 {
		t.Errorf("%d entries for %d writes, want far fewer", n, writes)
	}
}

// Who reads after writing sees what was written, without waiting for the quiet
// that the watcher waits for.
func TestRefreshSeesWhatWasWritten(t *testing.T) {
	for _, watch := range []bool{true, false} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			p := inPlace(t, Options{Watch: watch})
			if watch {
				p.watching()
			}
			for i := range 50 {
				name := fmt.Sprintf("d%d/f%d.txt", i%3, i)
				p.write(name, "x")
				if err := p.refresh(t.Context(), &p.s); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(p.entries(), "created "+name) {
					t.Fatalf("%s is not in the log after refresh", name)
				}
			}
		})
	}
}

func TestWatcherAfterOverflow(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.watching()
	if err := p.watch.events.Remove(p.dir); err != nil { // so that events are lost
		t.Fatal(err)
	}
	p.write("a.txt", "a")
	p.watch.lost(fsnotify.ErrEventOverflow)
	p.hears("created a.txt")
	eventually(t, "watching", func() bool { return len(p.watched()) == 1 })
}

func TestWatcherWithTooManyFolders(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.watch.mu.Lock()
	p.watch.limit, p.watch.poll = 3, 20*time.Millisecond
	p.watch.mu.Unlock()
	for i := range 5 {
		p.write(fmt.Sprintf("d%d/a.txt", i), "a")
	}
	p.touch(&p.s)
	p.hears("created d4/a.txt")
	p.write("d4/b.txt", "b")
	p.hears("created d4/b.txt")
	eventually(t, "no watches", func() bool { return len(p.watched()) == 0 })
}

func TestWatcherWaitsForWorkspace(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.lose()
	p.touch(&p.s)
	eventually(t, "first look", func() bool {
		p.watch.mu.Lock()
		defer p.watch.mu.Unlock()
		return p.watch.active[p.s.Key].absent
	})
	p.write("sub/a.txt", "a")
	p.hears("created sub/a.txt")
	eventually(t, "watching", func() bool { return p.watch.covers(p.s.Key) })
}

func TestWatcherLetsGo(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.write("d/a.txt", "a")
	p.watching()
	p.watch.forget(p.s.Key)
	eventually(t, "no watches", func() bool { return len(p.watched()) == 0 })

	p.watching()
	p.watch.mu.Lock()
	p.watch.active[p.s.Key].until = time.Now().Add(-time.Second)
	p.watch.mu.Unlock()
	p.watch.wake()
	eventually(t, "no watches", func() bool { return len(p.watched()) == 0 })
	if p.watch.covers(p.s.Key) {
		t.Error("a session that is no longer active counts as watched")
	}
}

func TestWatcherWhenSessionIsDeleted(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.write("d/a.txt", "a")
	p.watching()
	if err := p.DeleteSession(t.Context(), p.s.Tenant, p.s.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no watches", func() bool { return len(p.watched()) == 0 })
	eventually(t, "no folder", func() bool {
		_, err := os.Lstat(p.Depot.dir(&p.s))
		return os.IsNotExist(err)
	})
}

// A large file is not captured again and again while it is being written.
func TestWatcherIsPatientWithLargeFiles(t *testing.T) {
	p := inPlace(t, Options{Watch: true})
	p.watching()
	file := filepath.Join(p.dir, "large.bin")
	if err := os.WriteFile(file, make([]byte, largeForWatch), 0o600); err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(time.Minute) // somebody goes on writing
	if err := os.Chtimes(file, future, future); err != nil {
		t.Fatal(err)
	}
	p.write("small.txt", "s")
	p.hears("created small.txt")
	if slices.Contains(p.entries(), "created large.bin") {
		t.Error("a large file was captured while it was written")
	}
	if err := p.refresh(t.Context(), &p.s); err != nil {
		t.Fatal(err)
	}
	p.hears("created large.bin")
}

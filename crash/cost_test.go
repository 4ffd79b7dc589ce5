package crash

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/store"
)

// onDisk opens a node over SQLite and files in a new folder.
func onDisk(t *testing.T, opt store.Options) *node {
	t.Helper()
	return onDiskAt(t, t.TempDir(), opt, nil)
}

// onDiskAt is onDisk in a folder, with its blobs through fsys where that is not
// nil.
func onDiskAt(t *testing.T, dir string, opt store.Options, fsys fileblob.FS) *node {
	t.Helper()
	driver, err := fileblob.Open(filepath.Join(dir, "blobs"), fileblob.Options{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "vitrine.db"), opt)
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, db, blob.New(driver))
	t.Cleanup(func() { n.close(t) })
	return n
}

// cost is what one upload takes. Written counts all files, where the system
// tells of it.
type cost struct{ allocs, bytes, commits, written int64 }

// An upload costs the same whether it is the 10th of its session or the 3000th,
// and its entry in the audit log no commit of its own.
func TestFlatCost(t *testing.T) {
	var commits atomic.Int64
	n := onDisk(t, store.Options{Committed: func(int, time.Duration) { commits.Add(1) }})
	rng := random(t)
	upload := func(files int) {
		u, err := n.depot.NewUpload(t.Context(), tenant, "flat")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Discard()
		content := noise(rng, 4<<10)
		for i := range files {
			if _, err := u.Add(t.Context(), fmt.Sprintf("f%d.txt", i), "text/plain", bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := u.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	upload(10)
	const rounds = 12 // the writer of the manifest spoils some
	early := n.measure(t, &commits, rounds, func() { upload(1) })
	for range 6 {
		upload(depot.MaxUploadFiles)
	}
	late := n.measure(t, &commits, rounds, func() { upload(1) })
	t.Logf("the 10th upload: %+v, the 3000th: %+v", early, late)
	if audit, err := n.depot.Audit(t.Context(), tenant); err != nil || int64(audit.LastSeq) < commits.Load()-6 {
		t.Errorf("the audit log has %d entries after %d commits (%v)", audit.LastSeq, commits.Load(), err)
	}
	flat(t, "upload", early, late)
}

// flat fails the test unless an operation that was measured early takes one
// commit, and no more of anything late.
func flat(t *testing.T, what string, early, late cost) {
	t.Helper()
	if early.commits != 1 || late.commits != 1 {
		t.Errorf("a late %s takes %d commits, an early one %d, want one", what, late.commits, early.commits)
	}
	for of, c := range map[string]struct{ early, late, more int64 }{
		"allocations":     {early.allocs, late.allocs, early.allocs / 5},
		"bytes allocated": {early.bytes, late.bytes, early.bytes / 5},
		"bytes written":   {early.written, late.written, early.written / 2}, // indexes are a page deeper, and full pages are split
	} {
		if c.late > c.early+c.more {
			t.Errorf("a late %s costs %d %s, an early one %d", what, c.late, of, c.early)
		}
	}
}

// measure returns the cost of f: the least of several rounds of ten, because
// the writer of the manifest, which costs by the size of the session but never
// more than a twentieth of the time, works at times of its own.
func (n *node) measure(t *testing.T, commits *atomic.Int64, rounds int, f func()) cost {
	t.Helper()
	const times = 10
	least := cost{1 << 62, 1 << 62, 1 << 62, 1 << 62}
	for range rounds {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, w := commits.Load(), written(t)
		for range times {
			f()
		}
		runtime.ReadMemStats(&after)
		least.allocs = min(least.allocs, int64(after.Mallocs-before.Mallocs)/times)
		least.bytes = min(least.bytes, int64(after.TotalAlloc-before.TotalAlloc)/times)
		least.commits = min(least.commits, (commits.Load()-c)/times)
		least.written = min(least.written, (written(t)-w)/times)
	}
	return least
}

// A file of 256 MiB passes through without being held in memory.
func TestConstantMemory(t *testing.T) {
	const size, limit = 256 << 20, 16 << 20
	n := onDisk(t, store.Options{})
	var warm answer
	if _, err := n.api.call(t.Context(), "PUT", "/api/uploads/big/warm.bin", &pattern{left: 1 << 20}, &warm); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	before := heap()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var peak uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		for pause(ctx, 5*time.Millisecond) {
			peak = max(peak, heap())
		}
	})
	var a answer
	_, err := n.api.call(t.Context(), "PUT", "/api/uploads/big/big.bin", &pattern{left: size}, &a)
	if err == nil {
		err = n.read(t.Context(), "/api/sessions/big/artifacts/"+a.ID+"?mode=stream", size)
	}
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB in use before, %d MiB at the peak", before>>20, peak>>20)
	if a.Size != size {
		t.Errorf("%d bytes were stored, %d were sent", a.Size, size)
	}
	if peak > before+limit {
		t.Errorf("an upload of %d MiB took %d MiB of memory, %d MiB are allowed", size>>20, (peak-before)>>20, limit>>20)
	}
}

// heap returns the memory that holds objects or has been reserved for them.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys - m.HeapReleased
}

// read reads an answer of size bytes.
func (n *node) read(ctx context.Context, path string, size int64) error {
	var c counter
	if _, err := n.api.call(ctx, "GET", path, nil, &c); err != nil {
		return err
	}
	if int64(c) != size {
		return fmt.Errorf("%d bytes were read, want %d", c, size)
	}
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// However many follow a session, its log is read once for each commit, and no
// follower leaves anything behind.
func TestSharedReads(t *testing.T) {
	const followers, commits = 200, 25
	n := onDisk(t, store.Options{})
	if _, err := n.api.call(t.Context(), "POST", "/api/sessions", map[string]string{"session_id": "shared"}, nil); err != nil {
		t.Fatal(err)
	}
	n.api.http.CloseIdleConnections()
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	crowd := &api{base: n.api.base, http: &http.Client{Transport: &http.Transport{}}}
	var all []*follower
	var wg sync.WaitGroup
	for i := range followers {
		f := &follower{session: "shared", by: sse, api: crowd}
		if i%4 == 0 {
			f.by = ws
		}
		all = append(all, f)
		wg.Go(func() { f.run(ctx) })
	}
	there := func(seq int64) bool {
		return eventually(ctx, func() bool {
			for _, f := range all {
				if f.position() < seq {
					return false
				}
			}
			return true
		})
	}
	upload := func() {
		if _, err := n.api.call(t.Context(), "PUT", "/api/uploads/shared/f.txt", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	upload()
	if !there(1) {
		t.Fatal("the followers were not told of the first entry")
	}
	reads := n.depot.LogReads()
	for i := range commits {
		upload()
		if !there(int64(i) + 2) {
			t.Fatalf("the followers were not told of entry %d", i+2)
		}
	}
	if got := n.depot.LogReads() - reads; got > commits+2 {
		t.Errorf("%d followers caused %d reads of the log in %d commits", followers, got, commits)
	} else {
		t.Logf("%d reads for %d commits and %d followers", got, commits, followers)
	}
	cancel()
	wg.Wait()
	crowd.http.CloseIdleConnections()
	n.api.http.CloseIdleConnections()
	if !eventually(t.Context(), func() bool { _, left := n.depot.Followers(); return left == 0 }) {
		t.Error("followers are counted that have left")
	}
	goleak.VerifyNone(t, before)
}

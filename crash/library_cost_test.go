package crash

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/fault"
	"github.com/vitrine-hq/vitrine/store"
)

// desk is a library whose costs are measured.
type desk struct {
	*testing.T
	*node
	dir     string
	commits atomic.Int64
	writes  atomic.Int64 // transactions in them
	fsys    *fault.FS    // counts
	saved   atomic.Int64
}

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, dir: t.TempDir(), fsys: fault.New(fileblob.OS, func(fault.Op) error { return nil })}
	d.node = onDiskAt(t, d.dir, store.Options{Committed: func(batch int, _ time.Duration) {
		d.commits.Add(1)
		d.writes.Add(int64(batch))
	}}, d.fsys)
	return d
}

const desktop = 2 << 10 // bytes of the artifacts that are saved here

// save makes an artifact by the front door.
func (d *desk) save(path string, replace bool) {
	d.Helper()
	content := strings.Repeat("x", desktop)
	_, _, err := d.depot.SaveFile(d.Context(), depot.Save{Tenant: tenant, Path: artifact.Path(path), Replace: replace}, strings.NewReader(content))
	if err != nil {
		d.Errorf("save %s: %v", path, err)
	}
}

func (d *desk) next() string { return fmt.Sprintf("/saved/%06d.txt", d.saved.Add(1)) }

// fill makes many artifacts at once, named by path.
func (d *desk) fill(n int, path func(i int) string) {
	d.Helper()
	const together = 250
	for from := 0; from < n; from += together {
		err := d.db.Tx(d.Context(), func(tx *store.Tx) error {
			lib, err := tx.EnsureLog(tenant, artifact.LibraryLog)
			for i := from; i < min(n, from+together) && err == nil; i++ {
				v := artifact.Version{
					Attachment: uuid.NewString(), Change: artifact.Created, Path: path(i), MIME: "text/plain",
					Blob: artifact.Blob{Size: 1, SHA256: sum([]byte("x"))},
				}
				_, err = tx.AppendFile(lib, &v, []byte("x"))
			}
			return err
		})
		if err != nil {
			d.Fatal(err)
		}
	}
}

// files lists every file of a folder of the data.
func (d *desk) files(name string) (list []string) {
	d.Helper()
	err := filepath.WalkDir(filepath.Join(d.dir, name), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
	return list
}

// What the library costs does not grow with what it holds.
func TestLibraryCost(t *testing.T) {
	d := newDesk(t)
	blobs, ops := d.files("blobs"), d.fsys.Ops()
	for _, name := range []string{"a.txt", "b.txt", "m/deep/c.txt", "x/d.txt", "z.txt"} {
		d.save("/docs/"+name, false)
	}
	alone := d.listing("/docs")
	early := d.saves()
	d.together()
	d.fill(20_000, func(i int) string {
		switch i % 4 {
		case 0:
			return fmt.Sprintf("/docs/m/deep/%d/%d.txt", i%100, i)
		case 1:
			return fmt.Sprintf("/before/%d.txt", i)
		case 2:
			return fmt.Sprintf("/docs.d/%d.txt", i)
		}
		return fmt.Sprintf("/large/%d.txt", i)
	})
	for range 300 {
		d.save("/replaced.txt", true)
	}
	late := d.saves()
	t.Logf("a save and a replacement early: %+v, late: %+v", early, late)
	flat(t, "save", early[0], late[0])
	flat(t, "replacement", early[1], late[1])
	if diff := cmp.Diff(d.files("blobs"), blobs); diff != "" || d.fsys.Ops() != ops {
		t.Errorf("saves touched the blobs, by %d operations (-now +before):\n%s", d.fsys.Ops()-ops, diff)
	}
	d.listings(alone)
}

// saves returns the costs of a save of 2 KiB and of its replacement. Each is one
// transaction and one commit.
func (d *desk) saves() [2]cost {
	d.Helper()
	const rounds = 5
	commits, writes := d.commits.Load(), d.writes.Load()
	made := d.measure(d.T, &d.commits, rounds, func() { d.save(d.next(), false) })
	replaced := d.measure(d.T, &d.commits, rounds, func() { d.save("/replaced.txt", true) })
	if c, w := d.commits.Load()-commits, d.writes.Load()-writes; c != w || w != 2*rounds*10 {
		d.Errorf("%d saves one after the other are %d transactions in %d commits", 2*rounds*10, w, c)
	}
	return [2]cost{made, replaced}
}

// together checks that saves which come at the same time share commits.
func (d *desk) together() {
	d.Helper()
	const members, each = 50, 6
	commits, writes := d.commits.Load(), d.writes.Load()
	var wg sync.WaitGroup
	for range members {
		wg.Go(func() {
			for range each {
				d.save(d.next(), false)
			}
		})
	}
	wg.Wait()
	if c, w := d.commits.Load()-commits, d.writes.Load()-writes; w != members*each || c > w/4 {
		d.Errorf("%d saves by %d at the same time are %d transactions in %d commits", members*each, members, w, c)
	}
}

// look is what a listing costs.
type look struct{ bytes, allocs int64 }

// listings checks that a listing reads its folder, and nothing of what lies
// elsewhere or deeper, and that it costs by the length of the folder. alone is
// what one of 5 children cost before.
func (d *desk) listings(alone look) {
	d.Helper()
	among := d.listing("/docs")
	d.Logf("a listing of 5 children alone: %+v, among 20,000 artifacts: %+v", alone, among)
	const page = 4096 // of the database, whose indexes are a page or two deeper
	if among.bytes > alone.bytes+24*page || among.allocs > 2*alone.allocs {
		d.Errorf("a listing of 5 children costs %+v among 20,000 artifacts, alone %+v", among, alone)
	}
	const n = 500
	d.fill(n, func(i int) string { return fmt.Sprintf("/one/%d.txt", i) })
	d.fill(4*n, func(i int) string { return fmt.Sprintf("/four/%d.txt", i) })
	if one, four := d.listing("/one"), d.listing("/four"); four.allocs > 4*one.allocs+one.allocs/2 {
		d.Errorf("a listing of %d costs %+v, of %d it costs %+v", n, one, 4*n, four)
	}
}

// listing returns how many bytes of the database a listing reads that nobody has
// read before, and how many allocations it takes.
func (d *desk) listing(dir artifact.Path) look {
	d.Helper()
	if err := d.db.Forget(d.Context()); err != nil { // all of it is in the one file then
		d.Fatal(err)
	}
	rows, err := store.OpenCopy(d.Context(), filepath.Join(d.dir, "vitrine.db"))
	if err != nil {
		d.Fatal(err)
	}
	defer rows.Close()
	lib, err := rows.Log(d.Context(), tenant, artifact.LibraryLog)
	if err != nil {
		d.Fatal(err)
	}
	children := 0
	before := fetched(d)
	err = rows.Children(d.Context(), &lib, dir, func(string) bool { children++; return true }, func(*artifact.Version) bool { children++; return true })
	l := look{fetched(d) - before, 1 << 62}
	if err != nil || children < 5 {
		d.Fatalf("%d children of %s, %v", children, dir, err)
	}
	for range 5 {
		l.allocs = min(l.allocs, allocations(func() {
			if _, err := d.depot.List(d.Context(), tenant, dir, 0, func(string) bool { return true }); err != nil {
				d.Error(err)
			}
		}))
	}
	return l
}

// allocations counts those of f.
func allocations(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.Mallocs - before.Mallocs)
}

package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/fault"
)

// dbFiles are the files of the database that outlive a process. The third one,
// -shm, is made anew.
var dbFiles = []string{"vitrine.db", "vitrine.db-wal"}

// copyDB copies the files of the database as they are at this moment. Nobody
// commits, but the log may be moved into the database meanwhile and emptied,
// because something was deleted: then it is tried again.
func copyDB(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var db, log []byte
	if !eventually(t.Context(), func() bool {
		log = read(dbFiles[1])
		db = read(dbFiles[0])
		return bytes.Equal(log, read(dbFiles[1]))
	}) {
		t.Fatal("the log of the database changes all the time")
	}
	for i, b := range [][]byte{db, log} {
		if err := os.WriteFile(filepath.Join(to, dbFiles[i]), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// cut is what a power cut leaves.
type cut struct {
	what  string
	db    string
	disk  *fault.Disk
	acked []artifact.Version
}

// The power fails before each file operation of the blobs and after each step
// of the script. The disk of the blobs forgets what was not synced, wholly or
// as luck has it; the database is copied at the same moment, at which it is at
// rest, so that what it has acknowledged is what it has synced. What comes back
// is sound and has everything that was acknowledged.
//
// The workspace is not there any more: it is a cache.
func TestPowerCutOfBlobs(t *testing.T) {
	t.Parallel()
	rng := random(t)
	dir, copies := t.TempDir(), t.TempDir()
	disk := fault.NewDisk()
	fsys := newSwitched(disk)
	st, err := openStackAt(t.Context(), dir, "/blobs", fsys)
	if err != nil {
		t.Fatal(err)
	}
	var cuts []cut
	var acked []artifact.Version
	take := func(what string) {
		to := filepath.Join(copies, fmt.Sprint(len(cuts)))
		copyDB(t, dir, to)
		var luck *rand.Rand // of every other cut; the rest forget all
		if len(cuts)%2 == 1 {
			luck = fork(rng)
		}
		cuts = append(cuts, cut{what, to, disk.PowerCut(luck), slices.Clone(acked)})
	}
	fsys.before = func(op fault.Op) error {
		take(fmt.Sprintf("before %s of %s", op.Name, op.Path))
		return nil
	}
	s := &script{d: st.depot, dir: dir, name: "power", rng: fork(rng)}
	s.done = func(step string, got []artifact.Version, err error) {
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		acked = append(acked, got...)
		take("after " + step)
	}
	s.run(t.Context())
	s.shelve(t.Context())
	fsys.before = nil
	st.close(t)
	if len(cuts) < 40 || len(acked) == 0 {
		t.Fatalf("%d power cuts and %d acknowledged files are too few", len(cuts), len(acked))
	}
	for i, c := range cuts {
		st, err := openStackAt(t.Context(), c.db, "/blobs", c.disk)
		if err != nil {
			t.Fatalf("open after power cut %d, %s: %v", i, c.what, err)
		}
		holds(t, st.depot, c.acked)
		st.close(t)
		if t.Failed() {
			t.Fatalf("after power cut %d, %s", i, c.what)
		}
	}
	t.Logf("%d power cuts", len(cuts))
}

// image is the database as the power left it, with what must be in it.
type image struct {
	what  string
	dir   string
	acked []kept
}

// blockSize is what a disk writes at once, or not at all.
const blockSize = 512

// blend writes to a file what a disk may hold that was told to write now where
// before was: each block that differs is the old or the new one, as luck has it.
func blend(t testing.TB, rng *rand.Rand, name string, before, now []byte) {
	t.Helper()
	odds := 1 + rng.IntN(5)
	out := make([]byte, 0, len(now))
	for off := 0; off < len(now); off += blockSize {
		end := min(off+blockSize, len(now))
		block := now[off:end]
		if rng.IntN(6) < odds {
			block = make([]byte, end-off) // what was allocated and never written
			if off < len(before) {
				copy(block, before[off:])
			}
		}
		out = append(out, block...)
	}
	if len(now) > len(before) && rng.IntN(2) == 0 { // its new size was not kept either
		out = out[:len(before)+rng.IntN(len(now)-len(before))]
	}
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// recover opens an image and compares it with what it must hold.
func (im *image) recover(t testing.TB) {
	t.Helper()
	st, err := openStack(t.Context(), im.dir, nil)
	if err != nil {
		t.Fatalf("open the database %s: %v", im.what, err)
	}
	defer st.close(t)
	holds(t, st.depot, nil)
	for _, k := range im.acked {
		var v artifact.Version
		if k.path != "" {
			v, err = st.depot.File(t.Context(), tenant, artifact.Path(k.path), 0)
			k.seq = int64(v.Seq)
		} else {
			v, err = st.depot.Version(t.Context(), tenant, "power", k.id)
		}
		if err != nil || v.SHA256 != k.sum || int64(v.Seq) != k.seq {
			t.Errorf("%s: acknowledged %+v: %+v, %v", im.what, k, v, err)
			continue
		}
		if got, err := sumOf(t.Context(), st.depot, &v); err != nil || got != k.sum {
			t.Errorf("%s: acknowledged %+v has the hash %s (%v)", im.what, k, got, err)
		}
	}
}

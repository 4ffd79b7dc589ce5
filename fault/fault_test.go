package fault_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, fsys fileblob.FS, name string) fileblob.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	return f
}

func write(t testing.TB, f fileblob.File, s string) {
	t.Helper()
	_, err := f.Write([]byte(s))
	must(t, err)
}

// tree returns the files in "/" and their sizes.
func tree(t testing.TB, fsys fileblob.FS) map[string]int64 {
	t.Helper()
	entries, err := fsys.ReadDir("/")
	must(t, err)
	got := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		got[e.Name()] = info.Size()
	}
	return got
}

// Each line is an order of operations and what a power cut leaves of it. The
// first is right, the others are the mistakes that Disk is there to catch.
func TestPowerCut(t *testing.T) {
	sync := func(d *fault.Disk, f fileblob.File) error { return f.Sync() }
	rename := func(d *fault.Disk, f fileblob.File) error { return d.Rename("/a", "/b") }
	syncDir := func(d *fault.Disk, f fileblob.File) error { return d.SyncDir("/") }
	for name, c := range map[string]struct {
		ops  []func(*fault.Disk, fileblob.File) error
		want map[string]int64
	}{
		"right":                 {[]func(*fault.Disk, fileblob.File) error{sync, rename, syncDir}, map[string]int64{"b": 5}},
		"file never synced":     {[]func(*fault.Disk, fileblob.File) error{rename, syncDir}, map[string]int64{"b": 0}},
		"directory not synced":  {[]func(*fault.Disk, fileblob.File) error{sync, rename}, map[string]int64{}},
		"directory synced soon": {[]func(*fault.Disk, fileblob.File) error{sync, syncDir, rename}, map[string]int64{"a": 5}},
		"nothing synced":        {nil, map[string]int64{}},
	} {
		d := fault.NewDisk()
		f := create(t, d, "/a")
		write(t, f, "hello")
		for _, op := range c.ops {
			must(t, op(d, f))
		}
		if diff := cmp.Diff(tree(t, d.PowerCut(nil)), c.want); diff != "" {
			t.Errorf("%s: (-got +want):\n%s", name, diff)
		}
	}
}

func TestPowerCutTruncates(t *testing.T) {
	d := fault.NewDisk()
	f := create(t, d, "/a")
	write(t, f, "hello")
	must(t, f.Sync())
	must(t, d.SyncDir("/"))
	write(t, f, " world")
	if got := tree(t, d.PowerCut(nil))["a"]; got != 5 {
		t.Errorf("%d bytes survive, want the 5 that were synced", got)
	}
	seen := map[int64]bool{}
	for seed := range uint64(200) {
		seen[tree(t, d.PowerCut(rand.New(rand.NewPCG(seed, 0))))["a"]] = true
	}
	for n := range int64(12) {
		if seen[n] != (n >= 5) {
			t.Errorf("with luck %d bytes survive: %t, want 5 to 11 bytes", n, seen[n])
		}
	}
	if got := tree(t, d)["a"]; got != 11 {
		t.Errorf("the disk itself has %d bytes after the power cuts, want 11", got)
	}
}

// With luck, unsynced removals and creations may each have happened or not.
func TestPowerCutNames(t *testing.T) {
	d := fault.NewDisk()
	create(t, d, "/old")
	must(t, d.SyncDir("/"))
	must(t, d.Remove("/old"))
	create(t, d, "/new")
	seen := map[[2]bool]bool{}
	for seed := range uint64(100) {
		got := tree(t, d.PowerCut(rand.New(rand.NewPCG(seed, 0))))
		_, old := got["old"]
		_, young := got["new"]
		seen[[2]bool{old, young}] = true
	}
	if len(seen) != 4 {
		t.Errorf("power cuts leave %v, want all four states", seen)
	}
}

func TestDiskErrors(t *testing.T) {
	d := fault.NewDisk()
	must(t, d.Mkdir("/dir", 0o700))
	create(t, d, "/file")
	_, missing := d.OpenFile("/no", os.O_RDONLY, 0)
	_, twice := d.OpenFile("/file", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0)
	_, notDir := d.ReadDir("/file")
	for name, c := range map[string]struct{ got, want error }{
		"open missing":   {missing, fs.ErrNotExist},
		"create twice":   {twice, fs.ErrExist},
		"list a file":    {notDir, fs.ErrNotExist},
		"mkdir twice":    {d.Mkdir("/dir", 0o700), fs.ErrExist},
		"mkdir deep":     {d.Mkdir("/no/dir", 0o700), fs.ErrNotExist},
		"rename missing": {d.Rename("/no", "/yes"), fs.ErrNotExist},
		"rename to no":   {d.Rename("/file", "/no/file"), fs.ErrNotExist},
		"remove missing": {d.Remove("/no"), fs.ErrNotExist},
		"sync missing":   {d.SyncDir("/no"), fs.ErrNotExist},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s = %v, want %v", name, c.got, c.want)
		}
	}
}

// Every operation is counted and can fail, and one that fails does not happen.
func TestEveryOperationFails(t *testing.T) {
	ops := []string{"mkdir", "open", "write", "read", "sync", "close", "clone", "rename", "syncdir", "readdir", "remove"}
	for _, failing := range append([]string{""}, ops...) {
		var seen []string
		disk := fault.NewDisk()
		fsys := fault.New(disk, func(op fault.Op) error {
			if seen = append(seen, op.Name); op.N != len(seen) {
				t.Errorf("operation %d has the number %d", len(seen), op.N)
			}
			if op.Name == failing {
				return syscall.EIO
			}
			return nil
		})
		err := useAll(fsys)
		if failing == "" {
			if diff := cmp.Diff(seen, ops); diff != "" || err != nil {
				t.Errorf("without a fault %v, operations (-got +want):\n%s", err, diff)
			}
			continue
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("with %s failing: %v, want EIO", failing, err)
		}
		if last := seen[len(seen)-1]; last != failing || fsys.Ops() != len(seen) {
			t.Errorf("%d of %d operations, the last is %s, want %s", len(seen), fsys.Ops(), last, failing)
		}
		if got := tree(t, disk); failing == "write" && got["a"] != 2 {
			t.Errorf("a failed write of 5 bytes left %v, want 2 bytes", got)
		}
	}
}

// useAll does each operation once and stops at the first error.
func useAll(fsys fileblob.FS) error {
	var f fileblob.File
	for _, op := range []func() error{
		func() error { return fsys.Mkdir("/dir", 0o700) },
		func() (err error) { f, err = fsys.OpenFile("/a", os.O_RDWR|os.O_CREATE, 0o600); return err },
		func() error { _, err := f.Write([]byte("hello")); return err },
		func() error { _, err := f.ReadAt(make([]byte, 2), 3); return err },
		func() error { return f.Sync() },
		func() error { return f.Close() },
		func() error { return fsys.Clone(f, f) },
		func() error { return fsys.Rename("/a", "/b") },
		func() error { return fsys.SyncDir("/") },
		func() error { _, err := fsys.ReadDir("/"); return err },
		func() error { return fsys.Remove("/b") },
	} {
		if err := op(); err != nil {
			return err
		}
	}
	return nil
}

package fileblob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/blobtest"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

// size is two writes.
const size = 300 << 10

// puts are the ways to write a blob; each must be as safe as the others.
var puts = map[string]func(context.Context, *blob.Bucket, *os.File) (blob.Info, error){
	"Put": func(ctx context.Context, b *blob.Bucket, f *os.File) (blob.Info, error) {
		return b.Put(ctx, io.NewSectionReader(f, 0, size), 0)
	},
	"PutFile": func(ctx context.Context, b *blob.Bucket, f *os.File) (blob.Info, error) {
		return b.PutFile(ctx, f, 0) // fault.Disk can clone
	},
}

func source(t *testing.T) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(name, blobtest.Bytes(size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// switched is a file system that obeys before only once it is set.
type switched struct {
	*fault.FS
	before func(fault.Op) error
}

func newSwitched(under fileblob.FS) *switched {
	s := &switched{before: allow}
	s.FS = fault.New(under, func(op fault.Op) error { return s.before(op) })
	return s
}

// Whatever operation of a Put fails: the error surfaces, nothing is left, and
// the next Put succeeds.
func TestFailTheNth(t *testing.T) {
	for name, put := range puts {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			t.Run(name+"/"+cause.Error(), func(t *testing.T) {
				file := source(t)
				for n := 1; ; n++ {
					fsys := newSwitched(fault.NewDisk())
					d := open(t, "/blobs", fsys)
					b := blob.New(d)
					nth := fsys.Ops() + n
					fsys.before = fault.Fail(nth, cause)
					_, err := put(t.Context(), b, file)
					if fsys.Ops() < nth {
						if err != nil {
							t.Fatalf("Put without a fault: %v", err)
						}
						if n < 8 {
							t.Errorf("Put took %d operations; are they all counted?", n-1)
						}
						return
					}
					if !errors.Is(err, cause) {
						t.Errorf("operation %d failed, and Put = %v, want %v", n, err, cause)
					}
					if left := blobtest.Keys(t, d); len(left) > 0 {
						t.Errorf("operation %d failed, and %v is left", n, left)
					}
					info, err := put(t.Context(), b, file)
					if err != nil {
						t.Errorf("after the fault of operation %d: %v", n, err)
					} else if err := b.Verify(t.Context(), info); err != nil {
						t.Errorf("after the fault of operation %d: %v", n, err)
					}
				}
			})
		}
	}
}

// When the disk dies in the middle of a Put, not even the cleaning works. What
// is left then goes with the next sweep.
func TestDeadDisk(t *testing.T) {
	for name, put := range puts {
		t.Run(name, func(t *testing.T) {
			file := source(t)
			for n := 1; ; n++ {
				fsys := newSwitched(fault.NewDisk())
				d := open(t, "/blobs", fsys)
				b := blob.New(d)
				nth := fsys.Ops() + n
				fsys.before = fault.FailFrom(nth, syscall.EIO)
				_, err := put(t.Context(), b, file)
				if fsys.Ops() < nth {
					return
				}
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("the disk died at operation %d, and Put = %v, want EIO", n, err)
				}
				fsys.before = allow
				_, err = b.Sweep(t.Context(), time.Now().Add(time.Hour), none)
				if err != nil {
					t.Errorf("Sweep after the disk died at operation %d: %v", n, err)
				}
				if left := blobtest.Keys(t, d); len(left) > 0 {
					t.Errorf("the disk died at operation %d, and Sweep left %v", n, left)
				}
			}
		})
	}
}

func none([]string) (map[string]bool, error) { return nil, nil }

// Whatever operation of Open fails, the error surfaces and the next Open works.
func TestOpenFails(t *testing.T) {
	for n := 1; ; n++ {
		disk := fault.NewDisk()
		fsys := fault.New(disk, fault.Fail(n, syscall.EIO))
		_, err := fileblob.Open("/blobs", fileblob.Options{FS: fsys})
		if fsys.Ops() < n {
			if err != nil || n < 260 {
				t.Errorf("Open without a fault = %v after %d operations", err, n-1)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d failed, and Open = %v, want EIO", n, err)
		}
		d := open(t, "/blobs", disk)
		if err := d.Put(t.Context(), blobtest.Key(), bytes.NewReader(nil)); err != nil {
			t.Errorf("Put after a failed Open: %v", err)
		}
	}
}

// Reading, listing and deleting must not hide a fault either.
func TestReadFaults(t *testing.T) {
	fsys := newSwitched(fault.NewDisk())
	d := open(t, "/blobs", fsys)
	b := blob.New(d)
	info, err := b.Put(t.Context(), bytes.NewReader(blobtest.Bytes(size)), 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"Check":  func() error { return b.Check(t.Context(), info) },
		"Verify": func() error { return b.Verify(t.Context(), info) },
		"Read": func() error {
			r, err := b.Open(t.Context(), info.Key, info.Size)
			if err == nil {
				_, err = io.ReadAll(r)
			}
			return err
		},
		"Sweep": func() error {
			_, err := b.Sweep(t.Context(), time.Now().Add(time.Hour), none)
			return err
		},
		"Delete": func() error { return d.Delete(t.Context(), info.Key) },
	} {
		for _, op := range []string{"open", "read", "readdir", "remove"} {
			used := false
			fsys.before = func(o fault.Op) error {
				if o.Name == op {
					used = true
					return syscall.EIO
				}
				return nil
			}
			if name == "Delete" && op != "remove" {
				continue // it would succeed
			}
			if name == "Sweep" && op != "readdir" && op != "remove" {
				continue // the same
			}
			if err := try(); used && !errors.Is(err, syscall.EIO) {
				t.Errorf("%s with %s failing = %v, want EIO", name, op, err)
			}
		}
	}
	fsys.before = allow
	if err := b.Verify(t.Context(), info); err != nil {
		t.Errorf("the blob did not survive the faults: %v", err)
	}
}

// While somebody writes to a file that is being captured, the hash is that of
// the captured bytes.
func TestPutFileHashesTheClone(t *testing.T) {
	file := source(t)
	fsys := fault.New(fault.NewDisk(), func(op fault.Op) error {
		if op.Name != "read" { // the clone is made, and is being hashed
			return nil
		}
		_, err := file.WriteAt([]byte("changed"), 0)
		return err
	})
	b := blob.New(open(t, "/blobs", fsys))
	info, err := b.PutFile(t.Context(), file, 0)
	if err != nil {
		t.Fatalf("PutFile: %v", err)
	}
	if err := b.Verify(t.Context(), info); err != nil {
		t.Error(err)
	}
	r, err := b.Open(t.Context(), info.Key, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, blobtest.Bytes(size)) {
		t.Errorf("the blob has %d bytes (%v) that are not those at the time of the clone", len(got), err)
	}
	changed := make([]byte, 7)
	if _, err := file.ReadAt(changed, 0); err != nil || string(changed) != "changed" {
		t.Errorf("the file begins with %q (%v); the test changed nothing", changed, err)
	}
}

// A damaged blob is told apart from a missing one.
func TestTruncatedFile(t *testing.T) {
	dir := t.TempDir()
	b := blob.New(open(t, dir, nil))
	info, err := b.Put(t.Context(), bytes.NewReader(blobtest.Bytes(size)), 0)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, info.Key[:2], info.Key)
	if err := os.Truncate(name, size-1); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context(), info); !errors.Is(err, blob.ErrDamaged) {
		t.Errorf("Check of a short file = %v, want ErrDamaged", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context(), info); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check of no file = %v, want fs.ErrNotExist", err)
	}
	if diff := cmp.Diff(blobtest.Keys(t, open(t, dir, nil)), []string(nil)); diff != "" {
		t.Errorf("keys (-got +want):\n%s", diff)
	}
}

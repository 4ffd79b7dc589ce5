package fileblob_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/blobtest"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

// The power fails before each operation of a Put, and after the last one. What
// comes back is a directory that opens, with the whole blob or without it; and
// with it when Put had returned.
func TestPowerCut(t *testing.T) {
	for name, put := range puts {
		t.Run(name, func(t *testing.T) {
			disk := fault.NewDisk()
			first, err := put(t.Context(), blob.New(open(t, "/blobs", disk)), source(t))
			if err != nil {
				t.Fatal(err)
			}
			fsys := newSwitched(disk)
			b := blob.New(open(t, "/blobs", fsys))
			var cuts []*fault.Disk
			fsys.before = func(fault.Op) error {
				cuts = append(cuts, disk.PowerCut(nil))
				for seed := range uint64(20) {
					cuts = append(cuts, disk.PowerCut(rand.New(rand.NewPCG(seed, uint64(len(cuts))))))
				}
				return nil
			}
			second, err := put(t.Context(), b, source(t))
			if err != nil {
				t.Fatal(err)
			}
			during := len(cuts)
			fsys.before(fault.Op{})
			if during < 7*21 {
				t.Errorf("%d power cuts during Put, want 21 for each operation", during)
			}
			for i, cut := range cuts {
				checkAfterCut(t, i, open(t, "/blobs", cut), first, second, i >= during)
			}
		})
	}
}

func checkAfterCut(t *testing.T, cut int, d *fileblob.Driver, first, second blob.Info, returned bool) {
	t.Helper()
	b := blob.New(d)
	if err := b.Verify(t.Context(), first); err != nil {
		t.Errorf("power cut %d took an acknowledged blob: %v", cut, err)
	}
	seen := false
	for e, err := range d.List(t.Context()) {
		if err != nil {
			t.Fatalf("List after power cut %d: %v", cut, err)
		}
		if e.Key == first.Key {
			continue
		}
		seen = true
		info := second
		info.Key = e.Key
		if err := b.Verify(t.Context(), info); err != nil {
			t.Errorf("power cut %d left a part of a blob: %v", cut, err)
		}
	}
	if returned && !seen {
		t.Errorf("power cut %d took the blob of a Put that had returned", cut)
	}
}

// Power cuts during the very first Open: what it left opens, and then keeps
// what is put into it.
func TestPowerCutDuringOpen(t *testing.T) {
	disk := fault.NewDisk()
	fsys := fault.New(disk, func(op fault.Op) error {
		cut := disk.PowerCut(rand.New(rand.NewPCG(1, uint64(op.N))))
		key := blobtest.Key()
		if err := open(t, "/blobs", cut).Put(t.Context(), key, bytes.NewReader(nil)); err != nil {
			t.Errorf("Put after a power cut before operation %d: %v", op.N, err)
		}
		if diff := cmp.Diff(blobtest.Keys(t, open(t, "/blobs", cut.PowerCut(nil))), []string{key}); diff != "" {
			t.Errorf("keys after the second power cut (-got +want):\n%s", diff)
		}
		return nil
	})
	open(t, "/blobs", fsys)
	made, err := disk.PowerCut(nil).ReadDir("/blobs")
	if err != nil || len(made) != 257 {
		t.Errorf("after Open %d directories are durable (%v), want 257", len(made), err)
	}
}

const exitAt = "VITRINE_TEST_EXIT_AT"

// The process ends before each operation of a Put. What a new one finds is the
// whole blob or none, and at most one unfinished file.
func TestExitAtTheNth(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(exitAt)); err == nil {
		putAndExit(t, os.Getenv(exitAt+"_DIR"), n)
		return
	}
	dir, want := t.TempDir(), blobtest.Bytes(size)
	for n := 1; ; n++ {
		child := exec.Command(os.Args[0], "-test.run=^TestExitAtTheNth$")
		child.Env = append(os.Environ(), fmt.Sprint(exitAt, "=", n), exitAt+"_DIR="+dir)
		out, err := child.CombinedOutput()
		code := child.ProcessState.ExitCode()
		if code != 0 && code != fault.ExitCode {
			t.Fatalf("child %d: %v\n%s", n, err, out)
		}
		d := open(t, dir, nil)
		whole := 0
		for e, err := range d.List(t.Context()) {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			whole++
			r, err := d.Get(t.Context(), e.Key, 0, -1)
			if err != nil {
				t.Fatalf("Get: %v", err)
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, want) {
				t.Errorf("exit before operation %d left a blob of %d bytes (%v)", n, len(got), err)
			}
		}
		if left := len(blobtest.Keys(t, d)) - whole; whole+left > 1 {
			t.Errorf("exit before operation %d left %d blobs and %d unfinished", n, whole, left)
		}
		if code == 0 {
			if whole != 1 || n < 8 {
				t.Errorf("Put of %d operations left %d blobs, want 1", n-1, whole)
			}
			return
		}
		if _, err := blob.New(d).Sweep(t.Context(), time.Now().Add(time.Hour), none); err != nil {
			t.Fatalf("Sweep: %v", err)
		}
	}
}

func putAndExit(t *testing.T, dir string, n int) {
	fsys := newSwitched(fileblob.OS)
	d := open(t, dir, fsys)
	fsys.before = fault.Exit(fsys.Ops() + n)
	if err := d.Put(t.Context(), blobtest.Key(), bytes.NewReader(blobtest.Bytes(size))); err != nil {
		t.Fatal(err)
	}
}

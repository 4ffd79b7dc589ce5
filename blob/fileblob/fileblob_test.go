package fileblob_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/blobtest"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

func open(t testing.TB, dir string, under fileblob.FS) *fileblob.Driver {
	t.Helper()
	d, err := fileblob.Open(dir, fileblob.Options{FS: under})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return d
}

func allow(fault.Op) error { return nil }

func TestDriver(t *testing.T) {
	// One directory for all: making 257 takes longer than most of the tests.
	d := open(t, filepath.Join(t.TempDir(), "blobs"), nil)
	blobtest.Run(t, func(t *testing.T) blob.Driver {
		for _, key := range blobtest.Keys(t, d) {
			if err := d.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		return d
	})
}

// The file systems of package fault must be file systems before they fail.
func TestDriverOnFaultFS(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Driver {
		return open(t, "/blobs", fault.New(fault.NewDisk(), allow))
	})
}

func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	d := open(t, dir, nil)
	key := "ab" + strings.Repeat("0", 30)
	if err := d.Put(t.Context(), key, strings.NewReader("hello")); err != nil {
		t.Fatalf("Put: %v", err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "tmp": 0o700, "ab": 0o700, "ff": 0o700, "ab/" + key: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("Stat: %v", err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %q is %o, want %o", name, got, want)
		}
	}
}

// A second Open finds what the first one kept.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	key := blobtest.Key()
	if err := open(t, dir, nil).Put(t.Context(), key, strings.NewReader("hello")); err != nil {
		t.Fatalf("Put: %v", err)
	}
	if diff := cmp.Diff(blobtest.Keys(t, open(t, dir, nil)), []string{key}); diff != "" {
		t.Errorf("keys after a second Open (-got +want):\n%s", diff)
	}
}

func TestOpenWithoutParent(t *testing.T) {
	if _, err := fileblob.Open(filepath.Join(t.TempDir(), "no", "blobs"), fileblob.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want fs.ErrNotExist", err)
	}
}

func TestBadKeys(t *testing.T) {
	dir := t.TempDir()
	d := open(t, filepath.Join(dir, "blobs"), nil)
	outside := filepath.Join(dir, "0123456789abcdef")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"", "..", "ab", "row/0123456789abcdef", "../0123456789abcdef", "../../0123456789abcdef",
		"tmp/../../0123456789abcdef", "0123456789ABCDEF", "0123456789abcde\x00", strings.Repeat("a", 129),
	} {
		if err := d.Put(t.Context(), key, strings.NewReader("x")); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Put(%q) = %v, want fs.ErrInvalid", key, err)
		}
		if _, err := d.Get(t.Context(), key, 0, -1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Get(%q) = %v, want fs.ErrInvalid", key, err)
		}
		if err := d.Delete(t.Context(), key); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Delete(%q) = %v, want fs.ErrInvalid", key, err)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a file outside is gone: %v", err)
	}
}

// Files that somebody put beside the blobs are not listed, hence not swept.
func TestStrangers(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	misplaced := "ff" + strings.Repeat("0", 30)
	for _, name := range []string{"ab/README", "ab/" + misplaced, "tmp/README"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "ab", "ab"+misplaced[2:]), 0o700); err != nil {
		t.Fatal(err)
	}
	if keys := blobtest.Keys(t, d); len(keys) > 0 {
		t.Errorf("List yields strangers: %v", keys)
	}
}

func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	old, fresh := blobtest.Key(), blobtest.Key()
	for _, key := range []string{old, fresh} {
		if err := os.WriteFile(filepath.Join(dir, "tmp", key), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "tmp", old), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	want := []string{"tmp/" + old, "tmp/" + fresh}
	slices.Sort(want)
	if diff := cmp.Diff(blobtest.Keys(t, d), want); diff != "" {
		t.Errorf("unfinished (-got +want):\n%s", diff)
	}
	d = open(t, dir, nil)
	if diff := cmp.Diff(blobtest.Keys(t, d), []string{"tmp/" + fresh}); diff != "" {
		t.Errorf("unfinished after Open (-got +want):\n%s", diff)
	}
	if err := d.Delete(t.Context(), "tmp/"+fresh); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if keys := blobtest.Keys(t, d); len(keys) > 0 {
		t.Errorf("unfinished after Delete: %v", keys)
	}
}

// A panic of the reader (net/http aborts handlers so) leaves nothing either.
func TestPutPanics(t *testing.T) {
	d := open(t, "/blobs", fault.NewDisk())
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		d.Put(t.Context(), blobtest.Key(), panicking{})
	}()
	if keys := blobtest.Keys(t, d); len(keys) > 0 {
		t.Errorf("left behind: %v", keys)
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("abort") }

// Some network and FUSE file systems cannot sync a directory; a file that
// cannot be synced is an error with them, too.
func TestSyncTolerance(t *testing.T) {
	for _, c := range []struct {
		op  string
		err error
		ok  bool
	}{
		{"syncdir", syscall.EINVAL, true},
		{"syncdir", syscall.ENOTSUP, true},
		{"syncdir", syscall.EIO, false},
		{"sync", syscall.EINVAL, false},
		{"sync", syscall.ENOTSUP, false},
	} {
		fsys := newSwitched(fault.NewDisk())
		d := open(t, "/blobs", fsys)
		fsys.before = func(op fault.Op) error {
			if op.Name == c.op {
				return c.err
			}
			return nil
		}
		err := d.Put(t.Context(), blobtest.Key(), strings.NewReader("x"))
		if c.ok && err != nil || !c.ok && !errors.Is(err, c.err) {
			t.Errorf("Put with %s failing with %v = %v", c.op, c.err, err)
		}
	}
}

// Clone shares bytes where the temporary directory can; elsewhere it must say so.
func TestClone(t *testing.T) {
	dir := t.TempDir()
	d := open(t, filepath.Join(dir, "blobs"), nil)
	want := blobtest.Bytes(100 << 10)
	key := blobtest.Key()
	if err := d.Put(t.Context(), key, bytes.NewReader(want)); err != nil {
		t.Fatalf("Put: %v", err)
	}
	dst, err := os.Create(filepath.Join(dir, "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	captured := blobtest.Key()
	err = d.Clone(key, dst)
	if errors.Is(err, errors.ErrUnsupported) {
		err = d.PutClone(t.Context(), captured, dst, func(io.Reader) error { return nil })
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("PutClone = %v, want errors.ErrUnsupported like Clone", err)
		}
		if diff := cmp.Diff(blobtest.Keys(t, d), []string{key}); diff != "" {
			t.Errorf("keys after an unsupported PutClone (-got +want):\n%s", diff)
		}
		t.Skip("reflinks need a temporary directory on btrfs or XFS")
	}
	if err != nil {
		t.Fatalf("Clone: %v", err)
	}
	if err := d.PutClone(t.Context(), captured, dst, func(io.Reader) error { return nil }); err != nil {
		t.Fatalf("PutClone: %v", err)
	}
	for _, f := range []string{dst.Name(), filepath.Join(dir, "blobs", captured[:2], captured)} {
		if got, err := os.ReadFile(f); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes (%v), want the %d of the blob", f, len(got), err, len(want))
		}
	}
}

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/fault"
	"github.com/vitrine-hq/vitrine/store"
)

// switched is the file system of the blobs, broken on demand. Of the listings
// of the 256 directories, which are all alike, it asks about the first and the
// last one only.
type switched struct {
	*fault.FS
	n      int // operations that were asked about
	before func(fault.Op) error
}

func newSwitched(under fileblob.FS) *switched {
	s := &switched{}
	s.FS = fault.New(under, func(op fault.Op) error {
		dir := filepath.Base(op.Path)
		if s.before == nil || op.Name == "readdir" && dir != "tmp" && dir != "00" && dir != "ff" {
			return nil
		}
		s.n++
		op.N = s.n
		return s.before(op)
	})
	return s
}

// stack is everything below the HTTP of a server.
type stack struct {
	db    *store.DB
	depot *depot.Depot
}

// openStack opens what lies in dir, its blobs through fsys where that is not nil.
func openStack(ctx context.Context, dir string, fsys fileblob.FS) (*stack, error) {
	return openStackAt(ctx, dir, filepath.Join(dir, "blobs"), fsys)
}

func openStackAt(ctx context.Context, dir, blobs string, fsys fileblob.FS) (*stack, error) {
	warehouse := filepath.Join(dir, "WareHouse")
	if err := os.MkdirAll(warehouse, 0o700); err != nil {
		return nil, err
	}
	driver, err := fileblob.Open(blobs, fileblob.Options{FS: fsys})
	if err != nil {
		return nil, err
	}
	db, err := store.OpenSQLite(ctx, filepath.Join(dir, "vitrine.db"), store.Options{})
	if err != nil {
		return nil, err
	}
	d, err := depot.Open(ctx, db, blob.New(driver), depot.Options{
		WareHouse: warehouse, Implicit: true, SweepGrace: time.Nanosecond,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &stack{db, d}, nil
}

func (s *stack) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(s.depot.Close(), s.db.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
}

const tenant = artifact.DefaultTenant

// manifest lies among the attachments.
const manifest = "attachments_manifest.json"

// script does one of each thing that touches files, and goes on where one
// fails. Its sessions are its own: several may run on one depot.
type script struct {
	d    *depot.Depot
	dir  string
	name string
	rng  *rand.Rand
	step string // that is running
	gone string // the blob of the twin, which goes in the background
	// done is told of each step, and of what it acknowledged.
	done func(step string, acked []artifact.Version, err error)
}

func (s *script) id() artifact.SessionID { return artifact.SessionID(s.name) }

// twin is a second session, which the script deletes.
func (s *script) twin() artifact.SessionID { return artifact.SessionID(s.name + "-twin") }

func (s *script) run(ctx context.Context) {
	const large = 48 << 10 // a few writes each
	s.upload(ctx, "small upload", s.id(), 4<<10)
	s.upload(ctx, "large upload", s.id(), large)
	s.upload(ctx, "form", s.id(), 100, large, 0, large)
	s.write("x.txt", 100)
	s.write("big.bin", large)
	s.scan(ctx, "scan of new files")
	s.write("big.bin", large+1)
	os.Remove(s.file("x.txt")) // it may never have been captured
	s.scan(ctx, "scan of changes")
	s.zip(ctx)
	s.upload(ctx, "upload to be deleted", s.twin(), large)
	s.step = "delete"
	err := s.d.DeleteSession(ctx, tenant, s.twin())
	if errors.Is(err, store.ErrNoSession) {
		err = nil // nothing was uploaded
	}
	s.done("delete", nil, err)
	s.step = "sweep"
	_, err = s.d.Sweep(ctx, false)
	s.done("sweep", nil, err)
}

func (s *script) upload(ctx context.Context, step string, id artifact.SessionID, sizes ...int) {
	s.step = step
	acked, err := func() ([]artifact.Version, error) {
		u, err := s.d.NewUpload(ctx, tenant, id)
		if err != nil {
			return nil, err
		}
		defer u.Discard()
		for i, n := range sizes {
			if _, err := u.Add(ctx, fmt.Sprintf("f%d.bin", i), "", bytes.NewReader(noise(s.rng, n))); err != nil {
				return nil, err
			}
		}
		return u.Commit(ctx)
	}()
	if id == s.twin() && err == nil {
		acked, s.gone = nil, acked[0].Key // it is deleted next
	}
	s.done(step, acked, err)
}

func (s *script) file(name string) string {
	return filepath.Join(workspace(s.dir, s.name), name)
}

func (s *script) write(name string, size int) {
	path := s.file(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, noise(s.rng, size), 0o600); err != nil {
		panic(err)
	}
}

func (s *script) scan(ctx context.Context, step string) {
	s.step = step
	r, err := s.d.Scan(ctx, tenant, s.id(), "")
	if errors.Is(err, store.ErrNoSession) {
		err = nil // no upload has made the session
	}
	s.done(step, r.Versions, err)
}

func (s *script) zip(ctx context.Context) {
	s.step = "zip"
	found, err := s.d.Session(ctx, tenant, s.id())
	if err == nil {
		var z *depot.Zip
		if z, err = s.d.PrepareZip(ctx, &found, depot.ZipOptions{}); err == nil {
			err = z.Stream(ctx, io.Discard)
		}
	}
	if errors.Is(err, store.ErrNoSession) {
		err = nil
	}
	s.done("zip", nil, err)
}

// holds fails the test unless a depot is sound and has what was acknowledged.
func holds(t testing.TB, d *depot.Depot, acked []artifact.Version) {
	t.Helper()
	report, err := d.Check(t.Context(), true, nil)
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	for _, f := range report.Faults {
		t.Errorf("check: %s", f)
	}
	holdsFiles(t, d, acked)
	for _, want := range acked {
		if want.Session == artifact.LibraryLog {
			continue
		}
		got, err := d.Version(t.Context(), tenant, want.Session, want.ID())
		if err != nil || got.SHA256 != want.SHA256 || got.Seq != want.Seq {
			t.Errorf("acknowledged %s %s: %+v, %v", want.Change, want.Path, got, err)
			continue
		}
		if want.Change == artifact.Deleted {
			continue
		}
		if sum, err := sumOf(t.Context(), d, &got); err != nil || sum != want.SHA256 {
			t.Errorf("acknowledged %s has the hash %s (%v), want %s", want.Path, sum, err, want.SHA256)
		}
	}
}

// sumOf returns the hash of what a version holds.
func sumOf(ctx context.Context, d *depot.Depot, v *artifact.Version) (string, error) {
	r, err := d.OpenContent(ctx, v)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return sum(b), errors.Join(err, r.Close())
}

// clearSession deletes the session of a script.
func clearSession(t testing.TB, d *depot.Depot, name string) {
	t.Helper()
	if err := d.DeleteSession(t.Context(), tenant, artifact.SessionID(name)); err != nil && artifact.KindOf(err) != artifact.NotFound {
		t.Fatal(err)
	}
}

// play is a script with what is to be looked at after it.
type play struct {
	run   func(s *script, ctx context.Context)
	only  func(t testing.TB, d *depot.Depot, dir, name string, acked []artifact.Version)
	clear func(t testing.TB, d *depot.Depot, name string)
}

var plays = map[string]play{
	"sessions": {(*script).run, only, clearSession},
	"library":  {(*script).shelve, onlyFiles, clearFiles},
}

// only fails the test if a session shows uploads that were not acknowledged,
// or folders of some.
func only(t testing.TB, d *depot.Depot, dir, name string, acked []artifact.Version) {
	t.Helper()
	want := map[string]bool{}
	for _, v := range acked {
		if string(v.Session) == name && v.Upload() {
			want[v.Attachment] = true
		}
	}
	found, err := d.Session(t.Context(), tenant, artifact.SessionID(name))
	if errors.Is(err, store.ErrNoSession) && len(want) == 0 {
		return
	}
	if err != nil {
		t.Errorf("session %s: %v", name, err)
		return
	}
	if found.Attachments != int64(len(want)) {
		t.Errorf("session %s has %d uploads, %d were acknowledged", name, found.Attachments, len(want))
	}
	folders, err := os.ReadDir(filepath.Join(workspace(dir, name), artifact.AttachmentsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !want[f.Name()] && f.Name() != manifest && !strings.HasPrefix(f.Name(), ".manifest-") {
			t.Errorf("session %s: the failed upload %s is in the workspace", name, f.Name())
		}
	}
}

// Variables of the child that runs the script and exits at an operation.
const (
	exitAt   = "VITRINE_TEST_EXIT_AT"
	exitDir  = "VITRINE_TEST_DIR"
	exitName = "VITRINE_TEST_NAME"
	exitPlay = "VITRINE_TEST_PLAY"
)

// scriptChild runs the script, printing what was acknowledged, and ends before
// the operation that exitAt names.
func scriptChild() error {
	n, err := strconv.Atoi(os.Getenv(exitAt))
	if err != nil {
		return err
	}
	fsys := newSwitched(fileblob.OS)
	ctx := context.Background()
	dir := os.Getenv(exitDir)
	st, err := openStack(ctx, dir, fsys)
	if err != nil {
		return err
	}
	fsys.before = fault.Exit(n)
	out := json.NewEncoder(os.Stdout)
	s := &script{d: st.depot, dir: dir, name: os.Getenv(exitName), rng: rand.New(rand.NewPCG(1, uint64(n)))}
	var failed error
	s.done = func(step string, acked []artifact.Version, err error) {
		for i := range acked {
			failed = errors.Join(failed, out.Encode(plain(acked[i])))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", step, err))
		}
	}
	plays[os.Getenv(exitPlay)].run(s, ctx)
	return errors.Join(failed, st.depot.Close(), st.db.Close())
}

// plain is a version as its fields, not as the event that clients see.
type plain artifact.Version

package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
	"github.com/vitrine-hq/vitrine/store"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// backedUp returns a stand with a little of everything and a backup of it.
func backedUp(t testing.TB) (s *stand, backup string) {
	t.Helper()
	s = newStand(t, t.TempDir(), Options{})
	s.up("a", "small.txt", []byte("small"))
	s.up("a", "large.bin", noise(large, 1))
	s.write("a", "out/result.bin", noise(large, 2))
	s.up("b", "cleaned.bin", noise(large, 3))
	if err := s.CleanUploads(t.Context(), tenant, "b"); err != nil {
		t.Fatal(err)
	}
	s.up("gone", "gone.bin", noise(large, 4))
	if err := s.DeleteSession(t.Context(), tenant, "gone"); err != nil {
		t.Fatal(err)
	}
	s.orphan("nobody names me")
	backup = filepath.Join(t.TempDir(), "of", "today")
	info, err := s.Backup(t.Context(), backup, openBlobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.Blobs != 2 || info.Bytes != 2*large || info.LogID != s.LogID() {
		t.Errorf("backup holds %+v, want 2 blobs of %d bytes and log %s", info, 2*large, s.LogID())
	}
	return s, backup
}

// contents returns the contents of all versions of a session by entry.
func (s *stand) contents(id artifact.SessionID) map[artifact.Seq]string {
	s.Helper()
	session := s.session(id)
	all := map[artifact.Seq]string{}
	for v, err := range s.Files(s.Context(), &session, session.LastSeq) {
		if err != nil {
			s.Fatal(err)
		}
		b, err := s.content(v)
		if err != nil && !v.Cleaned() {
			s.Fatal(err)
		}
		all[v.Seq] = v.ID() + v.Path + string(b)
	}
	return all
}

func TestBackupAndRestore(t *testing.T) {
	s, backup := backedUp(t)
	want := s.contents("a")
	log := s.LogID()
	s.up("a", "later.txt", []byte("not in the backup"))
	data := filepath.Join(t.TempDir(), "new")
	if err := Restore(t.Context(), backup, data, openBlobs, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{restoringDir, databaseFile + "-wal", databaseFile + "-shm"} {
		if there(filepath.Join(data, name)) {
			t.Errorf("the restore left %s", name)
		}
	}
	got := newStand(t, data, Options{})
	if d := cmp.Diff(want, got.contents("a")); d != "" {
		t.Errorf("restored files (-want +got):\n%s", d)
	}
	if r := got.sound(); r.Sessions != 2 || r.Orphans > 1 { // the probe for reflinks may be one
		t.Errorf("report of the restored store: %+v", r)
	}
	if _, err := got.Session(t.Context(), tenant, "gone"); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("deleted session after the restore: %v, want %v", err, store.ErrNoSession)
	}
	if _, err := got.Follow(t.Context(), tenant, "a", Cursor{After: 1, LogID: log}); artifact.KindOf(err) != artifact.Gone {
		t.Errorf("cursor of the lost server: %v, want Gone", err)
	}
	session := got.session("a")
	for v, err := range got.Files(t.Context(), &session, session.LastSeq) {
		if err != nil {
			t.Fatal(err)
		}
		if !there(filepath.Join(got.workspace(&session), filepath.FromSlash(v.Path))) {
			t.Errorf("%s is not in the restored workspace", v.Path)
		}
	}
	scan, err := got.Scan(t.Context(), tenant, "a", "")
	if err != nil || len(scan.Versions) > 0 {
		t.Errorf("the first scan found %+v, %v; want nothing changed", scan.Versions, err)
	}
}

func TestBackupDuringUploads(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := artifact.SessionID(fmt.Sprint("s", w))
				if _, err := s.tryUp(ctx, id, "x.bin", noise(large*(i%2)+10, uint64(i))); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				if i%5 == 4 { // its blobs must stay until the backup has them
					if err := s.CleanUploads(ctx, tenant, id); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for i := range 3 {
		backup, data := filepath.Join(t.TempDir(), fmt.Sprint(i)), t.TempDir()
		if _, err := s.Backup(t.Context(), backup, openBlobs, nil); err != nil {
			t.Fatal(err)
		}
		if err := Restore(t.Context(), backup, data, openBlobs, nil); err != nil {
			t.Fatal(err)
		}
		newStand(t, data, Options{}).sound()
	}
	cancel()
	wg.Wait()
}

func TestBackupRefuses(t *testing.T) {
	s, backup := backedUp(t)
	if _, err := s.Backup(t.Context(), backup, openBlobs, nil); artifact.KindOf(err) != artifact.Exists || !strings.Contains(err.Error(), "already holds a backup") {
		t.Errorf("backup over a backup: %v, want Exists", err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), full, openBlobs, nil); artifact.KindOf(err) != artifact.Exists || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("backup into a folder with a file: %v, want Exists", err)
	}
	v := s.up("a", "harmed.bin", noise(large, 5))
	b := noise(large, 5)
	b[7] ^= 1
	if err := os.WriteFile(s.blobFile(v.Key), b, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := s.Backup(t.Context(), dir, openBlobs, nil); !errors.Is(err, blob.ErrDamaged) {
		t.Errorf("backup of a damaged blob: %v, want %v", err, blob.ErrDamaged)
	}
	if there(filepath.Join(dir, backupFile)) {
		t.Error("the backup that failed is marked as complete")
	}
	if err := Restore(t.Context(), dir, t.TempDir(), openBlobs, nil); artifact.KindOf(err) != artifact.Invalid {
		t.Errorf("restore of a backup that failed: %v, want Invalid", err)
	}
}

func TestBackupOfPostgres(t *testing.T) {
	db, err := store.OpenPostgres(t.Context(), storetest.Postgres(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d, err := Open(t.Context(), db, blob.New(blob.NewMem()), Options{WareHouse: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	dir := filepath.Join(t.TempDir(), "b")
	if _, err := d.Backup(t.Context(), dir, openBlobs, nil); artifact.KindOf(err) != artifact.Invalid || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("Backup: %v, want an Invalid error that names pg_dump", err)
	}
	if there(dir) {
		t.Error("the refused backup made its folder")
	}
}

func TestRestoreRefuses(t *testing.T) {
	s, backup := backedUp(t)
	change := func(name string, f func(file string) error) string {
		dir := filepath.Join(t.TempDir(), "b")
		if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
			t.Fatal(err)
		}
		if err := f(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	v := s.version("a", s.largeOf("a"))
	inBackup := filepath.Join(blobsDir, v.Key[:2], v.Key)
	flip := func(file string) error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		return os.WriteFile(file, b, 0o600)
	}
	used := t.TempDir()
	if err := os.Mkdir(filepath.Join(used, wareHouseDir), 0o700); err != nil {
		t.Fatal(err)
	}
	none := func(string) error { return nil }
	for _, tt := range []struct {
		name, from, to string
		want           func(error) bool
	}{
		{"a data directory", backup, s.dir, kind(artifact.Exists)},
		{"one without a database", backup, used, kind(artifact.Exists)},
		{"no backup", t.TempDir(), t.TempDir(), kind(artifact.Invalid)},
		{"interrupted backup", change(backupFile, os.Remove), t.TempDir(), kind(artifact.Invalid)},
		{"another version", change(backupFile, func(f string) error {
			b, err := json.Marshal(BackupInfo{Version: 99})
			return errors.Join(err, os.WriteFile(f, b, 0o600))
		}), t.TempDir(), kind(artifact.Invalid)},
		{"damaged mark", change(backupFile, func(f string) error { return os.Truncate(f, 10) }), t.TempDir(), kind(artifact.Invalid)},
		{"truncated database", change(databaseFile, func(f string) error { return os.Truncate(f, 8192) }), t.TempDir(), kind(artifact.Invalid)},
		{"damaged database", change(databaseFile, flip), t.TempDir(), kind(artifact.Invalid)},
		{"damaged blob", change(inBackup, flip), t.TempDir(), func(err error) bool { return errors.Is(err, blob.ErrDamaged) }},
		{"missing blob", change(inBackup, os.Remove), t.TempDir(), func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		{"nothing wrong", change(backupFile, none), t.TempDir(), func(err error) bool { return err == nil }},
	} {
		err := Restore(t.Context(), tt.from, tt.to, openBlobs, nil)
		if !tt.want(err) {
			t.Errorf("%s: %v is not the error that it should be", tt.name, err)
		}
		if err != nil && tt.to != s.dir && there(filepath.Join(tt.to, databaseFile)) {
			t.Errorf("%s: the restore failed and left a database", tt.name)
		}
	}
}

func kind(k artifact.Kind) func(error) bool {
	return func(err error) bool { return artifact.KindOf(err) == k && err != nil }
}

// largeOf returns the id of a file of the session that lies in a blob.
func (s *stand) largeOf(id artifact.SessionID) string {
	s.Helper()
	session := s.session(id)
	for v, err := range s.Files(s.Context(), &session, session.LastSeq) {
		if err == nil && !store.InRow(v.Key) {
			return v.ID()
		}
	}
	s.Fatal("no file lies in a blob")
	return ""
}

var errDisk = errors.New("the disk is gone")

// A restore that ends anywhere leaves nothing that passes for a data directory,
// and the next one goes on.
func TestRestoreAfterACrash(t *testing.T) {
	s, backup := backedUp(t)
	want := s.contents("a")
	data := t.TempDir()
	target := filepath.Join(data, blobsDir)
	// Making the 256 folders takes most of the operations; the interesting ones
	// come after.
	probe := fault.New(fileblob.OS, func(fault.Op) error { return nil })
	if _, err := fileblob.Open(filepath.Join(t.TempDir(), blobsDir), fileblob.Options{FS: probe}); err != nil {
		t.Fatal(err)
	}
	crashes := 0
	for n := probe.Ops() - 2; ; n++ {
		open := func(dir string) (blob.Driver, error) {
			if dir != target {
				return openBlobs(dir)
			}
			return fileblob.Open(dir, fileblob.Options{FS: fault.New(fileblob.OS, fault.FailFrom(n, errDisk))})
		}
		err := Restore(t.Context(), backup, data, open, nil)
		if err == nil {
			break
		}
		crashes++
		if !errors.Is(err, errDisk) {
			t.Fatalf("crash at operation %d: %v, want %v", n, err, errDisk)
		}
		if there(filepath.Join(data, databaseFile)) {
			t.Fatalf("crash at operation %d left a database", n)
		}
		if err := Restored(data); artifact.KindOf(err) != artifact.Unavailable {
			t.Fatalf("Restored after a crash: %v, want Unavailable", err)
		}
	}
	if crashes < 10 {
		t.Errorf("only %d crashes; the loop does not reach the copying", crashes)
	}
	if err := Restored(data); err != nil {
		t.Errorf("Restored at the end: %v", err)
	}
	got := newStand(t, data, Options{})
	if d := cmp.Diff(want, got.contents("a")); d != "" {
		t.Errorf("restored files (-want +got):\n%s", d)
	}
	got.sound()
}

func TestBackupAfterACrash(t *testing.T) {
	s, _ := backedUp(t)
	dir := filepath.Join(t.TempDir(), "b")
	broken := func(string) (blob.Driver, error) { return failing{blob.NewMem()}, nil }
	if _, err := s.Backup(t.Context(), dir, broken, nil); !errors.Is(err, errDisk) {
		t.Fatalf("backup to a broken disk: %v, want %v", err, errDisk)
	}
	_, err := s.Backup(t.Context(), dir, openBlobs, nil)
	if artifact.KindOf(err) != artifact.Exists || !strings.Contains(err.Error(), "interrupted backup") {
		t.Errorf("backup over an interrupted one: %v, want Exists", err)
	}
	if err := Restore(t.Context(), dir, t.TempDir(), openBlobs, nil); artifact.KindOf(err) != artifact.Invalid {
		t.Errorf("restore of an interrupted backup: %v, want Invalid", err)
	}
}

// failing is a driver that cannot store.
type failing struct{ blob.Driver }

func (failing) Put(context.Context, string, io.Reader) error { return errDisk }

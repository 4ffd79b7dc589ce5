package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// age makes a file or folder, with all in it, look as if it was last touched d ago.
func age(t testing.TB, name string, d time.Duration) {
	t.Helper()
	when := time.Now().Add(-d)
	err := filepath.WalkDir(name, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(p, when, when)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stand) orphan(content string) blob.Info {
	s.Helper()
	info, err := s.bucket.Put(s.Context(), strings.NewReader(content), 0)
	if err != nil {
		s.Fatal(err)
	}
	return info
}

func there(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// sweepBoth sweeps, and fails the test unless a dry run before has listed the
// very same and changed nothing.
func (s *stand) sweepBoth() Swept {
	s.Helper()
	dry, err := s.Sweep(s.Context(), true)
	if err != nil {
		s.Fatal(err)
	}
	again, err := s.Sweep(s.Context(), true)
	if err != nil {
		s.Fatal(err)
	}
	if d := cmp.Diff(dry, again); d != "" {
		s.Errorf("a dry run changed something (-first +second):\n%s", d)
	}
	done, err := s.Sweep(s.Context(), false)
	if err != nil {
		s.Fatal(err)
	}
	dry.DryRun = false
	if d := cmp.Diff(dry, done); d != "" {
		s.Errorf("the dry run lists another sweep (-dry +real):\n%s", d)
	}
	return done
}

func TestSweepBlobs(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	named := s.up("a", "x.bin", noise(large, 1))
	old, young := s.orphan("old"), s.orphan("young")
	for _, key := range []string{named.Key, old.Key} {
		age(t, s.blobFile(key), 25*time.Hour)
	}
	half := filepath.Join(s.dir, blobsDir, "tmp", strings.Repeat("ab", 16))
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, half, 25*time.Hour)
	got := s.sweepBoth()
	if got.Blobs != 2 || got.Bytes != int64(len("old")+len("half")) {
		t.Errorf("swept %d blobs of %d bytes, want the old one and the half one: %+v", got.Blobs, got.Bytes, got.Items)
	}
	if there(s.blobFile(old.Key)) || there(half) || !there(s.blobFile(young.Key)) || !there(s.blobFile(named.Key)) {
		t.Errorf("old %t, half %t, young %t, named %t; want only the last two",
			there(s.blobFile(old.Key)), there(half), there(s.blobFile(young.Key)), there(s.blobFile(named.Key)))
	}
	if err := s.DeleteSession(t.Context(), tenant, "a"); err != nil {
		t.Fatal(err)
	}
	until(t, "the session is purged", func() bool {
		list, err := s.db.Pending(t.Context(), 1)
		return err == nil && len(list) == 0
	})
	if got := s.sweepBoth(); got.Blobs != 0 || there(s.blobFile(named.Key)) {
		t.Errorf("after the session went %d blobs were swept, want none: its own went with it", got.Blobs)
	}
}

func TestSweepFolders(t *testing.T) {
	s := newLight(t, Options{})
	const old = 25 * time.Hour
	kept := s.up("a", "x.txt", []byte("x"))
	session := s.session("a")
	uploads := filepath.Join(s.workspace(&session), artifact.AttachmentsDir)
	outside := filepath.Join(t.TempDir(), artifact.NewAttachmentID())
	folder := func(name string, old time.Duration) string {
		if err := os.MkdirAll(filepath.Join(name, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(name, "in", "f"), []byte("1234"), 0o600); err != nil {
			t.Fatal(err)
		}
		age(t, name, old)
		return name
	}
	ware := s.opt.WareHouse
	garbage := []string{
		folder(filepath.Join(ware, incoming, artifact.NewAttachmentID()), old),
		folder(filepath.Join(ware, trash, "12345"), old),
		folder(filepath.Join(ware, "session_nobody"), old),
		folder(filepath.Join(ware, "pf_other", "session_nobody"), old),
		folder(filepath.Join(uploads, artifact.NewAttachmentID()), old),
	}
	stay := []string{
		folder(filepath.Join(ware, incoming, artifact.NewAttachmentID()), time.Hour),
		folder(filepath.Join(ware, "session_young"), time.Hour),
		folder(filepath.Join(ware, "not-ours"), old),
		folder(filepath.Join(ware, "session_not.ours"), old),
		folder(filepath.Join(uploads, artifact.NewAttachmentID()), time.Hour),
		folder(filepath.Join(uploads, "made-by-hand"), old),
		filepath.Join(uploads, kept.Attachment),
		folder(outside, old),
	}
	// Old, but for something deep inside.
	busy := folder(filepath.Join(ware, "session_busy"), old)
	age(t, filepath.Join(busy, "in", "f"), time.Hour)
	stay = append(stay, busy)
	age(t, filepath.Join(uploads, kept.Attachment), old)
	// An agent's links lead to folders that look like ours.
	s.up("b", "y.txt", []byte("y"))
	s.settle()
	other := s.session("b")
	lured := filepath.Join(s.workspace(&other), artifact.AttachmentsDir)
	if err := os.Rename(lured, lured+"-moved"); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{lured, filepath.Join(ware, "session_link")} {
		if err := os.Symlink(filepath.Dir(outside), link); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { // before the last manifests are written
		if err := os.Remove(lured); err != nil {
			t.Error(err)
		}
	}()
	got := s.sweepBoth()
	if got.Folders != int64(len(garbage)) || got.Bytes != 4*int64(len(garbage)) {
		t.Errorf("swept %d folders of %d bytes, want %d of 4 each: %+v", got.Folders, got.Bytes, len(garbage), got.Items)
	}
	for _, name := range garbage {
		if there(name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range stay {
		if !there(name) {
			t.Errorf("%s is gone", name)
		}
	}
}

// A crash can come between the commit of a cleaning and the removal of files.
func TestSweepFinishesACleaning(t *testing.T) {
	s := newLight(t, Options{})
	v := s.up("a", "x.txt", []byte("x"))
	session := s.session("a")
	err := s.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.Clean(session.Key, []artifact.Seq{v.Seq}) })
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.workspace(&session), artifact.AttachmentsDir, v.Attachment)
	age(t, file, 25*time.Hour)
	if got := s.sweepBoth(); got.Folders != 1 || there(file) {
		t.Errorf("swept %d folders, want that of the cleaned upload", got.Folders)
	}
}

func TestSweepByRetention(t *testing.T) {
	now := time.Now()
	s := newLight(t, Options{Retention: 48 * time.Hour, Now: func() time.Time { return now }})
	s.up("old", "x.txt", []byte("x"))
	s.up("runs", "x.txt", []byte("x"))
	s.up("waits", "x.txt", []byte("x"))
	s.exec("UPDATE sessions SET status = 'running' WHERE id = 'runs'")
	s.exec("UPDATE sessions SET status = 'waiting_for_input' WHERE id = 'waits'")
	now = now.Add(47 * time.Hour)
	s.up("young", "x.txt", []byte("x"))
	s.settle() // by this clock, a file that is being written is old
	if got := s.sweepBoth(); got.Sessions != 0 {
		t.Errorf("swept %+v, want no session yet", got.Items)
	}
	now = now.Add(2 * time.Hour)
	got := s.sweepBoth()
	if len(got.Items) != 1 || got.Items[0].Session != "old" || got.Items[0].Tenant != tenant || got.Sessions != 1 || got.Bytes != 1 {
		t.Errorf("swept %+v, want the session old of one byte", got)
	}
	if _, err := s.Session(t.Context(), tenant, "old"); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("the session after its time: %v, want %v", err, store.ErrNoSession)
	}
	for _, id := range []artifact.SessionID{"runs", "waits", "young"} {
		s.session(id)
	}
}

func TestSweepTrimsLogs(t *testing.T) {
	s := newLight(t, Options{KeepEvents: 3})
	var first artifact.Version
	for i := range 8 {
		v := s.up("a", "x.txt", fmt.Append(nil, i))
		if i == 0 {
			first = v
		}
	}
	s.up("short", "x.txt", nil)
	got := s.sweepBoth()
	want := []SweptItem{{Kind: "entries", Tenant: tenant, Session: "a", Entries: 5}}
	if d := cmp.Diff(want, got.Items); d != "" || got.Entries != 5 {
		t.Errorf("swept %d entries (-want +got):\n%s", got.Entries, d)
	}
	if a := s.session("a"); a.FirstSeq != 6 || a.LastSeq != 8 {
		t.Errorf("log of a is %d to %d, want 6 to 8", a.FirstSeq, a.LastSeq)
	}
	if _, err := s.Follow(t.Context(), tenant, "a", Cursor{After: 2}); artifact.KindOf(err) != artifact.Gone {
		t.Errorf("follow from what was trimmed: %v, want Gone", err)
	}
	v := s.version("a", first.ID())
	if b, err := s.content(&v); err != nil || string(b) != "0" {
		t.Errorf("a file whose entry was trimmed: %q, %v; want it served", b, err)
	}
	s.sound()
}

func TestSweepBesideUploads(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	for i := range 100 {
		age(t, s.blobFile(s.orphan(fmt.Sprint(i)).Key), 25*time.Hour)
	}
	var wg sync.WaitGroup
	var uploads sync.Map
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				v, err := s.tryUp(t.Context(), artifact.SessionID(fmt.Sprint("s", w)), "x.bin", noise(large, uint64(w*100+i)))
				if err != nil {
					t.Error(err)
					return
				}
				uploads.Store(v.ID(), v)
			}
		})
	}
	var swept int64
	for range 5 {
		got, err := s.Sweep(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		swept += got.Blobs
	}
	wg.Wait()
	if swept != 100 {
		t.Errorf("swept %d blobs, want the 100 orphans", swept)
	}
	if r := s.sound(); r.Versions != 40 {
		t.Errorf("%d versions, want 40", r.Versions)
	}
}

func TestSweepWaitsForACheck(t *testing.T) {
	s := newLight(t, Options{})
	release, err := s.sweeping.keep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Sweep(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sweep during a check: %v, want it to wait", err)
	}
	if _, err := s.Sweep(t.Context(), true); err != nil {
		t.Errorf("dry run during a check: %v, want it to go on", err)
	}
	if _, ok := s.sweeping.tryClear(); ok {
		t.Error("tryClear succeeded during a check")
	}
	release()
	if _, err := s.Sweep(t.Context(), false); err != nil {
		t.Error(err)
	}
}

// One blob that cannot be deleted keeps neither other blobs nor other things.
func TestSweepGoesOnAfterAnError(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{KeepEvents: 1})
	s.up("a", "x.txt", nil)
	s.up("a", "y.txt", nil)
	var keys []string
	for i := range 3 {
		b := s.orphan(fmt.Sprint(i))
		age(t, s.blobFile(b.Key), 25*time.Hour)
		keys = append(keys, b.Key)
	}
	slices.Sort(keys) // the order of the listing
	s.bucket = blob.New(sticky{mustOpen(t, filepath.Join(s.dir, blobsDir)), keys[0]})
	got, err := s.Sweep(t.Context(), false)
	if !errors.Is(err, errSticky) {
		t.Errorf("Sweep: %v, want %v", err, errSticky)
	}
	if there(s.blobFile(keys[1])) || there(s.blobFile(keys[2])) || got.Entries != 1 {
		t.Errorf("after an error the rest was not swept: %+v", got)
	}
}

var errSticky = errors.New("sticky")

// sticky is a driver that cannot delete one key.
type sticky struct {
	blob.Driver
	key string
}

func (s sticky) Delete(ctx context.Context, key string) error {
	if key == s.key {
		return errSticky
	}
	return s.Driver.Delete(ctx, key)
}

func mustOpen(t testing.TB, dir string) blob.Driver {
	t.Helper()
	d, err := openBlobs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSweepLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLight(t, Options{Retention: 90 * time.Minute})
		s.up("a", "x.txt", nil)
		gone := func() bool {
			synctest.Wait()
			_, err := s.Session(t.Context(), tenant, "a")
			return errors.Is(err, store.ErrNoSession)
		}
		time.Sleep(firstSweep + nextSweep + time.Second) // 61 minutes: two sweeps, too young for both
		if gone() {
			t.Fatal("the session went before its time")
		}
		release, err := s.sweeping.keep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(nextSweep) // a backup runs when the third sweep is due
		if gone() {
			t.Fatal("the session went while a backup was running")
		}
		release()
		time.Sleep(retrySweep)
		if !gone() {
			t.Error("the session is still there after its time")
		}
	})
}

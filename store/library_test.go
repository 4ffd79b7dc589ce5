package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
)

// shelf is a tenant's library under test.
type shelf struct {
	*testing.T
	db  *DB
	lib artifact.Session
}

func newShelf(t *testing.T, db *DB) *shelf {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *Tx) error {
		_, err := tx.EnsureLog(artifact.DefaultTenant, artifact.LibraryLog)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	lib, err := db.Log(t.Context(), artifact.DefaultTenant, artifact.LibraryLog)
	if err != nil || lib.Key == 0 {
		t.Fatalf("library %+v, %v", lib, err)
	}
	return &shelf{t, db, lib}
}

// try creates an artifact.
func (s *shelf) try(path, content string) (artifact.Version, error) {
	v := artifact.Version{Attachment: uuid.NewString(), Change: artifact.Created, Path: path, MIME: "text/plain"}
	v.Size, v.SHA256 = int64(len(content)), strings.Repeat("0", 64)
	err := s.db.Tx(s.Context(), func(tx *Tx) error {
		v.Seq, v.Number = 0, 0
		_, err := tx.AppendFile(s.lib.Key, &v, []byte(content))
		return err
	})
	return v, err
}

func (s *shelf) save(path, content string) artifact.Version {
	s.Helper()
	v, err := s.try(path, content)
	if err != nil {
		s.Fatalf("save %s: %v", path, err)
	}
	return v
}

// replace writes the next version of v.
func (s *shelf) replace(v artifact.Version, content string) (artifact.Version, error) {
	v.Change, v.Size, v.Key = artifact.Updated, int64(len(content)), ""
	follows, number := v.Seq, v.Number
	err := s.db.Tx(s.Context(), func(tx *Tx) error {
		v.Seq, v.Number = follows, number
		_, err := tx.AppendFile(s.lib.Key, &v, []byte(content))
		return err
	})
	return v, err
}

func (s *shelf) content(v artifact.Version) string {
	s.Helper()
	b, err := s.db.Content(s.Context(), v.Key)
	if err != nil {
		s.Fatalf("content of %s: %v", v.Path, err)
	}
	return string(b)
}

func (s *shelf) at(path artifact.Path) artifact.Version {
	s.Helper()
	v, err := s.db.FileAt(s.Context(), &s.lib, path)
	if err != nil {
		s.Fatalf("FileAt(%s): %v", path, err)
	}
	return v
}

// sound fails the test where the rows contradict each other.
func (s *shelf) sound() {
	s.Helper()
	faults, err := s.db.LogFaults(s.Context())
	if err != nil || len(faults) > 0 {
		s.Errorf("faults %q, %v", faults, err)
	}
	if lost, err := s.db.Totals(s.Context()); err != nil || lost.Lost != 0 {
		s.Errorf("lost %+v, %v", lost, err)
	}
}

func TestLibraryLife(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		first := s.save("/docs/a.md", "one")
		if _, err := s.try("/docs/a.md", "again"); artifact.KindOf(err) != artifact.Exists {
			t.Errorf("second save: %v, want Exists", err)
		}
		second, err := s.replace(first, "two!")
		if err != nil || second.Number != 2 {
			t.Fatalf("replace: version %d, %v", second.Number, err)
		}
		if _, err := s.replace(first, "lost edit"); artifact.KindOf(err) != artifact.Exists {
			t.Errorf("replace of what was replaced: %v, want Exists", err)
		}
		moved := second
		if err := db.Tx(t.Context(), func(tx *Tx) error {
			moved = second
			return tx.MoveFile(s.lib.Key, &moved, "/b.md", "text/markdown")
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.FileAt(t.Context(), &s.lib, "/docs/a.md"); !errors.Is(err, ErrNoFile) {
			t.Errorf("after the move: %v, want ErrNoFile", err)
		}
		got := s.at("/b.md")
		if s.content(got) != "two!" || got.Number != 2 || got.Attachment != first.Attachment || got.MIME != "text/markdown" {
			t.Errorf("moved: %+v", got)
		}
		versions, err := db.FileVersions(t.Context(), &s.lib, first.Attachment, 10, 10)
		if err != nil || len(versions) != 2 || s.content(versions[1]) != "one" {
			t.Errorf("versions %+v, %v", versions, err)
		}
		// Once the entries that a move took the content from told no number any more.
		log, err := db.Entries(t.Context(), &s.lib, 0, 10)
		if err != nil || len(log) != 3 || log[1].Version.Number != 2 {
			t.Errorf("the log tells of %+v, %v", log, err)
		}
		s.sound()
		gone := got
		if err := db.Tx(t.Context(), func(tx *Tx) error {
			gone = got
			_, err := tx.DeleteFile(s.lib.Key, &gone)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		versions, err = db.FileVersions(t.Context(), &s.lib, first.Attachment, 10, 10)
		if err != nil || len(versions) != 0 {
			t.Errorf("versions of the deleted: %+v, %v", versions, err)
		}
		if _, err := db.FileByID(t.Context(), &s.lib, first.Attachment); !errors.Is(err, ErrNoFile) {
			t.Errorf("by id: %v, want ErrNoFile", err)
		}
		if again := s.save("/b.md", "new"); again.Number != 1 || again.Attachment == first.Attachment {
			t.Errorf("saved again: %+v", again)
		}
		s.sound()
		tenant, err := db.Tenant(t.Context(), artifact.DefaultTenant)
		if err != nil || tenant.Usage != (Usage{Bytes: 3, Files: 1}) {
			t.Errorf("usage %+v, %v", tenant.Usage, err)
		}
	})
}

func TestOldVersionsLoseTheirBytes(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		v := s.save("/a.md", "v1")
		err := db.Tx(t.Context(), func(tx *Tx) error { // as one transaction, for speed
			last := v
			for range artifact.MaxVersions + 2 {
				last.Change, last.Size = artifact.Updated, 1
				if _, err := tx.AppendFile(s.lib.Key, &last, []byte("x")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		versions, err := db.FileVersions(t.Context(), &s.lib, v.Attachment, 1000, 1000)
		if err != nil || len(versions) != artifact.MaxVersions || versions[artifact.MaxVersions-1].Number != 4 {
			t.Errorf("%d versions, %v", len(versions), err)
		}
		if _, err := db.FileVersion(t.Context(), &s.lib, v.Attachment, 3); !errors.Is(err, ErrNoFile) {
			t.Errorf("version 3: %v, want ErrNoFile", err)
		}
		s.sound()
	})
}

func TestOneWinnerPerPath(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		var wg sync.WaitGroup
		wins := make(chan string, 32)
		for i := range 32 {
			wg.Go(func() {
				v, err := s.try("/one.txt", fmt.Sprint(i))
				switch {
				case err == nil:
					wins <- v.Attachment
				case artifact.KindOf(err) != artifact.Exists:
					t.Errorf("loser: %v, want Exists", err)
				}
			})
		}
		wg.Wait()
		if len(wins) != 1 || s.at("/one.txt").Attachment != <-wins {
			t.Errorf("%d winners, want 1", len(wins))
		}
		s.sound()
	})
}

func TestChildren(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		for _, p := range []string{"/a", "/a/b.md", "/a.b/c", "/B/x", "/p/q/r/s.txt", "/p/q.md", "/p-/z", "/p/q/0", "/zz", "/p/q0"} {
			s.save(p, p)
		}
		for i := range 60 {
			s.save(fmt.Sprintf("/deep/%d/%d", i%3, i), "x")
		}
		for dir, want := range map[artifact.Path]string{
			"/":      "B/ a a.b/ a/ deep/ p-/ p/ zz",
			"/p":     "q.md q/ q0",
			"/a":     "b.md",
			"/deep":  "0/ 1/ 2/",
			"/dee":   "",
			"/zz":    "",
			"/p/q/r": "s.txt",
		} {
			var got []string
			err := db.Children(t.Context(), &s.lib, dir,
				func(name string) bool { got = append(got, name+"/"); return true },
				func(v *artifact.Version) bool {
					got = append(got, v.Path[strings.LastIndexByte(v.Path, '/')+1:])
					return true
				})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", dir, diff)
			}
		}
		list, err := db.FilesUnder(t.Context(), &s.lib, "/p", "/p/q.md", 2)
		if err != nil || len(list) != 2 || list[0].Path != "/p/q/0" || list[1].Path != "/p/q/r/s.txt" {
			t.Errorf("FilesUnder = %v, %v", list, err)
		}
	})
}

func TestQuotaIsExact(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		limit := int64(10)
		if err := db.Tx(t.Context(), func(tx *Tx) error {
			return tx.SetQuota(artifact.DefaultTenant, nil, &limit, nil, nil)
		}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		saved := 0
		for i := range 40 {
			wg.Go(func() {
				_, err := s.try(fmt.Sprintf("/f%d", i), "x")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					saved++
				} else if artifact.KindOf(err) != artifact.Full {
					t.Errorf("over the quota: %v, want Full", err)
				}
			})
		}
		wg.Wait()
		if saved != 10 {
			t.Errorf("%d artifacts saved under a quota of 10", saved)
		}
		s.sound()
	})
}

func TestAuditSharesTheTransaction(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		who := &artifact.Caller{Kind: artifact.CallerKey, Key: "key_1", User: "usr_1", Remote: "192.0.2.1"}
		ctx := artifact.WithCaller(t.Context(), who)
		act := func(fail bool) error {
			return db.Tx(ctx, func(tx *Tx) error {
				tx.Audit(artifact.DefaultTenant, artifact.AuditEntry{Action: "thing.make", Object: "thing:1"})
				if fail {
					return artifact.Errorf(artifact.Invalid, "no")
				}
				return nil
			})
		}
		if act(false) != nil || act(true) == nil || act(false) != nil {
			t.Fatal("outcome of the transactions")
		}
		log, err := db.Log(ctx, artifact.DefaultTenant, artifact.AuditLog)
		if err != nil {
			t.Fatal(err)
		}
		list, err := db.Entries(ctx, &log, 0, 10)
		if err != nil || len(list) != 2 || list[1].Seq != 2 || list[0].Type != "thing.make" ||
			string(list[0].Data) != `{"action":"thing.make","object":"thing:1","outcome":"ok","actor":"key:key_1","user":"usr_1","remote":"192.0.2.1"}` {
			t.Errorf("audit log %+v, %v", list, err)
		}
		if sessions, err := db.Sessions(ctx, SessionQuery{Limit: 10}); err != nil || len(sessions) != 0 {
			t.Errorf("sessions %v, %v: a log is none", sessions, err)
		}
	})
}

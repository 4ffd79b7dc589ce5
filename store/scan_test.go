package store

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
)

// awaits writes a version that a scanner is to look at. The key of its blob may
// be given, else it is a small one.
func awaits(t *testing.T, db *DB, s *artifact.Session, path, blob string) artifact.Version {
	t.Helper()
	v := artifact.Version{
		Attachment: uuid.NewString(), Session: s.ID, Change: artifact.Created, Path: path, Name: path, MIME: "text/plain",
		Source: artifact.SourceWorkspace, Node: "n", Scan: artifact.ScanPending, Owner: "key:1",
		Blob: artifact.Blob{Key: blob, SHA256: strings.Repeat("0", 64), Size: 1},
	}
	content := []byte("x")
	if blob != "" {
		content = nil
	}
	err := db.Tx(t.Context(), func(tx *Tx) error {
		if s.ID == artifact.LibraryLog {
			v.Seq, v.Number = 0, 0
			_, err := tx.AppendFile(s.Key, &v, content)
			return err
		}
		return tx.AppendVersion(s.Key, &v, content)
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// queue returns the paths of what is in a state, read in pages of two.
func queue(t *testing.T, db *DB, state string) []string {
	t.Helper()
	paths := []string{}
	for after := (Looked{}); ; {
		list, err := db.Looked(t.Context(), state, &after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			paths = append(paths, fmt.Sprintf("%s%s", l.Session.ID, l.Version.Path))
			if l.Version.Session != l.Session.ID || l.Session.Tenant != artifact.DefaultTenant {
				t.Errorf("version of %q in %+v", l.Version.Session, l.Session)
			}
			after = l
		}
		if len(list) < 2 {
			return paths
		}
	}
}

func setScan(t *testing.T, db *DB, key int64, v *artifact.Version, state string) (ok bool) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *Tx) (err error) {
		ok, err = tx.SetScan(key, v, state)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestScanQueue(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		lib := newShelf(t, db).lib
		a, b := newSession(t, db, "a"), newSession(t, db, "b")
		one := awaits(t, db, &b, "/1", "")
		awaits(t, db, &a, "/2", "aa")
		three := awaits(t, db, &lib, "/3", "")
		awaits(t, db, &b, "/4", "bb")
		five := awaits(t, db, &a, "/5", "")
		if got, want := queue(t, db, artifact.ScanPending), []string{"b/1", "a/2", "/library/3", "b/4", "a/5"}; !slices.Equal(got, want) {
			t.Errorf("pending %q, want %q, the oldest first", got, want)
		}
		if n, err := db.ScanQueue(t.Context()); n != 5 || err != nil {
			t.Errorf("ScanQueue = %d, %v, want 5", n, err)
		}
		if !setScan(t, db, b.Key, &one, artifact.ScanClean) || setScan(t, db, b.Key, &one, artifact.ScanFound) {
			t.Error("the first verdict was not kept, or a second one was")
		}
		if state, err := db.ScanState(t.Context(), one.Key); state != artifact.ScanClean || err != nil {
			t.Errorf("ScanState = %q, %v", state, err)
		}
		if !setScan(t, db, lib.Key, &three, artifact.ScanFailed) || !setScan(t, db, a.Key, &five, artifact.ScanFound) {
			t.Error("no verdict was kept")
		}
		if got, want := queue(t, db, artifact.ScanFailed), []string{"/library/3"}; !slices.Equal(got, want) {
			t.Errorf("failed %q, want %q", got, want)
		}
		err := db.Tx(t.Context(), func(tx *Tx) error {
			if more, err := tx.ScanAgain(); more || err != nil {
				t.Errorf("ScanAgain = %t, %v", more, err)
			}
			_, err := tx.DeleteSession(b.Key)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := queue(t, db, artifact.ScanPending), []string{"a/2", "/library/3"}; !slices.Equal(got, want) {
			t.Errorf("pending %q, want %q", got, want)
		}
	})
}

// What was moved, cleaned or deleted while a scanner looked at it gets no
// verdict, and what has no bytes is not in the queue.
func TestVerdictsComeTooLate(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		for _, blob := range []string{"", "cc"} {
			old := awaits(t, db, &s.lib, "/from"+blob, blob)
			moved := old
			if err := db.Tx(t.Context(), func(tx *Tx) error {
				moved = old
				return tx.MoveFile(s.lib.Key, &moved, artifact.Path("/to"+blob), "text/plain")
			}); err != nil {
				t.Fatal(err)
			}
			if setScan(t, db, s.lib.Key, &old, artifact.ScanClean) {
				t.Errorf("a verdict on %q, which has moved away", old.Path)
			}
			if got := queue(t, db, artifact.ScanPending); !slices.Equal(got, []string{"/library/to" + blob}) {
				t.Errorf("pending %q", got)
			}
			if state, err := db.ScanState(t.Context(), moved.Key); state != artifact.ScanPending || err != nil {
				t.Errorf("ScanState after the move = %q, %v", state, err)
			}
			gone := s.at(artifact.Path(moved.Path))
			if gone.Owner != "key:1" {
				t.Errorf("a move made it the property of %q", gone.Owner)
			}
			if err := db.Tx(t.Context(), func(tx *Tx) error { _, err := tx.DeleteFile(s.lib.Key, &gone); return err }); err != nil {
				t.Fatal(err)
			}
			if setScan(t, db, s.lib.Key, &moved, artifact.ScanFound) {
				t.Errorf("a verdict on %q, which was deleted", moved.Path)
			}
			if _, err := db.ScanState(t.Context(), moved.Key); artifact.KindOf(err) != artifact.NotFound {
				t.Errorf("ScanState of what was deleted: %v, want NotFound", err)
			}
		}
		session := newSession(t, db, "s")
		v := awaits(t, db, &session, "/up", "")
		if err := db.Tx(t.Context(), func(tx *Tx) error { return tx.Clean(session.Key, []artifact.Seq{v.Seq}) }); err != nil {
			t.Fatal(err)
		}
		if setScan(t, db, session.Key, &v, artifact.ScanClean) || len(queue(t, db, artifact.ScanPending)) != 0 {
			t.Error("a cleaned upload is still to be looked at")
		}
	})
}

// The queue is read from its index, however long the logs are.
func TestScanQueueHasAnIndex(t *testing.T) {
	db, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "vitrine.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []struct {
		query, want string
		args        []any
	}{
		{"SELECT e.seq" + looked, "events_scan (scan=? AND (tenant,at,session,seq)>(?,?,?,?))", []any{artifact.ScanPending, "", 0, 0, 0, 1}},
		{"SELECT e.tenant" + waiting, "events_scan (scan=? AND tenant>?)", []any{artifact.ScanPending, ""}},
	} {
		plan := ""
		err = db.q.rows(t.Context(), "EXPLAIN QUERY PLAN "+q.query, q.args, func(scan func(...any) error) error {
			var id, parent, unused int
			var line string
			err := scan(&id, &parent, &unused, &line)
			plan += line + "\n"
			return err
		})
		if err != nil || !strings.Contains(plan, q.want) || strings.Contains(plan, "B-TREE") {
			t.Errorf("%v, plan:\n%s", err, plan)
		}
	}
}

// The queue goes by tenants, and each tenant's by age; who waits is found without
// reading what the others have.
func TestScanQueueByTenants(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		tenants := []string{"pf_b", "pf_a"}
		for _, id := range tenants {
			err := db.Tx(t.Context(), func(tx *Tx) error { return tx.CreateTenant(id, "") })
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range 6 {
			s := artifact.Session{ID: artifact.SessionID(fmt.Sprint("s", i/4))}
			err := db.Tx(t.Context(), func(tx *Tx) (err error) {
				s.Key, err = tx.EnsureSession(tenants[i%2], s.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			awaits(t, db, &s, fmt.Sprint("/", i), "")
		}
		var who []string
		for tenant := ""; ; {
			var err error
			if tenant, err = db.Waiting(t.Context(), tenant); err != nil {
				t.Fatal(err)
			}
			if tenant == "" {
				break
			}
			who = append(who, tenant)
			list, err := db.Looked(t.Context(), artifact.ScanPending, &Looked{Session: artifact.Session{Tenant: tenant}}, 3)
			if err != nil || len(list) != 3 {
				t.Fatalf("%s: %d, %v", tenant, len(list), err)
			}
			for i, l := range list {
				if want := fmt.Sprint("/", 2*i+slices.Index(tenants, tenant)); l.Session.Tenant != tenant || l.Version.Path != want {
					t.Errorf("%s: %d is %s of %s, want %s", tenant, i, l.Version.Path, l.Session.Tenant, want)
				}
			}
		}
		if !slices.Equal(who, []string{"pf_a", "pf_b"}) {
			t.Errorf("waiting are %v", who)
		}
	})
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// eachDB runs a test on SQLite, and on PostgreSQL where there is one.
func eachDB(t *testing.T, f func(t *testing.T, db *DB)) {
	t.Run("sqlite", func(t *testing.T) {
		// The name holds every character that a data source name could misread.
		dir := filepath.Join(t.TempDir(), "a b?c#d%41&e")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := OpenSQLite(t.Context(), filepath.Join(dir, "vitrine.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		f(t, db)
	})
	t.Run("postgres", func(t *testing.T) {
		db, err := OpenPostgres(t.Context(), storetest.Postgres(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		f(t, db)
	})
}

// newSession makes a session and returns it.
func newSession(t testing.TB, db *DB, id artifact.SessionID) artifact.Session {
	t.Helper()
	var s artifact.Session
	err := db.Tx(t.Context(), func(tx *Tx) (err error) {
		s, err = tx.CreateSession(artifact.DefaultTenant, id, nil, false)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func note(db *DB, key int64, text string) error {
	return db.Tx(context.Background(), func(tx *Tx) error {
		return tx.Append(key, &artifact.Entry{Type: "note", Data: fmt.Appendf(nil, `{"text":%q}`, text)})
	})
}

func TestSessionLife(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		s := newSession(t, db, "life")
		got, err := db.Session(ctx, artifact.DefaultTenant, "life")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, got); d != "" {
			t.Errorf("session changed on its way through the database (-made +read):\n%s", d)
		}
		err = db.Tx(ctx, func(tx *Tx) error {
			_, err := tx.CreateSession(artifact.DefaultTenant, "life", nil, false)
			return err
		})
		if artifact.KindOf(err) != artifact.Exists {
			t.Errorf("second create: %v, want an Exists error", err)
		}
		if err := note(db, s.Key, "one"); err != nil {
			t.Fatal(err)
		}
		var stone Tombstone
		err = db.Tx(ctx, func(tx *Tx) (err error) { stone, err = tx.DeleteSession(s.Key); return err })
		if err != nil || stone.LastSeq != 2 || stone.ID != "life" {
			t.Errorf("DeleteSession = %+v, %v; want life with last entry 2", stone, err)
		}
		if _, err := db.Session(ctx, artifact.DefaultTenant, "life"); !errors.Is(err, ErrNoSession) {
			t.Errorf("Session after delete: %v, want %v", err, ErrNoSession)
		}
		if err := note(db, s.Key, "late"); !errors.Is(err, ErrNoSession) {
			t.Errorf("append after delete: %v, want %v", err, ErrNoSession)
		}
		if got, err := db.Tombstone(ctx, s.Key); err != nil || got.LastSeq != 2 {
			t.Errorf("Tombstone = %+v, %v; want last entry 2", got, err)
		}
		err = db.Tx(ctx, func(tx *Tx) error { _, err := tx.EnsureSession(artifact.DefaultTenant, "life"); return err })
		if !errors.Is(err, ErrNoSession) {
			t.Errorf("implicit creation after delete: %v, want %v", err, ErrNoSession)
		}
		var again artifact.Session
		err = db.Tx(ctx, func(tx *Tx) (err error) {
			again, err = tx.CreateSession(artifact.DefaultTenant, "life", nil, true)
			return err
		})
		if err != nil || again.LastSeq != 2 || again.FirstSeq != 3 || again.Key == s.Key {
			t.Errorf("revived session = %+v, %v; want another key and a log that goes on after 2", again, err)
		}
		purgeAll(t, db, s.Key)
		if n, err := db.Entries(ctx, &s, 0, 10); err != nil || len(n) != 0 {
			t.Errorf("entries after purge: %v, %v; want none", n, err)
		}
	})
}

func purgeAll(t *testing.T, db *DB, key int64) {
	t.Helper()
	for range 100 {
		var done bool
		if err := db.Tx(t.Context(), func(tx *Tx) (err error) { _, done, err = tx.Purge(key); return err }); err != nil {
			t.Fatal(err)
		}
		if done {
			return
		}
	}
	t.Fatal("purge does not end")
}

func TestTenantsMayUseOneID(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		for _, tenant := range []string{"pf_a", "pf_b"} {
			err := db.Tx(t.Context(), func(tx *Tx) error {
				if err := tx.CreateTenant(tenant, ""); err != nil {
					return err
				}
				_, err := tx.CreateSession(tenant, "same", nil, false)
				return err
			})
			if err != nil {
				t.Errorf("create of %s: %v", tenant, err)
			}
		}
		list, err := db.Sessions(t.Context(), SessionQuery{Tenant: "pf_a", Limit: 10})
		if err != nil || len(list) != 1 || list[0].Tenant != "pf_a" {
			t.Errorf("Sessions of pf_a = %v, %v; want its own only", list, err)
		}
	})
}

// Sessions that share a commit share its time; their keys must differ all the
// same.
func TestSessionsOfOneBatch(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		err := db.Tx(t.Context(), func(tx *Tx) error {
			for i := range 400 {
				if _, err := tx.CreateSession(artifact.DefaultTenant, artifact.SessionID(fmt.Sprint(i)), nil, false); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestGaplessUnderConcurrency follows a log while many append to it: what a
// reader sees is always a prefix without a gap.
func TestGaplessUnderConcurrency(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newSession(t, db, "busy")
		const writers, each = 8, 50
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := note(db, s.Key, fmt.Sprintf("%d-%d", w, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		var next artifact.Seq
		for next < writers*each && !t.Failed() {
			woken := db.Woken(s.Key)
			list, err := db.Entries(t.Context(), &s, next, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if e.Seq != next+1 {
					t.Fatalf("after %d came %d", next, e.Seq)
				}
				next = e.Seq
			}
			if len(list) == 0 {
				<-woken
			}
		}
		wg.Wait()
		if faults, err := db.LogFaults(t.Context()); err != nil || len(faults) > 0 {
			t.Errorf("LogFaults = %v, %v; want none", faults, err)
		}
	})
}

// TestOneFaultFailsAlone puts closures that fail in every way beside ones that
// do not, in one batch.
func TestOneFaultFailsAlone(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newSession(t, db, "batch")
		gate := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			// Holds the writer until the others wait, so that they share a batch.
			db.Tx(t.Context(), func(*Tx) error { <-gate; return nil })
		})
		faults := []func(*Tx) error{
			func(tx *Tx) error { return artifact.Errorf(artifact.Exists, "business") },
			func(tx *Tx) error { // a violated constraint
				_, err := tx.exec("INSERT INTO contents (owner, n, bytes) VALUES (1, 1, ?), (1, 1, ?)", []byte{}, []byte{})
				return err
			},
			func(tx *Tx) error { _, err := tx.exec("SELECT nothing FROM nowhere"); return err },
			func(tx *Tx) error { panic("in a closure") },
		}
		errs := make([]error, len(faults))
		for i, f := range faults {
			wg.Go(func() {
				errs[i] = db.Tx(t.Context(), func(tx *Tx) error {
					if err := tx.Append(s.Key, &artifact.Entry{Type: "doomed"}); err != nil {
						return err
					}
					return f(tx)
				})
			})
			wg.Go(func() {
				if err := note(db, s.Key, "good"); err != nil {
					t.Errorf("a good transaction failed beside a bad one: %v", err)
				}
			})
		}
		close(gate)
		wg.Wait()
		for i, err := range errs {
			if err == nil {
				t.Errorf("fault %d came back as success", i)
			}
		}
		list, err := db.Entries(t.Context(), &s, 0, 100)
		if err != nil || len(list) != len(faults) {
			t.Fatalf("%d entries, %v; want %d", len(list), err, len(faults))
		}
		for i, e := range list {
			if e.Type != "note" || e.Seq != artifact.Seq(i+1) {
				t.Errorf("entry %d is %s at %d", i, e.Type, e.Seq)
			}
		}
	})
}

func TestVersions(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		s := newSession(t, db, "files")
		v := artifact.Version{Attachment: "att_x", Session: "files", Change: artifact.Created, Path: "out/a.txt", Name: "a.txt", MIME: "text/plain",
			Source: artifact.SourceWorkspace, Node: "n1", Extra: map[string]any{"k": "v"}, Blob: artifact.Blob{SHA256: strings.Repeat("0", 64), Size: 2}}
		put := func(v *artifact.Version, content []byte) {
			t.Helper()
			if err := db.Tx(ctx, func(tx *Tx) error { return tx.AppendVersion(s.Key, v, content) }); err != nil {
				t.Fatal(err)
			}
		}
		first, second, gone := v, v, v
		put(&first, []byte("v1"))
		second.Change = artifact.Updated
		put(&second, []byte("v2"))
		gone.Change = artifact.Deleted
		put(&gone, nil)
		for _, id := range []string{first.EventID, first.ID()} {
			got, err := db.Version(ctx, &s, id)
			want := first
			want.Until = second.Seq
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("Version(%s): %v (-want +got):\n%s", id, err, d)
			}
			if b, err := db.Content(ctx, got.Key); string(b) != "v1" || err != nil {
				t.Errorf("content of the first version = %q, %v", b, err)
			}
		}
		if got, err := db.Version(ctx, &s, "att_x"); err != nil || got.Change != artifact.Deleted {
			t.Errorf("Version by attachment = %+v, %v; want the deletion", got, err)
		}
		for at, want := range map[artifact.Seq]string{0: "", 1: first.EventID, 2: second.EventID, 3: ""} {
			list, err := db.State(ctx, &s, at, 0, 10)
			got := ""
			if len(list) > 0 {
				got = list[0].Version.EventID
			}
			if err != nil || got != want || len(list) > 1 {
				t.Errorf("State at %d = %v, %v; want %q", at, list, err, want)
			}
		}
		stale := v
		stale.Change = artifact.Updated
		err := db.Tx(ctx, func(tx *Tx) error { return tx.AppendVersion(s.Key, &stale, []byte("lost")) })
		if artifact.KindOf(err) != artifact.Exists {
			t.Errorf("update of a deleted file: %v, want an Exists error", err)
		}
	})
}

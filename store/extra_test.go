package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// with writes content with metadata as a new artifact, or the next version of v.
func (s *shelf) with(v *artifact.Version, path, content string, metadata map[string]any) (artifact.Version, error) {
	n := artifact.Version{Attachment: uuid.NewString(), Change: artifact.Created, Path: path, MIME: "text/plain"}
	if v != nil {
		n = *v
		n.Change, n.Key = artifact.Updated, ""
	}
	n.Extra, n.Size, n.SHA256 = metadata, int64(len(content)), strings.Repeat("0", 64)
	begin := n
	err := s.db.Tx(s.Context(), func(tx *Tx) error {
		n = begin
		_, err := tx.AppendFile(s.lib.Key, &n, []byte(content))
		return err
	})
	return n, err
}

// uses fails the test unless the tenant uses so many bytes and the rows agree.
func (s *shelf) uses(what string, want int) {
	s.Helper()
	tenant, err := s.db.Tenant(s.Context(), artifact.DefaultTenant)
	if err != nil || tenant.Bytes != int64(want) {
		s.Errorf("%s: %d bytes are used, want %d (%v)", what, tenant.Bytes, want, err)
	}
	s.sound()
}

func (s *shelf) do(f func(tx *Tx) error) {
	s.Helper()
	if err := s.db.Tx(s.Context(), f); err != nil {
		s.Fatal(err)
	}
}

// Metadata counts as it is stored, and what it used is given back with the version.
func TestMetadataCounts(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		const stored = len(`{"n":"ééé\u0000"}`)
		m := map[string]any{"n": "ééé\x00"}
		v, err := s.with(nil, "/a.md", "one", m)
		if err != nil {
			t.Fatal(err)
		}
		s.uses("saved", 3+stored)
		if v, err = s.with(&v, "", "three", nil); err != nil {
			t.Fatal(err)
		}
		s.uses("replaced without any", 3+stored+5)
		if v, err = s.with(&v, "", "", m); err != nil {
			t.Fatal(err)
		}
		s.uses("replaced", 3+stored+5+stored)
		old := v
		s.do(func(tx *Tx) error {
			v = old
			return tx.MoveFile(s.lib.Key, &v, "/b.md", "text/markdown")
		})
		s.uses("moved", 3+stored+5+stored+stored) // its entry tells it once more
		if got := s.at("/b.md"); got.Extra["n"] != "ééé\x00" {
			t.Errorf("moved, its metadata is %v", got.Extra)
		}
		if _, err := s.with(&old, "", "lost", m); artifact.KindOf(err) != artifact.Exists {
			t.Errorf("replaced what was moved: %v", err)
		}
		s.uses("a save that failed", 3+stored+5+stored+stored)
		limit := int64(3 + stored + 5 + stored + stored + stored)
		s.do(func(tx *Tx) error { return tx.SetQuota(artifact.DefaultTenant, &limit, nil, nil, nil) })
		if _, err := s.with(nil, "/c.md", "1", m); artifact.KindOf(err) != artifact.Full {
			t.Errorf("one byte more than the quota: %v, want Full", err)
		}
		if v, err = s.with(&v, "", "", m); err != nil {
			t.Errorf("what the quota allows: %v", err)
		}
		s.uses("full", int(limit))
		gone := v
		s.do(func(tx *Tx) error {
			gone = v
			_, err := tx.DeleteFile(s.lib.Key, &gone)
			return err
		})
		s.uses("deleted", 0)
		s.forgot()
	})
}

// forgot fails the test if an entry of the library tells metadata.
func (s *shelf) forgot() {
	s.Helper()
	log, err := s.db.Entries(s.Context(), &s.lib, 0, 1000)
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range log {
		if e.Version.Extra != nil {
			s.Errorf("entry %d of version %d tells %v", e.Seq, e.Version.Number, e.Version.Extra)
		}
	}
}

// A version beyond those that are kept leaves an entry of the log and nothing else.
func TestOldVersionsLoseTheirMetadata(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		m := map[string]any{"k": "v"}
		const each = 1 + len(`{"k":"v"}`)
		v, err := s.with(nil, "/a.md", "x", m)
		if err != nil {
			t.Fatal(err)
		}
		begin := v
		s.do(func(tx *Tx) error { // as one transaction, for speed
			v = begin
			for range artifact.MaxVersions + 2 {
				v.Change, v.Key = artifact.Updated, ""
				if _, err := tx.AppendFile(s.lib.Key, &v, []byte("x")); err != nil {
					return err
				}
				if v.Number == 3 { // which leaves an entry more
					if err := tx.MoveFile(s.lib.Key, &v, "/b.md", ""); err != nil {
						return err
					}
				}
			}
			return nil
		})
		s.uses("all versions", artifact.MaxVersions*each)
		log, err := db.Entries(t.Context(), &s.lib, 0, 5)
		if err != nil || len(log) != 5 || log[2].Version.Extra != nil || log[3].Version.Extra != nil || log[3].Version.Key != "" || log[4].Version.Extra == nil {
			t.Errorf("the log begins with %+v, %v", log, err)
		}
		gone := v
		s.do(func(tx *Tx) error {
			gone = v
			_, err := tx.DeleteFile(s.lib.Key, &gone)
			return err
		})
		s.uses("deleted", 0)
	})
}

// What a session tells of its files counts until the session goes, also of
// uploads that were cleaned, whose records stay.
func TestMetadataOfSessionsCounts(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s, session := newShelf(t, db), newSession(t, db, "s")
		m := map[string]any{"k": "v"}
		const stored = len(`{"k":"v"}`)
		v := &artifact.Version{Attachment: "att_1", Change: artifact.Created, Path: "a", Source: artifact.SourceUpload, Extra: m}
		put(t, db, &session, v, []byte("12345"))
		s.uses("uploaded", 5+stored)
		put(t, db, &session, &artifact.Version{Attachment: "att_2", Change: artifact.Created, Path: "b", Source: artifact.SourceWorkspace, Extra: m}, []byte("12"))
		put(t, db, &session, &artifact.Version{Attachment: "att_2", Change: artifact.Deleted, Path: "b", Source: artifact.SourceWorkspace, Extra: m}, nil)
		s.uses("captured and deleted", 7+3*stored)
		if got, err := db.Session(t.Context(), artifact.DefaultTenant, "s"); err != nil || got.Bytes != 7 {
			t.Errorf("the session has %d bytes, %v; want those of contents", got.Bytes, err)
		}
		s.do(func(tx *Tx) error { return tx.Clean(session.Key, []artifact.Seq{v.Seq}) })
		s.uses("cleaned", 2+3*stored)
		s.do(func(tx *Tx) error { _, err := tx.DeleteSession(session.Key); return err })
		s.uses("deleted", 0)
	})
}

// A database of the first release is counted when it is opened.
func TestMetadataIsCountedOnceMigrated(t *testing.T) {
	first := func(t *testing.T, d *dialect, kind database.Dialect, driver, dsn string) {
		t.Helper()
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		steps, err := migrations(d)
		if err != nil {
			t.Fatal(err)
		}
		p, err := goose.NewProvider(kind, db, nil, goose.WithGoMigrations(steps...), goose.WithDisableGlobalRegistry(true))
		if err == nil {
			_, err = p.UpTo(t.Context(), 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{
			"INSERT INTO sessions (key, tenant, id, status, created, updated, first_seq, last_seq, artifacts, size) VALUES (1, 'pf_default', 's', 'idle', 1, 1, 1, 2, 1, 3)",
			`INSERT INTO events (session, seq, type, at, data, attachment, event_id, change, until, path, source, size, blob) VALUES (1, 1, 'artifact_created', 1, '{"k":"é"}', 'att_1', 'e', 'created', 9223372036854775807, 'a', 'workspace', 3, 'abc')`,
			`INSERT INTO events (session, seq, type, at, data) VALUES (1, 2, 'note', 1, '{"k":"not of a file"}')`,
		} {
			if _, err := db.ExecContext(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(t *testing.T, db *DB, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		faults, err := db.LogFaults(context.Background())
		tenant, err2 := db.Tenant(t.Context(), artifact.DefaultTenant)
		if want := int64(3 + len(`{"k":"é"}`)); tenant.Bytes != want || len(faults) > 0 || err != nil || err2 != nil {
			t.Errorf("%d bytes, want %d; faults %q, %v, %v", tenant.Bytes, want, faults, err, err2)
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "vitrine.db")
		first(t, sqliteDialect, database.DialectSQLite3, "sqlite", fmt.Sprintf("file:%s", file))
		db, err := OpenSQLite(t.Context(), file, Options{})
		check(t, db, err)
	})
	t.Run("postgres", func(t *testing.T) {
		url := storetest.Postgres(t)
		first(t, postgresDialect, database.DialectPostgres, "pgx", url)
		db, err := OpenPostgres(t.Context(), url, Options{})
		check(t, db, err)
	})
}

// A page of entries is bounded by what it holds and has one at least; lists that
// do not show metadata read none.
func TestPagesAreBoundedByBytes(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newShelf(t, db)
		m := map[string]any{"k": strings.Repeat("m", PageBytes/3)}
		for i := range 7 {
			if _, err := s.with(nil, fmt.Sprintf("/%d", i), "x", m); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.with(nil, "/7", "x", map[string]any{"k": strings.Repeat("m", 2*PageBytes)}); err != nil {
			t.Fatal(err)
		}
		var pages, tree []int
		for after := artifact.Seq(0); ; {
			list, err := db.Entries(t.Context(), &s.lib, after, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			pages, after = append(pages, len(list)), list[len(list)-1].Seq
		}
		for after := ""; ; {
			list, err := db.FilesUnder(t.Context(), &s.lib, "/", after, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			tree, after = append(tree, len(list)), list[len(list)-1].Path
		}
		if want := "[3 3 2]"; fmt.Sprint(pages) != want || fmt.Sprint(tree) != want {
			t.Errorf("pages of %v and %v, want %s", pages, tree, want)
		}
		folder := func(string) bool { return true }
		if err := db.Children(t.Context(), &s.lib, "/", folder, func(v *artifact.Version) bool {
			if v.Extra != nil || v.Size != 1 {
				t.Errorf("%s has %d bytes and metadata %t", v.Path, v.Size, v.Extra != nil)
			}
			return true
		}); err != nil {
			t.Error(err)
		}
	})
}

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// put adds a version of a file to a session.
func put(t *testing.T, db *DB, s *artifact.Session, v *artifact.Version, content []byte) {
	t.Helper()
	v.Size = int64(len(content))
	if v.Key != "" {
		v.Size, content = 1<<40, nil
	}
	if err := db.Tx(t.Context(), func(tx *Tx) error { return tx.AppendVersion(s.Key, v, content) }); err != nil {
		t.Fatal(err)
	}
}

func TestTotals(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		if got, err := db.Totals(ctx); err != nil || got != (Totals{}) {
			t.Errorf("totals of nothing = %+v, %v; want zeros", got, err)
		}
		s, gone := newSession(t, db, "a"), newSession(t, db, "gone")
		var ids []string
		for i, source := range []string{artifact.SourceUpload, artifact.SourceUpload, artifact.SourceWorkspace} {
			v := &artifact.Version{Attachment: fmt.Sprint("att_", i), Change: artifact.Created, Path: fmt.Sprint(i), Source: source}
			if i == 1 {
				v.Key = "00112233445566778899aabbccddeeff"
			}
			ids = append(ids, v.Attachment)
			put(t, db, &s, v, []byte("12345"))
		}
		put(t, db, &s, &artifact.Version{Attachment: "att_2", Change: artifact.Updated, Path: "2", Source: artifact.SourceWorkspace}, []byte("6"))
		put(t, db, &s, &artifact.Version{Attachment: "att_2", Change: artifact.Deleted, Path: "2", Source: artifact.SourceWorkspace}, nil)
		if err := note(db, s.Key, "one"); err != nil {
			t.Fatal(err)
		}
		put(t, db, &gone, &artifact.Version{Attachment: "att_x", Change: artifact.Created, Path: "x", Source: artifact.SourceUpload}, []byte("x"))
		if err := db.Tx(ctx, func(tx *Tx) error { _, err := tx.DeleteSession(gone.Key); return err }); err != nil {
			t.Fatal(err)
		}
		want := Totals{Sessions: 1, Entries: 6, Versions: 4, Bytes: 1<<40 + 11, Pending: 1}
		if got, err := db.Totals(ctx); err != nil || got != want {
			t.Errorf("totals = %+v, %v; want %+v", got, err, want)
		}
		if err := db.Tx(ctx, func(tx *Tx) error { return tx.Clean(s.Key, []artifact.Seq{1}) }); err != nil {
			t.Fatal(err)
		}
		kept, err := db.KeptUploads(ctx, &s, append(ids, "att_none"))
		if d := cmp.Diff(map[string]bool{"att_1": true}, kept); d != "" || err != nil {
			t.Errorf("kept uploads, %v (-want +got):\n%s", err, d)
		}
		for at, want := range map[artifact.Seq]artifact.Seq{3: 3, 4: 4, 5: 5, 99: 5} {
			if v, err := db.AttachmentAt(ctx, &s, "att_2", at); err != nil || v.Seq != want {
				t.Errorf("att_2 at %d is entry %d, %v; want %d", at, v.Seq, err, want)
			}
		}
		if _, err := db.AttachmentAt(ctx, &s, "att_2", 2); artifact.KindOf(err) != artifact.NotFound {
			t.Errorf("att_2 before it was: %v, want NotFound", err)
		}
	})
}

func TestCopy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%41&e")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := OpenSQLite(t.Context(), filepath.Join(dir, "vitrine.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := newSession(t, db, "a")
	file := filepath.Join(dir, "copy.db")
	if err := db.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if err := note(db, s.Key, "later"); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenCopy(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Session(t.Context(), artifact.DefaultTenant, "a")
	if err != nil || got.LastSeq != 0 {
		t.Errorf("session in the copy = %+v, %v; want it as it was", got, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(before) {
		t.Errorf("reading changed the copy, %v", err)
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Stat(file + suffix); err == nil {
			t.Errorf("reading made %s", suffix)
		}
	}
	if _, err := OpenCopy(t.Context(), filepath.Join(dir, "none.db")); err == nil {
		t.Error("a copy that is not there was opened")
	}
}

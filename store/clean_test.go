package store

import (
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// TestCleanForgetsBytesOnce cleans an upload twice and looks at what the
// session says it holds.
func TestCleanForgetsBytesOnce(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newSession(t, db, "clean")
		up := artifact.Version{Attachment: "att_a", Change: artifact.Created, Path: "attachments/att_a/x", Source: artifact.SourceUpload, Blob: artifact.Blob{Size: 3}}
		kept := up
		kept.Attachment, kept.Path = "att_b", "attachments/att_b/x"
		if err := db.Tx(t.Context(), func(tx *Tx) error {
			if err := tx.AppendVersion(s.Key, &up, []byte("abc")); err != nil {
				return err
			}
			return tx.AppendVersion(s.Key, &kept, []byte("def"))
		}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := db.Tx(t.Context(), func(tx *Tx) error { return tx.Clean(s.Key, []artifact.Seq{up.Seq}) }); err != nil {
				t.Fatal(err)
			}
		}
		got, err := db.SessionByKey(t.Context(), s.Key)
		if err != nil || got.Bytes != 3 {
			t.Errorf("after cleaning one of two uploads of 3 bytes the session holds %d, %v; want 3", got.Bytes, err)
		}
		if _, err := db.Content(t.Context(), up.Key); artifact.KindOf(err) != artifact.NotFound {
			t.Errorf("content of a cleaned upload: %v, want a NotFound error", err)
		}
		if b, err := db.Content(t.Context(), kept.Key); string(b) != "def" || err != nil {
			t.Errorf("content of the other upload = %q, %v", b, err)
		}
	})
}

func TestMustBeIdle(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newSession(t, db, "idle")
		for limit, want := range map[time.Time]bool{s.Updated.Add(time.Microsecond): true, s.Updated: false} {
			err := db.Tx(t.Context(), func(tx *Tx) error { return tx.MustBeIdle(s.Key, limit) })
			if (err == nil) != want {
				t.Errorf("MustBeIdle(%v) of a session from %v: %v", limit, s.Updated, err)
			}
		}
	})
}

package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// What was deleted stood in the file of the database, and in its log, until
// something else happened to overwrite it.
func TestForget(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	db, err := OpenSQLite(t.Context(), file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	secret := []byte("what nobody may find")
	onDisk := func() bool {
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(file + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, secret) {
				return true
			}
		}
		return false
	}
	s := newSession(t, db, "s")
	v := &artifact.Version{Attachment: artifact.NewAttachmentID(), Session: "s", Change: artifact.Created, Path: "a.txt", Name: "a.txt"}
	put(t, db, &s, v, bytes.Repeat(secret, 500)) // more than a page
	if err := db.Forget(t.Context()); err != nil || !onDisk() {
		t.Fatalf("Forget = %v; want the content on the disk, where this test finds it", err)
	}
	err = db.Tx(t.Context(), func(tx *Tx) error {
		_, err := tx.DeleteSession(s.Key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	purgeAll(t, db, s.Key)
	if err := db.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if onDisk() {
		t.Error("a content is on the disk after it was deleted")
	}
}

// Somebody who reads keeps the log, not the writers.
func TestForgetBesideAReader(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		s := newSession(t, db, "s")
		err := db.Snapshot(t.Context(), func(r *Reads) error {
			if _, err := r.SessionByKey(t.Context(), s.Key); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done, start := make(chan error), time.Now()
			go func() { done <- db.Forget(ctx) }()
			for i := range 20 {
				if err := note(db, s.Key, strings.Repeat("x", i)); err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("20 writes beside it took %v", took)
			}
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Forget = %v", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Forget(t.Context()); err != nil {
			t.Errorf("Forget after the reader left = %v", err)
		}
	})
}

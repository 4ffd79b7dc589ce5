package depot_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/store"
)

// A server that was killed while it removed the folder of a deleted session,
// and after an upload that came too late had made that folder again, did not
// start any more.
func TestStartWithFolderMovedTwice(t *testing.T) {
	warehouse := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var stone store.Tombstone
	err = db.Tx(t.Context(), func(tx *store.Tx) error {
		s, err := tx.CreateSession(artifact.DefaultTenant, "s", nil, false)
		if err == nil {
			stone, err = tx.DeleteSession(s.Key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(warehouse, "session_s")
	trashed := filepath.Join(warehouse, ".trash", strconv.FormatInt(stone.Key, 10))
	for _, dir := range []string{folder, trashed} {
		if err := os.MkdirAll(filepath.Join(dir, "code_workspace"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d, err := depot.Open(t.Context(), db, blob.New(blob.NewMem()), depot.Options{WareHouse: warehouse})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := d.Close(); err != nil { // waits for the removal
		t.Fatal(err)
	}
	for _, dir := range []string{folder, trashed} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	}
}

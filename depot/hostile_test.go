package depot

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// A backup of which somebody changed the rows, and the hash with them, made the
// server delete folders outside of the data directory.
func TestRestoreOfAHostileBackup(t *testing.T) {
	for _, table := range []string{"tombstones", "sessions"} {
		_, backup := backedUp(t)
		db, err := sql.Open("sqlite", filepath.Join(backup, databaseFile))
		if err != nil {
			t.Fatal(err)
		}
		set := "id = 'x/../../../victim'"
		if table == "tombstones" {
			set += ", purged = 0"
		}
		_, err = db.ExecContext(t.Context(), "UPDATE "+table+" SET "+set+" WHERE key = (SELECT min(key) FROM "+table+")")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := readMark(backup)
		if err != nil {
			t.Fatal(err)
		}
		if info.Database, err = seal(filepath.Join(backup, databaseFile)); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(backup, backupFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		home := t.TempDir()
		victim, to := filepath.Join(home, "victim"), filepath.Join(home, "data")
		if err := os.MkdirAll(filepath.Join(victim, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Restore(t.Context(), backup, to, openBlobs, nil); !kind(artifact.Invalid)(err) {
			t.Errorf("%s: Restore = %v, want Invalid", table, err)
		}
		if !there(filepath.Join(victim, "in")) {
			t.Errorf("%s: a folder outside is gone", table)
		}
		for _, name := range []string{databaseFile, wareHouseDir, blobsDir} {
			if there(filepath.Join(to, name)) {
				t.Errorf("%s: %s was made", table, name)
			}
		}
	}
}

// Whatever a row says, moving a folder aside stays within the WareHouse.
func TestMoveAsideStaysInside(t *testing.T) {
	s := newLight(t, Options{})
	victim := filepath.Join(s.dir, "victim")
	for _, dir := range []string{victim, filepath.Join(s.opt.WareHouse, "session_x")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.moveAside(store.Tombstone{Key: 7, Tenant: tenant, ID: "x/../../victim"}); err == nil {
		t.Error("moveAside says nothing of a folder outside")
	}
	if !there(victim) {
		t.Error("a folder outside was moved")
	}
}

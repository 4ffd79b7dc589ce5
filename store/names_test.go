package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Names in rows became folders as they were: a database that somebody else
// wrote made the server delete what lay outside of the WareHouse.
func TestNamesThatLeadElsewhere(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		const sessions = "INSERT INTO sessions (key, tenant, id, status, created, updated, first_seq, last_seq) VALUES (?, ?, ?, 'idle', 0, 0, 1, 0)"
		const tombstones = "INSERT INTO tombstones (key, tenant, id, last_seq, deleted) VALUES (?, ?, ?, 0, 0)"
		insert := func(query, tenant, id string) {
			t.Helper()
			err := db.Tx(t.Context(), func(tx *Tx) error {
				for _, q := range []string{"DELETE FROM sessions", "DELETE FROM tombstones"} {
					if _, err := tx.exec(q); err != nil {
						return err
					}
				}
				_, err := tx.exec(query, 1, tenant, id)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, bad := range []struct{ tenant, id string }{
			{"pf_a", "x/../../../victim"}, {"pf_a", ".."}, {"pf_a", ""}, {"pf_a", strings.Repeat("x", 129)},
			{"..", "x"}, {"", "x"}, {"pf_", "x"}, {"pf_/..", "x"}, {"pf_A", "x"}, {".trash", "x"}, {"pf_" + strings.Repeat("x", 33), "x"},
		} {
			insert(sessions, bad.tenant, bad.id)
			_, byKey := db.SessionByKey(t.Context(), 1)
			_, byName := db.Session(t.Context(), bad.tenant, artifact.SessionID(bad.id))
			_, listed := db.Sessions(t.Context(), SessionQuery{Limit: 10})
			all := []error{byKey, byName, listed, db.CheckNames(t.Context())}
			insert(tombstones, bad.tenant, bad.id)
			_, stone := db.Tombstone(t.Context(), 1)
			_, pending := db.Pending(t.Context(), 10)
			for i, err := range append(all, stone, pending, db.CheckNames(t.Context())) {
				if !errors.Is(err, ErrBadName) {
					t.Errorf("%q of %q: query %d = %v, want ErrBadName", bad.id, bad.tenant, i, err)
				}
			}
		}
		for _, good := range []struct{ tenant, id string }{{"pf_default", "session_1-A"}, {"pf_" + strings.Repeat("9", 32), strings.Repeat("x", 128)}} {
			insert(sessions, good.tenant, good.id)
			if _, err := db.SessionByKey(t.Context(), 1); err != nil {
				t.Error(err)
			}
			if err := db.CheckNames(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

package store

import (
	"testing"

	"github.com/vitrine-hq/vitrine/store/storetest"
)

// TestIdleConnectionLost ends the connections of the database behind its back,
// as a restart does: nobody who comes afterwards hears of it.
func TestIdleConnectionLost(t *testing.T) {
	db, err := OpenPostgres(t.Context(), storetest.Postgres(t)+"&application_name=idle_lost", Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := newSession(t, db, "idle")
	for range 3 {
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		// All of this database but the connection that asks.
		var ended int
		err := db.read.QueryRowContext(t.Context(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"+
			" WHERE application_name = 'idle_lost' AND pid <> pg_backend_pid()").Scan(&ended)
		if err != nil {
			t.Fatal(err)
		}
		if ended == 0 {
			t.Fatal("no connection was ended")
		}
		if err := note(db, s.Key, "after"); err != nil {
			t.Errorf("a write after an idle connection was lost: %v", err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("ping after connections were lost: %v", err)
		}
	}
}

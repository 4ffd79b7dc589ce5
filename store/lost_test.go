package store

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
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

// TestConnectionsRefused has PostgreSQL itself refuse connections, as it does
// while it starts, is full or is being moved: callers are to come again.
func TestConnectionsRefused(t *testing.T) {
	base := storetest.Postgres(t)
	admin, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	do := func(statement string, args ...any) {
		t.Helper()
		if _, err := admin.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	name := u.Query().Get("search_path") // is of this test alone
	do("CREATE DATABASE " + name)
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	q := u.Query()
	q.Del("search_path")
	u.Path, u.RawQuery = "/"+name, q.Encode()
	db, err := OpenPostgres(t.Context(), u.String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := newSession(t, db, "refused")
	do("ALTER DATABASE " + name + " ALLOW_CONNECTIONS false")
	do("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", name)
	_, read := db.Session(t.Context(), artifact.DefaultTenant, "refused")
	for what, err := range map[string]error{"read": read, "write": note(db, s.Key, "no"), "ping": db.Ping(t.Context())} {
		if artifact.KindOf(err) != artifact.Unavailable || !strings.Contains(err.Error(), "55000") {
			t.Errorf("%s while connections are refused: %v, want Unavailable and why", what, err)
		}
	}
	do("ALTER DATABASE " + name + " ALLOW_CONNECTIONS true")
	if err := note(db, s.Key, "yes"); err != nil {
		t.Errorf("a write afterwards: %v", err)
	}
}

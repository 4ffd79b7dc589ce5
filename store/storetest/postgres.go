// Package storetest finds the PostgreSQL that tests run against. It is linked
// by tests only.
package storetest

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"

	"crypto/rand"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
)

// Postgres returns the address of an empty schema of its own in the database
// that VITRINE_TEST_POSTGRES names (a URL), and drops it when the test ends.
// Without the variable the test is skipped, or fails where VITRINE_TEST_STRICT
// is set.
func Postgres(t testing.TB) string {
	t.Helper()
	base := os.Getenv("VITRINE_TEST_POSTGRES")
	if base == "" {
		if os.Getenv("VITRINE_TEST_STRICT") != "" {
			t.Fatal("set VITRINE_TEST_POSTGRES: VITRINE_TEST_STRICT allows no skip")
		}
		t.Skip("set VITRINE_TEST_POSTGRES to run on PostgreSQL too")
	}
	admin, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatal(err)
	}
	schema := "t_" + strings.ToLower(rand.Text())
	if _, err := admin.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

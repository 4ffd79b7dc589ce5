package store

import (
	"path/filepath"
	"testing"

	"github.com/vitrine-hq/vitrine/store/storetest"
)

// The first tenant is who was made first, whatever a later start calls it.
func TestFirstTenant(t *testing.T) {
	engines := map[string]func(t *testing.T) func(Options) (*DB, error){
		"sqlite": func(t *testing.T) func(Options) (*DB, error) {
			file := filepath.Join(t.TempDir(), "vitrine.db")
			return func(o Options) (*DB, error) { return OpenSQLite(t.Context(), file, o) }
		},
		"postgres": func(t *testing.T) func(Options) (*DB, error) {
			url := storetest.Postgres(t)
			return func(o Options) (*DB, error) { return OpenPostgres(t.Context(), url, o) }
		},
	}
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			open := engine(t)
			step := func(option, want string, f func(tx *Tx) error) {
				t.Helper()
				db, err := open(Options{FirstTenant: option})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if got := db.FirstTenant(); got != want {
					t.Errorf("opened with %q the first tenant is %q, want %q", option, got, want)
				}
				if err := db.Tx(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			}
			step("pf_one", "pf_one", func(tx *Tx) error { return tx.CreateTenant("pf_a", "") })
			step("", "pf_one", func(tx *Tx) error { return tx.DeleteTenant("pf_one") })
			step("pf_other", "pf_a", func(tx *Tx) error { return tx.DeleteTenant("pf_a") })
			step("", "pf_one", func(*Tx) error { return nil }) // better than none
		})
	}
}

package depot

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/store"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// turnstile is a scanner that waits for the test before each verdict, and
// remembers what it was given. It fails at contents that begin with "bad".
type turnstile struct {
	next  chan struct{}
	mu    sync.Mutex
	given []string
}

func (s *turnstile) Ping(context.Context) error { return nil }

func (s *turnstile) Scan(ctx context.Context, _ string, r io.Reader) (scan.Verdict, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return scan.Verdict{}, err
	}
	s.mu.Lock()
	s.given = append(s.given, string(b))
	s.mu.Unlock()
	select {
	case <-s.next:
	case <-ctx.Done():
		return scan.Verdict{}, ctx.Err()
	}
	if strings.HasPrefix(string(b), "bad") {
		return scan.Verdict{}, io.ErrUnexpectedEOF
	}
	return scan.Verdict{Clean: true}, nil
}

func (s *turnstile) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.given)
}

// behindTurnstile runs a test with a depot on SQLite, and on PostgreSQL where
// there is one.
func behindTurnstile(t *testing.T, opt Options, f func(t *testing.T, s *stand, c *turnstile)) {
	t.Run("sqlite", func(t *testing.T) {
		c := &turnstile{next: make(chan struct{})}
		opt := opt
		opt.Scanner = c
		f(t, newLight(t, opt), c)
	})
	t.Run("postgres", func(t *testing.T) {
		c, dir := &turnstile{next: make(chan struct{})}, t.TempDir()
		opt := opt
		opt.Scanner, opt.Implicit, opt.WareHouse = c, true, filepath.Join(dir, wareHouseDir)
		if err := os.Mkdir(opt.WareHouse, 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := store.OpenPostgres(t.Context(), storetest.Postgres(t), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), db, blob.New(blob.NewMem()), opt)
		if err != nil {
			t.Fatal(err)
		}
		s := &stand{TB: t, Depot: d, dir: dir}
		t.Cleanup(s.shut)
		f(t, s, c)
	})
}

// A tenant that sends a lot at once waits for itself; others have their turn.
func TestTenantsTakeTurns(t *testing.T) {
	const many = 300
	behindTurnstile(t, Options{ScanHold: true}, func(t *testing.T, s *stand, c *turnstile) {
		others := []string{"pf_a", "pf_zz"} // before and behind it
		err := s.db.Tx(t.Context(), func(tx *store.Tx) error {
			for _, id := range others {
				if err := tx.CreateTenant(id, ""); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		save := func(tenant string, path artifact.Path, content string) {
			t.Helper()
			if _, _, err := s.SaveFile(t.Context(), Save{Tenant: tenant, Path: path}, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range many {
			save(tenant, artifact.Path(fmt.Sprintf("/%d", i)), fmt.Sprintf("many %d", i))
		}
		until(t, "all hands but one are full", func() bool { return len(c.seen()) == tenantMost })
		for i := range 3 {
			for _, id := range others {
				save(id, artifact.Path(fmt.Sprintf("/%d", i)), id)
			}
		}
		until(t, "that one is there for others", func() bool { return len(c.seen()) == scanners && strings.HasPrefix(c.seen()[tenantMost], "pf_") })
		for range 12 {
			c.next <- struct{}{}
		}
		until(t, "others have had their turn", func() bool { return len(c.seen()) >= 12+tenantMost })
		n := map[string]int{}
		for _, content := range c.seen() {
			name, _, _ := strings.Cut(content, " ")
			n[name]++
		}
		if n["pf_a"] != 3 || n["pf_zz"] != 3 {
			t.Errorf("of %d contents that were looked at after those that were on their way, %v", 12, n)
		}
		close(c.next)
		s.settled()
		if got := len(c.seen()); got != many+6 {
			t.Errorf("%d contents were looked at, want %d", got, many+6)
		}
	})
}

// What is to be tried again keeps nothing from its turn, and has its own.
func TestTurnsPassOverWhatIsNotDue(t *testing.T) {
	behindTurnstile(t, Options{scanPause: 20 * time.Millisecond}, func(t *testing.T, s *stand, c *turnstile) {
		close(c.next)
		for i := range 40 {
			s.mustPut(artifact.Path(fmt.Sprintf("/bad%d", i)), fmt.Sprintf("bad %d", i))
		}
		for i := range 60 {
			s.mustPut(artifact.Path(fmt.Sprintf("/good%d", i)), fmt.Sprintf("good %d", i))
		}
		s.settled()
		if v := s.Verdicts(); v.Failed != 40 || v.Clean != 60 || len(c.seen()) != 40*scanTries+60 {
			t.Errorf("verdicts %+v after %d looks", v, len(c.seen()))
		}
	})
}

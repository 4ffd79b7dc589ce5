package account

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

const home = artifact.DefaultTenant

// clock is the time of all nodes of a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// house is one database with as many nodes as a test opens.
type house struct {
	*testing.T
	clock
	db   *store.DB
	more func() *store.DB // another node's
}

// each runs a test on SQLite, and on PostgreSQL where there is one.
func each(t *testing.T, f func(h *house)) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC)
	t.Run("sqlite", func(t *testing.T) {
		h := &house{T: t, clock: clock{now: begin}}
		h.db = h.opened(store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "vitrine.db"), store.Options{Now: h.Now}))
		h.more = func() *store.DB { return h.db } // one process only
		f(h)
	})
	t.Run("postgres", func(t *testing.T) {
		h := &house{T: t, clock: clock{now: begin}}
		url := storetest.Postgres(t)
		h.more = func() *store.DB { return h.opened(store.OpenPostgres(t.Context(), url, store.Options{Now: h.Now})) }
		h.db = h.more()
		f(h)
	})
}

func (h *house) opened(db *store.DB, err error) *store.DB {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { db.Close() })
	return db
}

// node opens the accounts once more.
func (h *house) node(db *store.DB) *Accounts {
	h.Helper()
	a, err := Open(h.Context(), db, Options{Issuer: "http://vitrine.test", Now: h.Now, Recheck: 20 * time.Millisecond})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { a.Close() })
	return a
}

// member adds a member with a key to a tenant, without asking the use cases.
func (h *house) member(tenant string, scopes ...artifact.Scope) (secret string, k store.Key) {
	h.Helper()
	secret = auth.NewKey(tenant)
	k = store.Key{ID: auth.NewID("key_"), Tenant: tenant, Owner: auth.NewID("usr_"), Name: "test", Hash: auth.HashKey(secret), Scopes: scopes}
	err := h.db.Tx(h.Context(), func(tx *store.Tx) error {
		if err := tx.CreateUser(store.User{ID: k.Owner, Tenant: tenant, Name: "Ada"}); err != nil {
			return err
		}
		return tx.CreateKey(k)
	})
	if err != nil {
		h.Fatal(err)
	}
	return secret, k
}

// eventually waits until a condition holds that another goroutine brings about.
func (h *house) eventually(what string, holds func() bool) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 10*time.Second)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-ctx.Done():
			h.Fatalf("waited in vain: %s", what)
		}
	}
}

// audit returns the entries of a tenant's audit log.
func (h *house) audit(tenant string) (list []artifact.AuditEntry) {
	h.Helper()
	log, err := h.db.Log(h.Context(), tenant, artifact.AuditLog)
	if err != nil {
		h.Fatal(err)
	}
	entries, err := h.db.Entries(h.Context(), &log, 0, 1000)
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range entries {
		var a artifact.AuditEntry
		if err := json.Unmarshal(e.Data, &a); err != nil {
			h.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

// told returns what a tenant's audit log tells, as "action outcome by actor".
func (h *house) told(tenant string) (told []string) {
	h.Helper()
	for _, a := range h.audit(tenant) {
		told = append(told, fmt.Sprintf("%s %s by %s", a.Action, a.Outcome, a.Actor))
	}
	return told
}

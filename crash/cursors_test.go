package crash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/vitrine-hq/vitrine/account"
	httpapi "github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/store"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// firstKey is the first API key of every server here.
const firstKey = "tm_" + artifact.DefaultTenant + "_ak_0123456789abcdefghijklmnopqrstuvwxyz"

// node is one server in this process.
type node struct {
	db       *store.DB
	depot    *depot.Depot
	accounts *account.Accounts
	http     *httpapi.Server
	srv      *httptest.Server
	api      *api
}

func newNode(t testing.TB, db *store.DB, bucket *blob.Bucket) *node {
	t.Helper()
	d, err := depot.Open(t.Context(), db, bucket, depot.Options{WareHouse: t.TempDir(), Implicit: true})
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := account.Open(t.Context(), db, account.Options{Issuer: "http://vitrine.test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.Bootstrap(t.Context(), firstKey); err != nil {
		t.Fatal(err)
	}
	s, err := httpapi.New(httpapi.Config{Depot: d, Accounts: accounts, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{db: db, depot: d, accounts: accounts, http: s, srv: httptest.NewServer(s.Handler())}
	n.api = newAPI(n.srv.Listener.Addr().String())
	return n
}

// close ends a node, and what is left of it is a leak.
func (n *node) close(t testing.TB) {
	n.http.Drain()
	n.srv.Close()
	n.api.http.CloseIdleConnections()
	if err := errors.Join(n.depot.Close(), n.accounts.Close()); err != nil {
		t.Error(err)
	}
	if err := n.db.Close(); err != nil {
		t.Error(err)
	}
}

// onEngines runs a test on one server for each engine, and on two that share a
// database. What they leave behind is a leak.
func onEngines(t *testing.T, f func(t *testing.T, nodes []*node)) {
	run := func(t *testing.T, dbs ...*store.DB) {
		before := goleak.IgnoreCurrent()
		bucket := blob.New(blob.NewMem())
		var nodes []*node
		for _, db := range dbs {
			nodes = append(nodes, newNode(t, db, bucket))
		}
		f(t, nodes)
		for _, n := range nodes {
			n.close(t)
		}
		goleak.VerifyNone(t, before)
	}
	t.Run("SQLite", func(t *testing.T) {
		db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		run(t, db)
	})
	open := func(t *testing.T, url string) *store.DB {
		db, err := store.OpenPostgres(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	t.Run("PostgreSQL", func(t *testing.T) { run(t, open(t, storetest.Postgres(t))) })
	t.Run("two nodes", func(t *testing.T) {
		url := storetest.Postgres(t)
		run(t, open(t, url), open(t, url))
	})
}

// Readers over all transports, which leave and come back as they like, see
// every entry of a log once and in order while it is written from all sides.
func TestCursors(t *testing.T) { onEngines(t, cursors) }

const (
	writers       = 4
	writes        = 40 // of each writer to each session
	lives         = 6  // of the session that is deleted
	entriesOfLife = 10
)

func cursors(t *testing.T, nodes []*node) {
	rng := random(t)
	c := &concurrent{t: t, nodes: nodes, log: map[string]map[int64]string{}}
	for _, id := range []string{"one", "two", "mortal"} {
		c.log[id] = map[int64]string{}
		if _, err := nodes[0].api.call(t.Context(), "POST", "/api/sessions", map[string]string{"session_id": id}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	readers := c.readers(ctx, rng)
	c.write(rng)
	c.judge(readers)
	cancel()
	c.reading.Wait()
}

// concurrent is what happens to some sessions at the same time.
type concurrent struct {
	t       *testing.T
	nodes   []*node
	reading sync.WaitGroup

	mu  sync.Mutex
	log map[string]map[int64]string // session, position, hash: as acknowledged
}

// readers starts readers of every kind on every node.
func (c *concurrent) readers(ctx context.Context, rng *rand.Rand) []*follower {
	var all []*follower
	for i, n := range c.nodes {
		for _, f := range []*follower{
			{session: "one", name: "sse", by: sse}, {session: "one", name: "websocket", by: ws}, {session: "one", name: "long-poll", by: poll},
			{session: "two", name: "sse", by: sse}, {session: "two", name: "websocket", by: ws}, {session: "two", name: "long-poll", by: poll},
			{session: "mortal", name: "sse", by: sse, mortal: true}, {session: "mortal", name: "websocket", by: ws, mortal: true},
		} {
			for _, steady := range []bool{false, true} {
				f := &follower{session: f.session, by: f.by, mortal: f.mortal, api: n.api, name: fmt.Sprint(f.name, " on node ", i)}
				if !steady {
					f.fickle = fork(rng)
				}
				all = append(all, f)
				c.reading.Go(func() { f.run(ctx) })
			}
		}
	}
	return all
}

// write writes to all sessions from many goroutines on all nodes.
func (c *concurrent) write(rng *rand.Rand) {
	var wg sync.WaitGroup
	for i := range writers {
		own, n := fork(rng), c.nodes[i%len(c.nodes)]
		wg.Go(func() {
			for range writes {
				c.upload(n, "one", own)
				c.upload(n, "two", own)
			}
		})
	}
	own := fork(rng)
	wg.Go(func() {
		for life := range lives {
			n := c.nodes[own.IntN(len(c.nodes))]
			var both sync.WaitGroup
			for range 2 {
				own := fork(own)
				both.Go(func() {
					for range entriesOfLife {
						c.upload(n, "mortal", own)
					}
				})
			}
			both.Wait()
			if life == lives-1 {
				return
			}
			if _, err := n.api.call(c.t.Context(), "DELETE", "/api/sessions/mortal", nil, nil); err != nil {
				c.t.Errorf("delete: %v", err)
			}
			if _, err := n.api.call(c.t.Context(), "POST", "/api/sessions", map[string]string{"session_id": "mortal"}, nil); err != nil {
				c.t.Errorf("make again: %v", err)
			}
		}
	})
	wg.Wait()
}

func (c *concurrent) upload(n *node, id string, rng *rand.Rand) {
	var a answer
	if _, err := n.api.call(c.t.Context(), "PUT", "/api/uploads/"+id+"/f.bin", noise(rng, 64), &a); err != nil {
		c.t.Errorf("upload: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log[id][a.Sequence] != "" {
		c.t.Errorf("position %d of %s was given twice", a.Sequence, id)
	}
	c.log[id][a.Sequence] = a.Sum
}

// judge waits until the readers have read everything and compares.
func (c *concurrent) judge(readers []*follower) {
	last := map[string]int64{"one": writers * writes, "two": writers * writes, "mortal": lives*2*entriesOfLife + lives - 1}
	for id, n := range map[string]int{"one": writers * writes, "two": writers * writes, "mortal": lives * 2 * entriesOfLife} {
		if len(c.log[id]) != n {
			c.t.Errorf("%d writes to %s were acknowledged, want %d", len(c.log[id]), id, n)
		}
	}
	for _, f := range readers {
		eventually(c.t.Context(), func() bool { return f.position() >= last[f.session] || f.broken() != "" })
		got := f.seen()
		if fault := f.broken(); fault != "" {
			c.t.Errorf("%s of %s: %s", f.name, f.session, fault)
			continue
		}
		if n := len(got); n == 0 || got[n-1].Seq != last[f.session] || !f.mortal && got[0].Seq != 1 {
			c.t.Errorf("%s of %s saw %d entries, the last at %d, want the last at %d", f.name, f.session, n, f.position(), last[f.session])
			continue
		}
		for i, e := range got {
			if i > 0 && e.Seq != got[i-1].Seq+1 && !overtaken(got[i-1], e) {
				c.t.Errorf("%s of %s: %d came after %d", f.name, f.session, e.Seq, got[i-1].Seq)
			}
			want := entry{e.Seq, artifact.TypeUpload, c.log[f.session][e.Seq]}
			if want.Hash == "" {
				want.Type = artifact.TypeDeleted
			}
			if e != want {
				c.t.Errorf("%s of %s: %+v, want %+v", f.name, f.session, e, want)
			}
		}
	}
}

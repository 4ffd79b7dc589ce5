package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rig is a data directory, the sessions in it and who follows them, and its
// library.
type rig struct {
	t         *testing.T
	rng       *rand.Rand
	dir       string
	addr      string
	api       *api
	library   *library
	sessions  []*oracle
	followers []*follower
	following context.Context
	unfollow  context.CancelFunc
	wg        sync.WaitGroup // of the followers
	made      int            // sessions
	started   time.Duration  // what the last start took
	kills     struct{ start, commit, idle int }
	acked     int // uploads
	entries   int // of logs that were compared with what followers saw
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, rng: random(t), dir: filepath.Join(t.TempDir(), "data"), addr: freeAddr(t), started: 200 * time.Millisecond}
	r.api = newAPI(r.addr)
	r.library = newLibrary(t, newAPI(r.addr), fork(r.rng), scribes)
	if err := os.Mkdir(r.aside(), 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

// aside is a folder beside the data in which files are written before they are
// moved into a workspace.
func (r *rig) aside() string { return filepath.Join(filepath.Dir(r.dir), "aside") }

const (
	keptSessions   = 2
	mortalSessions = 2
	scribes        = 3
)

// people makes new sessions and lets followers follow them over every transport.
func (r *rig) people() {
	r.following, r.unfollow = context.WithCancel(context.Background())
	r.sessions, r.followers = nil, nil
	for i := range keptSessions + mortalSessions {
		r.made++
		o := newOracle(fmt.Sprintf("s%d", r.made), i >= keptSessions)
		r.sessions = append(r.sessions, o)
		r.followers = append(r.followers, &follower{name: "sse", session: o.id, by: sse, mortal: o.mortal, fickle: fork(r.rng)})
		if !o.mortal {
			r.followers = append(r.followers,
				&follower{name: "websocket", session: o.id, by: ws},
				&follower{name: "long-poll", session: o.id, by: poll, files: true})
		}
	}
	for _, f := range r.followers {
		f.api = r.api
		r.wg.Go(func() { f.run(r.following) })
	}
}

// leave ends the followers.
func (r *rig) leave() {
	r.unfollow()
	r.wg.Wait()
}

// verify compares everything with what was said.
func (r *rig) verify(all bool) {
	v := &verifier{t: r.t, api: r.api, dir: r.dir, rng: r.rng, all: all}
	ctx := r.t.Context()
	logs := map[string][]logEntry{}
	for _, o := range r.sessions {
		logs[o.id] = v.session(ctx, o)
	}
	for _, f := range r.followers {
		if f.mortal {
			v.mortal(f, logs[f.session])
			continue
		}
		v.follower(ctx, f, logs[f.session])
	}
	r.library.verify(ctx, all)
	r.library.renew(ctx)
	v.clean(all)
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// replace takes new sessions once the logs are long, so that checking them
// does not come to take all the time. The old ones are deleted.
func (r *rig) replace() {
	long := false
	for _, o := range r.sessions {
		long = long || !o.mortal && o.count() > 1500
	}
	if !long {
		return
	}
	r.verify(true)
	r.settle()
	for _, o := range r.sessions {
		if status, err := r.api.call(r.t.Context(), "DELETE", "/api/sessions/"+o.id, nil, nil); err != nil && status != 404 {
			r.t.Fatalf("delete %s: %v", o.id, err)
		}
	}
	r.people()
}

// settle counts what was compared and lets the followers go.
func (r *rig) settle() {
	r.leave()
	for _, f := range r.followers {
		r.entries += len(f.seen())
	}
}

// load puts the server under load and kills it.
func (r *rig) load(s *server) {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	var killed atomic.Bool
	l := &load{api: r.api, lib: r.library.api, dir: r.dir, aside: r.aside(), killed: &killed, fail: r.t.Errorf}
	before := r.count()
	for _, o := range r.sessions {
		if !o.mortal && o.count() == 0 {
			l.send(ctx, "POST", "/api/sessions", map[string]string{"session_id": o.id}, nil, 409)
		}
	}
	l.start(ctx, r.sessions, r.library.scribes, r.rng)
	pause(ctx, time.Duration(100+r.rng.IntN(700))*time.Millisecond)
	if r.rng.IntN(8) == 0 { // let them end first
		killed.Store(true)
		cancel()
		l.wg.Wait()
		pause(r.t.Context(), time.Duration(r.rng.IntN(100))*time.Millisecond)
	}
	if !s.running() {
		r.t.Fatalf("the server ended by itself:\n%s", s.log)
	}
	killed.Store(true)
	writes := l.flying.Load()
	s.kill()
	cancel()
	l.wg.Wait()
	r.api.http.CloseIdleConnections()
	r.library.api.http.CloseIdleConnections()
	if writes > 0 {
		r.kills.commit++
	} else {
		r.kills.idle++
	}
	r.acked += r.count() - before
	if r.t.Failed() {
		r.t.Fatalf("what the server said:\n%s", s.log)
	}
}

func (r *rig) count() (n int) {
	for _, o := range r.sessions {
		n += o.count()
	}
	return n
}

// serve starts a server, after one or two that are killed before they are
// ready now and then.
func (r *rig) serve() *server {
	flags := []string{fmt.Sprintf("--watch=%t", r.rng.IntN(3) > 0)}
	if r.kills.commit > 0 && r.rng.IntN(6) == 0 { // while no server is there
		(&verifier{t: r.t, dir: r.dir}).clean(false)
	}
	for r.rng.IntN(4) == 0 {
		s := launch(r.t, r.dir, r.addr, flags...)
		pause(r.t.Context(), time.Duration(r.rng.Int64N(int64(r.started))))
		s.kill()
		r.kills.start++
	}
	begin := time.Now()
	s := launch(r.t, r.dir, r.addr, flags...)
	s.ready(r.t)
	r.started = time.Since(begin)
	r.library.login(r.t.Context())
	return s
}

// The server is killed again and again, at any moment of its life, while files
// are uploaded, workspaces change, sessions are deleted, logs are followed and
// the library is written to.
// Nothing that it has acknowledged may be missing, nothing that it deleted may
// come back, and each follower must have been told the log, over all its
// connections: each entry once, in order.
func TestCrash(t *testing.T) {
	program(t)
	r := newRig(t)
	r.people()
	defer func() { r.leave() }()
	begin, n := time.Now(), 0
	for ; n < *crashCycles || time.Since(begin) < *crashDuration; n++ {
		s := r.serve()
		r.verify(false)
		r.replace()
		r.load(s)
	}
	s := r.serve()
	r.verify(true)
	connections := 0
	for _, f := range r.followers {
		connections += f.conns
	}
	r.settle()
	s.stop(t)
	(&verifier{t: t, dir: r.dir}).clean(true)
	t.Logf("%d cycles in %v: %d uploads acknowledged, %d entries compared with followers, killed %d times during a start, %d with writes under way, %d idle; a start takes %v",
		n, time.Since(begin).Round(time.Second), r.acked, r.entries, r.kills.start, r.kills.commit, r.kills.idle, r.started.Round(time.Millisecond))
	t.Log(r.library)
	if r.acked == 0 || r.entries == 0 || r.kills.commit == 0 || connections == 0 || r.library.changes == 0 {
		t.Error("nothing was put to the test")
	}
}

package crash

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// freeze stops a process and returns when none of its threads runs.
func freeze(t testing.TB, s *server) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			return false
		}
		for _, name := range threads {
			b, err := os.ReadFile(name)
			if err != nil {
				return false
			}
			if _, state, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return true
	}
	if !eventually(t.Context(), stopped) {
		t.Fatal("the server does not stop")
	}
}

func thaw(t testing.TB, s *server) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// The power fails while the server commits. The files of the database are
// copied when the server is at rest, so that what they hold is synced, and
// again while it is frozen in the middle of writes of which none is answered
// yet. A disk may hold any mixture of the two: each block that was written in
// between is there or not. What comes back from such a mixture is sound and has
// all that was acknowledged.
//
// This shows that the log of the database tells whole commits from torn ones
// and that nothing is acknowledged from outside of it. It cannot show that a
// sync reaches the disk, because what was acknowledged is taken as synced; nor
// can it tell apart what was synced in between, so that where the log began
// anew or was moved into the database meanwhile it takes the later copy as it
// is.
func TestPowerCutOfDatabase(t *testing.T) {
	t.Parallel()
	const rounds, mixtures = 12, 4
	rng := random(t)
	base := t.TempDir()
	dir, addr := filepath.Join(base, "data"), freeAddr(t)
	s := launch(t, dir, addr)
	s.ready(t)
	a := newAPI(addr)
	a.http.Transport.(*http.Transport).MaxConnsPerHost = 8
	o := newOracle("power", false)
	library := newLibrary(t, newAPI(addr), rng, 0)
	library.login(t.Context())
	load := &load{api: a, lib: library.api, dir: dir, killed: new(atomic.Bool), fail: t.Errorf}
	if _, err := a.call(t.Context(), "POST", "/api/sessions", map[string]string{"session_id": "power"}, nil); err != nil {
		t.Fatal(err)
	}
	mixed := 0
	for round := range rounds {
		before := filepath.Join(base, fmt.Sprint("before", round))
		copyDB(t, dir, before)
		durable := acknowledged(o)

		ctx, cancel := context.WithCancel(t.Context())
		for range 6 {
			own := fork(rng)
			load.wg.Go(func() { load.burst(ctx, o, own) })
		}
		pause(ctx, time.Duration(rng.IntN(6000))*time.Microsecond)
		freeze(t, s)
		now := filepath.Join(base, fmt.Sprint("now", round))
		copyDB(t, dir, now)
		then := acknowledged(o)
		thaw(t, s)
		cancel()
		load.wg.Wait()

		images := []*image{{fmt.Sprintf("of round %d as it was", round), now, then}}
		if len(then) == len(durable) {
			for i := range mixtures {
				im := &image{fmt.Sprintf("of round %d, mixture %d", round, i), filepath.Join(base, fmt.Sprint("mix", round, "-", i)), durable}
				if mixture(t, rng, before, now, im.dir) {
					images = append(images, im)
					mixed++
				}
			}
		}
		for _, im := range images {
			im.recover(t)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	s.stop(t)
	t.Logf("%d rounds, %d mixtures", rounds, mixed)
	if mixed == 0 {
		t.Error("the server was never caught between a write and its answer")
	}
}

// burst uploads small files, which live in the database, and saves them in the
// library, until ctx ends. What is under way then is finished, because its
// outcome is known all the same.
func (l *load) burst(ctx context.Context, o *oracle, rng *rand.Rand) {
	for n := 0; n < 3 && (n == 0 || ctx.Err() == nil); n++ {
		b := noise(rng, 1+rng.IntN(12<<10))
		u := o.begin([]string{"f.bin"}, [][]byte{b})
		if rng.IntN(2) == 0 {
			path := fmt.Sprintf("/p/%x.bin", rng.Uint64())
			write := &attempt{method: "PUT", path: libraryURL + "/raw" + path, body: b}
			if _, ok := l.attempt(context.WithoutCancel(ctx), write, nil); !ok {
				return
			}
			o.acknowledged(u, []kept{{path: path, sum: u.sums[0]}})
			continue
		}
		var a answer
		if _, ok := l.send(context.WithoutCancel(ctx), "PUT", "/api/uploads/"+o.id+"/f.bin", b, &a); !ok {
			return
		}
		o.acknowledged(u, []kept{{id: a.ID, name: a.Name, sum: a.Sum, size: a.Size, seq: a.Sequence}})
	}
}

func acknowledged(o *oracle) []kept {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.acked)
}

// mixture makes a database of blocks of two others, unless more than the end
// of the log has changed between them.
func mixture(t testing.TB, rng *rand.Rand, before, now, to string) bool {
	t.Helper()
	read := func(dir, name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const header = 32 // of the log, with a salt that changes when it begins anew
	db, old, wal := read(now, dbFiles[0]), read(before, dbFiles[1]), read(now, dbFiles[1])
	if !bytes.Equal(read(before, dbFiles[0]), db) || len(old) < header || len(wal) < header ||
		!bytes.Equal(old[:header], wal[:header]) || bytes.Equal(old, wal) {
		return false
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, dbFiles[0]), db, 0o600); err != nil {
		t.Fatal(err)
	}
	blend(t, rng, filepath.Join(to, dbFiles[1]), old, wal)
	return true
}

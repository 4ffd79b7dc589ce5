package crash

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

// told reports whether whoever caused a failed operation must be told of it.
// Closing a file that was only read tells nothing, nor does putting away one
// that was to share the bytes of another and cannot, and who reads gets what is
// known where the workspace cannot be looked through. Who deletes an artifact or
// a session is told of the rows: bytes are left to the sweeper where they stay.
func told(step string, op fault.Op, unshared bool) bool {
	if unshared && (op.Name == "close" || op.Name == "remove") {
		return false
	}
	switch writing := making(op); {
	case step == "library delete":
		return false
	case step == "zip", step == "library export":
		return !writing && op.Name != "close"
	case op.Name == "close":
		return writing
	}
	return true
}

// making reports whether an operation is part of the making of a blob.
func making(op fault.Op) bool {
	return filepath.Base(filepath.Dir(op.Path)) == "tmp" || op.Name == "syncdir" || op.Name == "clone"
}

// Each file operation of the blobs fails once, or from then on: whoever caused
// it is told, what was acknowledged before and after is there, and what failed
// left nothing behind that anybody sees.
func TestFailNth(t *testing.T) {
	for _, c := range []struct {
		name string
		play string
		fail func(int, error) func(fault.Op) error
		err  error
		kind artifact.Kind
		step int // 1 takes every operation
	}{
		{"EIO once", "sessions", fault.Fail, syscall.EIO, artifact.Internal, 1},
		{"ENOSPC once", "sessions", fault.Fail, syscall.ENOSPC, artifact.Full, 1},
		{"EIO from then on", "sessions", fault.FailFrom, syscall.EIO, artifact.Internal, 3},
		{"ENOSPC from then on", "sessions", fault.FailFrom, syscall.ENOSPC, artifact.Full, 3},
		{"library, EIO once", "library", fault.Fail, syscall.EIO, artifact.Internal, 1},
		{"library, ENOSPC from then on", "library", fault.FailFrom, syscall.ENOSPC, artifact.Full, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			failEach(t, plays[c.play], c.step, func(n int) (func(fault.Op) error, artifact.Kind) { return c.fail(n, c.err), c.kind })
		})
	}
}

// failEach plays a script again and again, and each time fails a later
// operation by what broken returns, with the kind of error that is to come of it.
func failEach(t *testing.T, p play, step int, broken func(n int) (func(fault.Op) error, artifact.Kind)) {
	dir := t.TempDir()
	fsys := newSwitched(fileblob.OS)
	open := func() *stack {
		st, err := openStack(t.Context(), dir, fsys)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open()
	defer func() { st.close(t) }()
	for n := 1; ; n += step {
		s := &script{d: st.depot, dir: dir, name: fmt.Sprintf("s%d", n), rng: rand.New(rand.NewPCG(2, uint64(n)))}
		fail, kind := broken(n)
		acked, hit := failNth(t, s, p, fsys, fail, kind)
		if t.Failed() {
			t.Fatalf("at operation %d: %+v", n, hit)
		}
		holds(t, st.depot, acked)
		p.only(t, st.depot, dir, s.name, acked)
		if n%16 == 1 || hit == nil { // what is on the disk is the same as what it said
			st.close(t)
			st = open()
			holds(t, st.depot, acked)
		}
		if t.Failed() {
			t.Fatalf("after operation %d failed: %+v", n, hit)
		}
		if hit == nil {
			if n < 40 {
				t.Errorf("the script has only %d operations", n-1)
			}
			t.Logf("%d operations failed", n-1)
			return
		}
		p.clear(t, st.depot, s.name)
		if _, err := st.depot.Sweep(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
}

// failNth plays a script with a broken operation, and returns what was
// acknowledged and the operation, nil if there were fewer.
func failNth(t *testing.T, s *script, p play, fsys *switched, broken func(fault.Op) error, kind artifact.Kind) (acked []artifact.Version, first *fault.Op) {
	var hit []fault.Op // in the step that is running
	must, unshared := false, false
	fsys.n = 0
	fsys.before = func(op fault.Op) error {
		err := broken(op)
		if op.Name == "clone" || op.Name == "open" {
			unshared = op.Name == "clone"
		}
		if err != nil {
			must = must || told(s.step, op, unshared && op.Name != "clone") && filepath.Base(op.Path) != s.gone
			hit = append(hit, op)
			if first == nil {
				first = &op
			}
		}
		return err
	}
	defer func() { fsys.before = nil }()
	s.done = func(name string, got []artifact.Version, err error) {
		acked = append(acked, got...)
		switch {
		case must && err == nil:
			t.Errorf("%s succeeded although %+v failed", name, hit)
		case len(hit) == 0 && err != nil:
			t.Errorf("%s failed of itself: %v", name, err)
		case err != nil && name != "sweep" && name != "zip" && making(hit[0]) && artifact.KindOf(err) != kind:
			t.Errorf("%s: kind %d of %v, want %d", name, artifact.KindOf(err), err, kind)
		}
		hit, must = nil, false
	}
	p.run(s, t.Context())
	return acked, first
}

// The process ends before each file operation of the blobs. What it had
// acknowledged is there when the next one opens the directory.
func TestExitNth(t *testing.T) {
	for name := range plays {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exitEach(t, name)
		})
	}
}

func exitEach(t *testing.T, play string) {
	dir := t.TempDir()
	for n := 1; ; n++ {
		name := fmt.Sprintf("s%d", n)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), role+"=script", fmt.Sprint(exitAt, "=", n), exitDir+"="+dir, exitName+"="+name, exitPlay+"="+play)
		var stderr bytes.Buffer
		child.Stderr = &stderr
		tie(child)
		out, err := child.Output()
		code := child.ProcessState.ExitCode()
		if code != 0 && code != fault.ExitCode {
			t.Fatalf("child %d: %v\n%s", n, err, stderr.String())
		}
		var acked []artifact.Version
		for dec := json.NewDecoder(bytes.NewReader(out)); ; {
			var v plain
			if err := dec.Decode(&v); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("child %d: %v in %s", n, err, out)
			}
			acked = append(acked, artifact.Version(v))
		}
		st, err := openStack(t.Context(), dir, nil)
		if err != nil {
			t.Fatalf("open after an exit at operation %d: %v", n, err)
		}
		holds(t, st.depot, acked)
		if code == 0 {
			if n < 40 || len(acked) == 0 {
				t.Errorf("the script has only %d operations and acknowledged %d files", n-1, len(acked))
			}
			t.Logf("%d exits", n-1)
			st.close(t)
			return
		}
		plays[play].clear(t, st.depot, name)
		if _, err := st.depot.Sweep(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		st.close(t)
		if t.Failed() {
			t.Fatalf("after an exit at operation %d", n)
		}
	}
}

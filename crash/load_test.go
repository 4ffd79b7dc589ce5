package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vitrine-hq/vitrine/artifact"
)

// load is what a server is put under between two kills.
type load struct {
	api    *api
	lib    *api         // shows a token
	dir    string       // of the server's data
	aside  string       // a folder on the same file system
	killed *atomic.Bool // errors are no wonder any more
	flying atomic.Int64 // writes without an answer
	fail   func(format string, args ...any)
	wg     sync.WaitGroup
}

// files of an upload in an answer.
type answer struct {
	ID       string   `json:"attachment_id"`
	Name     string   `json:"name"`
	Sum      string   `json:"sha256"`
	Size     int64    `json:"size"`
	Sequence int64    `json:"sequence"`
	All      []answer `json:"attachments"`
}

// send sends a write and reports whether it was answered; an answer of an
// error that allowed does not name fails the test.
func (l *load) send(ctx context.Context, method, path string, body, into any, allowed ...int) (status int, ok bool) {
	return l.sent(ctx, method+" "+path, func() (int, error) { return l.api.call(ctx, method, path, body, into) }, allowed...)
}

// sent is send for a request that call makes.
func (l *load) sent(ctx context.Context, what string, call func() (int, error), allowed ...int) (status int, ok bool) {
	l.flying.Add(1)
	defer l.flying.Add(-1)
	status, err := call()
	if err == nil {
		return status, true
	}
	if a, ok := errors.AsType[*answered](err); ok {
		for _, s := range allowed {
			if a.status == s {
				return s, true
			}
		}
	} else if l.killed.Load() || ctx.Err() != nil {
		return 0, false
	}
	if !l.killed.Load() {
		l.fail("%s: %v", what, err)
	}
	return 0, false
}

// upload sends one upload of a random kind. It reports whether there may be
// another.
func (l *load) upload(ctx context.Context, o *oracle, rng *rand.Rand, owner bool, allowed ...int) bool {
	names, contents := []string{fmt.Sprintf("f%x.bin", rng.Uint32())}, [][]byte(nil)
	switch n := rng.IntN(100); {
	case n < 68:
		contents = [][]byte{noise(rng, 4<<10)}
	case n < 84:
		contents = [][]byte{noise(rng, 100<<10)}
	case n < 87:
		contents = [][]byte{noise(rng, 3<<20)}
	default:
		names = nil
		for i := range 2 + rng.IntN(4) {
			names = append(names, fmt.Sprintf("part%d.txt", i))
			contents = append(contents, noise(rng, 1+rng.IntN(40<<10)))
		}
	}
	method, path, body := "PUT", "/api/uploads/"+o.id+"/"+names[0], any(contents[0])
	if len(contents) > 1 {
		method, path, body = "POST", "/api/uploads/"+o.id, newForm(names, contents)
	}
	u := o.begin(names, contents)
	var a answer
	status, ok := l.send(ctx, method, path, body, &a, allowed...)
	if !ok {
		return false
	}
	if status >= 400 {
		o.refused(u)
		return true
	}
	all := a.All
	if len(all) == 0 {
		all = []answer{a}
	}
	if len(all) != len(u.sums) {
		l.fail("upload of %d files was answered with %d", len(u.sums), len(all))
		return false
	}
	var files []kept
	for i, f := range all {
		if f.Sum != u.sums[i] || f.Name != names[i] || f.Sequence == 0 {
			l.fail("upload of %s with hash %s was answered with %+v", names[i], u.sums[i], f)
			return false
		}
		files = append(files, kept{f.ID, f.Name, f.Sum, f.Size, f.Sequence, owner, ""})
	}
	o.acknowledged(u, files)
	return true
}

// uploader uploads until the server is gone.
func (l *load) uploader(ctx context.Context, o *oracle, rng *rand.Rand, allowed ...int) {
	for more := true; more && ctx.Err() == nil; {
		more = l.upload(ctx, o, rng, false, allowed...)
	}
}

// touch makes, replaces and removes a few files of a workspace. Each appears
// whole, so that every captured version must be one that was written.
func (l *load) touch(o *oracle, rng *rand.Rand) error {
	root := filepath.Join(workspace(l.dir, o.id), "work")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	for range 1 + rng.IntN(4) {
		name := fmt.Sprintf("w%d.txt", rng.IntN(12))
		path := filepath.Join(root, name)
		if rng.IntN(4) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			o.remove("work/" + name)
			continue
		}
		size := 1 + rng.IntN(2<<10)
		if rng.IntN(5) == 0 {
			size = 20 << 10 // too large for a row
		}
		b := noise(rng, size)
		tmp := filepath.Join(l.aside, fmt.Sprintf("tmp%x", rng.Uint64()))
		if err := os.WriteFile(tmp, b, 0o600); err != nil {
			return err
		}
		o.write("work/"+name, sum(b)) // before it is there: it may be captured at once
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
	}
	return nil
}

// scan has the server look at the workspace, and notes what it says.
func (l *load) scan(ctx context.Context, o *oracle) bool {
	var found struct {
		Events []event `json:"events"`
		Cursor int64   `json:"cursor"`
	}
	if _, ok := l.send(ctx, "POST", "/api/sessions/"+o.id+"/scan", nil, &found); !ok {
		return false
	}
	var told []logEntry
	for i := range found.Events {
		told = append(told, entryOf(&found.Events[i], artifact.TypeArtifact))
	}
	o.look(found.Cursor, told)
	return true
}

// worker changes the workspace of a session until the server is gone.
func (l *load) worker(ctx context.Context, o *oracle, rng *rand.Rand) {
	for ctx.Err() == nil {
		if err := l.touch(o, rng); err != nil {
			l.fail("change workspace of %s: %v", o.id, err)
			return
		}
		if !l.scan(ctx, o) {
			return
		}
	}
}

// owner makes a session, uses it and deletes it, again and again.
func (l *load) owner(ctx context.Context, o *oracle, rng *rand.Rand) {
	for ctx.Err() == nil {
		if !o.deletes.exists { // only the owner changes it
			o.creating()
			if _, ok := l.send(ctx, "POST", "/api/sessions", map[string]string{"session_id": o.id}, nil, 409); !ok { // 409: an upload has made it, the first time
				return
			}
			o.created()
		}
		for range 1 + rng.IntN(8) {
			if !l.upload(ctx, o, rng, true) {
				return
			}
		}
		if rng.IntN(3) == 0 {
			if err := l.touch(o, rng); err != nil || !l.scan(ctx, o) {
				return
			}
		}
		n := o.count()
		o.deleting()
		if _, ok := l.send(ctx, "DELETE", "/api/sessions/"+o.id, nil, nil); !ok {
			return
		}
		o.deleted(n)
	}
}

// start puts the server under load from these sessions and scribes until ctx ends.
func (l *load) start(ctx context.Context, sessions []*oracle, scribes []*scribe, rng *rand.Rand) {
	run := func(f func(rng *rand.Rand)) {
		own := fork(rng)
		l.wg.Go(func() { f(own) })
	}
	for _, o := range sessions {
		if o.mortal {
			run(func(rng *rand.Rand) { l.owner(ctx, o, rng) })
			// Somebody else, who is now and then told that there is no such session.
			run(func(rng *rand.Rand) { l.uploader(ctx, o, rng, 404) })
			continue
		}
		run(func(rng *rand.Rand) { l.uploader(ctx, o, rng) })
		run(func(rng *rand.Rand) { l.uploader(ctx, o, rng) })
		run(func(rng *rand.Rand) { l.worker(ctx, o, rng) })
	}
	for _, s := range scribes {
		run(func(rng *rand.Rand) { l.scribble(ctx, s, rng) })
	}
}

package crash

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

const (
	libraryURL  = "/api/v2/artifacts"
	typeDeleted = artifact.TypeRemoved
)

// slots are the paths of a scribe's folder at which something may stand.
var slots = []string{"a.md", "b.txt", "c.bin", "docs/d.md", "docs/e.json", "docs/f.txt", "docs/deep/g.md", "docs/deep/h.bin", "docs/deep/i.csv", "j.md"}

// at is the query that names a path.
func at(path string) string { return "?path=" + url.QueryEscape(path) }

// text returns text of about n bytes, of letters, with one line that occurs
// once.
func text(rng *rand.Rand, n int) string {
	return "edition " + fmt.Sprintf("%016x", rng.Uint64()) + "\n" + hex.EncodeToString(noise(rng, n/2)) + "\n"
}

// free returns a path at which nothing stands, or "".
func (s *scribe) free(rng *rand.Rand) string {
	for range 2 * len(slots) {
		if path := s.folder + "/" + slots[rng.IntN(len(slots))]; s.stands[path] == nil {
			return path
		}
	}
	return ""
}

// next returns something to do that must succeed.
func (s *scribe) next(rng *rand.Rand) *attempt {
	all := s.paths()
	if len(all) == 0 || len(all) < len(slots)/2 && rng.IntN(3) == 0 {
		return s.create(rng, s.free(rng))
	}
	path := all[rng.IntN(len(all))]
	w := s.stands[path]
	switch n := rng.IntN(20); {
	case n < 7:
		return s.replace(rng, path, w)
	case n < 10 && w.text != "":
		return s.edit(rng, path, w)
	case n < 13:
		return s.remove(rng, path, w)
	case n < 15 && w.version > 1:
		return s.restore(rng, path, w)
	}
	to := s.free(rng)
	switch {
	case to == "":
		return s.remove(rng, path, w)
	case rng.IntN(2) == 0:
		return s.move(path, to, w)
	case rng.IntN(3) == 0:
		return s.duplicate(path, to, w)
	}
	return s.create(rng, to)
}

// large says how many bytes do not fit into a row.
func large(rng *rand.Rand) int {
	if rng.IntN(12) == 0 {
		return 1 << 20
	}
	return 20<<10 + rng.IntN(60<<10)
}

func mark(rng *rand.Rand) string { return fmt.Sprintf("%x", rng.Uint32()) }

// saving returns the attempt to write a version by the door of JSON.
func saving(path string, w *work, fields map[string]any, header ...string) *attempt {
	body := map[string]any{"path": path, "content": w.text, "metadata": map[string]string{"mark": w.mark}}
	for name, v := range fields {
		body[name] = v
	}
	return &attempt{
		method: "POST", path: libraryURL, header: header, body: body, after: map[string]*work{path: w},
		entry: change{Action: "artifact.save", Type: artifact.TypeSaved, Path: path, shown: w.shown()},
	}
}

func (s *scribe) create(rng *rand.Rand, path string) *attempt {
	n := 1 + rng.IntN(4<<10)
	if rng.IntN(4) == 0 {
		n = large(rng)
	}
	w := newWork(textEdition(text(rng, n), mark(rng)))
	var header []string
	if rng.IntN(3) == 0 {
		header = append(header, "If-None-Match", "*")
	}
	return keyed(rng, saving(path, w, nil, header...))
}

// keyed gives some attempts an Idempotency-Key.
func keyed(rng *rand.Rand, a *attempt) *attempt {
	if rng.IntN(2) == 0 {
		a.header = append(a.header, "Idempotency-Key", fmt.Sprintf("%x", rng.Uint64()))
		a.repeatable = true
	}
	return a
}

func (s *scribe) replace(rng *rand.Rand, path string, w *work) *attempt {
	if rng.IntN(3) == 0 { // bytes, by the raw door, which keeps the metadata
		b := noise(rng, large(rng))
		n := w.next(edition{sum: sum(b), size: int64(len(b)), mark: w.mark})
		return keyed(rng, &attempt{
			method: "PUT", path: libraryURL + "/raw" + path, body: b, after: map[string]*work{path: n},
			entry: change{Action: "artifact.save", Type: artifact.TypeSaved, Path: path, shown: n.shown()},
		})
	}
	n := 1 + rng.IntN(4<<10)
	if rng.IntN(3) == 0 {
		n = large(rng)
	}
	next := w.next(textEdition(text(rng, n), mark(rng)))
	if rng.IntN(2) == 0 {
		return keyed(rng, saving(path, next, nil, "If-Match", w.etag()))
	}
	return keyed(rng, saving(path, next, map[string]any{"overwrite": true}))
}

func (s *scribe) edit(rng *rand.Rand, path string, w *work) *attempt {
	line, rest, _ := strings.Cut(w.text, "\n")
	to := "edition " + fmt.Sprintf("%016x", rng.Uint64())
	add := ""
	if rng.IntN(2) == 0 {
		add = fmt.Sprintf("appended %x\n", rng.Uint64())
	}
	n := w.next(textEdition(to+"\n"+rest+add, w.mark))
	a := &attempt{
		method: "PATCH", path: libraryURL + at(path), after: map[string]*work{path: n},
		body:  map[string]any{"edits": []map[string]string{{"old": line + "\n", "new": to + "\n"}}, "append": add},
		entry: change{Action: "artifact.edit", Type: artifact.TypeSaved, Path: path, shown: n.shown()},
	}
	if rng.IntN(2) == 0 {
		a.header = []string{"If-Match", w.etag()}
	}
	return a
}

func (s *scribe) remove(rng *rand.Rand, path string, w *work) *attempt {
	a := &attempt{
		method: "DELETE", path: libraryURL + at(path), after: map[string]*work{path: nil},
		entry: change{Action: "artifact.delete", Type: typeDeleted, Path: path, shown: shown{ID: w.id}},
	}
	if rng.IntN(2) == 0 {
		a.header = []string{"If-Match", w.etag()}
	}
	return a
}

func (s *scribe) restore(rng *rand.Rand, path string, w *work) *attempt {
	version := 1 + rng.Int64N(w.version-1)
	n := w.next(w.past[version])
	return &attempt{
		method: "POST", path: libraryURL + "/restore", after: map[string]*work{path: n},
		body:  map[string]any{"path": path, "version": version},
		entry: change{Action: "artifact.restore", Type: artifact.TypeSaved, Path: path, shown: n.shown()},
	}
}

func (s *scribe) move(path, to string, w *work) *attempt {
	n := *w
	return &attempt{
		method: "POST", path: libraryURL + "/move", after: map[string]*work{path: nil, to: &n},
		body:  map[string]any{"from": path, "to": to},
		entry: change{Action: "artifact.move", Type: artifact.TypeMoved, Path: to, From: path, shown: n.shown()},
	}
}

func (s *scribe) duplicate(path, to string, w *work) *attempt {
	n := newWork(w.edition)
	return &attempt{
		method: "POST", path: libraryURL + "/copy", after: map[string]*work{to: n},
		body:  map[string]any{"from": path, "to": to},
		entry: change{Action: "artifact.copy", Type: artifact.TypeSaved, Path: to, shown: n.shown()},
	}
}

// refusal returns something that must be refused, with the status.
func (s *scribe) refusal(rng *rand.Rand) (*attempt, int) {
	all := s.paths()
	if len(all) == 0 {
		return s.move(s.folder+"/a.md", s.folder+"/b.txt", newWork(edition{})), 404
	}
	path := all[rng.IntN(len(all))]
	w := s.stands[path]
	a := saving(path, w.next(textEdition(text(rng, large(rng)), "no")), nil)
	switch rng.IntN(5) {
	case 0:
		return a, 409
	case 1:
		a.header = []string{"If-Match", `"sha256:` + sum(nil) + `"`}
		return a, 412
	case 2:
		a.header = []string{"If-None-Match", "*"}
		return a, 412
	case 3:
		a = s.edit(rng, path, w)
		a.body = map[string]any{"append": "no", "edits": []map[string]string{{"old": "nobody has written this", "new": ""}}}
		if w.text == "" {
			return s.move(path, path, w), 409
		}
		return a, 409
	}
	a = s.remove(rng, path, w)
	a.header = []string{"If-None-Match", "*"}
	return a, 412
}

// saved is what an answer says of the artifact that was written.
type saved struct {
	Data struct {
		ID      string `json:"artifact_id"`
		Path    string `json:"path"`
		Version int64  `json:"version"`
		Size    int64  `json:"size"`
		ETag    string `json:"etag"`
	} `json:"data"`
}

// scribble writes to a folder of the library until the server is gone.
func (l *load) scribble(ctx context.Context, s *scribe, rng *rand.Rand) {
	if s.again != nil && !l.repeat(ctx, s) {
		return
	}
	for ctx.Err() == nil {
		if rng.IntN(8) == 0 {
			a, want := s.refusal(rng)
			status, ok := l.attempt(ctx, a, nil, want)
			if !ok {
				return
			}
			if status != want {
				l.fail("%s %s with %v was answered %d, want %d", a.method, a.path, a.header, status, want)
			}
			s.refused++
			continue
		}
		a := s.next(rng)
		s.open = a
		var got saved
		if _, ok := l.attempt(ctx, a, &got); !ok {
			return
		}
		s.open = nil
		l.compare(a, &got)
		s.apply(a, got.Data.ID)
	}
}

func (l *load) attempt(ctx context.Context, a *attempt, into any, allowed ...int) (status int, ok bool) {
	return l.sent(ctx, a.method+" "+a.path, func() (int, error) {
		return l.lib.send(ctx, a.method, a.path, a.header, a.body, into)
	}, allowed...)
}

// compare fails the test if an answer does not tell of what was to be done.
func (l *load) compare(a *attempt, got *saved) {
	w, d := a.after[a.entry.Path], &got.Data
	if w == nil {
		return
	}
	if d.Path != a.entry.Path || d.Version != w.version || d.Size != w.size || d.ETag != w.etag() || w.id != "" && d.ID != w.id || d.ID == "" {
		l.fail("%s %s was answered with %+v, want %s of %+v", a.method, a.path, *d, a.entry.Path, w.shown())
	}
}

// repeat sends a request again whose answer was lost. It is done once, however
// often it is sent.
func (l *load) repeat(ctx context.Context, s *scribe) bool {
	a := s.again
	if !s.done {
		s.open = a
	}
	var got saved
	if _, ok := l.attempt(ctx, a, &got); !ok {
		return false
	}
	l.compare(a, &got)
	if !s.done {
		s.apply(a, got.Data.ID)
	}
	s.open, s.again, s.done = nil, nil, false
	s.repeated++
	return true
}

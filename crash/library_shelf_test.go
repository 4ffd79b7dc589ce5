package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// edition is what one version of an artifact holds.
type edition struct {
	sum  string
	size int64
	text string // empty where the test did not keep it, or it is no text
	mark string // in its metadata
}

func textEdition(text, mark string) edition {
	return edition{sum([]byte(text)), int64(len(text)), text, mark}
}

// maxKeptText is the length up to which the texts of earlier versions are kept.
const maxKeptText = 4 << 10

// work is an artifact of the library.
type work struct {
	edition
	id      string // empty while nobody but a server that died knows it
	version int64
	past    map[int64]edition // by version, with the one that stands
}

func newWork(e edition) *work {
	return &work{edition: e, version: 1, past: map[int64]edition{1: e}}
}

// next returns the work after another version of it was written.
func (w *work) next(e edition) *work {
	n := &work{edition: e, id: w.id, version: w.version + 1, past: make(map[int64]edition, len(w.past)+1)}
	for v, p := range w.past {
		if len(p.text) > maxKeptText {
			p.text = ""
		}
		n.past[v] = p
	}
	n.past[n.version] = e
	return n
}

func (w *work) etag() string { return `"sha256:` + w.sum + `"` }

// shown is what every door tells of an artifact.
type shown struct {
	ID, Sum string
	Version int64
	Size    int64
	Mark    string
}

func (w *work) shown() shown { return shown{w.id, w.sum, w.version, w.size, w.mark} }

// change is an entry of the library's log with its twin of the audit log.
type change struct {
	Action     string // of the audit log
	Type       string // of the library's
	Path, From string
	shown
}

// attempt is one request to change the library.
type attempt struct {
	method, path string
	header       []string
	body         any
	after        map[string]*work // what stands at these paths once it is done; nil is nothing
	entry        change           // what the logs tell of it then; the id may be missing
	repeatable   bool             // it has an Idempotency-Key
}

// scribe writes to one folder of the library, and nobody else does. So it knows
// what stands there, save for its last write when the server died. It is used
// by one goroutine at a time: that of the load, then that of the verifier.
type scribe struct {
	folder string
	stands map[string]*work
	told   []change        // entries of the logs since these were compared
	fresh  map[string]bool // paths whose contents are to be compared
	gone   []string        // ids of artifacts that were deleted
	buried int             // how many of gone were asked for since

	open  *attempt // sent, and not answered
	again *attempt // to be sent again: the answer was lost
	done  bool     // what again asks for was done before

	acked, adopted, repeated, refused int
}

func newScribe(folder string) *scribe {
	return &scribe{folder: folder, stands: map[string]*work{}, fresh: map[string]bool{}}
}

// after returns what stands once an attempt was done.
func (s *scribe) after(a *attempt) map[string]*work {
	m := maps.Clone(s.stands)
	for path, w := range a.after {
		if m[path] = w; w == nil {
			delete(m, path)
		}
	}
	return m
}

// apply notes that an attempt was done. id is that of an artifact it has made.
func (s *scribe) apply(a *attempt, id string) {
	for path, w := range a.after {
		if w != nil && w.id == "" {
			w.id = id
		}
		s.fresh[path] = true
	}
	if a.entry.ID == "" {
		a.entry.ID = id
	}
	if a.entry.Type == typeDeleted {
		s.gone = append(s.gone, a.entry.ID)
	}
	s.stands = s.after(a)
	s.told = append(s.told, a.entry)
	s.acked++
}

// settle finds out what became of the write that was not answered, from what a
// server shows of the folder. It returns what is wrong with that, or "".
func (s *scribe) settle(got map[string]shown) string {
	open := s.open
	s.open = nil
	if open == nil || s.again == open && s.done {
		return differs(got, s.stands)
	}
	s.again, s.done = nil, false
	if open.repeatable {
		s.again = open
	}
	without := differs(got, s.stands)
	if without == "" {
		return ""
	}
	if with := differs(got, s.after(open)); with != "" {
		return fmt.Sprintf("%s\nand with the %s of %s that was not answered (-shown +sent):\n%s", without, open.entry.Action, open.entry.Path, with)
	}
	s.apply(open, got[open.entry.Path].ID)
	s.acked--
	s.adopted++
	s.done = s.again != nil
	return ""
}

// differs tells in which way a folder is not as it should be. An id that is not
// known is right.
func differs(got map[string]shown, want map[string]*work) string {
	m := make(map[string]shown, len(want))
	for path, w := range want {
		m[path] = w.shown()
		if w.id == "" {
			v := m[path]
			v.ID = got[path].ID
			m[path] = v
		}
	}
	return cmp.Diff(got, m)
}

// below returns those of the paths that lie below a folder, without it.
func below[T any](all map[string]T, folder string) map[string]T {
	m := make(map[string]T)
	for path, v := range all {
		if strings.HasPrefix(path, folder+"/") {
			m[path] = v
		}
	}
	return m
}

// paths returns where something stands, in order.
func (s *scribe) paths() []string { return slices.Sorted(maps.Keys(s.stands)) }

package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// listed is an artifact as listings and the log tell of it.
type listed struct {
	Path     string `json:"path"`
	Name     string `json:"name"`
	ID       string `json:"artifact_id"`
	Version  int64  `json:"version"`
	Size     int64  `json:"size"`
	Type     string `json:"content_type"`
	Modified string `json:"last_modified"`
	ETag     string `json:"etag"`
	Metadata struct {
		Mark string `json:"mark"`
	} `json:"metadata"`
	Actor string `json:"actor"`
}

func (l *listed) shown() shown {
	sum := strings.TrimSuffix(strings.TrimPrefix(l.ETag, `"sha256:`), `"`)
	return shown{l.ID, sum, l.Version, l.Size, l.Metadata.Mark}
}

// library is what the test knows of a server's library, and who writes to it.
type library struct {
	t       testing.TB
	api     *api
	rng     *rand.Rand
	scribes []*scribe

	read    map[string]int64 // by log: the position up to which it was compared
	folded  map[string]listed
	changes int
	refresh string // the token to refresh with
}

func newLibrary(t testing.TB, a *api, rng *rand.Rand, scribes int) *library {
	l := &library{t: t, api: a, rng: rng, read: map[string]int64{}, folded: map[string]listed{}}
	for i := range scribes {
		l.scribes = append(l.scribes, newScribe(fmt.Sprintf("/s%d", i)))
	}
	return l
}

// ask reads what an answer holds.
func (l *library) ask(ctx context.Context, path string, into any) {
	l.t.Helper()
	var body struct {
		Data json.RawMessage `json:"data"`
	}
	_, err := l.api.call(ctx, "GET", path, nil, &body)
	if err == nil {
		err = json.Unmarshal(body.Data, into)
	}
	if err != nil {
		l.t.Fatalf("GET %s: %v", path, err)
	}
}

// verify compares the library with what was said of it. Nobody writes to it
// meanwhile.
func (l *library) verify(ctx context.Context, all bool) {
	l.t.Helper()
	tree := l.tree(ctx)
	shows := make(map[string]shown, len(tree))
	for p, f := range tree {
		shows[p] = f.shown()
	}
	for _, s := range l.scribes {
		if diff := s.settle(below(shows, s.folder)); diff != "" {
			l.t.Errorf("%s is not what was acknowledged (-shown +acknowledged):\n%s", s.folder, diff)
		}
	}
	if all {
		l.read, l.folded, l.changes = map[string]int64{}, map[string]listed{}, 0
	}
	l.compareLogs(ctx, all)
	if diff := cmp.Diff(l.folded, tree); diff != "" {
		l.t.Errorf("the log does not add up to the listing (-log +listing):\n%s", diff)
	}
	l.walk(ctx, "/", tree)
	for _, s := range l.scribes {
		for _, p := range s.paths() {
			if s.fresh[p] || all || l.rng.IntN(6) == 0 {
				l.work(ctx, p, s.stands[p], tree[p])
			}
		}
		clear(s.fresh)
		l.dead(ctx, s, all)
	}
}

// tree lists everything.
func (l *library) tree(ctx context.Context) map[string]listed {
	l.t.Helper()
	tree, _, err := l.list(ctx, 1+l.rng.IntN(30))
	if err != nil {
		l.t.Fatalf("list: %v", err)
	}
	return tree
}

// list lists everything, page by page, and returns the position from which the
// log tells what has happened since.
func (l *library) list(ctx context.Context, limit int) (tree map[string]listed, position int64, err error) {
	tree = map[string]listed{}
	for cursor, last := "", ""; ; {
		var page struct {
			Data struct {
				Files    []listed `json:"files"`
				Next     *string  `json:"next_cursor"`
				Position int64    `json:"position"`
			} `json:"data"`
		}
		_, err := l.api.call(ctx, "GET", fmt.Sprintf("%s/list?recursive=true&limit=%d&cursor=%s", libraryURL, limit, cursor), nil, &page)
		if err != nil {
			return nil, 0, err
		}
		for _, f := range page.Data.Files {
			if f.Path <= last {
				return nil, 0, fmt.Errorf("%w: %s is listed after %s", errWrong, f.Path, last)
			}
			tree[f.Path], last = f, f.Path
		}
		if cursor == "" {
			position = page.Data.Position
		}
		if page.Data.Next == nil {
			return tree, position, nil
		}
		cursor = *page.Data.Next
	}
}

// walk compares the listings of folder after folder with that of all.
func (l *library) walk(ctx context.Context, dir string, tree map[string]listed) {
	var page struct {
		Folders []string `json:"folders"`
		Files   []listed `json:"files"`
	}
	l.ask(ctx, libraryURL+"/list?prefix="+url.QueryEscape(dir), &page)
	files, folders := []listed{}, map[string]bool{}
	prefix := strings.TrimSuffix(dir, "/") + "/"
	for _, p := range slices.Sorted(maps.Keys(tree)) {
		rest, inside := strings.CutPrefix(p, prefix)
		if name, _, deeper := strings.Cut(rest, "/"); inside && deeper {
			folders[name] = true
		} else if inside {
			f := tree[p]
			files = append(files, listed{Name: f.Name, Size: f.Size, Type: f.Type, Modified: f.Modified})
		}
	}
	if diff := cmp.Diff(page.Files, files); diff != "" {
		l.t.Errorf("files of %s (-folder +whole):\n%s", dir, diff)
	}
	if diff := cmp.Diff(page.Folders, append([]string{}, slices.Sorted(maps.Keys(folders))...)); diff != "" {
		l.t.Errorf("folders of %s (-folder +whole):\n%s", dir, diff)
	}
	for name := range folders {
		l.walk(ctx, prefix+name, tree)
	}
}

// logLine is an entry of one of the two logs.
type logLine struct {
	Seq  int64           `json:"seq"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// log reads what a log tells since it was read last.
func (l *library) log(ctx context.Context, path string) (list []logLine) {
	for {
		var page struct {
			Events    []logLine `json:"events"`
			Next      int64     `json:"next_cursor"`
			More      bool      `json:"has_more"`
			Truncated bool      `json:"truncated"`
		}
		at := l.read[path]
		l.ask(ctx, fmt.Sprintf("%s?after=%d&limit=%d", path, at, 200+l.rng.IntN(800)), &page)
		for i, e := range page.Events {
			if e.Seq != at+int64(i)+1 {
				l.t.Errorf("%s: entry %d has the position %d", path, at+int64(i)+1, e.Seq)
			}
		}
		list = append(list, page.Events...)
		if n := at + int64(len(page.Events)); page.Next != n || page.Truncated {
			l.t.Fatalf("%s: after entry %d the cursor is %d", path, n, page.Next)
		}
		l.read[path] = page.Next
		if !page.More {
			return list
		}
	}
}

// fold does to a listing what an entry of the log tells of.
func fold(files map[string]listed, typ string, data []byte) (change, error) {
	var e struct {
		listed
		From string `json:"from"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return change{}, fmt.Errorf("%s: %w", data, err)
	}
	e.Name = path.Base(e.Path)
	delete(files, e.From)
	if files[e.Path] = e.listed; typ == typeDeleted {
		delete(files, e.Path)
	}
	return change{Type: typ, Path: e.Path, From: e.From, shown: e.shown()}, nil
}

// compareLogs folds the library's log, and checks that each of its entries has
// its twin in the audit log, in the same order, and that both tell of what was
// acknowledged, and of nothing else. whole says that they are read from the
// beginning, of which the scribes do not know any more.
func (l *library) compareLogs(ctx context.Context, whole bool) {
	var got []change
	for _, line := range l.log(ctx, libraryURL+"/events") {
		e, err := fold(l.folded, line.Type, line.Data)
		if err != nil {
			l.t.Fatalf("entry %d: %v", line.Seq, err)
		}
		got = append(got, e)
	}
	n := 0
	for _, line := range l.log(ctx, "/api/v2/audit") {
		var e artifact.AuditEntry
		if err := json.Unmarshal(line.Data, &e); err != nil {
			l.t.Fatalf("audit entry %d: %v", line.Seq, err)
		}
		if !strings.HasPrefix(e.Action, "artifact.") {
			continue
		}
		if n++; n > len(got) {
			l.t.Fatalf("the audit log tells of %s of %s, the library's does not", e.Action, e.Object)
		}
		c := &got[n-1]
		d := e.Details
		if e.Object != "artifact:"+c.Path || d["artifact_id"] != c.ID || d["from"] != nil && d["from"] != c.From ||
			d["sha256"] != nil && (d["sha256"] != c.Sum || d["version"] != float64(c.Version) || d["size"] != float64(c.Size)) || e.Outcome != "ok" {
			l.t.Errorf("audit entry %d is %+v, the library's log has %+v", line.Seq, e, *c)
		}
		c.Action = e.Action
	}
	if n != len(got) {
		l.t.Errorf("the library's log has %d new entries, the audit log %d of artifacts", len(got), n)
	}
	l.changes += len(got)
	gone := map[string]bool{}
	for _, c := range got {
		gone[c.ID] = gone[c.ID] || c.Type == typeDeleted
	}
	for _, s := range l.scribes {
		told := s.told
		s.told = nil
		for i := range told {
			if gone[told[i].ID] {
				told[i].Mark = "" // metadata goes with the artifact
			}
		}
		if whole && len(told) == 0 {
			continue
		}
		var own []change
		for _, c := range got {
			if strings.HasPrefix(c.Path, s.folder+"/") {
				own = append(own, c)
			}
		}
		if whole { // of which the end is known
			own = own[max(0, len(own)-len(told)):]
		}
		if diff := cmp.Diff(own, told, cmp.AllowUnexported(change{})); diff != "" {
			l.t.Errorf("changes of %s (-logs +acknowledged):\n%s", s.folder, diff)
		}
	}
}

// work compares what an artifact holds with what was acknowledged.
func (l *library) work(ctx context.Context, p string, w *work, f listed) {
	l.t.Helper()
	raw := func(query string, want edition) {
		h := sha256.New()
		_, err := l.api.call(ctx, "GET", libraryURL+"/raw"+p+query, nil, h)
		if got := hex.EncodeToString(h.Sum(nil)); err != nil || got != want.sum {
			l.t.Errorf("%s%s of version %d has the hash %s (%v), want %s", p, query, w.version, got, err, want.sum)
		}
	}
	raw("", w.edition)
	if w.text != "" {
		var got struct {
			Content string `json:"content"`
			Type    string `json:"content_type"`
			Size    int64  `json:"size"`
		}
		if l.ask(ctx, libraryURL+at(p), &got); got.Content != w.text || got.Size != w.size || got.Type != f.Type {
			l.t.Errorf("%s is retrieved as %d bytes of %s, want %d of %s", p, got.Size, got.Type, w.size, f.Type)
		}
	}
	var versions struct {
		Versions []listed `json:"versions"`
	}
	l.ask(ctx, libraryURL+"/versions"+at(p), &versions)
	got, want := map[int64]edition{}, map[int64]edition{}
	for _, v := range versions.Versions {
		s := v.shown()
		got[s.Version] = edition{sum: s.Sum, size: s.Size, mark: s.Mark}
	}
	for n, e := range w.past {
		want[n] = edition{sum: e.sum, size: e.size, mark: e.mark}
	}
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(edition{})); diff != "" {
		l.t.Errorf("versions of %s (-listed +acknowledged):\n%s", p, diff)
	}
	old := 1 + l.rng.Int64N(w.version)
	raw(fmt.Sprintf("?version=%d", old), w.past[old])
	l.record(ctx, p, w, f)
}

// record compares the memory record of an artifact.
func (l *library) record(ctx context.Context, p string, w *work, f listed) {
	var got struct {
		ID       string         `json:"id"`
		Content  string         `json:"content"`
		Updated  string         `json:"updated_at"`
		Metadata map[string]any `json:"metadata"`
	}
	l.ask(ctx, "/api/v2/memories/"+w.id, &got)
	want := map[string]any{"artifact_id": w.id, "path": p, "content_type": f.Type, "size": float64(w.size), "system": true}
	if diff := cmp.Diff(got.Metadata, want); diff != "" || got.ID != w.id || got.Updated != f.Modified {
		l.t.Errorf("record of %s: id %s of %s, updated at %s and not %s (-record +acknowledged):\n%s", p, got.ID, w.id, got.Updated, f.Modified, diff)
	}
	if text := p + "\n\n" + w.text; w.text != "" && got.Content != text[:min(len(text), 10_000)] {
		l.t.Errorf("the record of %s does not have its text", p)
	}
}

// dead checks that nothing is to be had of what was deleted.
func (l *library) dead(ctx context.Context, s *scribe, all bool) {
	ask := s.gone[s.buried:]
	if all {
		ask = s.gone
	}
	s.buried = len(s.gone)
	for _, id := range ask {
		if status, err := l.api.call(ctx, "GET", "/api/v2/memories/"+id, nil, io.Discard); status != 404 {
			l.t.Errorf("the record of the deleted artifact %s answers %d (%v)", id, status, err)
		}
	}
	for _, slot := range slots {
		p := s.folder + "/" + slot
		if s.stands[p] != nil {
			continue
		}
		for _, door := range []string{libraryURL + at(p), libraryURL + "/raw" + p, libraryURL + "/versions" + at(p)} {
			if status, err := l.api.call(ctx, "GET", door, nil, io.Discard); status != 404 {
				l.t.Errorf("%s answers %d (%v), and nothing stands there", door, status, err)
			}
		}
	}
}

// login shows the first key, once: the tokens are good for all servers that
// follow.
func (l *library) login(ctx context.Context) {
	if l.api.bearer != "" {
		return
	}
	a := &api{base: l.api.base, http: l.api.http, bearer: firstKey}
	l.tokens(ctx, a, "/api/v2/auth/token", nil)
}

func (l *library) tokens(ctx context.Context, a *api, path string, body any) {
	var got struct {
		Data struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		} `json:"data"`
	}
	if _, err := a.call(ctx, "POST", path, body, &got); err != nil || got.Data.Access == "" {
		l.t.Fatalf("POST %s: %v", path, err)
	}
	l.api.bearer, l.refresh = got.Data.Access, got.Data.Refresh
}

// renew exchanges the refresh token now and then. The token before is one of a
// server that died.
func (l *library) renew(ctx context.Context) {
	if l.rng.IntN(3) == 0 {
		a := &api{base: l.api.base, http: l.api.http}
		l.tokens(ctx, a, "/api/v2/auth/refresh", map[string]string{"refresh_token": l.refresh})
	}
}

// String tells what was put to the test.
func (l *library) String() string {
	var all scribe
	for _, s := range l.scribes {
		all.acked += s.acked
		all.adopted += s.adopted
		all.repeated += s.repeated
		all.refused += s.refused
	}
	return fmt.Sprintf("library: %d changes in the log, %d of them acknowledged, %d found though no answer came, %d sent again, %d refused",
		l.changes, all.acked, all.adopted, all.repeated, all.refused)
}

package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// verifier compares what a server has with what it said.
type verifier struct {
	t   testing.TB
	api *api
	dir string
	rng *rand.Rand
	all bool // read every content, not only those that are new
}

func (v *verifier) fault(o *oracle, format string, args ...any) {
	v.t.Helper()
	v.t.Errorf("session %s: %s", o.id, fmt.Sprintf(format, args...))
}

// readLog reads the log of a session from a position to another.
func readLog(ctx context.Context, a *api, session string, after, last int64) ([]logEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var list []logEntry
	if after >= last {
		last = after // there is nothing to wait for, but perhaps something to be told
	}
	err := sse(ctx, a, session, strconv.FormatInt(after, 10), func(e logEntry) error {
		if list = append(list, e); e.Seq >= last {
			return errTold
		}
		return nil
	})
	if errors.Is(err, errTold) {
		return list, nil
	}
	return list, err
}

// session checks one session and returns its log, which is nil where there is
// none. Nobody else writes to it meanwhile.
func (v *verifier) session(ctx context.Context, o *oracle) []logEntry {
	v.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := v.api.call(ctx, "POST", "/api/sessions/"+o.id+"/scan", nil, nil)
	if statusOf(err) == 404 {
		v.absent(o)
		return nil
	}
	if err != nil {
		v.t.Fatalf("scan %s: %v", o.id, err)
	}
	var shown struct {
		Last int64 `json:"last_seq"`
	}
	if _, err := v.api.call(ctx, "GET", "/api/sessions/"+o.id, nil, &shown); err != nil {
		v.t.Fatalf("show %s: %v", o.id, err)
	}
	oldest := int64(0)
	var log []logEntry
	if shown.Last > 0 {
		log, err = readLog(ctx, v.api, o.id, 0, shown.Last)
		if e, ok := errors.AsType[*expired](err); ok && o.mortal {
			if oldest, err = e.oldest, nil; oldest < shown.Last {
				log, err = readLog(ctx, v.api, o.id, oldest, shown.Last)
			}
		}
		if err != nil {
			v.t.Fatalf("read log of %s: %v", o.id, err)
		}
	}
	for i, e := range log {
		if e.Seq != oldest+int64(i)+1 {
			v.fault(o, "entry %d of the log has position %d", oldest+int64(i)+1, e.Seq)
			return log
		}
	}
	v.present(o, oldest)
	v.uploads(ctx, o, log, oldest)
	v.workspace(o, log)
	v.folders(o)
	return log
}

// absent checks a session that the server does not know; o.mu must be held.
func (v *verifier) absent(o *oracle) {
	d := &o.deletes
	if !o.mortal {
		if len(o.acked)+len(o.told) > 0 {
			v.fault(o, "is gone with %d uploads that were acknowledged", len(o.acked))
		}
	} else if d.exists && !d.unknown {
		v.fault(o, "is gone, and nobody deleted it")
	}
	for _, k := range o.acked {
		d.dead = max(d.dead, k.seq)
	}
	d.exists, d.unknown, d.born = false, false, 0
	clear(o.pending)
	o.acked, o.checked, o.scanned = nil, 0, nil
	o.disk, o.told, o.folders = map[string]string{}, map[int64]logEntry{}, map[string]bool{}
}

// present checks that a session that is there may be; o.mu must be held.
func (v *verifier) present(o *oracle, oldest int64) {
	d := &o.deletes
	if !o.mortal {
		return
	}
	if !d.exists && !d.unknown && d.dead > 0 {
		v.fault(o, "is there again, its deletion was acknowledged")
	}
	if oldest < d.dead {
		v.fault(o, "its log goes back to %d; up to %d it was deleted", oldest, d.dead)
	}
	for _, k := range o.acked[d.born:] {
		if k.owner && d.exists && k.seq <= oldest {
			v.fault(o, "upload %s was acknowledged at %d, but the log begins after %d", k.id, k.seq, oldest)
		}
	}
	d.exists, d.unknown = true, false
}

// uploads checks that each acknowledged upload is there, that each other one
// is there wholly or not at all, and nothing else; o.mu must be held.
func (v *verifier) uploads(ctx context.Context, o *oracle, log []logEntry, oldest int64) {
	at := func(seq int64) logEntry {
		if i := seq - oldest - 1; i >= 0 && i < int64(len(log)) {
			return log[i]
		}
		return logEntry{}
	}
	dead := 0
	for _, k := range o.acked {
		if k.seq <= oldest {
			if dead++; dead < 4 {
				v.gone(ctx, o, k)
			}
			continue
		}
		want := logEntry{entry{k.seq, artifact.TypeUpload, k.sum}, k.id, "created", "attachments/" + k.id + "/" + k.name, k.name}
		if diff := cmp.Diff(at(k.seq), want, cmp.AllowUnexported(logEntry{})); diff != "" {
			v.fault(o, "acknowledged upload (-log +acknowledged):\n%s", diff)
		}
	}
	for seq, want := range o.told {
		if got := at(seq); seq > oldest && got != want {
			v.fault(o, "acknowledged scan: entry %d is %+v, was told as %+v", seq, got, want)
		}
	}
	known := map[string]bool{}
	for _, k := range o.acked {
		known[k.id] = true
	}
	found := map[*upload][]kept{}
	for _, e := range log {
		if e.Type != artifact.TypeUpload || known[e.Attachment] {
			continue
		}
		u := o.sent[e.Hash]
		if u == nil || !o.pending[u] {
			v.fault(o, "entry %d tells of an upload that nobody sent, or that was there before: %s", e.Seq, e.Hash)
			continue
		}
		found[u] = append(found[u], kept{id: e.Attachment, name: e.Name, sum: e.Hash, seq: e.Seq})
	}
	for u := range o.pending {
		if n := len(found[u]); n != 0 && n != len(u.sums) {
			v.fault(o, "%d of the %d files of an upload without an answer are there", n, len(u.sums))
		}
		if len(found[u]) == 0 { // and must not turn up later
			for _, s := range u.sums {
				delete(o.sent, s)
			}
		}
		o.acked = append(o.acked, found[u]...)
	}
	clear(o.pending)
	if o.mortal {
		o.acked = slices.DeleteFunc(o.acked, func(k kept) bool { return k.seq <= oldest })
		o.checked, o.deletes.born = min(o.checked, len(o.acked)), 0
		if dead > 0 {
			o.checked = 0
		}
	}
	v.contents(ctx, o)
}

// gone checks that an upload of a deleted session is not to be had.
func (v *verifier) gone(ctx context.Context, o *oracle, k kept) {
	status, err := v.api.call(ctx, "GET", "/api/sessions/"+o.id+"/artifacts/"+k.id+"?mode=stream", nil, nil)
	if status != 404 {
		v.fault(o, "upload %s of the deleted session answers %d (%v)", k.id, status, err)
	}
}

// contents reads back what was acknowledged since the last time, and some of
// the rest; o.mu must be held.
func (v *verifier) contents(ctx context.Context, o *oracle) {
	read := slices.Clone(o.acked[o.checked:])
	if v.all {
		read = o.acked
	} else if o.checked > 0 {
		for range 5 {
			read = append(read, o.acked[v.rng.IntN(o.checked)])
		}
	}
	for _, k := range read {
		h := sha256.New()
		_, err := v.api.call(ctx, "GET", "/api/sessions/"+o.id+"/artifacts/"+k.id+"?mode=stream", nil, h)
		if got := hex.EncodeToString(h.Sum(nil)); err != nil || got != k.sum {
			v.fault(o, "upload %s has the hash %s (%v), want %s", k.id, got, err, k.sum)
		}
		got, err := sumFile(filepath.Join(workspace(v.dir, o.id), "attachments", k.id, k.name))
		if err != nil || got != k.sum {
			v.fault(o, "upload %s has the hash %s in the workspace (%v), want %s", k.id, got, err, k.sum)
		}
	}
	o.checked = len(o.acked)
}

// workspace checks that the log tells of the workspace files as they are, and
// told of them as they were when a scan was acknowledged; o.mu must be held.
func (v *verifier) workspace(o *oracle, log []logEntry) {
	files := map[string]string{}
	for _, e := range log {
		if o.scanned != nil && e.Seq == o.scanned.cursor+1 {
			v.files(o, "after an acknowledged scan", files, o.scanned.files)
		}
		if e.Type != artifact.TypeArtifact {
			continue
		}
		if e.Change == string(artifact.Deleted) {
			delete(files, e.Path)
			continue
		}
		if files[e.Path] = e.Hash; !o.written[e.Hash] {
			v.fault(o, "entry %d tells of a state that %s never had: %s", e.Seq, e.Path, e.Hash)
		}
	}
	v.files(o, "now", files, o.disk)
}

func (v *verifier) files(o *oracle, when string, got, want map[string]string) {
	if !maps.Equal(got, want) {
		v.fault(o, "workspace %s (-log +disk):\n%s", when, cmp.Diff(got, want))
	}
}

// folders checks that no file in attachments/ is half of one; o.mu must be held.
func (v *verifier) folders(o *oracle) {
	root := filepath.Join(workspace(v.dir, o.id), "attachments")
	list, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.t.Fatal(err)
	}
	for _, dir := range list {
		hidden := strings.HasPrefix(dir.Name(), ".manifest-") || strings.HasPrefix(dir.Name(), ".restore-")
		if o.folders[dir.Name()] || hidden { // a hidden one was to become a file; it is swept
			continue
		}
		if dir.Name() == manifest {
			b, err := os.ReadFile(filepath.Join(root, manifest))
			if err != nil || !json.Valid(b) {
				v.fault(o, "the manifest is no whole one: %d bytes, %v", len(b), err)
			}
			continue
		}
		o.folders[dir.Name()] = true
		if !dir.IsDir() || !strings.HasPrefix(dir.Name(), "att_") {
			v.fault(o, "%s lies among the attachments", dir.Name())
			continue
		}
		files, err := os.ReadDir(filepath.Join(root, dir.Name()))
		if err != nil {
			v.t.Fatal(err)
		}
		for _, f := range files {
			got, err := sumFile(filepath.Join(root, dir.Name(), f.Name()))
			if err != nil || !o.ever[got] {
				v.fault(o, "attachments/%s/%s is no file that was sent: hash %s (%v)", dir.Name(), f.Name(), got, err)
			}
		}
	}
}

// follower checks that what came over all connections is the log.
func (v *verifier) follower(ctx context.Context, f *follower, log []logEntry) {
	v.t.Helper()
	want := make([]entry, 0, len(log))
	for _, e := range log {
		if !f.files || e.Type == artifact.TypeArtifact || e.Type == artifact.TypeUpload {
			want = append(want, e.entry)
		}
	}
	eventually(ctx, func() bool { return len(f.seen()) >= len(want) || f.broken() != "" })
	got := f.seen()
	if fault := f.broken(); fault != "" {
		v.t.Errorf("follower %s of %s: %s", f.name, f.session, fault)
		return
	}
	if len(got) > len(want) { // something was written after the log was read
		got = got[:len(want)]
	}
	if diff := firstDifference(got, want); diff != "" {
		v.t.Errorf("follower %s of %s: %s", f.name, f.session, diff)
	}
}

// mortal checks a follower of a session that comes and goes: what it was told
// has no gap and agrees with what is left of the log.
func (v *verifier) mortal(f *follower, log []logEntry) {
	byPosition := map[int64]entry{}
	for _, e := range log {
		byPosition[e.Seq] = e.entry
	}
	got := f.seen()
	for i, e := range got {
		if i > 0 && e.Seq != got[i-1].Seq+1 && !overtaken(got[i-1], e) {
			v.t.Errorf("follower %s of %s: %d came after %d", f.name, f.session, e.Seq, got[i-1].Seq)
			return
		}
		if want, ok := byPosition[e.Seq]; ok && e != want {
			v.t.Errorf("follower %s of %s: %+v, the log has %+v", f.name, f.session, e, want)
		}
	}
}

// overtaken reports whether a reader was told of the end of a session whose
// last entries were gone before it came to them.
func overtaken(before, e entry) bool {
	return e.Type == artifact.TypeDeleted && before.Seq < e.Seq
}

// firstDifference describes where two lists part.
func firstDifference(got, want []entry) string {
	for i := range max(len(got), len(want)) {
		var g, w any = "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Sprintf("the %d. entry is %+v, in the log it is %+v (%d entries, the log has %d)", i+1, g, w, len(got), len(want))
		}
	}
	return ""
}

// clean fails the test where "vitrine check" finds anything.
func (v *verifier) clean(deep bool) {
	v.t.Helper()
	for _, f := range check(v.t, v.dir, deep) {
		v.t.Errorf("vitrine check: %s", f)
	}
}

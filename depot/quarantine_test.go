package depot

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/scan"
)

// checker is a scanner that a test has in its hand: a command that finds "evil".
type checker struct {
	scan.Scanner
	testing.TB
	dir string
}

// In the folder of the script lie switches, and a line for each content that it
// was given.
const checkerScript = `#!/bin/sh
dir=$(dirname "$0")
file=$(mktemp "$dir/in.XXXXXX")
cat > "$file"
[ -s "$file" ] && echo x >> "$dir/seen"
while [ -e "$dir/wait" ]; do sleep 0.01; done
code=0
[ -e "$dir/down" ] && code=3
[ -e "$dir/broken" ] && [ -s "$file" ] && code=4
[ $code = 0 ] && grep -q evil "$file" && code=1 && echo Test.Evil
rm -f "$file"
exit $code
`

func newChecker(t testing.TB) *checker {
	t.Helper()
	c := &checker{TB: t, dir: t.TempDir()}
	script := filepath.Join(c.dir, "check")
	err := os.WriteFile(script, []byte(checkerScript), 0o700)
	if err == nil {
		c.Scanner, err = scan.Open("exec:" + script)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.set("wait", false) }) // before the depot is closed
	return c
}

// set turns a switch on or off.
func (c *checker) set(name string, on bool) {
	c.Helper()
	file := filepath.Join(c.dir, name)
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if on {
		err = os.WriteFile(file, nil, 0o600)
	}
	if err != nil {
		c.Error(err)
	}
}

// seen returns how many contents the scanner was given.
func (c *checker) seen() int {
	c.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, "seen"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// asked is a test whose context says who asks.
type asked struct {
	testing.TB
	ctx context.Context
}

func (a asked) Context() context.Context { return a.ctx }

// as returns the stand in the hands of the holder of a key.
func (s *stand) as(key string) *stand {
	return s.by(&artifact.Caller{Kind: artifact.CallerKey, Tenant: tenant, Key: key})
}

func (s *stand) by(c *artifact.Caller) *stand {
	return &stand{TB: asked{s.TB, artifact.WithCaller(s.Context(), c)}, Depot: s.Depot, dir: s.dir}
}

// settled waits until nothing is pending and this server is done with it.
func (s *stand) settled() {
	s.Helper()
	until(s, "everything is scanned", func() bool {
		n, err := s.Unscanned(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		return n == 0 && s.idle()
	})
}

// idle reports whether nothing is being scanned.
func (s *stand) idle() bool {
	s.scanning.mu.Lock()
	defer s.scanning.mu.Unlock()
	return len(s.scanning.running) == 0
}

// refused returns the code with which the bytes of a version are kept back.
func (s *stand) refused(v *artifact.Version) string {
	s.Helper()
	_, err := s.content(v)
	return codeOf(s, err)
}

func codeOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*artifact.Error](err)
	if !ok || Withheld(err) == "" {
		t.Fatalf("%v is no error that keeps bytes back", err)
	}
	wait, _ := e.Facts["retry_after"].(int)
	if want := map[string]artifact.Kind{codePending: artifact.Unavailable}[e.Code]; want != 0 && (e.Kind != want || wait < 1) ||
		want == 0 && (e.Kind != artifact.Denied || wait != 0) {
		t.Errorf("%s is of kind %d, again after %d seconds", e.Code, e.Kind, wait)
	}
	return e.Code
}

// entries returns the data of the entries of a type in a log.
func (s *stand) entries(log artifact.SessionID, kind string) []string {
	s.Helper()
	l, err := s.db.Session(s.Context(), tenant, log)
	if err != nil {
		s.Fatal(err)
	}
	list, err := s.db.Entries(s.Context(), &l, l.FirstSeq-1, 10_000)
	if err != nil {
		s.Fatal(err)
	}
	data := []string{}
	for _, e := range list {
		if e.Type == kind {
			data = append(data, string(e.Data))
		}
	}
	return data
}

func readZip(t testing.TB, b []byte) *zip.Reader {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hurt holds what a session and a library look like in which something was
// found.
type hurt struct {
	*stand
	upload, large, capture, saved artifact.Version
}

func newHurt(t *testing.T, opt Options) *hurt {
	t.Helper()
	opt.Scanner = newChecker(t)
	s := newStand(t, t.TempDir(), opt)
	h := &hurt{stand: s}
	h.upload = s.up("a", "evil.txt", []byte("so evil"))
	h.large = s.up("a", "large.bin", append(noise(100<<10, 1), "\nevil\n"...))
	h.saved = s.mustPut("/p/evil.md", "evil too")
	s.mustPut("/p/good.md", "good")
	s.up("a", "good.txt", []byte("good"))
	s.write("a", "out/good.txt", []byte("good as well"))
	h.capture = s.write("a", "out/evil.txt", []byte("made evil"))
	s.settled()
	for _, v := range []*artifact.Version{&h.upload, &h.large, &h.capture} {
		*v = s.version("a", v.ID())
	}
	var err error
	if h.saved, err = s.File(t.Context(), tenant, "/p/evil.md", 0); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFoundIsQuarantined(t *testing.T) {
	for _, hold := range []bool{true, false} {
		var log bytes.Buffer
		h := newHurt(t, Options{ScanHold: hold, ScanRequired: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for _, v := range []*artifact.Version{&h.upload, &h.large, &h.capture, &h.saved} {
			if v.Scan != artifact.ScanFound || v.Storage() != "quarantined" || h.refused(v) != codeQuarantined {
				t.Errorf("%s is %q, kept as %s", v.Path, v.Scan, v.Storage())
			}
			stale := *v
			stale.Scan = artifact.ScanPending // as somebody has read it before
			if h.refused(&stale) != codeQuarantined {
				t.Errorf("%s is given to those who asked early", v.Path)
			}
		}
		want := fmt.Sprintf(`{"artifact_id":%q,"attachment_id":%q,"found":"Test.Evil","name":"evil.txt","relative_path":"out/evil.txt"}`, h.capture.ID(), h.capture.Attachment)
		if told := h.entries("a", artifact.TypeQuarantined); len(told) != 3 || !slices.Contains(told, want) {
			t.Errorf("the log of the session tells %q, want three and among them %s", told, want)
		}
		want = fmt.Sprintf(`{"artifact_id":%q,"found":"Test.Evil","name":"evil.md","path":"/p/evil.md","version":1}`, h.saved.Attachment)
		if told := h.entries(artifact.LibraryLog, artifact.TypeQuarantined); len(told) != 1 || told[0] != want {
			t.Errorf("the log of the library tells %q, want %s", told, want)
		}
		if audit := h.entries(artifact.AuditLog, "artifact.quarantine"); len(audit) != 4 || !strings.Contains(strings.Join(audit, ""), `"actor":"system"`) {
			t.Errorf("the audit log tells %q", audit)
		}
		until(t, "the copies of what was found leave the workspace, and no others", func() bool {
			left := h.attachments("a") // a look at the folder that began before the verdict may have written one again
			return !slices.Contains(left, h.upload.Attachment) && !slices.Contains(left, h.large.Attachment) && len(left) > 0
		})
		if v := h.Verdicts(); v != (Verdicts{Clean: 3, Found: 4}) {
			t.Errorf("counted %+v", v)
		}
		if !h.has(h.large.Key) {
			t.Error("the blob is gone; it is the operator's to delete")
		}
		h.sound()
		h.shut()
		for _, want := range []string{
			"artifact_id=" + h.saved.Attachment + " path=/p/evil.md in=library found=Test.Evil",
			"artifact_id=" + h.capture.ID() + " path=out/evil.txt session=a found=Test.Evil",
		} {
			if !strings.Contains(log.String(), "tenant="+tenant+" "+want) {
				t.Errorf("the server's log lacks %q: %s", want, &log)
			}
		}
	}
}

// No way leads to what was found.
func TestNoWayOut(t *testing.T) {
	h := newHurt(t, Options{ScanRequired: true})
	ctx := t.Context()
	for what, f := range map[string]func() error{
		"text": func() error { _, err := h.Text(ctx, &h.saved); return err },
		"zip": func() error {
			s := h.session("a")
			_, err := h.PrepareZip(ctx, &s, ZipOptions{IDs: []string{h.large.ID()}})
			return err
		},
		"copy":    func() error { _, err := h.CopyFile(ctx, "/p/evil.md", 0, Save{Tenant: tenant, Path: "/q"}); return err },
		"move":    func() error { _, err := h.MoveFile(ctx, tenant, "/p/evil.md", "/q", Precondition{}); return err },
		"restore": func() error { _, err := h.RestoreFile(ctx, tenant, "/p/evil.md", 1, Precondition{}); return err },
		"patch": func() error {
			_, err := h.PatchFile(ctx, Patch{Tenant: tenant, Path: "/p/evil.md", Append: "x"})
			return err
		},
		"promote": func() error {
			_, err := h.Promote(ctx, "a", h.capture.ID(), Save{Tenant: tenant, Path: "/q"})
			return err
		},
		"checkout": func() error { _, err := h.Checkout(ctx, tenant, "/p/evil.md", 0, "b"); return err },
	} {
		if code := codeOf(t, f()); code != codeQuarantined {
			t.Errorf("%s is answered with %q", what, code)
		}
	}
	if _, err := h.File(ctx, tenant, "/q", 0); !errors.Is(err, ErrNoFile) {
		t.Errorf("something is there now: %v", err)
	}
	pack := h.pack("a", ZipOptions{})
	for _, name := range names(pack) {
		if strings.Contains(name, "evil") || strings.Contains(name, "large") {
			t.Errorf("the zip holds %s", name)
		}
	}
	var manifest map[string]ManifestRecord
	if err := json.Unmarshal(unpack(t, pack, "session_a/code_workspace/attachments/attachments_manifest.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	if r := manifest[h.large.Attachment]; r.Storage != "quarantined" || r.Extra["skipped"] != true || r.Extra["reason"] != "quarantined" || len(manifest) != 5 {
		t.Errorf("of %d records, that of the large one is %+v", len(manifest), r)
	}
	unpack(t, pack, "session_a/code_workspace/out/good.txt")
	var b bytes.Buffer
	if err := h.Export(ctx, tenant, "/", &b); err != nil {
		t.Fatal(err)
	}
	archive := readZip(t, b.Bytes())
	if got := names(archive); !slices.Equal(got, []string{"p/good.md", archiveList}) {
		t.Errorf("the archive of the library holds %q", got)
	}
	if list := string(unpack(t, archive, archiveList)); strings.Count(list, "\n") != 2 || strings.Count(list, `"skipped":"quarantined"`) != 1 {
		t.Errorf("it says %s", list)
	}
	s := h.session("a")
	if err := h.Materialize(ctx, &s); err != nil {
		t.Fatal(err)
	}
	if left := h.attachments("a"); slices.Contains(left, h.upload.Attachment) {
		t.Error("a workspace that is made again has what was found")
	}
}

// What was found can be deleted and replaced, and what was there before it is
// as good as ever.
func TestLifeAfterQuarantine(t *testing.T) {
	h := newHurt(t, Options{ScanHold: true, ScanRequired: true})
	first := h.mustPut("/doc.md", "first")
	h.mustPut("/doc.md", "evil second", replace)
	h.settled()
	if v, err := h.File(t.Context(), tenant, "/doc.md", 0); err != nil || h.refused(&v) != codeQuarantined || h.text("/doc.md", 1) != "first" {
		t.Errorf("newest %+v, %v", v, err)
	}
	if _, err := h.RestoreFile(t.Context(), tenant, "/doc.md", 1, Precondition{}); err != nil {
		t.Error(err)
	}
	h.settled()
	if h.text("/doc.md", 0) != "first" || h.text("/doc.md", 3) != "first" {
		t.Error("the first version did not come back")
	}
	if v, err := h.File(t.Context(), tenant, "/doc.md", 2); err != nil || v.Attachment != first.Attachment || h.refused(&v) != codeQuarantined {
		t.Errorf("second version %+v, %v", v, err)
	}
	clean := h.write("a", "out/evil.txt", []byte("remade"))
	h.settled()
	if h.refused(&h.capture) != codeQuarantined || h.refused(&clean) != "" {
		t.Error("the old version of a file is given out, or its new one is not")
	}
	if err := os.Remove(filepath.Join(h.dir, wareHouseDir, "session_a", artifact.WorkspaceDir, "out", "evil.txt")); err != nil {
		t.Fatal(err)
	}
	if gone := h.scanned("a"); gone.Change != artifact.Deleted || gone.Scan != "" {
		t.Errorf("deletion %+v", gone)
	}
	if err := h.DeleteFile(t.Context(), tenant, "/doc.md", Precondition{}); err != nil {
		t.Error(err)
	}
	if err := h.CleanUploads(t.Context(), tenant, "a"); err != nil {
		t.Error(err)
	}
	if h.has(h.large.Key) {
		t.Error("a quarantined blob outlives its cleaning")
	}
	if err := h.DeleteSession(t.Context(), tenant, "a"); err != nil {
		t.Error(err)
	}
	h.sound()
}

package depot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/store"
)

// place is one session of a depot over real files, with what tests do to it.
type place struct {
	*Depot
	t   *testing.T
	s   artifact.Session
	dir string // of the workspace

	closing sync.Once
}

// close closes the depot, at the latest when the test ends.
func (p *place) close() {
	p.t.Helper()
	p.closing.Do(func() {
		if err := p.Close(); err != nil {
			p.t.Error(err)
		}
	})
}

func inPlace(t *testing.T, opt Options) *place {
	t.Helper()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "vitrine.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	drv, err := fileblob.Open(filepath.Join(dir, "blobs"), fileblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opt.WareHouse = filepath.Join(dir, "WareHouse")
	opt.Implicit = true
	opt.Ignore = []string{".git", "node_modules", ".venv", "__pycache__"}
	if err := os.Mkdir(opt.WareHouse, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), db, blob.New(drv), opt)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{Depot: d, t: t}
	t.Cleanup(func() {
		p.close()
		db.Close()
	})
	s, err := d.CreateSession(t.Context(), artifact.DefaultTenant, "s1", nil)
	if err != nil {
		t.Fatal(err)
	}
	p.s, p.dir = s, d.workspace(&s)
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

// write makes a file with its folders.
func (p *place) write(name, content string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) remove(name string) {
	p.t.Helper()
	if err := os.RemoveAll(filepath.Join(p.dir, name)); err != nil {
		p.t.Fatal(err)
	}
}

// lose removes the folder of the session, into which the manifest may be written
// meanwhile.
func (p *place) lose() {
	p.t.Helper()
	until(p.t, "the folder is gone", func() bool { return os.RemoveAll(p.Depot.dir(&p.s)) == nil })
}

func (p *place) scan() []artifact.Version {
	p.t.Helper()
	r, err := p.Scan(p.t.Context(), p.s.Tenant, p.s.ID, "")
	if err != nil {
		p.t.Fatalf("scan: %v", err)
	}
	return r.Versions
}

// want scans and compares the changes, each as "change path".
func (p *place) want(want ...string) []artifact.Version {
	p.t.Helper()
	list := p.scan()
	if diff := cmp.Diff(want, told(list)); diff != "" {
		p.t.Errorf("changes (-want +got):\n%s", diff)
	}
	return list
}

func told(list []artifact.Version) []string {
	var all []string
	for _, v := range list {
		all = append(all, string(v.Change)+" "+v.Path)
	}
	return all
}

func (p *place) content(v artifact.Version) string {
	p.t.Helper()
	v, err := p.Version(p.t.Context(), p.s.Tenant, p.s.ID, v.ID())
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := p.OpenContent(p.t.Context(), &v)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func (p *place) session() artifact.Session {
	p.t.Helper()
	s, err := p.Session(p.t.Context(), p.s.Tenant, p.s.ID)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *place) skipped() map[string]string {
	p.t.Helper()
	m, err := p.db.Skipped(p.t.Context(), p.s.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func TestScanTellsWhatChanged(t *testing.T) {
	p := inPlace(t, Options{})
	big := strings.Repeat("0123456789abcdef", 4096)
	p.write("b.txt", "b")
	p.write("a/deep/x.md", "# x")
	p.write("a/y.bin", big)
	p.write("Z.json", "{}")
	p.write(".hidden", "h")
	p.write("empty", "")
	p.write("attachments/att_1/up.txt", "an upload")
	first := p.want("created .hidden", "created Z.json", "created b.txt", "created empty", "created a/y.bin", "created a/deep/x.md")
	for _, v := range first {
		if b, err := os.ReadFile(filepath.Join(p.dir, v.Path)); err != nil || string(b) != p.content(v) {
			t.Errorf("content of %s is not that of the file (%v)", v.Path, err)
		}
	}
	x := first[5]
	if x.MIME != "text/markdown" || x.Name != "x.md" || x.Node != "workspace" || x.Source != artifact.SourceWorkspace || x.Size != 3 {
		t.Errorf("version of x.md = %+v", x)
	}
	p.want()

	p.write("a/y.bin", big+"more")
	p.write("b.txt", "bb")
	p.write("c.txt", "c")
	p.remove("Z.json")
	p.remove("a/deep")
	second := p.want("updated b.txt", "created c.txt", "updated a/y.bin", "deleted Z.json", "deleted a/deep/x.md")
	if second[0].Attachment != first[2].Attachment {
		t.Errorf("the update of b.txt has attachment id %s, want %s", second[0].Attachment, first[2].Attachment)
	}
	if got := p.content(first[2]); got != "b" {
		t.Errorf("the first version of b.txt reads %q after the update", got)
	}
	if got := p.content(first[4]); got != big {
		t.Errorf("the first version of y.bin has %d bytes after the update, want %d", len(got), len(big))
	}
	gone := second[4]
	if gone.SHA256 != x.SHA256 || gone.Size != 3 || gone.MIME != x.MIME || gone.Key != "" || gone.Attachment != x.Attachment {
		t.Errorf("deletion = %+v, want the facts of %+v without bytes", gone, x)
	}

	p.write("a/deep/x.md", "# x")
	if again := p.want("created a/deep/x.md"); again[0].Attachment == x.Attachment {
		t.Error("a file that was deleted and made again has its old attachment id")
	}
	if s := p.session(); s.Artifacts != 6 {
		t.Errorf("session counts %d files, want 6", s.Artifacts)
	}
}

func TestScanNamesItsNode(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("out.txt", "1")
	r, err := p.Scan(t.Context(), p.s.Tenant, p.s.ID, "writer")
	if err != nil || len(r.Versions) != 1 || r.Versions[0].Node != "writer" || r.Cursor != r.Versions[0].Seq {
		t.Errorf("Scan = %+v, %v; want one version of node writer and its position", r, err)
	}
}

// A file that was only touched is no event, and once its times are old enough
// it is not even read again.
func TestScanOfTouchedFile(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("a.txt", "same")
	p.want("created a.txt")
	live := func() artifact.Version {
		list, err := p.db.Live(t.Context(), &p.s)
		if err != nil || len(list) != 1 {
			t.Fatalf("Live = %v, %v", list, err)
		}
		return *list[0].Version
	}
	if v := live(); v.Stat != "" {
		t.Errorf("a file younger than the clock's grain is remembered as %q", v.Stat)
	}
	if err := os.Chtimes(filepath.Join(p.dir, "a.txt"), time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	p.want()
	deadline := time.Now().Add(10 * time.Second)
	for live().Stat == "" {
		p.want()
		if time.Now().After(deadline) {
			t.Fatal("the file never counts as settled")
		}
	}
	if v := live(); v.Seq != 1 {
		t.Errorf("the version stands at %d, want 1", v.Seq)
	}
	// Same size, same modification time: the time of change gives it away.
	p.write("a.txt", "SAME")
	if err := os.Chtimes(filepath.Join(p.dir, "a.txt"), time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	p.want("updated a.txt")
}

func TestScanLeavesOut(t *testing.T) {
	p := inPlace(t, Options{})
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(p.dir, name) }
	p.write("real.txt", "real")
	p.write("sub/target.txt", "target")
	p.write("node_modules/x/index.js", "x")
	p.write("sub/__pycache__/m.pyc", "x")
	p.write("sub/.git/HEAD", "x")
	must(os.Symlink("sub/target.txt", at("inside")))
	must(os.Symlink("../real.txt", at("sub/up")))
	must(os.Symlink("/etc/hostname", at("host")))
	must(os.Symlink("../../../../../../../../../etc/hostname", at("climb")))
	must(os.Symlink(outside, at("secret")))
	must(os.Symlink("nowhere", at("broken")))
	must(os.Symlink("round", at("round")))
	must(os.Symlink("sub", at("folder")))
	must(os.Link(outside, at("hard")))
	must(syscall.Mkfifo(at("pipe"), 0o600))
	must(os.WriteFile(at("bad\xff"), []byte("x"), 0o600))
	list := p.want("created inside", "created real.txt", "created sub/target.txt", "created sub/up")
	if got := p.content(list[0]); got != "target" {
		t.Errorf("the link holds %q, want what it leads to", got)
	}
	want := map[string]string{
		"host": whyLeaves, "climb": whyLeaves, "secret": whyLeaves, "broken": whyBroken, "round": whyBroken, "folder": whyDirLink,
		"hard": whyHardLink, "pipe": whySpecial, "bad\ufffd": whyName,
		"node_modules/": whyIgnored, "sub/__pycache__/": whyIgnored, "sub/.git/": whyIgnored,
	}
	if diff := cmp.Diff(want, p.skipped()); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}

	// A file that a link replaces is gone; one that got a second name stands.
	p.remove("real.txt")
	must(os.Symlink("/etc/hostname", at("real.txt")))
	must(os.Link(at("sub/target.txt"), filepath.Join(t.TempDir(), "name")))
	p.want("deleted real.txt", "deleted sub/up")
	p.remove("node_modules")
	p.want()
	if _, ok := p.skipped()["node_modules/"]; ok {
		t.Error("a folder that is gone is still listed as skipped")
	}
}

func TestScanListsOnlySoMuch(t *testing.T) {
	p := inPlace(t, Options{})
	for i := range maxSkipped + 50 {
		if err := os.Symlink("nowhere", filepath.Join(p.dir, fmt.Sprint("l", i))); err != nil {
			t.Fatal(err)
		}
	}
	p.want()
	if n := len(p.skipped()); n != maxSkipped {
		t.Errorf("%d skipped paths are listed, want %d", n, maxSkipped)
	}
}

func TestScanOfManyFiles(t *testing.T) {
	p := inPlace(t, Options{})
	const n = 3000
	for i := range n {
		p.write(fmt.Sprintf("d%d/f%04d.txt", i%7, i), fmt.Sprint("content ", i))
	}
	list := p.scan()
	if len(list) != n {
		t.Fatalf("%d changes, want %d", len(list), n)
	}
	for i, v := range list {
		if v.Seq != artifact.Seq(i+1) {
			t.Fatalf("change %d has position %d", i, v.Seq)
		}
	}
	p.want()
	p.remove("d3")
	if got := len(p.scan()); got != n/7+1 {
		t.Errorf("%d changes after a folder went, want %d", got, n/7+1)
	}
}

// What never was on this machine has not been deleted here.
func TestScanOfMissingFolderDeletesNothing(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("a.txt", "a")
	p.write("d/b.txt", "b")
	p.want("created a.txt", "created d/b.txt")
	p.lose()
	p.want()
	// An upload makes the folder, but not the files that belong there.
	send(t, p.Depot, p.s.ID, "up.txt")
	p.want()
	for name, want := range map[string]string{"a.txt": "a", "d/b.txt": "b"} {
		if b, err := os.ReadFile(filepath.Join(p.dir, name)); err != nil || string(b) != want {
			t.Errorf("%s = %q, %v; want it written back", name, b, err)
		}
	}
	p.remove("a.txt")
	p.want("deleted a.txt")
}

// A workspace that is a link would show another session's files.
func TestScanRefusesLinkedWorkspace(t *testing.T) {
	p := inPlace(t, Options{})
	elsewhere := filepath.Join(p.opt.WareHouse, "session_other", "code_workspace")
	if err := os.MkdirAll(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "theirs"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.remove("")
	if err := os.Symlink("../session_other/code_workspace", p.dir); err != nil {
		t.Fatal(err)
	}
	if r, err := p.Scan(t.Context(), p.s.Tenant, p.s.ID, ""); err == nil || len(r.Versions) != 0 {
		t.Errorf("Scan of a linked workspace = %v, %v; want an error", told(r.Versions), err)
	}
}

// Every version that is captured while a file is rewritten is one that somebody
// wrote as a whole, and the last one is captured in the end.
func TestScanWhileFilesChange(t *testing.T) {
	p := inPlace(t, Options{InlineLimit: 1000})
	sizes := []int{500, 100_000, 300_000}
	file := func(i, n int) string { return strings.Repeat(string(rune('a'+i%26)), n) }
	write := func(name, content string) {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Error(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, n := range sizes {
		wg.Go(func() {
			name, tmp := filepath.Join(p.dir, fmt.Sprint("f", n)), filepath.Join(p.dir, fmt.Sprint("tmp", n))
			for i := 0; ctx.Err() == nil; i++ {
				write(tmp, file(i, n))
				if err := os.Rename(tmp, name); err != nil {
					t.Error(err)
				}
			}
			write(name, file(25, n))
		})
	}
	var all []artifact.Version
	for range 30 {
		all = append(all, p.scan()...)
	}
	stop()
	wg.Wait()
	all = append(all, p.scan()...)
	last := map[string]string{}
	for _, v := range all {
		if v.Change == artifact.Deleted {
			continue
		}
		c := p.content(v)
		if !strings.HasPrefix(v.Path, "tmp") {
			last[v.Path] = c
			if n := len(c); n > 0 && c != strings.Repeat(c[:1], n) || !slices.Contains(sizes, n) {
				t.Errorf("%s was captured torn, with %d bytes", v.Path, n)
			}
		}
	}
	for _, n := range sizes {
		if last[fmt.Sprint("f", n)] != file(25, n) {
			t.Errorf("the last state of f%d was not captured", n)
		}
	}
}

// A log that never holds still is captured as far as it is written.
func TestScanOfGrowingFile(t *testing.T) {
	p := inPlace(t, Options{InlineLimit: 1000})
	f, err := os.Create(filepath.Join(p.dir, "out.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := bytes.Repeat([]byte("x"), 100)
	line[99] = '\n'
	write := func(b []byte) {
		if _, err := f.Write(b); err != nil {
			t.Error(err)
		}
	}
	write(bytes.Repeat(line, 10_000))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil && n < 300_000; n++ {
			write(line)
		}
	})
	list := p.scan()
	stop()
	wg.Wait()
	if len(list) != 1 || list[0].Size < 1_000_000 {
		t.Fatalf("scan = %+v, want the log", list)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil || !strings.HasPrefix(string(b), p.content(list[0])) {
		t.Errorf("what was captured is not the beginning of the log (%v)", err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if list = append(list, p.scan()...); list[len(list)-1].Size != info.Size() {
		t.Errorf("the second scan has %d bytes, want %d", list[len(list)-1].Size, info.Size())
	}
}

func TestConcurrentScans(t *testing.T) {
	p := inPlace(t, Options{})
	for i := range 100 {
		p.write(fmt.Sprint("f", i), fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for range 8 {
		wg.Go(func() {
			r, err := p.Scan(t.Context(), p.s.Tenant, p.s.ID, "")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, v := range r.Versions {
				seen[v.Path]++
			}
		})
	}
	wg.Wait()
	for path, n := range seen {
		if n != 1 {
			t.Errorf("%s was told %d times", path, n)
		}
	}
	if got := len(slices.Collect(maps.Keys(seen))); got != 100 {
		t.Errorf("%d files were told, want 100", got)
	}
}

func TestScanOfUnknownSession(t *testing.T) {
	p := inPlace(t, Options{})
	_, err := p.Scan(t.Context(), p.s.Tenant, "none", "")
	if artifact.KindOf(err) != artifact.NotFound {
		t.Errorf("Scan = %v, want NotFound", err)
	}
}

func TestChooseType(t *testing.T) {
	png := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	tests := []struct{ declared, name, head, want string }{
		{"text/x-mine", "a.png", string(png), "text/x-mine"},
		{"text/plain; charset=UTF-8", "a", "", "text/plain; charset=UTF-8"},
		{"TEXT/Plain", "a.bin2", "", "text/plain"},
		{"", "a.md", "", "text/markdown"},
		{"application/octet-stream", "a.JSON", "{}", "application/json"},
		{"nonsense", "a", string(png), "image/png"},
		{"a/b\r\nX: y", "a", string(png), "image/png"},
		{strings.Repeat("a", 300) + "/b", "a", "", artifact.OctetStream},
		{"", "unknown", "", artifact.OctetStream},
		{"", "unknown", "just text", "text/plain"},
		{"", "unknown", "\x00\x01\x02", artifact.OctetStream},
	}
	for _, tt := range tests {
		if got := chooseType(tt.declared, tt.name, []byte(tt.head)); got != tt.want {
			t.Errorf("chooseType(%q, %q, %q) = %q, want %q", tt.declared, tt.name, tt.head, got, tt.want)
		}
	}
}

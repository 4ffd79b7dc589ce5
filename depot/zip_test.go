package depot

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
)

// pack returns the archive of a session.
func (s *stand) pack(id artifact.SessionID, o ZipOptions) *zip.Reader {
	s.Helper()
	session := s.session(id)
	z, err := s.PrepareZip(s.Context(), &session, o)
	if err != nil {
		s.Fatal(err)
	}
	var b bytes.Buffer
	if err := z.Stream(s.Context(), &b); err != nil {
		s.Fatal(err)
	}
	if file := os.Getenv("VITRINE_TEST_KEEP_ZIP"); file != "" { // to look at it with other programs
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func names(r *zip.Reader) []string {
	var list []string
	for _, f := range r.File {
		list = append(list, f.Name)
	}
	return list
}

// unpack returns the content of a file of an archive; reading it to the end
// also verifies its checksum.
func unpack(t testing.TB, r *zip.Reader, name string) []byte {
	t.Helper()
	i := slices.Index(names(r), name)
	if i < 0 {
		t.Fatalf("no %s among %q", name, names(r))
	}
	c, err := r.File[i].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

func TestZip(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s := newLight(t, Options{Now: func() time.Time { return at }})
	text := s.up("a", "report.txt", prose(200<<10))
	photo := s.up("a", "photo.png", noise(100<<10, 1))
	random := s.up("a", "данные.bin", noise(100<<10, 2))
	s.up("a", "empty", nil)
	at = at.Add(time.Hour)
	out := s.write("a", "out/deep/报告.json", []byte(`{"ok":true}`))
	s.write("a", `back\slash.txt`, []byte("b"))
	s.write("a", "result.txt", []byte("first"))
	s.write("a", "result.txt", []byte("second"))
	r := s.pack("a", ZipOptions{})

	const top = "session_a/code_workspace/"
	att := func(v artifact.Version) string { return top + "attachments/" + v.Attachment + "/" }
	files := map[string][]byte{
		att(text) + "report.txt":   prose(200 << 10),
		att(photo) + "photo.png":   noise(100<<10, 1),
		att(random) + "данные.bin": noise(100<<10, 2),
		top + "out/deep/报告.json":   []byte(`{"ok":true}`),
		top + "back%5Cslash.txt":   []byte("b"),
		top + "result.txt":         []byte("second"),
	}
	for name, want := range files {
		if got := unpack(t, r, name); !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes other than the %d that went in", name, len(got), len(want))
		}
	}
	got := names(r)
	if len(got) != 3+4*2+2+3+2 {
		t.Errorf("%d entries, want 18: %q", len(got), got)
	}
	if d := cmp.Diff([]string{"session_a/", top, top + "attachments/", att(text), att(text) + "report.txt", att(photo)}, got[:6]); d != "" {
		t.Errorf("begin of the archive (-want +got):\n%s", d)
	}
	wellFormed(t, r)
	for _, f := range r.File {
		switch {
		case f.Name == att(text)+"report.txt" && (f.Method != zip.Deflate || f.CompressedSize64 > 20<<10 || !f.Modified.Equal(text.At)),
			f.Name == att(photo)+"photo.png" && f.Method != zip.Store,
			f.Name == att(random)+"данные.bin" && (f.Method != zip.Store || f.NonUTF8),
			f.Name == top+"out/deep/报告.json" && (!f.Modified.Equal(out.At) || f.Mode().Perm() != 0o644):
			t.Errorf("%s has header %+v", f.Name, f.FileHeader)
		}
	}
	manifest := map[string]map[string]any{}
	if err := json.Unmarshal(unpack(t, r, top+"attachments/attachments_manifest.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest[text.Attachment]["kind"] != "file" || manifest[out.Attachment] == nil {
		t.Errorf("manifest = %v, want all files in it", manifest)
	}
	s.wantLog(r, "a")
}

// wantLog compares events.jsonl with the log.
func (s *stand) wantLog(r *zip.Reader, id artifact.SessionID) {
	s.Helper()
	session := s.session(id)
	lines := bufio.NewScanner(bytes.NewReader(unpack(s, r, "session_"+string(id)+"/events.jsonl")))
	lines.Buffer(nil, 1<<20)
	var seqs []artifact.Seq
	for lines.Scan() {
		var e struct {
			Seq artifact.Seq `json:"seq"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			s.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
	}
	var want []artifact.Seq
	for q := session.FirstSeq; q <= session.LastSeq; q++ {
		want = append(want, q)
	}
	if d := cmp.Diff(want, seqs); d != "" {
		s.Errorf("entries of events.jsonl (-want +got):\n%s", d)
	}
}

// wellFormed checks that no name comes twice or could lead out of the one
// folder, and that folders have entries before what is in them.
func wellFormed(t testing.TB, r *zip.Reader) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range r.File {
		dir := f.Name[:strings.LastIndexByte(strings.TrimSuffix(f.Name, "/"), '/')+1]
		if seen[f.Name] || dir != "" && !seen[dir] || strings.Contains(f.Name, "..") || strings.HasPrefix(f.Name, "/") {
			t.Errorf("%q comes twice, before its folder, or leads elsewhere", f.Name)
		}
		seen[f.Name] = true
	}
}

func TestZipOfMoreThanAPage(t *testing.T) {
	s := newLight(t, Options{KeepEvents: 550})
	const n = pageSize + 100
	s.many("a", n)
	for _, trimmed := range []bool{false, true} {
		r := s.pack("a", ZipOptions{})
		if want := 3 + 2*n + 2; len(r.File) != want {
			t.Errorf("trimmed %t: %d entries, want %d", trimmed, len(r.File), want)
		}
		wellFormed(t, r)
		s.wantLog(r, "a")
		if _, err := s.Sweep(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
}

func TestZipOfNothing(t *testing.T) {
	s := newLight(t, Options{})
	if _, err := s.CreateSession(t.Context(), tenant, "a", nil); err != nil {
		t.Fatal(err)
	}
	r := s.pack("a", ZipOptions{})
	const top = "session_a/code_workspace/"
	want := []string{"session_a/", top, top + "attachments/", top + "attachments/attachments_manifest.json", "session_a/events.jsonl"}
	if d := cmp.Diff(want, names(r)); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
}

func TestZipAt(t *testing.T) {
	s := newLight(t, Options{})
	s.up("a", "x.txt", []byte("x"))
	first := s.write("a", "out.txt", []byte("first"))
	second := s.write("a", "out.txt", []byte("second"))
	const name = "session_a/code_workspace/out.txt"
	for at, want := range map[artifact.Seq]string{first.Seq: "first", second.Seq: "second", 0: "second"} {
		if got := unpack(t, s.pack("a", ZipOptions{At: at}), name); string(got) != want {
			t.Errorf("at %d: %q, want %q", at, got, want)
		}
	}
	if got := names(s.pack("a", ZipOptions{At: 1})); slices.Contains(got, name) {
		t.Errorf("at 1: %q, want no file that came later", got)
	}
	if got := unpack(t, s.pack("a", ZipOptions{At: first.Seq, IDs: []string{second.Attachment}}), name); string(got) != "first" {
		t.Errorf("attachment id at %d: %q, want first", first.Seq, got)
	}
	session := s.session("a")
	_, err := s.PrepareZip(t.Context(), &session, ZipOptions{At: second.Seq + 1})
	if artifact.KindOf(err) != artifact.Gone {
		t.Errorf("ahead of the log: %v, want Gone", err)
	}
	_, err = s.PrepareZip(t.Context(), &session, ZipOptions{At: first.Seq, IDs: []string{second.ID()}})
	if artifact.KindOf(err) != artifact.NotFound {
		t.Errorf("a later version at an earlier position: %v, want NotFound", err)
	}
}

func TestZipSelection(t *testing.T) {
	s := newLight(t, Options{})
	up := s.up("a", "x.txt", []byte("x"))
	s.up("a", "y.txt", []byte("y"))
	first := s.write("a", "out.txt", []byte("first"))
	second := s.write("a", "out.txt", []byte("second"))
	r := s.pack("a", ZipOptions{IDs: []string{second.EventID, up.Attachment, first.ID(), up.ID(), up.ID()}})
	const top = "session_a/code_workspace/"
	attachments := top + "attachments/"
	want := []string{
		"session_a/", top, attachments, attachments + up.Attachment + "/", attachments + up.Attachment + "/x.txt",
		top + fmt.Sprintf("out.%d.txt", first.Seq), top + "out.txt", attachments + "attachments_manifest.json",
	}
	if d := cmp.Diff(want, names(r)); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	if got := unpack(t, r, want[5]); string(got) != "first" {
		t.Errorf("%s = %q, want first", want[5], got)
	}
	manifest := map[string]any{}
	if err := json.Unmarshal(unpack(t, r, attachments+"attachments_manifest.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 2 || manifest[up.Attachment] == nil || manifest[second.Attachment] == nil {
		t.Errorf("manifest = %v, want the two files", manifest)
	}
}

func TestZipRefusesIDs(t *testing.T) {
	s := newLight(t, Options{})
	v := s.up("a", "x.txt", []byte("x"))
	s.up("b", "x.txt", []byte("x"))
	session := s.session("a")
	out := s.write("a", "out.txt", []byte("x"))
	if err := os.Remove(filepath.Join(s.workspace(&session), "out.txt")); err != nil {
		t.Fatal(err)
	}
	if change := s.scanned("a"); change.Change != artifact.Deleted {
		t.Fatalf("scan found %+v, want a deletion", change)
	}
	other := s.session("b")
	for _, tt := range []struct {
		name    string
		session artifact.Session
		ids     []string
		want    artifact.Kind
	}{
		{"unknown", session, []string{v.ID(), "att_nobody"}, artifact.NotFound},
		{"of another session", other, []string{v.Attachment}, artifact.NotFound},
		{"deleted", session, []string{out.Attachment}, artifact.NotFound},
		{"too many", session, slices.Repeat([]string{v.ID()}, maxZipIDs+1), artifact.Invalid},
	} {
		_, err := s.PrepareZip(t.Context(), &tt.session, ZipOptions{IDs: tt.ids})
		if artifact.KindOf(err) != tt.want {
			t.Errorf("%s: %v, want kind %d", tt.name, err, tt.want)
		}
	}
}

// onWrite is a writer that runs f at its first write.
type onWrite struct {
	io.Writer
	f func()
}

func (w *onWrite) Write(p []byte) (int, error) {
	if w.f != nil {
		w.f()
		w.f = nil
	}
	return w.Writer.Write(p)
}

func TestZipDuringChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *stand) error
		check  func(t *testing.T, r *zip.Reader, err error)
	}{
		{"cleaned", func(s *stand) error { return s.CleanUploads(context.Background(), tenant, "a") },
			func(t *testing.T, r *zip.Reader, err error) {
				if err != nil || len(r.File) != 3+2+1+2 {
					t.Errorf("%v, %v; want the upload that was under way and the file of the workspace", err, r)
				}
			}},
		{"deleted", func(s *stand) error { return s.DeleteSession(context.Background(), tenant, "a") },
			func(t *testing.T, _ *zip.Reader, err error) {
				if artifact.KindOf(err) != artifact.NotFound {
					t.Errorf("%v, want NotFound", err)
				}
			}},
		{"lost", func(s *stand) error {
			list, err := s.db.Uploads(context.Background(), new(s.session("a")), 1, 1)
			if err != nil {
				return err
			}
			return s.bucket.Delete(context.Background(), list[0].Version.Key)
		}, func(t *testing.T, _ *zip.Reader, err error) {
			if err == nil {
				t.Error("a lost blob made no error")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newLight(t, Options{})
			for i := range 4 { // the first fills the buffers, so that the others come after the first write
				s.up("a", "x.bin", noise(500<<10, uint64(i)))
			}
			s.write("a", "out.txt", []byte("x"))
			session := s.session("a")
			z, err := s.PrepareZip(t.Context(), &session, ZipOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			err = z.Stream(t.Context(), &onWrite{&b, func() {
				if err := tt.change(s); err != nil {
					t.Error(err)
				}
			}})
			var r *zip.Reader
			if err == nil {
				if r, err = zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len())); err == nil {
					wellFormed(t, r)
				}
			} else if _, bad := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len())); bad == nil {
				t.Error("what was written before the error is a complete archive")
			}
			tt.check(t, r, err)
		})
	}
}

func TestZipName(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a/", "x\x00y"} {
		if got, err := zipName(bad); err == nil {
			t.Errorf("zipName(%q) = %q, want an error", bad, got)
		}
	}
	seen := map[string]string{}
	for _, in := range []string{`a\b`, "a%5Cb", "a%255Cb", "a%25255Cb", "a%b", "a%20b", "a%25b", `a%\b`, `..\x`, "a%2520b", "a b"} {
		got, err := zipName(in)
		if err != nil || strings.Contains(got, `\`) || seen[got] != "" {
			t.Errorf("zipName(%q) = %q, %v; want a name of its own (%q has it) without a backslash", in, got, err, seen[got])
		}
		seen[got] = in
	}
	for _, in := range []string{"a%b", "a%20b", "C:x", "ü"} {
		if got, err := zipName(in); err != nil || got != "code_workspace/"+in {
			t.Errorf("zipName(%q) = %q, %v; want it unchanged", in, got, err)
		}
	}
}

// endless is a driver in which every blob is there, as long as anybody reads,
// and made of one byte, or of noise.
type endless struct {
	blob.Driver
	noise []byte
}

func (e endless) Get(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(&repeated{b: e.noise}), nil
}

func (e endless) Put(context.Context, string, io.Reader) error { return nil }
func (e endless) Delete(context.Context, string) error         { return nil }
func (e endless) List(context.Context) iter.Seq2[blob.Entry, error] {
	return func(func(blob.Entry, error) bool) {}
}

type repeated struct {
	b   []byte
	off int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.off:])
	r.off = (r.off + n) % len(r.b)
	return n, nil
}

// picked returns an archive of n files of size bytes that no row names.
func (s *stand) picked(n int, size int64, content []byte) *Zip {
	s.Helper()
	if _, err := s.CreateSession(s.Context(), tenant, "a", nil); err != nil {
		s.Fatal(err)
	}
	s.bucket = blob.New(endless{noise: content})
	z := &Zip{d: s.Depot, session: s.session("a")}
	for i := range n {
		z.picked = append(z.picked, &artifact.Version{
			Attachment: "att_x", Path: fmt.Sprintf("%d.txt", i), Name: "x.txt", Change: artifact.Created, MIME: "text/plain",
			Source: artifact.SourceWorkspace, Blob: artifact.Blob{Key: "00", Size: size},
		})
	}
	return z
}

// More than 65,535 entries need the ZIP64 form.
func TestZipOfManyEntries(t *testing.T) {
	s := newLight(t, Options{})
	const n = 70_000
	var b bytes.Buffer
	if err := s.picked(n, 1, []byte("x")).Stream(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b.Bytes()[b.Len()-200:], binary.LittleEndian.AppendUint32(nil, 0x06064b50)) {
		t.Error("the archive has no ZIP64 end of its directory")
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(r.File) != n+4 {
		t.Fatalf("%v; %d entries, want %d", err, len(r.File), n+4)
	}
	if got := unpack(t, r, "session_a/code_workspace/69999.txt"); string(got) != "x" {
		t.Errorf("the last file holds %q, want x", got)
	}
}

var huge = flag.Bool("huge", false, "pack more than 4 GiB where tests pack large files")

// With -huge, a file of more than 4 GiB and a manifest that begins behind it.
func TestZipOfAHugeFile(t *testing.T) {
	size := int64(20 << 20)
	if *huge {
		size = 5 << 30
	}
	s := newLight(t, Options{})
	file := filepath.Join(t.TempDir(), "huge.zip")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.picked(1, size, noise(1<<20, 1)).Stream(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	unpack(t, &r.Reader, "session_a/code_workspace/attachments/attachments_manifest.json")
	big := r.File[3]
	c, err := big.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := io.Copy(io.Discard, c); n != size || err != nil || big.UncompressedSize64 != uint64(size) {
		t.Errorf("%s unpacks to %d bytes, %v, and the directory says %d; want %d", big.Name, n, err, big.UncompressedSize64, size)
	}
}

// Memory must not grow with the size of a file.
func TestZipMemory(t *testing.T) {
	s := newLight(t, Options{})
	const size = 48 << 20
	for _, content := range [][]byte{noise(1<<20, 1), prose(1 << 20)} {
		z := s.picked(1, size, content)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := z.Stream(t.Context(), io.Discard); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
			t.Errorf("packing %d MiB allocated %d MiB, want at most 16", size>>20, got>>20)
		}
		if err := s.DeleteSession(t.Context(), tenant, "a"); err != nil {
			t.Fatal(err)
		}
	}
}

// A blob that is shorter than its row says breaks the archive.
func TestZipOfAShortBlob(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	v := s.up("a", "x.bin", noise(large, 1))
	if err := os.Truncate(s.blobFile(v.Key), 5000); err != nil {
		t.Fatal(err)
	}
	session := s.session("a")
	z, err := s.PrepareZip(t.Context(), &session, ZipOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Stream(t.Context(), io.Discard); err == nil {
		t.Error("a truncated blob made no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := z.Stream(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v, want %v", err, context.Canceled)
	}
}

package depot

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// zipOf returns a zip with these names and contents, in turn.
func zipOf(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &zip.FileHeader{Name: files[i], Method: zip.Store}
		if len(files[i+1]) > 1<<10 {
			h.Method = zip.Deflate
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchiveGoesAndComes(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	big := strings.Repeat("0123456789", 10<<10)
	s.mustPut("/p/a.md", "one", func(ask *Save) { ask.Metadata = map[string]any{"k": "v"} })
	s.mustPut("/p/sub/b.bin", big, func(ask *Save) { ask.Declared = "application/x-thing" })
	s.mustPut("/q/other.txt", "not in it")
	var b bytes.Buffer
	if err := s.Export(t.Context(), tenant, "/p", &b); err != nil {
		t.Fatal(err)
	}
	in, err := s.Import(t.Context(), tenant, "/back", false, bytes.NewReader(b.Bytes()))
	if err != nil || in.Files != 2 || len(in.Skipped) != 0 || in.Bytes != int64(3+len(big)) {
		t.Fatalf("imported %+v, %v", in, err)
	}
	v, err := s.File(t.Context(), tenant, "/back/a.md", 0)
	if err != nil || v.Extra["k"] != "v" || s.text("/back/a.md", 0) != "one" || s.text("/back/sub/b.bin", 0) != big {
		t.Errorf("came back as %+v, %v", v, err)
	}
	if v, err = s.File(t.Context(), tenant, "/back/sub/b.bin", 0); err != nil || v.MIME != "application/x-thing" {
		t.Errorf("media type %s, %v", v.MIME, err)
	}
	again := zipOf(t, "a.md", "two", "c.md", "new")
	if in, err = s.Import(t.Context(), tenant, "/back", false, bytes.NewReader(again)); err != nil || in.Files != 1 || len(in.Skipped) != 1 || s.text("/back/a.md", 0) != "one" {
		t.Errorf("without replacing: %+v, %v", in, err)
	}
	if in, err = s.Import(t.Context(), tenant, "/back", true, bytes.NewReader(again)); err != nil || in.Files != 2 || s.text("/back/a.md", 0) != "two" {
		t.Errorf("replacing: %+v, %v", in, err)
	}
	s.clean()
}

func TestHostileArchives(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{MaxUpload: 8 << 20})
	var link bytes.Buffer
	w := zip.NewWriter(&link)
	h := &zip.FileHeader{Name: "link"}
	h.SetMode(fs.ModeSymlink | 0o777)
	f, err := w.CreateHeader(h)
	if err == nil {
		_, err = f.Write([]byte("/etc/passwd"))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	damaged := zipOf(t, "good.txt", "good", "a.txt", strings.Repeat("plain", 10))
	damaged = bytes.Replace(damaged, []byte("plain"), []byte("other"), 1)
	many := make([]string, 0, 2*maxImportFiles+2)
	for i := range maxImportFiles + 1 {
		many = append(many, fmt.Sprint(i), "")
	}
	var folders []string
	for i := range maxZipEntries + 1 {
		folders = append(folders, fmt.Sprint(i, "/"), "")
	}
	for name, c := range map[string]struct {
		body []byte
		want artifact.Kind
	}{
		"no archive":     {[]byte("hello"), artifact.Invalid},
		"nothing":        {nil, artifact.Invalid},
		"leads out":      {zipOf(t, "ok.txt", "x", "../../etc/x", "x"), artifact.Invalid},
		"absolute":       {zipOf(t, "/x", "x"), artifact.Invalid},
		"backslash":      {zipOf(t, `a\b`, "x"), artifact.Invalid},
		"hidden":         {zipOf(t, ".git/config", "x"), artifact.Invalid},
		"twice":          {zipOf(t, "a", "1", "a", "2"), artifact.Invalid},
		"link":           {link.Bytes(), artifact.Invalid},
		"damaged":        {damaged, artifact.Invalid},
		"cut off":        {damaged[:len(damaged)-10], artifact.Invalid},
		"too many":       {zipOf(t, many...), artifact.TooLarge},
		"file too large": {zipOf(t, "a", strings.Repeat("x", 9<<20)), artifact.TooLarge},
		"bomb":           {zipOf(t, bomb()...), artifact.TooLarge},
		"two lists":      {zipOf(t, archiveList, "{}", "a", "1", archiveList, "{}"), artifact.Invalid},
		"large list":     {zipOf(t, archiveList, strings.Repeat("\n", maxImportList+1), "a", "1"), artifact.TooLarge},
		"list in bomb":   {zipOf(t, append(bomb()[:14], archiveList, strings.Repeat("\n", 9<<20))...), artifact.TooLarge},
		"long line":      {zipOf(t, archiveList, strings.Repeat("x", 2<<20), "a", "1"), artifact.Invalid},
		"metadata":       {zipOf(t, "a", "1", archiveList, listed("a", `"`+strings.Repeat("x", MaxMetadata)+`"`)), artifact.Invalid},
		"folders":        {zipOf(t, folders...), artifact.TooLarge},
		"zip64":          {announcing(50_000_000), artifact.TooLarge},
	} {
		_, err := s.Import(t.Context(), tenant, "/", true, bytes.NewReader(c.body))
		if artifact.KindOf(err) != c.want {
			t.Errorf("%s: %v, want kind %d", name, err, c.want)
		}
	}
	if list, _, err := s.Tree(t.Context(), tenant, "/", "", 10); err != nil || len(list) != 0 {
		t.Errorf("%d artifacts came of archives that were refused, %v", len(list), err)
	}
}

// listed returns a line of archiveList.
func listed(path, k string) string { return `{"path":"` + path + `","metadata":{"k":` + k + "}}\n" }

// announcing returns a large file that ends as a zip64 of n entries does.
func announcing(n uint64) []byte {
	end := make([]byte, zip64EndLen, zip64EndLen+20+22)
	copy(end, zip64End)
	binary.LittleEndian.PutUint64(end[zip64EndNumber:], n)
	end = append(end, "PK\x06\x07\x00\x00\x00\x00"...)
	end = binary.LittleEndian.AppendUint64(end, 1<<20)
	end = append(end, "\x01\x00\x00\x00PK\x05\x06"...)
	end = append(end, make([]byte, 4)...)
	end = append(end, bytes.Repeat([]byte{0xff}, 12)...)
	return append(make([]byte, 1<<20), append(end, 0, 0)...)
}

func TestArchiveListSaysOnlyWhatASaveMay(t *testing.T) {
	s := newLight(t, Options{})
	// As it came it has the largest size; an export spells it six times longer.
	markup := strings.Repeat("<", MaxMetadata-len(`{"k":""}`))
	s.mustPut("/p/a", "1", func(ask *Save) { ask.Metadata = map[string]any{"k": markup} })
	s.mustPut("/p/b", "2", func(ask *Save) { ask.Metadata = map[string]any{"k": strings.Repeat("\u2028", (MaxMetadata-8)/3)} })
	var b bytes.Buffer
	if err := s.Export(t.Context(), tenant, "/p", &b); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Import(t.Context(), tenant, "/q", false, &b); err != nil || in.Files != 2 {
		t.Fatalf("imported %+v, %v", in, err)
	}
	if v, err := s.File(t.Context(), tenant, "/q/a", 0); err != nil || v.Extra["k"] != markup {
		t.Errorf("metadata of %d members came back, %v", len(v.Extra), err)
	}
	list := "\n\nno JSON\n" + listed("elsewhere", `"`+strings.Repeat("x", 1<<18)+`"`) + "\n" + listed("c", "7")
	if in, err := s.Import(t.Context(), tenant, "/", false, bytes.NewReader(zipOf(t, archiveList, list, "c", "3"))); err != nil || in.Files != 1 {
		t.Fatalf("imported %+v, %v", in, err)
	}
	if v, err := s.File(t.Context(), tenant, "/c", 0); err != nil || fmt.Sprint(v.Extra) != "map[k:7]" {
		t.Errorf("metadata %v, %v", v.Extra, err)
	}
}

func TestArchiveLargerThanTheQuotaSavesNothing(t *testing.T) {
	s := newLight(t, Options{})
	s.mustPut("/a", "12345")
	limit := int64(12)
	if err := s.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetQuota(tenant, &limit, nil, nil, nil) }); err != nil {
		t.Fatal(err)
	}
	take := func(replace bool, files ...string) (Imported, error) {
		return s.Import(t.Context(), tenant, "/", replace, bytes.NewReader(zipOf(t, files...)))
	}
	_, err := take(true, "b", "1", "a", "1234567")
	if e, ok := errors.AsType[*artifact.Error](err); !ok || e.Kind != artifact.Full || e.Code != "BIZ_QUOTA_EXCEEDED" {
		t.Errorf("8 bytes where 7 are left: %v, want Full", err)
	}
	if _, err := s.File(t.Context(), tenant, "/b", 0); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file of it: %v, want none", err)
	}
	if in, err := take(false, "b", "1", "a", "1234567"); err != nil || in.Files != 1 || len(in.Skipped) != 1 {
		t.Errorf("with the large one skipped: %+v, %v", in, err)
	}
	list := `{"path":"c","metadata": {"k":1}}`
	if _, err := take(false, "c", "", archiveList, list); artifact.KindOf(err) != artifact.Full {
		t.Errorf("7 bytes of metadata where 6 are left: %v, want Full", err)
	}
	if in, err := take(false, "c", "", "a", "1234567", archiveList, list+"\n"+`{"path":"a","metadata":{"k":"long"}}`); artifact.KindOf(err) != artifact.Full {
		t.Errorf("with another one skipped: %+v, %v, want Full", in, err)
	}
	limit = 13
	if err := s.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetQuota(tenant, &limit, nil, nil, nil) }); err != nil {
		t.Fatal(err)
	}
	if in, err := take(false, "c", "", "a", "1234567", archiveList, list+"\n"+`{"path":"a","metadata":{"k":"long"}}`); err != nil || in.Files != 1 {
		t.Errorf("7 bytes of metadata where 7 are left: %+v, %v", in, err)
	}
	s.sound()
}

func TestArchiveWithALargeDirectory(t *testing.T) {
	s := newLight(t, Options{})
	var long []string
	for i := range (maxZipDirectory+zipEnds)>>15 + 1 {
		long = append(long, fmt.Sprintf("%032768d", i), "")
	}
	// A name that is no path would be Invalid; none is looked at.
	if _, err := s.Import(t.Context(), tenant, "/", true, bytes.NewReader(zipOf(t, long...))); artifact.KindOf(err) != artifact.TooLarge {
		t.Errorf("%d names of 32 KiB: %v, want TooLarge", len(long)/2, err)
	}
}

func TestImportsWaitForTheirTurn(t *testing.T) {
	s := newLight(t, Options{})
	if err := s.imports.Acquire(t.Context(), maxImports); err != nil {
		t.Fatal(err)
	}
	body := zipOf(t, "a", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Import(ctx, tenant, "/", false, bytes.NewReader(body)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside %d others: %v, want it to wait", maxImports, err)
	}
	s.imports.Release(maxImports)
	for range maxImports + 1 { // each gives its turn back
		if _, err := s.Import(t.Context(), tenant, "/", true, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
}

// leaves is a client that leaves when it has sent all.
type leaves struct {
	io.Reader
	leave context.CancelFunc
}

func (l leaves) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err != nil {
		l.leave()
	}
	return n, err
}

func TestArchiveOfAClientThatLeft(t *testing.T) {
	s := newLight(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Import(ctx, tenant, "/", false, leaves{bytes.NewReader(zipOf(t, archiveList, listed("a", "1"), "a", "1")), cancel})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("before it was looked through: %v, want Canceled", err)
	}
	if _, err := s.File(t.Context(), tenant, "/a", 0); !errors.Is(err, ErrNoFile) {
		t.Errorf("a file of it: %v, want none", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	var sent atomic.Bool
	s = newLight(t, Options{Now: func() time.Time { // of the first save
		if sent.Load() {
			cancel()
		}
		return time.Now()
	}})
	sent.Store(true)
	in, err := s.Import(ctx, tenant, "/", false, bytes.NewReader(zipOf(t, "a", "1", "b", "2")))
	if err != nil || in.Files != 2 || ctx.Err() == nil {
		t.Errorf("while it is saved: %+v, %v, %v", in, err, ctx.Err())
	}
}

// bomb unpacks to far more than it is.
func bomb() []string {
	var files []string
	zeros := strings.Repeat("\x00", 8<<20)
	for i := range 16 {
		files = append(files, fmt.Sprint(i), zeros)
	}
	return files
}

package depot

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
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

// bomb unpacks to far more than it is.
func bomb() []string {
	var files []string
	zeros := strings.Repeat("\x00", 8<<20)
	for i := range 16 {
		files = append(files, fmt.Sprint(i), zeros)
	}
	return files
}

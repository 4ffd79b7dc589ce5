package api

import (
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
)

func TestContentDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"spec.md":              `inline; filename="spec.md"; filename*=UTF-8''spec.md`,
		"a b.txt":              `inline; filename="a b.txt"; filename*=UTF-8''a%20b.txt`,
		"报告.txt":               `inline; filename="__.txt"; filename*=UTF-8''%E6%8A%A5%E5%91%8A.txt`,
		`a"b.txt`:              `inline; filename="a_b.txt"; filename*=UTF-8''a%22b.txt`,
		"100%41.txt":           `inline; filename="100_41.txt"; filename*=UTF-8''100%2541.txt`,
		"a;b='c'.txt":          `inline; filename="a;b='c'.txt"; filename*=UTF-8''a%3Bb%3D%27c%27.txt`,
		"x\r\nSet-Cookie: a=b": `inline; filename="xSet-Cookie: a=b"; filename*=UTF-8''xSet-Cookie%3A%20a%3Db`,
		`..\..\evil.exe`:       `inline; filename="evil.exe"; filename*=UTF-8''evil.exe`,
		"":                     `inline; filename="upload.bin"; filename*=UTF-8''upload.bin`,
		"a\u202egpj.exe":       `inline; filename="agpj.exe"; filename*=UTF-8''agpj.exe`,
	} {
		if got := contentDisposition(dispositionInline, name); got != want {
			t.Errorf("contentDisposition(%q) =\n %s, want\n %s", name, got, want)
		}
	}
	if got := contentDisposition(dispositionAttachment, "a"); !strings.HasPrefix(got, "attachment; ") {
		t.Errorf("attachment: %s", got)
	}
}

func FuzzDisposition(f *testing.F) {
	for _, seed := range []string{"a.txt", "报告.txt", `"\%0d%0a`, "a\r\nb: c", "\xff\xfe", "';\"; filename=x", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		header := contentDisposition(dispositionAttachment, name)
		for i := range len(header) {
			if header[i] < 0x20 || header[i] > 0x7e {
				t.Fatalf("%q: byte %#x in %q", name, header[i], header)
			}
		}
		if strings.Count(header, `"`) != 2 || strings.Contains(header, `\`) {
			t.Fatalf("%q: quotes of %q", name, header)
		}
		kind, params, err := mime.ParseMediaType(header)
		if err != nil || kind != "attachment" || len(params) != 1 {
			t.Fatalf("%q: %q parses as %s %v, %v", name, header, kind, params, err)
		}
		if want := artifact.CleanName(name); params["filename"] != want {
			t.Errorf("%q: %q names %q, want %q", name, header, params["filename"], want)
		}
		if h := (http.Header{"Content-Disposition": {header}}); h.Get("Content-Disposition") != strings.TrimSpace(header) {
			t.Errorf("%q: %q has space around it", name, header)
		}
	})
}

package artifact

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// pathCase is a row of the contract's table of paths.
type pathCase struct {
	Path   string
	Valid  bool
	Reason string
}

func pathCases(t testing.TB) []pathCase {
	t.Helper()
	text, err := os.ReadFile("testdata/path-cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []pathCase
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 88 {
		t.Fatalf("read %d rows", len(rows))
	}
	return rows
}

// reasonOf returns the reason of a refused path or prefix. It fails the test
// for an error of another form.
func reasonOf(t testing.TB, field, value string, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%s %q: error %T", field, value, err)
	}
	reason, _ := e.Facts["reason"].(string)
	if e.Kind != Invalid || e.Code != "VAL_FIELD_INVALID" || e.Field != field || e.Facts["field"] != field || pathRules[reason] == "" {
		t.Errorf("%s %q: error %+v", field, value, e)
	}
	value, _ = e.Facts["value"].(string)
	if len(value) > 128 || !utf8.ValidString(value) {
		t.Errorf("%s: the error repeats %d bytes %q", field, len(value), value)
	}
	return reason
}

func TestPathCases(t *testing.T) {
	for _, c := range pathCases(t) {
		p, err := ParsePath(c.Path)
		if got := reasonOf(t, "path", c.Path, err); got != c.Reason || (err == nil) != c.Valid {
			t.Errorf("ParsePath(%q) = %v, want reason %q", c.Path, err, c.Reason)
		}
		if c.Valid && string(p) != c.Path || !c.Valid && p != "" {
			t.Errorf("ParsePath(%q) = %q", c.Path, p)
		}
	}
}

// Every row as a prefix, with and without a slash at the end.
func TestPathCasesAsPrefix(t *testing.T) {
	for _, c := range pathCases(t) {
		if c.Reason == "not_a_file" || c.Reason == "empty" {
			continue // where the rules differ: TestPrefix
		}
		for _, text := range []string{c.Path, c.Path + "/"} {
			dir, err := ParsePrefix(text)
			if got := reasonOf(t, "prefix", text, err); got != c.Reason {
				t.Errorf("ParsePrefix(%q) = %v, want reason %q", text, err, c.Reason)
			}
			if c.Valid && string(dir) != c.Path {
				t.Errorf("ParsePrefix(%q) = %q, want %q", text, dir, c.Path)
			}
		}
	}
}

func TestPrefix(t *testing.T) {
	segment := "/" + strings.Repeat("d", 255)
	for _, c := range []struct {
		text   string
		want   Path
		reason string
	}{
		{"", "/", ""},
		{"/", "/", ""},
		{"/project/", "/project", ""},
		{"/1/2/3/4/5/6/7/8/9/10/", "/1/2/3/4/5/6/7/8/9/10", ""},
		{"/1/2/3/4/5/6/7/8/9/10/11/", "", "too_deep"},
		{strings.Repeat(segment, 4) + "/", Path(strings.Repeat(segment, 4)), ""},
		{strings.Repeat(segment, 4) + "/a", "", "too_long"},
		{segment + "d/", "", "too_long"},
		{"//", "", "double_slash"},
		{"/a//", "", "double_slash"},
		{"/a/b//", "", "double_slash"},
		{" ", "", "no_leading_slash"},
		{"project/", "", "no_leading_slash"},
		{"/./", "", "hidden"},
		{"/../", "", "traversal"},
		{"/a /", "", "bad_character"},
	} {
		dir, err := ParsePrefix(c.text)
		if got := reasonOf(t, "prefix", c.text, err); got != c.reason || dir != c.want {
			t.Errorf("ParsePrefix(%q) = %q, %v; want %q and reason %q", c.text, dir, err, c.want, c.reason)
		}
	}
}

func TestRefusedPathsAreRepeatedInPart(t *testing.T) {
	for text, want := range map[string]string{
		"a b":                         "a b",
		"\xff\xfe":                    "\ufffd\ufffd",
		strings.Repeat("\xff", 1000):  strings.Repeat("\ufffd", 42),
		strings.Repeat("é", 1000):     strings.Repeat("é", 64),
		"x" + strings.Repeat("é", 99): "x" + strings.Repeat("é", 63),
	} {
		_, err := ParsePath(text)
		if e, _ := errors.AsType[*Error](err); e == nil || e.Facts["value"] != want {
			t.Errorf("ParsePath(%.20q): %v, want the value %q", text, err, want)
		}
	}
}

func TestPartsOfPaths(t *testing.T) {
	for _, c := range []struct {
		p, dir Path
		name   string
	}{
		{"/a/b.md", "/a", "b.md"},
		{"/a/b/c", "/a/b", "c"},
		{"/a", "/", "a"},
		{"/", "/", ""},
	} {
		if c.p.Dir() != c.dir || c.p.Name() != c.name {
			t.Errorf("%q: directory %q and name %q, want %q and %q", c.p, c.p.Dir(), c.p.Name(), c.dir, c.name)
		}
	}
}

func TestLibraryTypes(t *testing.T) {
	for name, want := range map[string]string{
		"a.md": "text/markdown", "a.txt": "text/plain", "a.json": "application/json", "a.html": "text/html",
		"a.css": "text/css", "a.js": "application/javascript", "a.py": "text/x-python", "a.svg": "image/svg+xml",
		"a.xml": "application/xml", "a.yaml": "application/x-yaml", "a.yml": "application/x-yaml", "a.csv": "text/csv",
		"README.MD": "text/markdown", "a.b.Md": "text/markdown", "x.HtMl": "text/html",
		"a.htm": OctetStream, "a.ts": OctetStream, "a.yml.bak": OctetStream, "a.tar.gz": OctetStream, "a.png": OctetStream,
		"Makefile": OctetStream, "md": OctetStream, "name.": OctetStream, "": OctetStream,
	} {
		if got := LibraryType(name); got != want {
			t.Errorf("LibraryType(%q) = %q, want %q", name, got, want)
		}
		if got := Path("/dir.md/" + name).MediaType(); got != want {
			t.Errorf("the path of %q has type %q, want %q", name, got, want)
		}
	}
	for ext := range contractTypes {
		if types[ext] != "" || TypeByName("a"+ext) != LibraryType("a"+ext) {
			t.Errorf("%s has two types", ext)
		}
	}
}

func TestDeclaredTypes(t *testing.T) {
	long := "a/" + strings.Repeat("b", 125)
	for _, c := range []struct {
		p              Path
		declared, want string
	}{
		{"/a.md", "text/plain", "text/markdown"},
		{"/a.md", "", "text/markdown"},
		{"/a.png", "image/png", "image/png"},
		{"/a.png", "Image/PNG", "image/png"},
		{"/Makefile", "text/x-makefile", "text/x-makefile"},
		{"/a", "application/vnd.x-1!#$&^_.+json", "application/vnd.x-1!#$&^_.+json"},
		{"/a", long, long},
		{"/a", long + "b", OctetStream},
		{"/a", "", OctetStream},
		{"/a", "text", OctetStream},
		{"/a", "text/", OctetStream},
		{"/a", "/plain", OctetStream},
		{"/a", "text/plain/x", OctetStream},
		{"/a", "text/plain; charset=utf-8", OctetStream},
		{"/a", "text/*", OctetStream},
		{"/a", " text/plain", OctetStream},
		{"/a", "text/pl\xc3\xa4in", OctetStream},
		{"/a", "text/-plain", OctetStream},
		{"/a", "text/plain\r\nX: y", OctetStream},
	} {
		if got := TypeFor(c.p, c.declared); got != c.want {
			t.Errorf("TypeFor(%q, %q) = %q, want %q", c.p, c.declared, got, c.want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, c := range pathCases(f) {
		f.Add(c.Path)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		reasonOf(t, "path", text, err)
		dir, dirErr := ParsePrefix(text)
		reasonOf(t, "prefix", text, dirErr)
		if err != nil {
			return
		}
		if string(p) != text || dirErr != nil || dir != p {
			t.Fatalf("%q became the path %q and the prefix %q, %v", text, p, dir, dirErr)
		}
		segments := strings.Split(text[1:], "/")
		if text[0] != '/' || len(segments) > 10 || len(text) > 1024 {
			t.Fatalf("accepted %q", text)
		}
		for _, s := range segments {
			if s == "" || s[0] == '.' || strings.Contains(s, "..") || len(s) > 255 ||
				strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
				t.Fatalf("accepted %q with the segment %q", text, s)
			}
		}
		if again, err := ParsePath(string(p.Dir()) + "/" + p.Name()); p.Dir() != Root && (err != nil || again != p) {
			t.Fatalf("%q put together again is %q, %v", p, again, err)
		}
	})
}

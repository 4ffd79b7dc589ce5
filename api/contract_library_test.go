package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/depot"
)

const library = "/api/v2/artifacts"

var regexpStamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

// saveBody returns the JSON of a save.
func saveBody(t testing.TB, path, content string, more ...string) string {
	t.Helper()
	p, err := json.Marshal(path)
	c, err2 := json.Marshal(content)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return `{"path":` + string(p) + `,"content":` + string(c) + strings.Join(more, "") + `}`
}

func (h *house) save(path, content string, more ...string) answer {
	h.Helper()
	return h.ask("POST", library, saveBody(h, path, content, more...))
}

func (h *house) artifactAt(path string, more ...string) answer {
	h.Helper()
	return h.get(library + "?path=" + url.QueryEscape(path) + strings.Join(more, ""))
}

func (h *house) list(query string) map[string]any {
	h.Helper()
	return h.data(h.get(library + "/list" + query))
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// The examples of the contract, key by key.
func TestLibraryGolden(t *testing.T) {
	h := open(t)
	saved := h.data(h.save("/project/docs/api-notes.md", "# API Notes\n"))
	id, err := uuid.Parse(fmt.Sprint(saved["artifact_id"]))
	if err != nil || id.Version() != 4 {
		t.Errorf("artifact_id %v, %v", saved["artifact_id"], err)
	}
	delete(saved, "artifact_id")
	want := map[string]any{"success": true, "message": "Artifact saved successfully", "path": "/project/docs/api-notes.md",
		"content_type": "text/markdown", "size": 12.0, "storage_path": "artifacts/project/docs/api-notes.md"}
	if diff := cmp.Diff(want, saved); diff != "" {
		t.Errorf("save (-want +got):\n%s", diff)
	}
	a := h.artifactAt("/project/docs/api-notes.md")
	want = map[string]any{"success": true, "content": "# API Notes\n", "path": "/project/docs/api-notes.md", "content_type": "text/markdown", "size": 12.0}
	if diff := cmp.Diff(want, h.data(a)); diff != "" {
		t.Errorf("retrieve (-want +got):\n%s", diff)
	}
	meta := a.json["meta"].(map[string]any)
	if diff := cmp.Diff([]string{"request_id", "timestamp", "version"}, keys(meta)); diff != "" || meta["request_id"] != a.Header.Get("X-Request-ID") ||
		!regexpStamp.MatchString(fmt.Sprint(meta["timestamp"])) {
		t.Errorf("meta %v", meta)
	}
	h.data(h.save("/readme.md", "x"))
	list := h.list("")
	file := list["files"].([]any)[0].(map[string]any)
	if !regexpStamp.MatchString(fmt.Sprint(file["last_modified"])) {
		t.Errorf("last_modified %v", file["last_modified"])
	}
	delete(file, "last_modified")
	want = map[string]any{"success": true, "path": "/", "folders": []any{"project"},
		"files": []any{map[string]any{"name": "readme.md", "size": 1.0, "content_type": "text/markdown"}}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	want = map[string]any{"message": "Artifact deleted: /readme.md"}
	if diff := cmp.Diff(want, h.data(h.do("DELETE", library+"?path=/readme.md", nil, "Content-Type", "application/json"))); diff != "" {
		t.Errorf("delete (-want +got):\n%s", diff)
	}
	h.want(h.do("DELETE", library+"?path=/readme.md", nil), 404, "RES_NOT_FOUND")
	e := h.want(h.artifactAt("/readme.md"), 404, "RES_NOT_FOUND").json["error"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"resource_type": "Artifact", "resource_id": "/readme.md"}, e["details"]); diff != "" || e["message"] != "Artifact not found" {
		t.Errorf("not found: %v", e)
	}
	e = h.want(h.save("/project/docs/api-notes.md", "# API Notes\n"), 409, "RES_ALREADY_EXISTS").json["error"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"resource_type": "Artifact", "identifier": "/project/docs/api-notes.md"}, e["details"]); diff != "" {
		t.Errorf("exists: %s", diff)
	}
}

type pathCase struct {
	Path   string `json:"path"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason"`
}

func pathCases(t *testing.T) []pathCase {
	t.Helper()
	text, err := os.ReadFile("../artifact/testdata/path-cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []pathCase
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 80 {
		t.Fatalf("%d cases", len(list))
	}
	return list
}

// Every row of the path rules on save, retrieve, delete and the raw route.
func TestPathCasesOnEveryMethod(t *testing.T) {
	h := open(t)
	for _, c := range pathCases(t) {
		query := library + "?path=" + url.QueryEscape(c.Path)
		answers := map[string]answer{"save": h.save(c.Path, "x"), "retrieve": h.get(query), "delete": h.do("DELETE", query, nil)}
		for method, a := range answers {
			if c.Valid {
				h.data(a)
				continue
			}
			e := h.want(a, 400, "VAL_FIELD_INVALID").json["error"].(map[string]any)
			d, _ := e["details"].(map[string]any)
			if d["field"] != "path" || d["reason"] != c.Reason {
				t.Errorf("%s of %q: details %v, want reason %s", method, c.Path, d, c.Reason)
			}
		}
		// Over a bare socket, nothing cleaned on the way.
		for _, text := range []string{url.PathEscape(strings.TrimPrefix(c.Path, "/")), strings.ReplaceAll(url.PathEscape(strings.TrimPrefix(c.Path, "/")), "%2F", "/")} {
			a, err := h.raw("PUT "+library+"/raw/"+text+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+h.bearer+"\r\nContent-Length: 1\r\n\r\nx", true)
			if err != nil {
				t.Fatalf("raw %q: %v", text, err)
			}
			slashed := strings.Contains(text, "%2F")
			switch {
			case c.Valid && !slashed:
				if a.StatusCode != 201 && a.StatusCode != 200 {
					t.Errorf("raw %q: %d %s", text, a.StatusCode, a.body)
				}
			case strings.HasPrefix(c.Path, "/") && a.StatusCode != 400:
				t.Errorf("raw %q: status %d, want 400", text, a.StatusCode)
			case a.StatusCode >= 500 || a.StatusCode >= 300 && a.StatusCode < 400:
				t.Errorf("raw %q: status %d", text, a.StatusCode)
			}
		}
		h.do("DELETE", query, nil)
	}
	list := h.list("?recursive=true")
	for _, f := range list["files"].([]any) {
		path := fmt.Sprint(f.(map[string]any)["path"])
		if strings.Contains(path, "..") || strings.Contains(path, "//") || strings.Contains(path, "/.") {
			t.Errorf("%q was saved", path)
		}
	}
}

func TestPrefixRules(t *testing.T) {
	h := open(t)
	h.data(h.save("/project/a.md", "x"))
	h.data(h.save("/pro", "x"))
	for _, q := range []string{"?prefix=/project", "?prefix=/project/", "?path_prefix=%2Fproject%2F"} {
		if l := h.list(q); l["path"] != "/project" || len(l["files"].([]any)) != 1 {
			t.Errorf("%s: %v", q, l)
		}
	}
	for _, q := range []string{"", "?prefix=", "?prefix=/", "?"} {
		if l := h.list(q); l["path"] != "/" || len(l["files"].([]any)) != 1 || len(l["folders"].([]any)) != 1 {
			t.Errorf("%q: %v", q, l)
		}
	}
	for _, q := range []string{"?prefix=/pro", "?prefix=/project/a.md", "?prefix=/none"} {
		l := h.list(q)
		if diff := cmp.Diff([]any{}, l["files"]); diff != "" {
			t.Errorf("%s: %s", q, diff)
		}
		if diff := cmp.Diff([]any{}, l["folders"]); diff != "" {
			t.Errorf("%s: %s", q, diff)
		}
	}
	for _, p := range []string{"project", "/a//", "//", "/../x", "/.git", "/a b"} {
		e := h.want(h.get(library+"/list?prefix="+url.QueryEscape(p)), 400, "VAL_FIELD_INVALID").json["error"].(map[string]any)
		if d, _ := e["details"].(map[string]any); d["field"] != "prefix" {
			t.Errorf("prefix %q: %v", p, e)
		}
	}
	for _, q := range []string{"limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1.5"} {
		h.want(h.get(library+"/list?"+q), 422, "VAL_FIELD_INVALID")
	}
	for query, reason := range map[string]string{
		"/list?prefix=/a&prefix=/b": "repeated", "/list?path_prefix=/a&path_prefix=/a": "repeated", "/list?prefix=/a&x=%zz": "malformed", "/archive?prefix=/a&prefix=/a": "repeated",
		"?path=/a&path=/b": "repeated", "?path=/%zz": "malformed", "?path=/a;b=c": "malformed", "/versions?path=/a&path=/a": "repeated", "/raw/a?%zz": "malformed",
	} {
		e := asMap(h.want(h.get(library+query), 400, "VAL_FIELD_INVALID").json["error"])
		if asMap(e["details"])["reason"] != reason {
			t.Errorf("%s: %v", query, e)
		}
	}
	h.want(h.get(library), 422, "VAL_FIELD_REQUIRED")
	h.want(h.do("DELETE", library, nil), 422, "VAL_FIELD_REQUIRED")
	h.want(h.get(library+"?path="), 400, "VAL_FIELD_INVALID")
	h.want(h.artifactAt("/project"), 404, "RES_NOT_FOUND")
	h.want(h.do("DELETE", library+"?path=/project", nil), 404, "RES_NOT_FOUND")
}

func TestListLimitAndPattern(t *testing.T) {
	h := open(t)
	for _, p := range []string{"/README.md", "/b.md", "/a.txt", "/docs/x", "/Ardoc/x"} {
		h.data(h.save(p, "x"))
	}
	l := h.list("?limit=3")
	if l["truncated"] != true || l["total"] != 5.0 || len(l["folders"].([]any)) != 2 || len(l["files"].([]any)) != 1 {
		t.Errorf("limit: %v", l)
	}
	if l := h.list("?limit=5"); l["truncated"] != nil || l["total"] != nil {
		t.Errorf("limit of all: %v", l)
	}
	l = h.list("?name_pattern=DOC")
	if diff := cmp.Diff([]any{"Ardoc", "docs"}, l["folders"]); diff != "" || len(l["files"].([]any)) != 0 {
		t.Errorf("pattern: %v", l)
	}
	if l := h.list("?name_pattern=*.md"); len(l["files"].([]any)) != 0 {
		t.Errorf("a pattern is no glob: %v", l)
	}
	if l := h.list("?name_pattern="); len(l["files"].([]any)) != 3 {
		t.Errorf("empty pattern: %v", l)
	}
}

// One type on save, retrieve and list, for every extension of the table.
func TestOneContentType(t *testing.T) {
	h := open(t)
	for ext, want := range map[string]string{
		".md": "text/markdown", ".txt": "text/plain", ".json": "application/json", ".html": "text/html", ".css": "text/css",
		".js": "application/javascript", ".py": "text/x-python", ".svg": "image/svg+xml", ".xml": "application/xml",
		".yaml": "application/x-yaml", ".yml": "application/x-yaml", ".csv": "text/csv", "": "application/octet-stream",
		".htm": "application/octet-stream", ".ts": "application/octet-stream", ".gz": "application/octet-stream", ".MD": "text/markdown",
	} {
		path := "/t" + strings.TrimPrefix(ext, ".") + "/name" + ext
		list := func() any {
			l := h.list("?prefix=" + path[:strings.LastIndexByte(path, '/')])
			return l["files"].([]any)[0].(map[string]any)["content_type"]
		}
		saved, got, listed := h.data(h.save(path, "x", `,"content_type":"text/html"`))["content_type"], h.data(h.artifactAt(path))["content_type"], list()
		if ext != "" && want == "application/octet-stream" || ext == "" {
			want = "text/html" // what the client says replaces what says nothing
		}
		if saved != want || got != want || listed != want {
			t.Errorf("%s: saved %v, retrieved %v, listed %v, want %s", path, saved, got, listed, want)
		}
	}
	for _, said := range []string{`7`, `"no type"`, `"a/b; c=d"`, `null`, `"` + strings.Repeat("a", 130) + `/b"`} {
		path := "/said/f" + uuid.NewString()
		if got := h.data(h.save(path, "x", `,"content_type":`+said))["content_type"]; got != "application/octet-stream" {
			t.Errorf("declared %s: %v", said, got)
		}
	}
}

// Content comes back code point for code point; what could not is refused.
func TestFidelity(t *testing.T) {
	h := open(t)
	for i, content := range []string{"", "a\r\nb\rc\n", "\ufeffbom", "nul\x00nul", "😀 e\u0301 \u2028\u2029 \u202e", "<&>\\\"", "\u007f\u0001\u001f", strings.Repeat("漢", 30_000)} {
		path := fmt.Sprintf("/f/%d", i)
		saved := h.data(h.save(path, content))
		got := h.data(h.artifactAt(path))
		if got["content"] != content || saved["size"] != float64(len(content)) || got["size"] != float64(len(content)) {
			t.Errorf("content %d: %v bytes, came back as %.60q", i, got["size"], got["content"])
		}
	}
	for name, body := range map[string]string{
		"lone high": `{"path":"/x","content":"a\ud800b"}`, "lone low": `{"path":"/x","content":"\udc00"}`,
		"no UTF-8": "{\"path\":\"/x\",\"content\":\"\xff\"}", "trailing": `{"path":"/x","content":""} x`, "two": `{"path":"/x","content":""}{}`,
		"no object": `["/x",""]`, "no JSON": `path=/x`, "empty": ``, "deep": `{"path":"/x","content":"","m":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
		"twice": `{"path":"/x","path":"/y","content":""}`, "null content": `{"path":"/x","content":null}`, "number": `{"path":"/x","content":7}`,
		"path number": `{"path":7,"content":""}`, "cut off": `{"path":"/x","content":"`,
	} {
		a := h.do("POST", library, strings.NewReader(body), "Content-Type", "application/json")
		h.want(a, 422, "")
		if a.StatusCode != 422 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	for name, body := range map[string]string{"content": `{"path":"/x"}`, "path": `{"content":"x"}`} {
		e := h.want(h.ask("POST", library, body), 422, "VAL_FIELD_REQUIRED").json["error"].(map[string]any)
		want := map[string]any{name: []any{"Field required"}}
		if diff := cmp.Diff(want, e["field_errors"]); diff != "" {
			t.Errorf("without %s: %s", name, diff)
		}
	}
	h.want(h.artifactAt("/x"), 404, "RES_NOT_FOUND")
	h.want(h.do("POST", library, strings.NewReader(`{}`), "Content-Type", "text/plain"), 415, "VAL_VALIDATION_FAILED")
	h.data(h.do("POST", library, strings.NewReader(saveBody(t, "/parameters", "x")), "Content-Type", "application/json; charset=utf-8"))
	h.data(h.do("POST", library, strings.NewReader(saveBody(t, "/no-type", "x"))))
}

// 10 MiB of UTF-8 are taken, also where JSON spells them in three times as
// many bytes; one more is not.
func TestSizeLimit(t *testing.T) {
	h := open(t)
	spelled := func(n int) string {
		return `{"path":"/big","content":"` + strings.Repeat(`\u00e9`, n/2) + strings.Repeat("a", n%2) + `"}`
	}
	if got := h.data(h.ask("POST", library, spelled(depot.MaxText)))["size"]; got != float64(depot.MaxText) {
		t.Errorf("size %v", got)
	}
	if got := h.data(h.artifactAt("/big")); len(got["content"].(string)) != depot.MaxText {
		t.Errorf("%d bytes came back", len(got["content"].(string)))
	}
	h.want(h.do("DELETE", library+"?path=/big", nil), 200, "")
	e := h.want(h.ask("POST", library, spelled(depot.MaxText+1)), 413, "VAL_FIELD_TOO_LONG").json["error"].(map[string]any)
	want := map[string]any{"field": "content", "max_length": float64(depot.MaxText), "actual_length": float64(depot.MaxText + 1)}
	if diff := cmp.Diff(want, e["details"]); diff != "" {
		t.Errorf("over the limit: %s", diff)
	}
	// A bad path wins over too much content, and that over a conflict.
	h.want(h.ask("POST", library, strings.Replace(spelled(depot.MaxText+1), `"/big"`, `"/../big"`, 1)), 400, "VAL_FIELD_INVALID")
	h.data(h.save("/big", "x"))
	h.want(h.ask("POST", library, spelled(depot.MaxText+1)), 413, "VAL_FIELD_TOO_LONG")
	h.want(h.do("POST", library, bytes.NewReader(make([]byte, 6*depot.MaxText+64<<10+1)), "Content-Type", "application/json"), 413, "VAL_FIELD_TOO_LONG")
}

func TestOneOfManySavesWins(t *testing.T) {
	h := open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for i := range 24 {
		wg.Go(func() {
			a := h.save("/one.txt", fmt.Sprint(i))
			mu.Lock()
			defer mu.Unlock()
			got[a.StatusCode]++
		})
	}
	wg.Wait()
	if got[200] != 1 || got[409] != 23 {
		t.Errorf("answers by status: %v", got)
	}
}

// The record of an artifact lives as long as the artifact.
func TestMemoryRecord(t *testing.T) {
	h := open(t)
	saved := h.data(h.save("/notes/a.md", strings.Repeat("é", 20_000)))
	record := "/api/v2/memories/" + fmt.Sprint(saved["artifact_id"])
	m := h.data(h.get(record))
	want := map[string]any{"artifact_id": saved["artifact_id"], "path": "/notes/a.md", "content_type": "text/markdown", "size": 40_000.0, "system": true}
	if diff := cmp.Diff(want, m["metadata"]); diff != "" || m["memory_type"] != "reference" || m["source_type"] != "artifact" || m["id"] != saved["artifact_id"] ||
		len([]rune(m["content"].(string))) != 10_000 || !strings.HasPrefix(m["content"].(string), "/notes/a.md\n") {
		t.Errorf("record %v", m)
	}
	h.data(h.get("/api/v2/memories/" + strings.ToUpper(fmt.Sprint(saved["artifact_id"]))))
	h.want(h.ask("PUT", record, `{"content":"mine"}`), 403, "AUTH_FORBIDDEN")
	h.want(h.do("DELETE", record, nil), 403, "AUTH_FORBIDDEN")
	h.want(h.get("/api/v2/memories/00000000-0000-0000-0000-000000000000"), 404, "RES_NOT_FOUND")
	h.want(h.do("DELETE", "/api/v2/memories/00000000-0000-0000-0000-000000000000", nil), 404, "RES_NOT_FOUND")
	h.want(h.get("/api/v2/memories/nothing"), 422, "VAL_UUID_INVALID")
	h.want(h.ask("POST", "/api/v2/memories", `{}`), 404, "RES_NOT_FOUND")
	h.want(h.ask("POST", "/api/v2/search/hybrid", `{}`), 404, "RES_NOT_FOUND")
	h.data(h.do("DELETE", library+"?path=/notes/a.md", nil))
	h.want(h.get(record), 404, "RES_NOT_FOUND")
	if again := h.data(h.save("/notes/a.md", "new")); again["artifact_id"] == saved["artifact_id"] {
		t.Error("a path that was deleted and saved again has the old id")
	}
}

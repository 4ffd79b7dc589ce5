package api_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The faults of the reference server, one test each (pitfalls, by row), shown
// not to be here. A2 and A3 are of workflows, A7 and B5 to B16 without B12 and
// B13 of runs; both come later. A9 is of accounts.

// traversals are names that lead elsewhere where somebody takes them for paths,
// and what is made of them.
var traversals = map[string]string{
	"../victim.txt": "victim.txt", "../../../../victim.txt": "victim.txt", "/etc/passwd": "passwd", `..\\..\\victim.txt`: "victim.txt",
	`C:\\Windows\\win.ini`: "win.ini", "..": "upload.bin", ".": "upload.bin", "a/..": "upload.bin", "./": "upload.bin", "": "upload.bin",
	"a\x00b.txt": "ab.txt", "a\x7fb": "ab", "  ": "upload.bin", strings.Repeat("n", 300) + ".txt": strings.Repeat("n", 251) + ".txt",
	"\u202egnp.exe": "gnp.exe", "attachments_manifest.json": "attachments_manifest.json",
}

func TestA1TraversalNames(t *testing.T) {
	h := open(t)
	victim := filepath.Join(h.dir, "WareHouse", "victim.txt")
	if err := os.WriteFile(victim, []byte("victim"), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range traversals {
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + given + "\"\r\n\r\nevil\r\n--b--\r\n"
		a, err := h.raw(fmt.Sprintf("POST /api/uploads/s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", len(body), body), false)
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode == 400 && strings.ContainsAny(given, "\x00\x7f") {
			continue // the header of the part is none
		}
		v := h.ok(a).json
		if v["name"] != want {
			t.Errorf("%q is called %q, want %q", given, v["name"], want)
		}
		file := filepath.Join(h.workspace("s"), "attachments", fmt.Sprint(v["attachment_id"]), want)
		if text, err := os.ReadFile(file); err != nil || string(text) != "evil" {
			t.Errorf("%q is not at %s: %v", given, file, err)
		}
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "victim" {
		t.Errorf("the victim: %q, %v", text, err)
	}
	h.leavesNoTrace(func() {
		for _, path := range []string{"/api/uploads/s/../x", "/api/uploads/s/..", "/api/uploads/s/%2e%2e", "/api/uploads/s/..%2fx", "/api/uploads/s/a%5cb",
			"/api/uploads/../sessions", "/api//uploads/s/x", "/api/uploads/./x", "/api/uploads/%2e%2e/x", "/api/sessions/s/artifacts/..%2f..%2fvitrine.db"} {
			a, err := h.raw("PUT "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nevil", false)
			if err != nil {
				t.Fatal(err)
			}
			h.want(a, 400, "Invalid path")
		}
	})
}

func TestA4ForeignPages(t *testing.T) {
	h := open(t, func(s *setup) { s.api.CORSOrigins = []string{"https://app.example.com"} })
	h.up("s", "a", "a")
	for origin, want := range map[string][2]string{ // allowed origin, credentials
		"http://localhost:5173": {"http://localhost:5173", ""}, "http://127.0.0.1:1": {"http://127.0.0.1:1", ""},
		"https://app.example.com": {"https://app.example.com", "true"}, h.web.URL: {h.web.URL, "true"},
	} {
		for _, a := range []answer{
			h.ok(h.get("/api/sessions/s", "Origin", origin, "Cookie", "a=b")),
			h.ok(h.do("OPTIONS", "/api/sessions", nil, "Origin", origin, "Access-Control-Request-Method", "POST")),
		} {
			got := [2]string{a.Header.Get("Access-Control-Allow-Origin"), a.Header.Get("Access-Control-Allow-Credentials")}
			if got != want || !strings.Contains(a.Header.Get("Vary"), "Origin") {
				t.Errorf("%s %s: %v, want %v", a.Request.Method, origin, got, want)
			}
		}
	}
	h.leavesNoTrace(func() {
		for _, origin := range []string{"https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "file://"} {
			a := h.do("OPTIONS", "/api/sessions", nil, "Origin", origin, "Access-Control-Request-Method", "POST")
			if a.StatusCode != 400 || string(a.body) != "Disallowed CORS origin" || a.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("preflight of %s: %d %s", origin, a.StatusCode, a.body)
			}
			for _, a := range []answer{
				h.want(h.get("/api/sessions/s", "Origin", origin, "Cookie", "a=b"), 403, ""),
				h.want(h.do("POST", "/api/uploads/s", strings.NewReader("x"), "Origin", origin, "Content-Type", "multipart/form-data; boundary=b"), 403, ""),
			} {
				if a.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s may read", origin)
				}
			}
		}
		h.want(h.get("/api/sessions/s", "Host", "rebound.example"), 403, "")
		h.want(h.get("/api/sessions/s", "Via", "1.1 proxy"), 403, "")
		h.want(h.get("/api/sessions/s", "Sec-Fetch-Site", "cross-site"), 403, "")
	})
}

func TestA5HeadersAndActiveContent(t *testing.T) {
	h := open(t)
	for _, name := range []string{`a".html"; x="y`, "a\r\nSet-Cookie: x=y", "a%22.txt", "ä;ö.svg"} {
		raw := strings.NewReplacer(`"`, `\"`).Replace(name)
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + raw + "\"\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n--b--\r\n"
		a := h.do("POST", "/api/uploads/s", strings.NewReader(body), "Content-Type", "multipart/form-data; boundary=b")
		if a.StatusCode == 422 && strings.Contains(name, "\n") {
			continue
		}
		v := h.ok(a).json
		got := h.ok(h.get(fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream", v["artifact_id"])))
		if d := got.Header.Get("Content-Disposition"); !strings.HasPrefix(d, `attachment; filename="`) || strings.Count(d, `"`) != 2 || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("%q: Content-Disposition %s", name, d)
		}
	}
	for declared, content := range map[string]string{
		"text/html": "<script>x</script>", "image/svg+xml": "<svg onload=x>", "application/xhtml+xml": "<html/>", "text/xml": "<x/>", "application/javascript": "x",
		"image/png": "<html><script>x</script>", "text/plain": "<html><script>x</script></html>", "multipart/related": "x", "text/css": "x", "application/pdf": "<html>",
	} {
		v := h.ok(h.post("s", part{name: "x", mime: declared, content: content})).json
		url := fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream", v["artifact_id"])
		a := h.ok(h.get(url))
		if !strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment") || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: %v", declared, a.Header)
		}
		h.want(h.get(url, "Sec-Fetch-Dest", "script"), 403, "")
	}
}

// plant makes links that lead out of a session, as hostile code in it would.
func plant(h *house, id string) {
	h.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "secret.txt"), []byte("secret"), 0o600); err != nil {
		h.Fatal(err)
	}
	ws := h.workspace(id)
	for name, to := range map[string]string{"link.txt": filepath.Join(h.dir, "secret.txt"), "folder": h.dir, "passwd": "/etc/passwd", "up": "../../.."} {
		if err := os.Symlink(to, filepath.Join(ws, name)); err != nil {
			h.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(h.dir, "secret.txt"), filepath.Join(ws, "hard.txt")); err != nil {
		h.Fatal(err)
	}
}

func TestA8LinksLeadNowhere(t *testing.T) {
	h := open(t)
	h.up("s", "a", "a")
	h.write("s", "real.txt", "real")
	plant(h, "s")
	if got := texts(h.scan("s"), "relative_path"); !cmp.Equal(got, []string{"real.txt"}) {
		t.Errorf("captured %v", got)
	}
	body := h.ok(h.get("/api/sessions/s/download")).body
	_, files := unzip(t, body)
	for name, text := range files {
		if strings.Contains(text, "secret") && !strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, ".jsonl") || strings.Contains(text, "root:") {
			t.Errorf("%s holds a file of the host", name)
		}
	}
	// A folder that becomes a link after it was captured.
	h.change("s", "dir/f.txt", "mine")
	if err := os.RemoveAll(filepath.Join(h.workspace("s"), "dir")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.dir, "elsewhere"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "elsewhere", "f.txt"), []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(h.dir, "elsewhere"), filepath.Join(h.workspace("s"), "dir")); err != nil {
		t.Fatal(err)
	}
	if got := h.scan("s"); len(got) != 1 || got[0]["change_type"] != "deleted" {
		t.Errorf("the folder became a link: %v", got)
	}
	h.ok(h.do("DELETE", "/api/sessions/s", nil))
	eventually(t, "the folder is gone", func() bool { _, err := os.Lstat(filepath.Dir(h.workspace("s"))); return os.IsNotExist(err) })
	if _, err := os.Stat(filepath.Join(h.dir, "secret.txt")); err != nil {
		t.Errorf("deleting the session deleted what its links led to: %v", err)
	}
}

func TestA10Limits(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.MaxUpload = 1000; s.depot.InlineLimit = 100 })
	h.ok(h.post("s", part{name: "just", content: strings.Repeat("x", 1000)}))
	h.leavesNoTrace(func() {
		a := h.want(h.post("s", part{name: "over", content: strings.Repeat("x", 1001)}), 413, "File is larger than the limit of 1000 bytes")
		if asMap(asMap(a.json["error"])["details"])["max_size"] != 1000.0 {
			t.Errorf("%s", a.body)
		}
		h.want(h.do("PUT", "/api/uploads/s/over", strings.NewReader(strings.Repeat("x", 1<<20))), 413, "")
		many := make([]part, 10_001)
		for i := range many {
			many[i] = part{field: "other", name: "x"}
		}
		h.want(h.post("s", many...), 400, "")
		h.want(h.get("/api/sessions/s/download?ids="+strings.Repeat("x,", 1001)), 400, "")
		if a, err := h.raw("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "+strings.Repeat("x", 2<<20)+"\r\n\r\n", false); err == nil && a.StatusCode != 431 {
			t.Errorf("endless header: %d", a.StatusCode)
		}
	})
	small := open(t, func(s *setup) { s.depot.MaxUpload = 50; s.depot.InlineLimit = 100 })
	small.leavesNoTrace(func() { small.want(small.post("s", part{name: "over", content: strings.Repeat("x", 51)}), 413, "") })
}

func TestB1RestartKeepsEverything(t *testing.T) {
	h := open(t)
	v := h.up("s", "a.txt", "a")
	e := h.change("s", "out.txt", strings.Repeat("big", 20_000))
	h.want(h.ask("POST", "/api/sessions", `{"session_id":"t","metadata":{"k":"v"}}`), 201, "")
	paths := []string{"/api/sessions", "/api/sessions/s", "/api/sessions/t", "/api/uploads/s", "/api/sessions/s/state", "/api/sessions/s/artifact-events",
		fmt.Sprintf("/api/sessions/s/artifacts/%v", v["attachment_id"]), fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream", e["artifact_id"])}
	var before []string
	for _, p := range paths {
		before = append(before, string(h.ok(h.get(p)).body))
	}
	h.restart()
	for i, p := range paths {
		if diff := cmp.Diff(before[i], string(h.ok(h.get(p)).body)); diff != "" {
			t.Errorf("%s after a restart (-before +after):\n%.2000s", p, diff)
		}
	}
	if e := h.stream("s", "/events", "Last-Event-ID", "1").next(); e.seq() != 2 {
		t.Errorf("a follower that comes back: %+v", e)
	}
}

func TestB2B3ManifestLosesNothing(t *testing.T) {
	h := open(t)
	a := h.up("s", "a.txt", "a")
	file := filepath.Join(h.workspace("s"), "attachments", "attachments_manifest.json")
	has := func(ids ...any) func() bool {
		return func() bool {
			text, err := os.ReadFile(file)
			var m map[string]any
			if err != nil || json.Unmarshal(text, &m) != nil {
				return false
			}
			return !slices.ContainsFunc(ids, func(id any) bool { return m[fmt.Sprint(id)] == nil })
		}
	}
	eventually(t, "the manifest is there", has(a["attachment_id"]))
	if err := os.WriteFile(file, []byte(`{"torn`), 0o600); err != nil {
		t.Fatal(err)
	}
	b := h.up("s", "b.txt", "b")
	eventually(t, "the manifest is whole again", has(a["attachment_id"], b["attachment_id"]))
}

func TestB4SequencesGoOn(t *testing.T) {
	h := open(t)
	for i := range 3 {
		if v := h.up("s", "a", "a"); v["sequence"] != float64(2*i+1) {
			t.Errorf("upload %d: %v", i, v["sequence"])
		}
		h.ok(h.do("DELETE", "/api/sessions/s", nil))
		h.want(h.ask("POST", "/api/sessions", `{"session_id":"s"}`), 201, "")
		h.restart()
	}
	if p := h.page("s", "after=2&include_uploads=1&wait_seconds=0"); !p.Truncated || p.Next != 6 {
		t.Errorf("the cursor of the first life: %+v", p)
	}
}

func TestB12OldVersionsStay(t *testing.T) {
	h := open(t)
	big := strings.Repeat("v1", 20_000)
	h.up("s0", "in", "in")
	one := h.change("s0", "f.txt", big)
	two := h.change("s0", "f.txt", "v2")
	gone := h.remove("s0", "f.txt")
	for name, want := range map[any]string{one["artifact_id"]: big, one["event_id"]: big, two["artifact_id"]: "v2", two["event_id"]: "v2"} {
		if got := h.bytes("s0", name); got != want {
			t.Errorf("%v: %d bytes, want %d", name, len(got), len(want))
		}
	}
	for _, name := range []any{gone["artifact_id"], gone["attachment_id"]} {
		h.want(h.get(fmt.Sprintf("/api/sessions/s0/artifacts/%v?mode=stream", name)), 404, "Artifact file missing")
	}
}

func TestB13ManyFilesAndIgnoredFolders(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.Ignore = []string{"node_modules", ".git"} })
	h.up("s", "a", "a")
	const n = 1203
	for i := range n {
		h.write("s", fmt.Sprintf("out/%d/%d.txt", i%7, i), "x")
	}
	h.write("s", "web/node_modules/x/index.js", "x")
	h.write("s", ".git/config", "x")
	if got := h.scan("s"); len(got) != n {
		t.Errorf("%d files captured, want %d", len(got), n)
	}
	if err := os.RemoveAll(filepath.Join(h.workspace("s"), "out")); err != nil {
		t.Fatal(err)
	}
	if got := h.scan("s"); len(got) != n || got[0]["change_type"] != "deleted" {
		t.Errorf("%d deletions, want %d", len(got), n)
	}
}

func TestB17NamesOfAllLanguages(t *testing.T) {
	h := open(t)
	for _, name := range []string{"报告.txt", "naïve café.md", "файл.csv", "😀.txt", "a b+c&d#e?.txt", "%41.txt"} {
		v := h.up("s", name, "x")
		a := h.ok(h.get(fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream&download=1", v["artifact_id"])))
		if v["name"] != name || string(a.body) != "x" || !strings.Contains(a.Header.Get("Content-Disposition"), "filename*=UTF-8''") {
			t.Errorf("%s: %v, %s", name, v["name"], a.Header.Get("Content-Disposition"))
		}
		h.write("s", "out/"+name, "x")
	}
	if got := h.scan("s"); len(got) != 6 {
		t.Errorf("captured %v", texts(got, "name"))
	}
	_, files := unzip(t, h.ok(h.get("/api/sessions/s/download")).body)
	if files["session_s/code_workspace/out/报告.txt"] != "x" {
		t.Errorf("the zip has it not")
	}
}

func TestB19RefusalsAreNo500(t *testing.T) {
	h := open(t)
	h.leavesNoTrace(func() {
		h.want(h.do("POST", "/api/sessions", strings.NewReader("x"), "Content-Type", "text/plain"), 415, "Content-Type must be application/json for API endpoints")
		h.want(h.do("POST", "/api/uploads/s", strings.NewReader("x")), 415, "Content-Type must be multipart/form-data for API endpoints")
		h.want(h.do("POST", "/api/uploads/s", strings.NewReader("x"), "Content-Type", "multipart/form-data"), 400, "Missing boundary in multipart")
		h.want(h.get("/nothing/here"), 404, "Not Found")
		h.want(h.do("DELETE", "/health", nil), 405, "Method Not Allowed")
		h.want(h.get("/api/../x"), 400, "Invalid path")
	})
}

// B20, a cursor that stalls for ever, is in TestLongPollCursors and
// TestTrimmedLog; C5, content without ranges, in TestContentOverHTTP; B22, a
// file for each download, here.
func TestB21B22ServerElsewhere(t *testing.T) {
	h := open(t)
	v := h.up("s", "a.txt", "a")
	h.leavesNoTrace(func() {
		for range 3 {
			h.ok(h.get("/api/sessions/s/download"))
		}
	})
	h.stop()
	t.Chdir(t.TempDir())
	h.start()
	if got := h.bytes("s", v["attachment_id"]); got != "a" {
		t.Errorf("from another directory: %q", got)
	}
}

// A zip that cannot be completed breaks off; no reader takes it for whole.
func TestBrokenZip(t *testing.T) {
	h := open(t)
	h.up("s", "a.bin", strings.Repeat("a", 1<<20))
	h.up("s", "b.bin", strings.Repeat("b", 1<<20))
	for _, key := range h.traces().Blobs[:1] {
		if err := h.blobs.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	a, err := h.raw("GET /api/sessions/s/download HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", false)
	if _, zipErr := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body))); err == nil && a.StatusCode == 200 || zipErr == nil {
		t.Errorf("status %d, %v; %d bytes that are a zip: %v", a.StatusCode, err, len(a.body), zipErr)
	}
}

// Cleaned uploads keep their record and nothing else (extensions §5).
func TestCleanedUploads(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.AutoClean = true })
	c := h.dial("/ws?session_id=s")
	c.await("connection")
	v := h.up("s", "a.txt", "private")
	h.change("s", "out.txt", "kept")
	c.Close(1000, "")
	eventually(t, "the upload is cleaned", func() bool { return h.meta("s", v["attachment_id"])["storage"] == "cleaned" })
	h.want(h.get(fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream", v["artifact_id"])), 404, "Artifact file missing")
	if m := h.meta("s", v["artifact_id"]); m["data_uri"] != nil || m["sha256"] != v["sha256"] {
		t.Errorf("%v", m)
	}
	names, _ := unzip(t, h.ok(h.get("/api/sessions/s/download")).body)
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "/a.txt") }) {
		t.Errorf("in the zip: %v", names)
	}
	s := h.stream("s", "/events")
	for e := s.next(); e.Name != "attachments_cleaned"; e = s.next() {
	}
	describe(t).stream("GET "+sessionPath+"/events", s)
	if err := h.depot.CleanUploads(t.Context(), "pf_default", "s"); err != nil {
		t.Error(err)
	}
}

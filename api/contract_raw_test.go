package api_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Bytes of artifacts, on both sides of what a row holds, with all that HTTP has
// for files.
func TestRawIsAFile(t *testing.T) {
	h := open(t)
	for _, size := range []int{10, 100 << 10} {
		content := strings.Repeat("\x00\xff0123456", size/9+1)[:size]
		path := fmt.Sprintf("/raw/%d", size)
		url := library + "/raw" + path
		a := h.want(h.put(path, content, "Content-Type", "application/x-thing"), 201, "")
		if a.Header.Get("Location") != url || a.Header.Get("ETag") != tag(content) {
			t.Errorf("made: %v", a.Header)
		}
		whole := h.ok(h.get(url))
		sum := sha256.Sum256([]byte(content))
		for name, want := range map[string]string{
			"ETag": tag(content), "Content-Type": "application/x-thing", "Accept-Ranges": "bytes", "X-Artifact-Version": "1", "Content-Length": fmt.Sprint(size),
			"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":", "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff",
		} {
			if got := whole.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if string(whole.body) != content {
			t.Errorf("%d bytes came back, want %d", len(whole.body), size)
		}
		head := h.ok(h.do("HEAD", url, nil))
		for _, name := range []string{"ETag", "Content-Type", "Content-Length", "Repr-Digest", "Content-Disposition", "Last-Modified", "X-Artifact-Version"} {
			if head.Header.Get(name) != whole.Header.Get(name) {
				t.Errorf("HEAD: %s %q", name, head.Header.Get(name))
			}
		}
		if len(head.body) != 0 {
			t.Errorf("HEAD has a body of %d bytes", len(head.body))
		}
		for given, want := range map[string]string{"bytes=2-4": content[2:5], "bytes=-3": content[size-3:], "bytes=5-": content[5:], "bytes=0-0": content[:1], fmt.Sprintf("bytes=4-%d", size*2): content[4:]} {
			part := h.want(h.get(url, "Range", given), 206, "")
			if string(part.body) != want || !strings.HasSuffix(part.Header.Get("Content-Range"), fmt.Sprintf("/%d", size)) || part.Header.Get("ETag") != tag(content) {
				t.Errorf("%s: %d bytes, %q", given, len(part.body), part.Header.Get("Content-Range"))
			}
		}
		if got := h.want(h.get(url, "Range", fmt.Sprintf("bytes=%d-", size)), 416, "RES_RANGE_NOT_SATISFIABLE").Header.Get("Content-Range"); got != fmt.Sprintf("bytes */%d", size) {
			t.Errorf("Content-Range %q", got)
		}
		later := whole.Header.Get("Last-Modified")
		for _, row := range []struct {
			headers []string
			status  int
		}{
			{[]string{"If-None-Match", tag(content)}, 304}, {[]string{"If-None-Match", `"x", W/` + tag(content)}, 304}, {[]string{"If-None-Match", "*"}, 304},
			{[]string{"If-None-Match", tag("other")}, 200}, {[]string{"If-Match", tag(content)}, 200}, {[]string{"If-Match", tag("other")}, 412},
			{[]string{"If-Modified-Since", later}, 304}, {[]string{"If-Modified-Since", time.Unix(0, 0).UTC().Format(http.TimeFormat)}, 200},
			{[]string{"If-Unmodified-Since", time.Unix(0, 0).UTC().Format(http.TimeFormat)}, 412},
			{[]string{"Range", "bytes=0-1", "If-Range", tag(content)}, 206}, {[]string{"Range", "bytes=0-1", "If-Range", tag("other")}, 200},
		} {
			a := h.want(h.get(url, row.headers...), row.status, "")
			if row.status == 304 && (len(a.body) != 0 || a.Header.Get("ETag") != tag(content)) {
				t.Errorf("%v: %v with %d bytes", row.headers, a.Header, len(a.body))
			}
		}
	}
}

func TestRawVersions(t *testing.T) {
	h := open(t)
	url := library + "/raw/v.txt"
	h.want(h.put("/v.txt", "one"), 201, "")
	h.ok(h.put("/v.txt", "two"))
	h.want(h.put("/v.txt", "x", "If-None-Match", "*"), 412, "")
	h.want(h.put("/v.txt", "x", "If-Match", tag("one")), 412, "")
	h.ok(h.put("/v.txt", "three", "If-Match", tag("two")))
	for version, want := range map[string]string{"": "three", "?version=1": "one", "?version=2": "two", "?version=3": "three"} {
		if a := h.ok(h.get(url + version)); string(a.body) != want || a.Header.Get("ETag") != tag(want) {
			t.Errorf("version %q: %q", version, a.body)
		}
	}
	h.want(h.get(url+"?version=4"), 404, "RES_NOT_FOUND")
	// A digest or a length that does not agree keeps nothing.
	for name, headers := range map[string][]string{
		"digest": {"Content-Digest", "sha-256=:" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + ":"}, "no digest": {"Repr-Digest", "sha-256=x"},
	} {
		if a := h.put("/v.txt", "four", headers...); a.StatusCode != 400 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	a, err := h.raw("PUT "+url+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+h.bearer+"\r\nContent-Length: 10\r\n\r\nfour", true)
	if err != nil || a.StatusCode != 400 {
		t.Errorf("cut off: %v, %v", a.Response, err)
	}
	sum := sha256.Sum256([]byte("three"))
	h.ok(h.put("/v.txt", "three", "Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":"))
	if list := objects(h.data(h.get(library + "/versions?path=/v.txt"))["versions"]); len(list) != 4 {
		t.Errorf("%d versions, want 4", len(list))
	}
	h.data(h.do("DELETE", at("/v.txt"), nil))
	h.want(h.get(url), 404, "RES_NOT_FOUND")
}

// What could run in a browser is never shown in place, whatever it is called and
// said to be, and everything is kept from doing anything (content.go).
func TestRawIsHostile(t *testing.T) {
	h := open(t)
	const script = "<script>alert(1)</script>"
	for _, row := range []struct {
		path, declared, content string
		inline                  bool
	}{
		{"/x/page.html", "", "<html>" + script, false}, {"/x/page.txt", "", "<html>" + script, false}, {"/x/pic.svg", "", "<svg onload=x>", false},
		{"/x/data.xml", "", "<x/>", false}, {"/x/code.js", "", "alert(1)", false}, {"/x/style.css", "", "a{}", false}, {"/x/none", "text/html", script, false},
		{"/x/none2", "image/svg+xml", "<svg/>", false}, {"/x/pic.png", "image/png", "<html>" + script, false}, {"/x/bytes", "", "\x00\xff", false},
		{"/x/note.md", "", "# Note", true}, {"/x/data.csv", "", "a,b\n1,2\n", true}, {"/x/pic", "image/png", "\x89PNG\r\n\x1a\n", true},
	} {
		var headers []string
		if row.declared != "" {
			headers = []string{"Content-Type", row.declared}
		}
		h.want(h.put(row.path, row.content, headers...), 201, "")
		url := library + "/raw" + row.path
		for _, a := range []answer{h.ok(h.get(url)), h.ok(h.do("HEAD", url, nil)), h.want(h.get(url, "Range", "bytes=0-1"), 206, "")} {
			policy := a.Header.Get("Content-Security-Policy")
			if d := a.Header.Get("Content-Disposition"); strings.HasPrefix(d, "inline") != row.inline || !strings.Contains(d, "filename=") {
				t.Errorf("%s as %s %s: %s", a.Request.Method, row.path, row.declared, d)
			}
			if !strings.HasPrefix(policy, "sandbox; default-src 'none'") || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
				t.Errorf("%s: %v", row.path, a.Header)
			}
		}
		if d := h.ok(h.get(url + "?download=true")).Header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment") {
			t.Errorf("download of %s: %s", row.path, d)
		}
		for _, dest := range []string{"script", "style", "worker", "serviceworker", "manifest"} {
			h.want(h.get(url, "Sec-Fetch-Dest", dest), 403, "AUTH_FORBIDDEN")
		}
	}
	// What is no text is told as bytes only.
	h.want(h.artifactAt("/x/bytes"), 415, "VAL_VALIDATION_FAILED")
	h.holds("/x/page.html", "<html>"+script)
}

// Files go from a session into the library and back without the client.
func TestPromoteAndCheckout(t *testing.T) {
	h := open(t)
	big := strings.Repeat("0123456789", 10<<10)
	up := h.up("s", "in.md", "uploaded")
	made := h.change("s", "out/big.bin", big)
	promote := func(id any, path, more string) answer {
		h.Helper()
		return h.ask("POST", library+"/promote", fmt.Sprintf(`{"session_id":"s","artifact_id":"%v","path":"%s"%s}`, id, path, more))
	}
	got := h.data(promote(up["artifact_id"], "/kept/in.md", ``))
	if got["etag"] != tag("uploaded") || got["version"] != 1.0 || got["content_type"] != "text/markdown" || got["size"] != 8.0 {
		t.Errorf("promoted: %v", got)
	}
	h.holds("/kept/in.md", "uploaded")
	h.data(promote(made["attachment_id"], "/kept/big.bin", ``))
	if a := h.ok(h.get(library + "/raw/kept/big.bin")); string(a.body) != big {
		t.Errorf("%d bytes", len(a.body))
	}
	file := objects(h.list("?recursive=true")["files"])[1]
	want := map[string]any{"session_id": "s", "session_artifact_id": up["artifact_id"]}
	if diff := cmp.Diff(want, file["metadata"]); diff != "" {
		t.Errorf("metadata: %s", diff)
	}
	h.want(promote(up["artifact_id"], "/kept/in.md", ``), 409, "RES_ALREADY_EXISTS")
	if got := h.data(promote(made["event_id"], "/kept/in.md", `,"overwrite":true`)); got["version"] != 2.0 {
		t.Errorf("over it: %v", got)
	}
	h.want(promote("x", "/kept/x", ``), 404, "RES_NOT_FOUND")
	h.want(promote(up["artifact_id"], "kept", ``), 400, "VAL_FIELD_INVALID")
	h.want(h.ask("POST", library+"/promote", `{"session_id":"a.b","artifact_id":"x","path":"/x"}`), 400, "VAL_FIELD_INVALID")

	checkout := func(path, session, more string) answer {
		h.Helper()
		return h.ask("POST", library+"/checkout", `{"path":"`+path+`","session_id":"`+session+`"`+more+`}`)
	}
	out := h.data(checkout("/kept/in.md", "s", `,"version":1`))
	attachment := asMap(out["attachment"])
	if got := h.bytes("s", attachment["artifact_id"]); got != "uploaded" || attachment["name"] != "in.md" || attachment["source"] != "user_upload" {
		t.Errorf("checked out: %v, %q", attachment, got)
	}
	extra := asMap(h.ok(h.get(fmt.Sprint("/api/sessions/s/artifacts/", attachment["artifact_id"]))).json["extra"])
	if extra["library_path"] != "/kept/in.md" || extra["library_version"] != 1.0 {
		t.Errorf("the session's record: %v", extra)
	}
	h.data(checkout("/kept/big.bin", "fresh", ``)) // a session that is made by it, as by an upload
	h.want(checkout("/kept/none", "s", ``), 404, "RES_NOT_FOUND")
	h.want(checkout("/kept/in.md", "s", `,"version":9`), 404, "RES_NOT_FOUND")
	h.ok(h.do("DELETE", "/api/sessions/fresh", nil))
	h.want(checkout("/kept/in.md", "fresh", ``), 404, "RES_NOT_FOUND")
}

// An archive has all of a folder and can be taken in elsewhere, metadata and all.
func TestLibraryArchive(t *testing.T) {
	h := open(t)
	h.data(h.save("/p/a.md", "one", `,"metadata":{"n":12345678901234567890}`))
	h.want(h.put("/p/sub/b", "\x00\x01", "Content-Type", "application/x-thing"), 201, "")
	h.data(h.save("/p2/other.md", "not in it"))
	a := h.ok(h.get(library + "/archive?prefix=/p"))
	if a.Header.Get("Content-Type") != "application/zip" || a.Header.Get("Content-Disposition") != "attachment; filename=library.zip" {
		t.Errorf("headers %v", a.Header)
	}
	names, files := unzip(t, a.body)
	if diff := cmp.Diff([]string{"a.md", "sub/b", ".vitrine/library.jsonl"}, names); diff != "" || files["a.md"] != "one" || files["sub/b"] != "\x00\x01" {
		t.Errorf("archive: %s%q", diff, files)
	}
	if a := h.ok(h.do("HEAD", library+"/archive", nil)); len(a.body) != 0 {
		t.Errorf("HEAD has %d bytes", len(a.body))
	}
	other := h.tenant("pf_other")
	take := func(query string, body []byte) answer {
		return other.do("POST", library+"/archive"+query, bytes.NewReader(body), "Content-Type", "application/zip")
	}
	want := map[string]any{"imported": 2.0, "bytes": 5.0, "skipped": []any{}}
	if diff := cmp.Diff(want, other.data(take("?prefix=/in/", a.body))); diff != "" {
		t.Errorf("taken in: %s", diff)
	}
	list := other.get(library + "/list?recursive=true")
	if got := texts(objects(asMap(list.json["data"])["files"]), "path"); fmt.Sprint(got) != "[/in/a.md /in/sub/b]" || !strings.Contains(string(list.body), `"n":12345678901234567890`) ||
		!strings.Contains(string(list.body), "application/x-thing") {
		t.Errorf("it holds %s", list.body)
	}
	changed := zipped(t, "a.md", "two", "c.md", "new")
	want = map[string]any{"imported": 1.0, "bytes": 3.0, "skipped": []any{"/in/a.md"}}
	if diff := cmp.Diff(want, other.data(take("?prefix=/in", changed))); diff != "" {
		t.Errorf("a second time: %s", diff)
	}
	other.holds("/in/a.md", "one")
	other.data(take("?prefix=/in&overwrite=true", changed))
	other.holds("/in/a.md", "two")
}

// Archives come from outside: a bad one is refused whole.
func TestHostileArchives(t *testing.T) {
	h := open(t)
	link := func() []byte {
		var b bytes.Buffer
		zw := zip.NewWriter(&b)
		header := &zip.FileHeader{Name: "link"}
		header.SetMode(fs.ModeSymlink | 0o777)
		if f, err := zw.CreateHeader(header); err != nil {
			t.Fatal(err)
		} else if _, err := f.Write([]byte("/etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := zipped(t, "good.md", strings.Repeat("good", 1000))
	for name, body := range map[string][]byte{
		"up and out": zipped(t, "good.md", "x", "../evil.md", "x"), "inside": zipped(t, "a/../../evil.md", "x"), "absolute": zipped(t, "/etc/evil", "x"),
		"backslashes": zipped(t, `..\evil.md`, "x"), "hidden": zipped(t, ".git/config", "x"), "twice": zipped(t, "a.md", "1", "a.md", "2"),
		"a link": link(), "not ASCII": zipped(t, "é.md", "x"), "cut off": good[:len(good)-10], "damaged": append(append(good[:40:40], 'X', 'X', 'X'), good[43:]...),
		"nothing": {}, "no zip": []byte("PK\x03\x04 and so on"), "NUL": zipped(t, "a\x00.md", "x"),
	} {
		if a := h.do("POST", library+"/archive", bytes.NewReader(body)); a.StatusCode != 400 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		} else {
			h.want(a, 400, "VAL_FIELD_INVALID")
		}
	}
	bomb := zipped(t, "bomb", strings.Repeat("0", 80<<20))
	if len(bomb) > 400<<10 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	h.want(h.do("POST", library+"/archive", bytes.NewReader(bomb)), 413, "VAL_FIELD_TOO_LONG")
	if files := objects(h.list("?recursive=true")["files"]); len(files) != 0 {
		t.Errorf("something was kept: %v", texts(files, "path"))
	}
}

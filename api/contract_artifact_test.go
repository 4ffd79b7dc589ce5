package api_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// meta returns what the server says of an artifact, by any id.
func (h *house) meta(id string, name any) map[string]any {
	h.Helper()
	return h.ok(h.get(fmt.Sprintf("/api/sessions/%s/artifacts/%v", id, name))).json
}

// bytes returns an artifact's content, by any id.
func (h *house) bytes(id string, name any) string {
	h.Helper()
	return string(h.ok(h.get(fmt.Sprintf("/api/sessions/%s/artifacts/%v?mode=stream", id, name))).body)
}

// The event of a file has the reference's 14 keys and ours, with the values
// that the contract gives them.
func TestEventOfAFile(t *testing.T) {
	h := open(t)
	h.up("s", "in.txt", "in")
	h.write("s", "out/pic.png", "\x89PNG\r\n\x1a\n")
	e := h.scan("s")[0]
	const hash = "4c4b6a3be1314ab86138bef4314dde022e600960d8689a2c8f8631802d20dab6"
	id := fmt.Sprint(e["event_id"])
	at, _ := e["created_at"].(float64)
	want := map[string]any{
		"event_id": id, "sequence": 2.0, "node_id": "workspace", "attachment_id": e["attachment_id"], "file_name": "pic.png",
		"relative_path": "out/pic.png", "workspace_path": "code_workspace/out/pic.png", "mime_type": "image/png", "size": 8.0,
		"sha256": hash, "data_uri": nil, "created_at": at, "change_type": "created",
		"extra":       map[string]any{"node_id": "workspace", "relative_path": "out/pic.png", "hook": "workspace_scan", "source": "workspace", "workspace_path": "out/pic.png", "storage": "reference"},
		"artifact_id": "art_" + id, "name": "pic.png", "path": "code_workspace/out/pic.png", "mime": "image/png",
		"hash": "sha256:" + hash, "timestamp": float64(int64(at)), "session_id": "s", "source": "workspace", "storage": "reference",
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	poll := objects(h.ok(h.get("/api/sessions/s/artifact-events")).json["events"])[0]
	s := h.stream("s", "/events?after=1")
	_, sse := s.next().entry()
	c := h.dial("/ws?session_id=s&after=1")
	c.await("connection")
	ws := objects(c.await("artifact_created").Data["events"])[0]
	for name, other := range map[string]map[string]any{"long poll": poll, "SSE": sse, "WebSocket": ws, "state": objects(h.get("/api/sessions/s/state").json["files"])[1]} {
		if diff := cmp.Diff(e, other); diff != "" {
			t.Errorf("%s tells it otherwise (-scan +%s):\n%s", name, name, diff)
		}
	}
	h.change("s", "out/pic.png", "other")
	deleted := h.remove("s", "out/pic.png")
	if deleted["attachment_id"] != e["attachment_id"] || deleted["sequence"] != 4.0 || deleted["file_name"] != "pic.png" {
		t.Errorf("deletion: %v", deleted)
	}
}

// Meta has what the reference has, and what its page needs: data_uri.
func TestMeta(t *testing.T) {
	h := open(t, func(s *setup) { s.api.DataURILimit = 100 })
	up := h.up("s", "in.txt", "hello")
	m := h.meta("s", up["attachment_id"])
	want := "data:text/plain;base64," + base64.StdEncoding.EncodeToString([]byte("hello"))
	if m["data_uri"] != want || m["artifact_id"] != up["attachment_id"] || m["version_id"] != up["artifact_id"] || m["local_path"] != m["workspace_path"] {
		t.Errorf("%v", m)
	}
	for _, key := range []string{"download_url", "stream_url"} {
		if got := string(h.ok(h.get(fmt.Sprint(m[key]))).body); got != "hello" {
			t.Errorf("%s gives %q", key, got)
		}
	}
	big := h.up("s", "big.bin", strings.Repeat("x", 101))
	if m := h.meta("s", big["attachment_id"]); m["data_uri"] != m["download_url"] {
		t.Errorf("above the limit: data_uri %v", m["data_uri"])
	}
	h.change("s", "out.txt", "x")
	gone := h.remove("s", "out.txt")
	if m := h.meta("s", gone["artifact_id"]); m["data_uri"] != nil || m["change_type"] != "deleted" {
		t.Errorf("a deletion: %v", m)
	}
	for _, query := range []string{"?mode=x", "?download=perhaps", "?mode=stream&download=2"} {
		h.want(h.get("/api/sessions/s/artifacts/x"+query), 422, "")
	}
	h.want(h.get("/api/sessions/s/artifacts/nothing"), 404, "Artifact not found")
	h.want(h.get("/api/sessions/nobody/artifacts/nothing"), 404, "Session not found")
	h.up("other", "x", "x")
	h.want(h.get(fmt.Sprintf("/api/sessions/other/artifacts/%v", up["artifact_id"])), 404, "Artifact not found")
}

// The bytes leave with everything that HTTP asks of a file.
func TestContentOverHTTP(t *testing.T) {
	h := open(t)
	for name, content := range map[string]string{"small": "0123456789", "big": strings.Repeat("0123456789", 20_000)} {
		t.Run(name, func(t *testing.T) {
			v := h.up("s", name+".txt", content)
			url := fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream", v["artifact_id"])
			etag := fmt.Sprintf(`"%v"`, v["sha256"])
			a := h.ok(h.get(url))
			modified := a.Header.Get("Last-Modified")
			for header, want := range map[string]string{
				"Content-Type": "text/plain; charset=utf-8", "Content-Length": fmt.Sprint(len(content)), "Etag": etag, "Accept-Ranges": "bytes",
				"Repr-Digest": sum256(content), "X-Content-Type-Options": "nosniff",
				"Content-Disposition": fmt.Sprintf(`inline; filename="%s.txt"; filename*=UTF-8''%s.txt`, name, name),
			} {
				if got := a.Header.Get(header); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
			if string(a.body) != content || modified == "" {
				t.Errorf("%d bytes, Last-Modified %q", len(a.body), modified)
			}
			past, size := time.Unix(0, 0).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), len(content)
			for _, c := range []struct {
				method string
				status int
				body   string
				ranges string
				header []string
			}{
				{"HEAD", 200, "", "", nil},
				{"GET", 206, "234", fmt.Sprintf("bytes 2-4/%d", size), []string{"Range", "bytes=2-4"}},
				{"GET", 206, "89", fmt.Sprintf("bytes %d-%d/%d", size-2, size-1, size), []string{"Range", "bytes=-2"}},
				{"GET", 206, content[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size), []string{"Range", "bytes=5-"}},
				{"GET", 416, "", fmt.Sprintf("bytes */%d", size), []string{"Range", "bytes=999999-"}},
				{"GET", 206, "0", fmt.Sprintf("bytes 0-0/%d", size), []string{"Range", "bytes=0-0", "If-Range", etag}},
				{"GET", 200, content, "", []string{"Range", "bytes=0-0", "If-Range", `"other"`}},
				{"GET", 304, "", "", []string{"If-None-Match", etag}},
				{"GET", 304, "", "", []string{"If-None-Match", `"x", W/` + etag}},
				{"GET", 200, content, "", []string{"If-None-Match", `"other"`}},
				{"GET", 304, "", "", []string{"If-Modified-Since", modified}},
				{"GET", 200, content, "", []string{"If-Modified-Since", past}},
				{"GET", 412, "", "", []string{"If-Match", `"other"`}},
				{"GET", 412, "", "", []string{"If-Unmodified-Since", past}},
				{"HEAD", 206, "", fmt.Sprintf("bytes 2-4/%d", size), []string{"Range", "bytes=2-4"}},
			} {
				a := h.want(h.do(c.method, url, nil, c.header...), c.status, "")
				if c.status < 400 && string(a.body) != c.body || a.Header.Get("Content-Range") != c.ranges {
					t.Errorf("%s %v: %d bytes, Content-Range %q", c.method, c.header, len(a.body), a.Header.Get("Content-Range"))
				}
			}
			if a := h.ok(h.get(url + "&download=yes")); !strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment; ") {
				t.Errorf("download=yes: %q", a.Header.Get("Content-Disposition"))
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		v := h.up("s", "empty.txt", "")
		if got := h.bytes("s", v["artifact_id"]); got != "" {
			t.Errorf("%q", got)
		}
	})
}

// unzip returns the names of an archive in order, and what is in its files.
func unzip(t testing.TB, text []byte) (names []string, contents map[string]string) {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	contents = make(map[string]string)
	for _, f := range r.File {
		names = append(names, f.Name)
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		rc.Close()
		contents[f.Name] = string(b)
		if f.Mode().Type()&^(1<<31) != 0 { // neither file nor folder
			t.Errorf("%s is a %v", f.Name, f.Mode())
		}
	}
	return names, contents
}

// The zip holds the session: one folder, explicit folders in it, every file,
// the manifest and the log.
func TestZip(t *testing.T) {
	h := open(t)
	up := h.up("s", "in.txt", "in")
	h.change("s", "out/deep/result.json", "{}")
	h.change("s", ".hidden", "x")
	h.change("s", "old.txt", "1")
	h.change("s", "old.txt", "2")
	a := h.ok(h.get("/api/sessions/session_s/download"))
	if got := a.Header.Get("Content-Disposition"); got != "attachment; filename=session_s.zip" || a.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("Content-Disposition %q, Content-Type %q", got, a.Header.Get("Content-Type"))
	}
	names, files := unzip(t, a.body)
	in := fmt.Sprintf("session_s/code_workspace/attachments/%v/in.txt", up["attachment_id"])
	for name, want := range map[string]string{
		in: "in", "session_s/code_workspace/out/deep/result.json": "{}", "session_s/code_workspace/.hidden": "x", "session_s/code_workspace/old.txt": "2",
	} {
		if files[name] != want {
			t.Errorf("%s: %q, want %q", name, files[name], want)
		}
	}
	for _, name := range []string{"session_s/", "session_s/code_workspace/", "session_s/code_workspace/attachments/", "session_s/code_workspace/out/", "session_s/code_workspace/out/deep/"} {
		if !slices.Contains(names, name) {
			t.Errorf("no folder %s", name)
		}
	}
	var manifest map[string]struct{ Ref map[string]any }
	if err := json.Unmarshal([]byte(files["session_s/code_workspace/attachments/attachments_manifest.json"]), &manifest); err != nil {
		t.Errorf("manifest: %v", err)
	}
	if manifest[fmt.Sprint(up["attachment_id"])].Ref["name"] != "in.txt" {
		t.Errorf("manifest: %v", manifest)
	}
	if lines := strings.Count(files["session_s/events.jsonl"], "\n"); lines != 5 {
		t.Errorf("events.jsonl has %d lines, want 5:\n%s", lines, files["session_s/events.jsonl"])
	}
	again := h.ok(h.get("/api/sessions/s/download"))
	if diff := cmp.Diff(names, first(unzip(t, again.body))); diff != "" {
		t.Errorf("the order changes:\n%s", diff)
	}
	_, files = unzip(t, h.ok(h.get("/api/sessions/s/download?at=4")).body)
	if files["session_s/code_workspace/old.txt"] != "1" {
		t.Errorf("at an earlier position: %v", files)
	}
	names, _ = unzip(t, h.ok(h.get(fmt.Sprintf("/api/sessions/s/download?ids=%v", up["artifact_id"]))).body)
	if !slices.Contains(names, in) || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "result.json") }) {
		t.Errorf("a selection: %v", names)
	}
	h.want(h.get("/api/sessions/s/download?at=0"), 422, "") // no files stand before the first entry
	h.want(h.get("/api/sessions/nobody/download"), 404, "Session directory not found")
	h.want(h.get("/api/sessions/a.b/download"), 400, "Invalid session_id: only letters, digits, underscores, and hyphens are allowed")
	if a := h.ok(h.do("HEAD", "/api/sessions/s/download", nil)); len(a.body) != 0 {
		t.Errorf("HEAD has a body")
	}
}

func first[A, B any](a A, _ B) A { return a }

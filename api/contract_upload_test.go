package api_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sum256(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func sum512(content string) string {
	sum := sha512.Sum512([]byte(content))
	return "sha-512=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// The answer to an upload has the reference's keys and ours, and what it says
// is there: in the workspace, in the log, in the list.
func TestUpload(t *testing.T) {
	h := open(t)
	const content = "# spec\n\n"
	before := float64(time.Now().Unix())
	a := h.up("s", "spec.md", content)
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	want := map[string]any{
		"attachment_id": a["attachment_id"], "artifact_id": a["artifact_id"], "session_id": "s", "name": "spec.md",
		"mime": "text/markdown", "mime_type": "text/markdown", "size": 8.0, "sha256": hash, "hash": "sha256:" + hash,
		"kind": "file", "source": "user_upload", "created_at": a["created_at"], "sequence": 1.0,
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if at, _ := a["created_at"].(float64); at < before || at > before+60 {
		t.Errorf("created_at %v", a["created_at"])
	}
	id := fmt.Sprint(a["attachment_id"])
	if !regexp.MustCompile(`^att_[a-z0-9]{20,}$`).MatchString(id) {
		t.Errorf("attachment_id %q", id)
	}
	file := filepath.Join(h.workspace("s"), "attachments", id, "spec.md")
	if text, err := os.ReadFile(file); err != nil || string(text) != content {
		t.Errorf("in the workspace: %q, %v", text, err)
	}
	again := h.up("s", "spec.md", content)
	if again["attachment_id"] == id || again["sequence"] != 2.0 {
		t.Errorf("the same again: %v, want another attachment", again)
	}
	list := h.ok(h.get("/api/uploads/s")).json
	if got := texts(objects(list["items"]), "attachment_id"); !cmp.Equal(got, []string{id, fmt.Sprint(again["attachment_id"])}) || list["count"] != 2.0 {
		t.Errorf("list: %v", list)
	}
	if events := h.ok(h.get("/api/sessions/s/artifact-events?wait_seconds=0")).json["events"]; len(objects(events)) != 0 {
		t.Errorf("artifact-events tells of uploads: %v", events)
	}
	events := objects(h.ok(h.get("/api/sessions/s/artifact-events?include_uploads=true")).json["events"])
	if len(events) != 2 || events[0]["artifact_id"] != a["artifact_id"] {
		t.Errorf("artifact-events with uploads: %v", events)
	}
}

// Several files in one form are all stored, in order, at most 500.
func TestSeveralFiles(t *testing.T) {
	h := open(t)
	a := h.ok(h.post("s", part{name: "a", content: "1"}, part{field: "note", name: "ignored", content: "x"}, part{name: "b", content: "2"})).json
	list := objects(a["attachments"])
	if !cmp.Equal(texts(list, "name"), []string{"a", "b"}) || a["attachment_id"] != list[0]["attachment_id"] || list[1]["sequence"] != 2.0 {
		t.Errorf("%v", a)
	}
	parts := make([]part, 500)
	for i := range parts {
		parts[i] = part{name: fmt.Sprint(i), content: fmt.Sprint(i)}
	}
	if list := objects(h.ok(h.post("s", parts...)).json["attachments"]); len(list) != 500 || list[499]["sequence"] != 502.0 {
		t.Errorf("500 files: %d", len(list))
	}
	h.leavesNoTrace(func() {
		h.want(h.post("s", append(parts, part{name: "one too many"})...), 413, "An upload holds at most 500 files")
		h.want(h.post("new", append(parts, part{name: "one too many"})...), 413, "")
	})
}

// What is refused leaves no row, no blob and no folder, whatever was right
// before it.
func TestRefusedUploadsLeaveNothing(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.MaxUpload = 200 << 10 })
	big, small := strings.Repeat("b", 100<<10), "small"
	fine := []part{{name: "big", content: big}, {name: "small", content: small}}
	bad := func(name, content string, headers ...string) part {
		return part{name: name, content: content, headers: headers}
	}
	for name, c := range map[string]struct {
		last   part
		status int
	}{
		"too large":              {bad("x", strings.Repeat("x", 201<<10)), 413},
		"wrong sha-256":          {bad("x", "x", "Content-Digest", sum256("y")), 400},
		"wrong sha-512 of a big": {bad("x", big, "Repr-Digest", sum512("y")), 400},
		"digest of no length":    {bad("x", "x", "Content-Digest", "sha-256=:AAAA:"), 400},
		"digest that is none":    {bad("x", "x", "Content-Digest", "sha-256"), 400},
		"wrong part length":      {bad("x", "x", "Content-Length", "2"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			for _, id := range []string{"old", "new"} {
				if id == "old" {
					h.up(id, "first", "first")
				}
				h.leavesNoTrace(func() { h.want(h.post(id, append(fine, c.last)...), c.status, "") })
			}
		})
	}
	h.leavesNoTrace(func() {
		h.want(h.post("new"), 422, "")
		a := h.want(h.post("new", part{field: "files", name: "x"}), 422, "")
		want := map[string]any{"type": "missing", "loc": []any{"body", "file"}, "msg": "Field required", "input": nil}
		if diff := cmp.Diff(want, objects(a.json["detail"])[0]); diff != "" {
			t.Errorf("missing file (-want +got):\n%s", diff)
		}
		text := "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\njust text\r\n--b--\r\n"
		h.want(h.do("POST", "/api/uploads/new", strings.NewReader(text), "Content-Type", "multipart/form-data; boundary=b"), 422, "")
	})
}

// Digests that are right or of algorithms that nobody knows are taken: those of
// a part for the part, those of the request for the whole body.
func TestDigestsOfUploads(t *testing.T) {
	h := open(t)
	big := strings.Repeat("big", 50<<10)
	h.ok(h.post("s", part{name: "a", content: big, headers: []string{"Content-Digest", sum256(big) + ", " + sum512(big)}},
		part{name: "b", content: "b", headers: []string{"Repr-Digest", "md5=:AAAA:, " + sum256("b")}}))
	body, contentType := form(part{name: "a", content: big})
	send := func(digest string) answer {
		return h.do("POST", "/api/uploads/s", strings.NewReader(string(body)), "Content-Type", contentType, "Content-Digest", digest)
	}
	h.ok(send(sum256(string(body))))
	h.leavesNoTrace(func() {
		h.want(send(sum256(big)), 400, "Content-Digest does not match the content")
		put := func(digest string) answer {
			return h.do("PUT", "/api/uploads/s/x", strings.NewReader(big), "Repr-Digest", digest)
		}
		h.want(put(sum512("other")), 400, "Repr-Digest does not match the content")
	})
	h.ok(h.do("PUT", "/api/uploads/s/x", strings.NewReader(big), "Content-Digest", sum512(big), "Repr-Digest", "unixsum=17"))
}

// Forms and bodies that end too soon, over raw sockets.
func TestTruncatedUploads(t *testing.T) {
	h := open(t)
	h.up("s", "first", "first")
	big := strings.Repeat("x", 100<<10)
	head := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
	post := func(body string, length int) string {
		return fmt.Sprintf("POST /api/uploads/s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", length, body)
	}
	put := func(body string, length int) string {
		return fmt.Sprintf("PUT /api/uploads/s/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s", length, body)
	}
	for name, request := range map[string]string{
		"no closing boundary":       post(head+"small\r\n", len(head)+7),
		"no closing boundary, big":  post(head+big, len(head)+len(big)),
		"cut in the header":         post(head[:30], 30),
		"cut in the second header":  post(head+"small\r\n"+head[:30], len(head)+7+30),
		"cut before its header":     post(head+"small\r\n--b", len(head)+7+3),
		"second file cut":           post(head+"small\r\n"+head+big, len(head)*2+7+len(big)),
		"no boundary at all":        post("nothing", 7),
		"empty":                     post("", 0),
		"too few bytes":             post(head+"small", 1000),
		"too few bytes after a big": post(head+big, len(big)*2),
		"raw, too few bytes":        put("small", 1000),
		"raw, too few of many":      put(big, len(big)*2),
		"chunk cut":                 "PUT /api/uploads/s/a HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nhalf",
		"chunk that is none":        "PUT /api/uploads/s/a HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			h.leavesNoTrace(func() {
				// A client that closes its side has left, once its request is whole.
				cut := strings.Contains(name, "too few") || strings.Contains(name, "chunk")
				a, err := h.raw(request, cut)
				if err != nil {
					t.Fatal(err)
				}
				h.want(a, 400, "")
			})
		})
	}
	t.Run("connection broken", func(t *testing.T) {
		before := h.traces()
		r, w := io.Pipe()
		req, err := http.NewRequest("PUT", h.web.URL+"/api/uploads/s/a", r)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			io.WriteString(w, big)
			w.CloseWithError(io.ErrUnexpectedEOF)
		}()
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			t.Errorf("answered %d", resp.StatusCode)
		}
		eventually(t, "no trace of it is left", func() bool { return cmp.Equal(before, h.traces()) })
	})
}

// The closing boundary needs no line end, and may have anything after it.
func TestEndsOfForms(t *testing.T) {
	h := open(t)
	const form = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nsmall\r\n--b--"
	for _, end := range []string{"", "\r\n", "\r\nepilogue", strings.Repeat("\r\n--b", 5000)} {
		a := h.ok(h.do("POST", "/api/uploads/s", strings.NewReader(form+end), "Content-Type", "multipart/form-data; boundary=b"))
		if a.json["size"] != 5.0 {
			t.Errorf("end %.20q: %v", end, a.json)
		}
	}
}

// An upload that stops, or takes too long, is cut off.
func TestSlowUploads(t *testing.T) {
	const request = "PUT /api/uploads/s/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf"
	for name, c := range map[string]struct {
		idle, whole time.Duration
		detail      string
	}{
		"idle":    {100 * time.Millisecond, time.Hour, "The upload sent nothing for too long"},
		"endless": {time.Hour, 100 * time.Millisecond, "The upload took too long"},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, func(s *setup) { s.api.UploadIdle, s.api.UploadTimeout = c.idle, c.whole })
			h.leavesNoTrace(func() {
				a, err := h.raw(request, false)
				if err != nil {
					t.Fatal(err)
				}
				h.want(a, 408, c.detail)
				if !a.Close {
					t.Error("the connection stays open")
				}
			})
		})
	}
}

// --implicit-sessions=false: an unknown id is the reference's 400.
func TestImplicitSessions(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.Implicit = false })
	h.leavesNoTrace(func() {
		h.want(h.post("new", part{name: "a", content: "a"}), 400, "Session not connected")
		h.want(h.do("PUT", "/api/uploads/new/a", strings.NewReader("a")), 400, "Session not connected")
		h.want(h.get("/api/uploads/new"), 400, "Session not connected")
		if _, resp, err := h.tryDial("/ws?session_id=new"); err == nil || resp.StatusCode != 404 {
			t.Errorf("WebSocket: %v", err)
		}
	})
	h.want(h.ask("POST", "/api/sessions", `{"session_id":"new"}`), 201, "")
	h.up("new", "a", "a")
	h.ok(h.do("DELETE", "/api/sessions/new", nil))
	h.want(h.post("new", part{name: "a", content: "a"}), 404, "Session not found")
}

// The media type is the part's unless that says nothing, then that of the name,
// then that of the bytes.
func TestMediaTypeOfUploads(t *testing.T) {
	h := open(t)
	const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	for _, c := range []struct{ name, declared, content, want string }{
		{"a.md", "", "x", "text/markdown"},
		{"a.md", "text/plain", "x", "text/plain"},
		{"a.md", "application/octet-stream", "x", "text/markdown"},
		{"a.txt", "image/png", "x", "image/png"},
		{"picture", "", png, "image/png"},
		{"unknown", "", "\x00\x01\x02", "application/octet-stream"},
		{"empty", "", "", "application/octet-stream"},
	} {
		a := h.ok(h.post("s", part{name: c.name, mime: c.declared, content: c.content})).json
		if a["mime_type"] != c.want || a["mime"] != c.want {
			t.Errorf("%s as %q: %v, want %s", c.name, c.declared, a["mime_type"], c.want)
		}
	}
	if a := h.ok(h.do("PUT", "/api/uploads/s/a.csv", strings.NewReader("a,b"))).json; a["mime"] != "text/csv" {
		t.Errorf("PUT without a type: %v", a["mime"])
	}
}

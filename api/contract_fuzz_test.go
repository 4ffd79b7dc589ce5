package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Whatever comes, the answer is one of the contract's, and where it is an
// error nothing is left behind.

// sound fails the test unless an answer is good or a fault of the client's, in
// the form of every error.
func sound(h *house, a answer) bool {
	h.Helper()
	if a.StatusCode >= 500 {
		h.Fatalf("status %d: %.300s", a.StatusCode, a.body)
	}
	if a.StatusCode >= 400 {
		h.want(a, a.StatusCode, "")
	}
	return a.StatusCode < 400
}

func FuzzSessionID(f *testing.F) {
	for _, id := range []string{"s", "session_s", "session_session_s", "session_", "", "a b", "../x", "é", "a\n", strings.Repeat("a", 129), "%2e%2e", "a\x00b", "-", "_"} {
		f.Add(id)
	}
	shared := open(f)
	f.Fuzz(func(t *testing.T, id string) {
		h := shared.in(t)
		parsed, err := artifact.ParseSessionID(id)
		body, _ := json.Marshal(map[string]string{"session_id": id})
		if !utf8.ValidString(id) {
			return
		}
		before := len(h.traces().Rows)
		a := h.do("POST", "/api/sessions", bytes.NewReader(body), "Content-Type", "application/json")
		if err != nil {
			h.want(a, 400, "")
			if len(h.traces().Rows) != before {
				t.Errorf("%q made a session", id)
			}
			return
		}
		if !sound(h, a) && a.StatusCode != 409 {
			t.Errorf("%q: %s", id, a.body)
		}
		if got := h.ok(h.get("/api/sessions/" + url.PathEscape(id))).json["session_id"]; got != string(parsed) {
			t.Errorf("%q is %v, want %s", id, got, parsed)
		}
	})
}

func FuzzFileName(f *testing.F) {
	for given := range traversals {
		f.Add(given)
	}
	f.Add("报告.txt")
	f.Add("a%2e.txt")
	shared := open(f)
	f.Fuzz(func(t *testing.T, name string) {
		h := shared.in(t)
		a := h.do("PUT", "/api/uploads/s/"+url.PathEscape(name), strings.NewReader("x"))
		if name == "" || !sound(h, a) {
			return
		}
		got := fmt.Sprint(a.json["name"])
		if len(got) > 255 || strings.ContainsAny(got, "/\\\x00\r\n") || got == "" || got == "." || got == ".." || !utf8.ValidString(got) {
			t.Fatalf("%q became %q", name, got)
		}
		if text, err := os.ReadFile(filepath.Join(h.workspace("s"), "attachments", fmt.Sprint(a.json["attachment_id"]), got)); err != nil || string(text) != "x" {
			t.Errorf("%q: %v", name, err)
		}
		stream := h.ok(h.get(fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream", a.json["artifact_id"])))
		if string(stream.body) != "x" {
			t.Errorf("%q: %q", name, stream.body)
		}
	})
}

func FuzzMultipart(f *testing.F) {
	ok, _ := form(part{name: "a.txt", content: "a"}, part{name: "b", mime: "text/html", content: "b"})
	boundary := string(ok[2:bytes.IndexByte(ok, '\r')])
	ok = bytes.ReplaceAll(ok, []byte(boundary), []byte("b"))
	f.Add(ok)
	for i := 0; i < len(ok); i += 7 {
		f.Add(ok[:i])
	}
	f.Add([]byte("--b--\r\n"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=file; filename=\"x\r\n\r\n\r\n--b--"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''%ff\r\nContent-Type: \x01\r\n\r\nx\r\n--b--"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=a\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--"))
	shared := open(f)
	shared.up("s", "first", "first")
	f.Fuzz(func(t *testing.T, body []byte) {
		h := shared.in(t)
		before := h.traces()
		a := h.do("POST", "/api/uploads/s", bytes.NewReader(body), "Content-Type", "multipart/form-data; boundary=b")
		if sound(h, a) {
			return
		}
		if after := h.traces(); len(after.Folders) != len(before.Folders) || len(after.Blobs) != len(before.Blobs) || after.Rows["s"] != before.Rows["s"] {
			t.Errorf("%q left something behind", body)
		}
	})
}

func FuzzQueryOfEvents(f *testing.F) {
	for _, q := range []string{"", "after=1", "after=-1", "limit=0&limit=1", "include_mime=%ff", "include_ext=,,.,", "max_size=9223372036854775807", "wait_seconds=1e-9",
		"wait_seconds=0x1p-2", "after=%00", ";", "a=b;c=d", "types=%", "log_id=x&after=0", "include_uploads=ON", "at=1", "follow=0", "ids=x", "mode=stream"} {
		f.Add(q)
	}
	shared := open(f)
	shared.up("s", "a.txt", "a")
	f.Fuzz(func(t *testing.T, query string) {
		h := shared.in(t)
		if strings.ContainsAny(query, " #\r\n\x00") || !utf8.ValidString(query) || strings.Contains(query, "follow") {
			return // the client would not send it
		}
		if u, err := url.Parse("/x?" + query); err != nil || u.RawQuery != query {
			return
		}
		for _, path := range []string{"/artifact-events?wait_seconds=0&" + query + "&wait_seconds=0", "/state?" + query, "/download?" + query, "/artifacts/x?" + query} {
			sound(h, h.get("/api/sessions/s"+path))
		}
		sound(h, h.get("/api/sessions?"+query))
	})
}

func FuzzSocketFrame(f *testing.F) {
	for _, text := range []string{`{"type":"ping"}`, `{"type":"get_status"}`, `{"type":"human_input","data":{"input":"x"}}`, `{"type":"attach","data":{"session_id":"s","after":0}}`,
		`{"type":"attach","data":{"session_id":"s","after":99}}`, `{"type":"cancel"}`, `{`, ``, `null`, `{"type":null}`, `{"type":"\ud800"}`, `[{}]`, "\xff", `{"type":"attach","data":[]}`} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	shared := open(f)
	shared.up("s", "a.txt", "a")
	f.Fuzz(func(t *testing.T, text []byte, isText bool) {
		h := shared.in(t)
		c := h.dial("/ws?session_id=s")
		defer c.CloseNow()
		c.await("connection")
		kind := websocket.MessageBinary
		if isText {
			kind = websocket.MessageText
		}
		if err := c.Write(c.ctx, kind, text); err != nil {
			t.Fatal(err)
		}
		if len(text) > 1<<20 {
			return
		}
		c.next() // every message has an answer, and that is as described
	})
}

package api_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/api"
)

// TestMetadataIsKeptAsWritten sends numbers that Go's float64 cannot hold.
func TestMetadataIsKeptAsWritten(t *testing.T) {
	h := open(t)
	const metadata = `{"big":12345678901234567890,"n":[9007199254740993],"a":"\u00e9"}`
	h.want(h.ask("POST", "/api/sessions", `{"session_id":"m","metadata": `+metadata+` }`), 201, "")
	for _, path := range []string{"/api/sessions/m", "/api/sessions"} {
		if got := h.ok(h.get(path)); !strings.Contains(string(got.body), metadata) {
			t.Errorf("GET %s = %s, want the metadata %s", path, got.body, metadata)
		}
	}
	for _, wrong := range []string{`[]`, `"x"`, `1`, "{\"a\":\"\xff\"}"} {
		h.want(h.ask("PATCH", "/api/sessions/m", `{"metadata":`+wrong+`}`), 422, "")
	}
}

// TestListsAreBounded asks for more than any client needs.
func TestListsAreBounded(t *testing.T) {
	h := open(t)
	h.up("s", "a", "a")
	h.want(h.get("/api/sessions/s/artifact-events?wait_seconds=0&include_ext="+strings.Repeat("a,", 65)), 422, "")
	h.ok(h.get("/api/sessions/s/artifact-events?wait_seconds=0&include_ext=" + strings.Repeat("a,", 64)))
	h.ok(h.get("/api/sessions?q=" + strings.Repeat("!", 26000)))
	for _, id := range []string{"%00", "%ff", "att_%c0%80", strings.Repeat("a", 200)} {
		h.want(h.get("/api/sessions/s/artifacts/"+id), 404, "Artifact not found")
	}
}

// TestPagesLargerThanAQuery goes through more sessions than one query reads.
func TestPagesLargerThanAQuery(t *testing.T) {
	h := open(t)
	const all = 120
	for i := range all {
		h.want(h.ask("POST", "/api/sessions", fmt.Sprintf(`{"session_id":"s%03d"}`, i)), 201, "")
	}
	var got []string
	for next := ""; ; {
		page := h.ok(h.get("/api/sessions?limit=70" + next)).json
		for _, s := range objects(page["sessions"]) {
			got = append(got, s["session_id"].(string))
		}
		if page["next_cursor"] == nil {
			break
		}
		next = "&cursor=" + page["next_cursor"].(string)
	}
	for i, id := range got {
		if want := fmt.Sprintf("s%03d", all-1-i); id != want {
			t.Fatalf("session %d is %s, want %s", i, id, want)
		}
	}
	if len(got) != all {
		t.Errorf("%d sessions on all pages, want %d", len(got), all)
	}
}

// TestReaderThatReadsNothing asks for a large file and does not read it: the
// connection is given up, and with it what it holds.
func TestReaderThatReadsNothing(t *testing.T) {
	over := make(chan api.Outcome, 1)
	var small atomic.Int64
	small.Store(4 << 10)
	h := open(t, func(s *setup) {
		s.sendBuffer = &small
		s.api.WriteTimeout = 200 * time.Millisecond
		s.api.Hooks.Ended = func(o api.Outcome) {
			if strings.HasSuffix(o.Pattern, "/artifacts/{artifact_id}") {
				over <- o
			}
		}
	})
	id := h.up("s", "big", strings.Repeat("x", 32<<20))["attachment_id"].(string)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.web.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /api/sessions/s/artifacts/%s?mode=stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id)
	select {
	case o := <-over:
		if o.Bytes >= 32<<20 {
			t.Errorf("the request ended as %+v, want it cut off", o)
		}
	case <-time.After(20 * time.Second):
		t.Error("a request whose answer nobody reads goes on")
	}
}

// TestBodyThatNeverComes begins requests that say they have a body. net/http
// waits for it before it sends an answer.
func TestBodyThatNeverComes(t *testing.T) {
	h := open(t, func(s *setup) { s.api.BodyTimeout = 100 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.web.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10\r\n\r\n")
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("the connection stays open: %v after %q", err, answer)
	}
}

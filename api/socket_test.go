package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/api"
)

// wire is a WebSocket whose frames are held against the description.
type wire struct {
	*house
	*websocket.Conn
	ctx context.Context
	d   *description
}

func (h *house) dial(path string, headers ...string) *wire {
	h.Helper()
	c, _, err := h.tryDial(path, headers...)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

func (h *house) tryDial(path string, headers ...string) (*wire, *http.Response, error) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	h.Cleanup(cancel)
	o := &websocket.DialOptions{HTTPHeader: http.Header{}, HTTPClient: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if n := h.buffer(); err == nil && n > 0 {
				err = conn.(*net.TCPConn).SetReadBuffer(n)
			}
			return conn, err
		},
	}}}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Sec-WebSocket-Protocol" {
			o.Subprotocols = strings.Split(headers[i+1], ", ")
			continue
		}
		o.HTTPHeader.Set(headers[i], headers[i+1])
	}
	if h.setup.api.Access.Required && o.HTTPHeader.Get("Authorization") == "" && len(o.Subprotocols) == 0 && o.HTTPHeader.Get("Cookie") == "" {
		o.HTTPHeader.Set("Authorization", "Bearer "+h.bearer)
	}
	conn, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(h.web.URL, "http")+path, o)
	if err != nil {
		return nil, resp, err
	}
	conn.SetReadLimit(64 << 20)
	h.Cleanup(func() { conn.CloseNow() })
	return &wire{house: h, Conn: conn, ctx: ctx, d: describe(h)}, resp, nil
}

// frame is one message of the server.
type frame struct {
	Type string
	Seq  int64
	Data map[string]any
}

// next returns the next frame.
func (c *wire) next() frame {
	c.Helper()
	kind, text, err := c.Read(c.ctx)
	if err != nil {
		c.Fatalf("no frame: %v", err)
	}
	var f frame
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &f); err != nil || kind != websocket.MessageText || json.Unmarshal(text, &members) != nil {
		c.Fatalf("frame %q: %v", text, err)
	}
	data := members["data"]
	if data == nil {
		data = []byte("{}")
	}
	c.d.holds("frame "+f.Type, data, "paths", "/ws", "get", "x-server-frames", f.Type)
	delete(members, "type")
	delete(members, "seq")
	delete(members, "data")
	if len(members) > 0 {
		c.Errorf("frame %s has more members than type, seq and data: %s", f.Type, text)
	}
	return f
}

// await returns the next frame, which must be of this type.
func (c *wire) await(typ string) frame {
	c.Helper()
	f := c.next()
	if f.Type != typ {
		c.Fatalf("frame %+v, want %s", f, typ)
	}
	return f
}

func (c *wire) say(text string) {
	c.Helper()
	if err := c.Write(c.ctx, websocket.MessageText, []byte(text)); err != nil {
		c.Fatal(err)
	}
}

// closed fails the test unless the server closes with this code.
func (c *wire) closed(want websocket.StatusCode) {
	c.Helper()
	_, text, err := c.Read(c.ctx)
	if got := websocket.CloseStatus(err); got != want {
		c.Fatalf("closed with %v (%v, %q), want %v", got, err, text, want)
	}
}

// A connection is told first which session it has; the session is durable.
func TestSocketMakesASession(t *testing.T) {
	h := open(t)
	c := h.dial("/ws")
	f := c.await("connection")
	id := fmt.Sprint(f.Data["session_id"])
	if f.Data["status"] != "connected" || f.Data["cursor"] != 0.0 || len(id) != 36 || f.Seq != 0 {
		t.Errorf("first frame %+v", f)
	}
	c.say(`{"type":"get_status"}`)
	if f := c.await("status"); f.Data["session_id"] != id || f.Data["status"] != "idle" {
		t.Errorf("status %+v", f)
	}
	c.Close(websocket.StatusNormalClosure, "")
	h.ok(h.get("/api/sessions/" + id))
	h.restart()
	h.ok(h.get("/api/sessions/" + id))
	if f := h.dial("/ws?session_id=session_" + id).await("connection"); f.Data["session_id"] != id {
		t.Errorf("joined %+v", f)
	}
}

func TestSocketMessages(t *testing.T) {
	h := open(t)
	c := h.dial("/ws")
	c.await("connection")
	for said, want := range map[string]string{
		`{"type":"nonsense"}`: "Unknown message type: nonsense", `{`: "Invalid JSON format", `"x"`: "Invalid JSON format", `[]`: "Invalid JSON format",
		`{}`: "Invalid JSON format", `{"type":7}`: "Invalid JSON format", `null`: "Invalid JSON format",
		`{"type":"human_input"}`: "Empty input",
		`{"type":"human_input","data":{"input":"","attachments":[]}}`: "Empty input",
		`{"type":"human_input","data":{"input":7}}`:                   "Invalid JSON format",
		`{"type":"human_input","data":{"input":"yes"}}`:               "Session is not waiting for input",
		`{"type":"human_input","data":{"attachments":["att_x"]}}`:     "Session is not waiting for input",
		`{"type":"cancel"}`: "No workflow is running",
		`{"type":"attach"}`: "Invalid JSON format",
		`{"type":"attach","data":{"session_id":"nobody"}}`:                "Session not found",
		`{"type":"attach","data":{"session_id":"a b"}}`:                   "Invalid session_id: only letters, digits, underscores, and hyphens are allowed",
		`{"type":"attach","data":{"session_id":"nobody","after":-1}}`:     "Invalid JSON format",
		`{"type":"` + strings.Repeat("é", 5000) + `"}`:                    "Unknown message type: " + strings.Repeat("é", 32) + "…",
		`{"type":"human_input","data":` + strings.Repeat("[", 9999) + `}`: "Invalid JSON format",
	} {
		h.leavesNoTrace(func() {
			c.say(said)
			if f := c.await("error"); f.Data["message"] != want {
				t.Errorf("%.60s: %v, want %q", said, f.Data, want)
			}
		})
	}
	c.say(`{"type":"ping"}`)
	now := float64(time.Now().Unix())
	if at, _ := c.await("pong").Data["timestamp"].(float64); at < now-5 || at > now+5 {
		t.Errorf("pong at %v", at)
	}
	if err := c.Write(c.ctx, websocket.MessageBinary, []byte(`{"type":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	c.await("error")
}

// Uploads and files of the workspace arrive; the files that one scan found
// share a frame, in order.
func TestSocketSendsTheLog(t *testing.T) {
	h := open(t)
	c := h.dial("/ws?session_id=s")
	c.await("connection")
	h.up("s", "in.txt", "in")
	if f := c.await("attachment_uploaded"); f.Seq != 1 || f.Data["name"] != "in.txt" || f.Data["source"] != "user_upload" {
		t.Errorf("%+v", f)
	}
	for i := range 20 {
		h.write("s", fmt.Sprintf("out/%02d.txt", i), "x")
	}
	want := texts(h.scan("s"), "event_id")
	f := c.await("artifact_created")
	if got := texts(objects(f.Data["events"]), "event_id"); f.Seq != 21 || f.Data["session_id"] != "s" || len(got) != 20 || !cmp.Equal(got, want) {
		t.Errorf("seq %d, %d events, want 20 in one frame with seq 21", f.Seq, len(got))
	}
}

// ?after= and attach replay the log from a cursor; without one it is now.
func TestSocketReplays(t *testing.T) {
	h := open(t)
	for i := range 300 {
		h.up("s", fmt.Sprint(i), "x")
	}
	c := h.dial("/ws?session_id=s&after=100")
	if f := c.await("connection"); f.Data["cursor"] != 100.0 {
		t.Errorf("%+v", f)
	}
	for seq := int64(101); seq <= 300; seq++ {
		if f := c.await("attachment_uploaded"); f.Seq != seq {
			t.Fatalf("seq %d, want %d", f.Seq, seq)
		}
	}
	c.say(`{"type":"attach","data":{"session_id":"s","after":299}}`)
	c.await("connection")
	if f := c.await("attachment_uploaded"); f.Seq != 300 {
		t.Errorf("after attach: %+v", f)
	}
	c.say(`{"type":"attach","data":{"session_id":"s"}}`)
	if f := c.await("connection"); f.Data["cursor"] != 300.0 {
		t.Errorf("attach without a cursor: %+v", f)
	}
	h.up("other", "x", "x")
	c.say(`{"type":"attach","data":{"session_id":"other","after":0}}`)
	if f := c.await("connection"); f.Data["session_id"] != "other" {
		t.Errorf("attach to another session: %+v", f)
	}
	c.await("attachment_uploaded")
	h.up("s", "not for us", "x")
	h.up("other", "for us", "x")
	if f := c.await("attachment_uploaded"); f.Data["name"] != "for us" {
		t.Errorf("the session that was left is still sent: %+v", f)
	}
}

func TestSocketExpiredCursor(t *testing.T) {
	h := open(t)
	h.up("s", "x", "x")
	for _, query := range []string{"&after=2", "&after=0&log_id=old", "&log_id=old"} {
		c := h.dial("/ws?session_id=s" + query)
		if f := c.await("cursor_expired"); f.Data["oldest"] != 0.0 || f.Data["last"] != 1.0 {
			t.Errorf("%s: %+v", query, f)
		}
		c.closed(4410)
	}
	c := h.dial("/ws?session_id=s")
	c.await("connection")
	c.say(`{"type":"attach","data":{"session_id":"s","after":9}}`)
	c.await("cursor_expired")
	c.closed(4410)
}

func TestSocketEnds(t *testing.T) {
	t.Run("with its session", func(t *testing.T) {
		h := open(t)
		c := h.dial("/ws?session_id=s")
		c.await("connection")
		h.ok(h.do("DELETE", "/api/sessions/s", nil))
		c.await("session_deleted")
		c.closed(websocket.StatusNormalClosure)
	})
	t.Run("with the server", func(t *testing.T) {
		h := open(t)
		c := h.dial("/ws?session_id=s")
		c.await("connection")
		h.server.Drain()
		c.closed(websocket.StatusGoingAway)
	})
	t.Run("after too large a message", func(t *testing.T) {
		h := open(t)
		c := h.dial("/ws?session_id=s")
		c.await("connection")
		// The server may be gone before all of it is written.
		if err := c.Write(c.ctx, websocket.MessageText, []byte(`{"type":"`+strings.Repeat("x", 8<<20)+`"}`)); err == nil {
			if _, text, err := c.Read(c.ctx); err == nil {
				t.Errorf("answered %q", text)
			}
		}
		h.dial("/ws?session_id=s").await("connection")
	})
}

// A reader that does not read is cut off, and nobody else waits for it; it
// comes back with its cursor and has everything.
func TestSocketSlowReader(t *testing.T) {
	var buffer atomic.Int64
	buffer.Store(4096)
	h := open(t, func(s *setup) { s.api.WriteTimeout, s.sendBuffer = 500*time.Millisecond, &buffer })
	h.up("s", "first", "x")
	slow := h.dial("/ws?session_id=s&after=0")
	slow.await("connection")
	slow.await("attachment_uploaded")
	name := strings.Repeat("n", 250)
	const files = 1000 // about 1.5 MB of frames, more than the sockets buffer
	for i := range files / 500 {
		parts := make([]part, 500)
		for j := range parts {
			parts[j] = part{name: fmt.Sprint(i, "-", j, name), content: "x"}
		}
		h.ok(h.post("s", parts...))
	}
	last := int64(0)
	for err := error(nil); err == nil; {
		var text []byte
		var f frame
		if _, text, err = slow.Read(slow.ctx); err == nil {
			err = json.Unmarshal(text, &f)
			last = f.Seq
		}
	}
	if last == files+1 {
		t.Fatal("the slow reader was never cut off")
	}
	buffer.Store(0)
	seq := max(last, 1)
	for tries := 0; seq < files+1; tries++ {
		again := h.dial(fmt.Sprintf("/ws?session_id=s&after=%d", seq))
		again.await("connection")
		for err := error(nil); err == nil && seq < files+1; {
			var text []byte
			var f frame
			if _, text, err = again.Read(again.ctx); err == nil {
				if err := json.Unmarshal(text, &f); err != nil || f.Seq != seq+1 {
					t.Fatalf("%d (%v), want %d", f.Seq, err, seq+1)
				}
				seq = f.Seq
			}
		}
		if tries == 20 { // even a quick reader may be cut off on a busy machine
			t.Fatalf("came to %d in %d connections", seq, tries)
		}
	}
}

// What is no opening of a WebSocket is an error of the usual form, and makes no
// session.
func TestSocketRefusals(t *testing.T) {
	h := open(t)
	h.leavesNoTrace(func() {
		a := h.want(h.get("/ws"), 426, "")
		if a.Header.Get("Upgrade") != "websocket" {
			t.Errorf("Upgrade: %q", a.Header.Get("Upgrade"))
		}
		h.want(h.get("/ws", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "12", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 426, "")
		h.want(h.get("/ws", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"), 426, "")
		h.want(h.get("/ws", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "short"), 426, "")
		h.want(h.do("POST", "/ws", nil), 405, "Method Not Allowed")
		h.want(h.do("HEAD", "/ws", nil), 426, "")
		for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"X-Forwarded-For", "1.2.3.4"}} {
			if _, resp, err := h.tryDial("/ws", headers...); err == nil || resp == nil || resp.StatusCode != 403 {
				t.Errorf("%v was let in", headers)
			}
		}
		if _, resp, err := h.tryDial("/ws?session_id=a%20b"); err == nil || resp.StatusCode != 400 || resp.Header.Get(api.CorrelationHeader) == "" {
			t.Errorf("bad id: %v", err)
		}
	})
}

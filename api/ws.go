package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/depot"
)

const (
	pingEvery      = 30 * time.Second
	pongWithin     = 20 * time.Second
	leaveWithin    = 500 * time.Millisecond // after what let a client in has ended
	maxMessage     = 1 << 20                // bytes of one message from a client
	maxFrameEvents = 100                    // files told in one frame
)

// Close codes of our own (RFC 6455 §7.4.2 leaves 4000 and up to applications).
const (
	closeRevoked websocket.StatusCode = 4401
	closeTooSlow websocket.StatusCode = 4408
	closeExpired websocket.StatusCode = 4410
)

// sockets counts the connections of each session.
type sockets struct {
	open sync.WaitGroup
	mu   sync.Mutex
	m    map[int64]int
}

// join counts a connection in; leave counts it out and reports whether it was
// the last one.
func (ss *sockets) join(key int64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.m == nil {
		ss.m = make(map[int64]int)
	}
	ss.m[key]++
}

func (ss *sockets) leave(key int64) (last bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.m[key]--
	if last = ss.m[key] == 0; last {
		delete(ss.m, key)
	}
	return last
}

// socket is one WebSocket connection (contract, sessions §4).
type socket struct {
	s      *Server
	tenant string
	caller *artifact.Caller
	conn   *websocket.Conn

	follower *depot.Follower
	cancel   context.CancelFunc // ends the goroutine that feeds the connection
	fed      chan struct{}      // closed when that goroutine has ended
}

// socket opens a session, or with ?session_id= joins one, and sends its log
// from now on, or with ?after= from a cursor.
func (s *Server) socket(w http.ResponseWriter, r *http.Request) (any, error) {
	q := parseQuery(r)
	start, given := cursor(q, true), q.text("session_id")
	if err := q.err(); err != nil {
		return nil, err
	}
	if err := opening(w, r); err != nil {
		return nil, err
	}
	if s.closing.Err() != nil {
		return nil, artifact.Errorf(artifact.Unavailable, "The server is shutting down")
	}
	s.sockets.open.Add(1)
	defer s.sockets.open.Done()
	id, err := s.openSession(r, given)
	if err != nil {
		return nil, err
	}
	// The guard has looked at the Origin already.
	accept := &websocket.AcceptOptions{InsecureSkipVerify: true}
	if _, protocol := auth.SocketBearer(r.Header); protocol != "" {
		accept.Subprotocols = []string{protocol}
	}
	conn, err := websocket.Accept(w, r, accept)
	if err != nil {
		return nil, nil // Accept has answered
	}
	conn.SetReadLimit(maxMessage)
	defer conn.CloseNow()
	c := &socket{s: s, tenant: s.tenant(r), caller: artifact.CallerOf(r.Context()), conn: conn}
	// net/http ends a hijacked request's context at will.
	ctx, cancel := s.Accounts.Watch(context.WithoutCancel(r.Context()), c.caller)
	defer cancel()
	ctx, end := s.Accounts.Expiring(ctx, c.caller)
	defer end()
	defer context.AfterFunc(ctx, func() {
		late := time.AfterFunc(leaveWithin, func() { conn.CloseNow() })
		defer late.Stop()
		conn.Close(closeRevoked, "what let you in has ended")
	})()
	stop := context.AfterFunc(s.closing, func() {
		conn.Close(websocket.StatusGoingAway, "the server is shutting down, come back with your cursor")
	})
	defer stop()
	if err := c.attach(ctx, id, start); err != nil {
		return nil, nil // it was told
	}
	defer c.detach()
	c.read(ctx)
	return nil, nil
}

// openSession returns the session that a connection is for. Without an id it
// is a new one; an unknown id makes one where uploads may. Who may only read
// joins what is there.
func (s *Server) openSession(r *http.Request, given string) (artifact.SessionID, error) {
	writes := artifact.CallerOf(r.Context()).Scopes.Has(artifact.Write)
	if given == "" && !writes {
		return "", lacks(artifact.Write)
	}
	if given == "" {
		made, err := s.depot.CreateSession(r.Context(), s.tenant(r), "", nil)
		return made.ID, err
	}
	id, err := artifact.ParseSessionID(given)
	if err != nil {
		return "", err
	}
	if !writes {
		_, err := s.depot.Session(r.Context(), s.tenant(r), id)
		return id, err
	}
	return id, s.depot.EnsureSession(r.Context(), s.tenant(r), id)
}

// attach starts feeding the log of a session into the connection. The first
// frame is "connection", or the one that says that the cursor has expired.
func (c *socket) attach(ctx context.Context, id artifact.SessionID, start depot.Cursor) error {
	f, err := c.s.depot.Follow(ctx, c.tenant, id, start)
	if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind == artifact.Gone {
		_ = c.send(ctx, frame("cursor_expired", 0, e.Facts))
		c.conn.Close(closeExpired, "cursor expired")
		return err
	}
	if err != nil {
		c.sendError(ctx, err)
		c.conn.Close(websocket.StatusInternalError, "")
		return err
	}
	err = c.send(ctx, frame("connection", 0, map[string]any{
		"session_id": id, "status": "connected", "cursor": f.After(), "log_id": c.s.depot.LogID(),
	}))
	if err != nil {
		f.Close()
		return err
	}
	c.follower = f
	c.s.sockets.join(f.Session.Key)
	feeding, cancel := context.WithCancel(ctx)
	c.cancel, c.fed = cancel, make(chan struct{})
	go func() { // detach waits for it
		defer close(c.fed)
		c.feed(feeding, f)
	}()
	return nil
}

// detach ends the feeding. After the last connection of a session that never
// had a run, its uploads are cleaned where that is wanted (extensions §5).
func (c *socket) detach() {
	if c.follower == nil {
		return
	}
	c.cancel()
	<-c.fed
	session := c.follower.Session
	c.follower.Close()
	c.follower = nil
	if c.s.sockets.leave(session.Key) && c.s.closing.Err() == nil {
		c.s.depot.Left(&session)
	}
}

// feed sends entries as they come, and pings so that both sides learn of a dead
// connection.
func (c *socket) feed(ctx context.Context, f *depot.Follower) {
	for {
		beat, stop := context.WithTimeout(ctx, pingEvery)
		items, err := f.Next(beat, true)
		stop()
		switch {
		case err == nil:
			err = c.sendItems(ctx, f.Session.ID, items)
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			alive, stop := context.WithTimeout(ctx, pongWithin)
			err = c.conn.Ping(alive)
			stop()
		case errors.Is(err, io.EOF):
			c.conn.Close(websocket.StatusNormalClosure, "session deleted")
			return
		case artifact.KindOf(err) == artifact.Gone:
			e, _ := errors.AsType[*artifact.Error](err)
			_ = c.send(ctx, frame("cursor_expired", 0, e.Facts))
			c.conn.Close(closeExpired, "cursor expired")
			return
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			c.conn.Close(closeTooSlow, fmt.Sprintf("too slow: come back with after=%d", f.After()))
			return
		}
		if ctx.Err() != nil {
			return // who ended it closes the connection
		}
		if err != nil {
			c.conn.CloseNow()
			return
		}
	}
}

// sendItems sends entries; files of the workspace that follow each other share
// a frame, as the reference sends all files of a node in one.
func (c *socket) sendItems(ctx context.Context, id artifact.SessionID, items []*depot.Item) error {
	for len(items) > 0 {
		n := 0
		for n < len(items) && n < maxFrameEvents && items[n].Type == artifact.TypeArtifact {
			n++
		}
		var text []byte
		if n == 0 {
			text, n = items[0].Encoded(depot.FormatWebSocket, encodeFrame), 1
		} else {
			text = artifactFrame(id, items[:n])
		}
		if err := c.send(ctx, text); err != nil {
			return err
		}
		for _, it := range items[:n] {
			c.s.Hooks.Delivered(time.Since(it.At))
		}
		items = items[n:]
	}
	return nil
}

// artifactFrame returns one artifact_created frame; its seq is that of its last
// event.
func artifactFrame(id artifact.SessionID, items []*depot.Item) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"type":"artifact_created","seq":%d,"data":{"session_id":"%s","events":[`, items[len(items)-1].Seq, id)
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(it.Encoded(depot.FormatWebSocket, encodeFrame))
	}
	b.WriteString(`]}}`)
	return b.Bytes()
}

// encodeFrame returns the frame of an entry, or of a workspace file the event
// that goes into one.
func encodeFrame(e *artifact.Entry) []byte {
	if e.Version == nil {
		return frame(e.Type, e.Seq, json.RawMessage(e.Data))
	}
	if e.Type != artifact.TypeArtifact {
		return frame(e.Type, e.Seq, e.Version)
	}
	b, err := e.Version.MarshalJSON()
	if err != nil {
		b = []byte(`{}`) // the rows hold valid JSON only
	}
	return b
}

// frame returns {"type","seq","data"}; seq is left out where the frame does not
// come from the log.
func frame(typ string, seq artifact.Seq, data any) []byte {
	m := struct {
		Type string       `json:"type"`
		Seq  artifact.Seq `json:"seq,omitempty"`
		Data any          `json:"data,omitempty"`
	}{typ, seq, data}
	b, err := json.Marshal(m)
	if err != nil {
		b = []byte(`{"type":"error","data":{"message":"An internal server error occurred"}}`)
	}
	return b
}

// send writes one text message within Config.WriteTimeout, unless ctx has ended
// before. A write that is cut off breaks the connection, and the client would
// not be told why it is closed.
func (c *socket) send(ctx context.Context, text []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.s.WriteTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, text)
}

func (c *socket) sendError(ctx context.Context, err error) {
	p, told := translate(err)
	c.s.dialect.countQuota(told)
	if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind != artifact.Internal {
		p.msg = e.Msg
	}
	_ = c.say(ctx, p.msg)
}

func (c *socket) say(ctx context.Context, msg string) error {
	return c.send(ctx, frame("error", 0, map[string]string{"message": msg}))
}

package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// follower receives the log of a session.
type follower struct {
	*conn
	next func() (entries int, err error) // waits for something and says how many uploads it told of
	took spans
}

// Transports of the log that are measured.
var transports = []string{"SSE", "WebSocket"}

// follow opens a follower; when it returns, what happens from now on arrives.
func (b *bed) follow(ctx context.Context, transport, session string) (*follower, error) {
	c, err := dial(ctx, b.addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	f := &follower{conn: c}
	if transport == "SSE" {
		err = f.openSSE(session)
	} else {
		err = f.openWebSocket(session)
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("follow by %s: %w", transport, err)
	}
	return f, nil
}

// openSSE follows from the beginning of the log, which is empty.
func (f *follower) openSSE(session string) error {
	if _, err := f.Write(f.request("GET", "/api/sessions/"+session+"/events", "", "Accept: text/event-stream")); err != nil {
		return err
	}
	a, err := f.head()
	if err != nil {
		return err
	}
	if a.status != 200 {
		return fmt.Errorf("status %d", a.status)
	}
	lines := bufio.NewReaderSize(f.body(a), 2<<10)
	f.next = func() (int, error) {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // the data, of which nothing is wanted
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if bytes.HasPrefix(line, []byte("event: attachment_uploaded")) {
			return 1, nil
		}
		return 0, nil
	}
	_, err = f.next() // the server sends "retry" once it follows
	return err
}

// Kinds of WebSocket frames (RFC 6455 §5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
)

func (f *follower) openWebSocket(session string) error {
	request := f.request("GET", "/ws?session_id="+session, "", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dml0cmluZS1iZW5jaC1rZQ==")
	if _, err := f.Write(request); err != nil {
		return err
	}
	a, err := f.head()
	if err != nil {
		return err
	}
	if a.status != 101 {
		return fmt.Errorf("status %d", a.status)
	}
	text := make([]byte, 4<<10)
	f.next = func() (int, error) {
		var op byte
		var err error
		if op, text, err = readFrame(f.r, text[:cap(text)]); err != nil {
			return 0, err
		}
		switch {
		case op == opText && bytes.HasPrefix(text, []byte(`{"type":"attachment_uploaded"`)):
			return 1, nil
		case op == opPing:
			return 0, f.pong(text)
		case op == opClose:
			return 0, fmt.Errorf("the server closed: %q", text)
		}
		return 0, nil
	}
	_, err = f.next() // "connection"
	return err
}

// readFrame reads one unfragmented frame into b, or into more where it is
// larger.
func readFrame(r *bufio.Reader, b []byte) (op byte, payload []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return 0, b, err
	}
	op, n := head[0]&0x0f, uint64(head[1]&0x7f)
	switch n {
	case 126:
		_, err = io.ReadFull(r, head[:2])
		n = uint64(binary.BigEndian.Uint16(head[:2]))
	case 127:
		_, err = io.ReadFull(r, head[:])
		n = binary.BigEndian.Uint64(head[:])
	}
	if err != nil {
		return 0, b, err
	}
	if n > 1<<20 {
		return 0, b, fmt.Errorf("frame of %d bytes", n)
	}
	b = slices.Grow(b[:0], int(n))[:n]
	_, err = io.ReadFull(r, b)
	return op, b, err
}

// pong answers a ping. The mask of a client's frame is 0 here: it protects
// proxies, of which there is none.
func (f *follower) pong(payload []byte) error {
	frame := append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	_, err := f.Write(frame)
	return err
}

// audience is a number of followers of one session.
type audience []*follower

// audience opens n followers, a few at a time.
func (b *bed) audience(ctx context.Context, transport, session string, n int) (audience, error) {
	all := make(audience, n)
	t := &team{conns: make([]*conn, min(n, 16))}
	err := t.each(func(i int, _ *conn) (err error) {
		for j := i; j < n && err == nil; j += len(t.conns) {
			all[j], err = b.follow(ctx, transport, session)
		}
		return err
	})
	if err != nil {
		all.close()
		return nil, err
	}
	return all, nil
}

func (all audience) close() {
	for _, f := range all {
		if f != nil {
			f.close()
		}
	}
}

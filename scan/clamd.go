package scan

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// maxReply is more than any honest reply of clamd has.
const maxReply = 4 << 10

// clamd speaks its own protocol: a command in a connection of its own, and one
// reply. Both end with a zero byte.
type clamd struct{ network, address string }

// Scan sends r by INSTREAM.
func (c clamd) Scan(ctx context.Context, name string, r io.Reader) (Verdict, error) {
	reply, err := c.ask(ctx, "zINSTREAM\x00", r)
	v, wrong := parse(reply)
	switch {
	case err == nil, reply != "" && wrong != nil: // a reply says more than that the connection broke
		err = wrong
	case v.Found != "": // it had seen enough
		err = nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("clamd at %s: scan %q: %w", c.address, name, err)
	}
	return v, nil
}

// Ping asks whether clamd is there.
func (c clamd) Ping(ctx context.Context) error {
	reply, err := c.ask(ctx, "zPING\x00", nil)
	if err == nil && reply != "PONG" {
		err = fmt.Errorf("it replied %q", printable(reply, 200))
	}
	if err != nil {
		return fmt.Errorf("clamd at %s: ping: %w", c.address, err)
	}
	return nil
}

// ask sends a command and, if there is one, its stream, and returns the reply.
// It may return a reply and an error: then clamd replied before it had everything.
func (c clamd) ask(ctx context.Context, command string, stream io.Reader) (string, error) {
	ctx, p := newPump(ctx)
	defer p.stop()
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, c.network, c.address)
	if err != nil {
		return "", whyEnded(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, writeErr := io.WriteString(conn, command)
	var readErr error
	if writeErr == nil && stream != nil {
		readErr, writeErr = p.feed(chunks{conn}, stream)
	}
	if readErr != nil {
		return "", readErr
	}
	if writeErr == nil && stream != nil {
		_, writeErr = conn.Write(make([]byte, 4)) // an empty chunk ends the stream
	}
	// A clamd that has had enough replies, closes, and lets the write fail.
	reply, err := readReply(conn)
	if err == nil {
		err = writeErr
	}
	if err != nil {
		err = whyEnded(ctx, err)
	}
	return reply, err
}

func readReply(conn net.Conn) (string, error) {
	reply, err := bufio.NewReader(io.LimitReader(conn, maxReply)).ReadString(0)
	switch {
	case err == nil:
		return strings.TrimSuffix(reply, "\x00"), nil
	case err != io.EOF:
		return "", fmt.Errorf("read its reply: %w", err)
	case len(reply) == maxReply:
		return "", errors.New("its reply has no end")
	}
	return "", fmt.Errorf("it closed the connection after %q", printable(reply, 200))
}

func parse(reply string) (Verdict, error) {
	result, ok := strings.CutPrefix(reply, "stream: ")
	name, isFound := strings.CutSuffix(result, " FOUND")
	switch {
	case ok && result == "OK":
		return Verdict{Clean: true}, nil
	case ok && isFound && strings.HasPrefix(name, "Heuristics.Limits.Exceeded"):
		return Verdict{}, fmt.Errorf("%w: %s", ErrTooLarge, printable(name, 200))
	case ok && isFound:
		return found(name), nil
	case strings.HasPrefix(reply, "INSTREAM size limit exceeded"):
		return Verdict{}, ErrTooLarge
	}
	return Verdict{}, fmt.Errorf("it replied %q", printable(reply, 200))
}

// chunks is INSTREAM's form of bytes: each chunk behind its length.
type chunks struct{ conn net.Conn }

func (c chunks) Write(b []byte) (int, error) {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	if _, err := (&net.Buffers{size, b}).WriteTo(c.conn); err != nil {
		return 0, err
	}
	return len(b), nil
}

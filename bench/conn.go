package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

// patience bounds every exchange: a server that hangs ends the run.
const patience = 60 * time.Second

// conn is one connection that is kept alive. It speaks just enough HTTP/1.1 for
// the answers of a server that means well.
type conn struct {
	net.Conn
	r       *bufio.Reader
	host    string
	scratch []byte
	abandon func() bool
}

func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("reach the server: %w", err)
	}
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 4<<10), host: addr}
	c.abandon = context.AfterFunc(ctx, func() { _ = nc.Close() }) // a cancelled run waits for nothing
	return c, nil
}

// close closes the connection; what there was to say was said.
func (c *conn) close() {
	c.abandon()
	_ = c.Close()
}

// request returns a request with a body, ready to be sent any number of times.
func (c *conn) request(method, target, body string, headers ...string) []byte {
	return c.open(method, target, int64(len(body)), []byte(body), headers...)
}

// open returns the head of a request whose body has length bytes, and the
// beginning of that body.
func (c *conn) open(method, target string, length int64, body []byte, headers ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, c.host)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if length > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", length)
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// Lengths of a body whose length was not announced.
const (
	chunked   = -1
	unlimited = -2
)

// answer is the head of a response.
type answer struct {
	status int
	length int64
}

// head reads up to the empty line.
func (c *conn) head() (answer, error) {
	a := answer{length: unlimited}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return a, fmt.Errorf("read answer: %w", err)
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, fmt.Errorf("not an answer: %.40q", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, fmt.Errorf("not an answer: %.40q", line)
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return a, fmt.Errorf("read answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			return a, nil
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if a.length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return a, fmt.Errorf("read answer: %w", err)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			a.length = chunked
		}
	}
}

// body returns the body that follows a head.
func (c *conn) body(a answer) io.Reader {
	switch a.length {
	case chunked:
		return httputil.NewChunkedReader(c.r)
	case unlimited:
		return c.r
	}
	return io.LimitReader(c.r, a.length)
}

// do sends a request and reads its answer to the end. Any status but 2xx is an
// error.
func (c *conn) do(request []byte) error {
	_, err := c.fetch(request)
	return err
}

// fetch is do, and returns how many bytes the body had.
func (c *conn) fetch(request []byte) (int64, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := c.Write(request); err != nil {
		return 0, fmt.Errorf("send request: %w", err)
	}
	return c.finish()
}

// finish reads an answer to its end.
func (c *conn) finish() (int64, error) {
	a, err := c.head()
	if err != nil {
		return 0, err
	}
	if a.status/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(c.body(a), 300))
		return 0, fmt.Errorf("status %d: %s", a.status, strings.TrimSpace(string(text)))
	}
	return c.drain(a)
}

// drain reads a body to its end, so that the connection can be used again.
func (c *conn) drain(a answer) (int64, error) {
	if c.scratch == nil {
		c.scratch = make([]byte, 64<<10)
	}
	var n int64
	body := c.body(a)
	for a.length < 0 || n < a.length {
		k, err := body.Read(c.scratch)
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, fmt.Errorf("read answer: %w", err)
		}
	}
	if a.length >= 0 && n < a.length {
		return n, fmt.Errorf("read answer: %w", io.ErrUnexpectedEOF)
	}
	if a.length == chunked {
		if _, err := c.r.Discard(2); err != nil { // the empty line behind the last chunk
			return n, fmt.Errorf("read answer: %w", err)
		}
	}
	return n, nil
}

const boundary = "vitrine-bench-boundary"

const formType = "Content-Type: multipart/form-data; boundary=" + boundary

// form returns what goes before and after the content of a form with one file.
func form(name string) (before, after string) {
	return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name +
		"\"\r\nContent-Type: application/octet-stream\r\n\r\n", "\r\n--" + boundary + "--\r\n"
}

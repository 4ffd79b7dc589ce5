package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

var (
	// ErrChanged says that the file changed while it was downloaded. Ids that
	// begin with "art_" name one version, which never changes.
	ErrChanged = errors.New("the file changed while it was downloaded")
	// ErrCorrupt says that what arrived does not have the hash that it should.
	ErrCorrupt = errors.New("what arrived does not match its hash")
)

// Transfer is what a caller may want to decide, or to be told, while the bytes
// of a download flow.
type Transfer struct {
	// SHA256 is what the content must have; without it the server's word counts.
	SHA256 string
	// Progress is told how many bytes have come and how many there are, -1
	// when unknown. It must not block.
	Progress func(done, size int64)
	// Broken is told of each loss of the connection, and how long the client
	// waits before it goes on.
	Broken func(err error, wait time.Duration)
	// Tries is how often in a row the client connects again without a byte
	// coming; 0 stands for 8.
	Tries int
}

// Downloaded is what was written.
type Downloaded struct {
	Name   string // that the server gives it; not safe as a path
	Size   int64
	SHA256 string // of what was written, in hex
	MIME   string
}

// download is the state of one Download across its connections.
type download struct {
	c    *Client
	from string // address
	t    Transfer
	out  io.Writer
	sum  hash.Hash
	done int64
	size int64  // -1 while unknown
	want string // hash of the whole
	etag string
	mime string
	name string
	open bool // a connection has been made
}

// Download writes the content of an artifact to out. After a lost connection it
// goes on where it was; at the end it compares the hash. What was written is
// good only if the error is nil.
func (c *Client) Download(ctx context.Context, s artifact.SessionID, id string, out io.Writer, t Transfer) (Downloaded, error) {
	return c.download(ctx, c.stream(s, id), out, t)
}

func (c *Client) download(ctx context.Context, from string, out io.Writer, t Transfer) (Downloaded, error) {
	if t.Tries <= 0 {
		t.Tries = 8
	}
	d := &download{c: c, from: from, t: t, out: out, sum: sha256.New(), size: -1, want: t.SHA256}
	for n := 0; ; {
		before := d.done
		again, err := d.next(ctx)
		if err == nil {
			return d.finish()
		}
		if d.done > before {
			n = 0
		}
		if n++; !again || n > t.Tries || ctx.Err() != nil {
			return Downloaded{}, err
		}
		wait := c.wait(n, err)
		if t.Broken != nil {
			t.Broken(err, wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return Downloaded{}, err
		}
	}
}

// wait returns how long to wait before the n-th try after err.
func (c *Client) wait(n int, err error) time.Duration {
	wait := c.opt.Backoff(n)
	if e, ok := errors.AsType[*Error](err); ok {
		wait = max(wait, e.RetryAfter)
	}
	return wait
}

// lost reports whether err means that the connection, or the server for a
// while, is gone, so that it makes sense to connect again.
func lost(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	e, answered := errors.AsType[*Error](err)
	return !answered || e.temporary()
}

// next reads as much as one connection gives. With an error it says whether
// another connection may go on.
func (d *download) next(ctx context.Context) (again bool, err error) {
	content, err := d.c.open(ctx, d.from, d.done, d.etag)
	if err != nil {
		return d.open && lost(ctx, err), err
	}
	defer content.Close()
	if content.Offset != d.done { // the whole of something else
		return false, ErrChanged
	}
	d.open, d.size, d.etag, d.mime, d.name = true, content.Size, content.etag, content.MIME, content.Name
	if d.want == "" {
		d.want = content.SHA256
	}
	return d.copy(ctx, content)
}

// copy moves bytes until the content ends. Only a loss on the reading side can
// be made good by another connection.
func (d *download) copy(ctx context.Context, content *Content) (again bool, err error) {
	buf := make([]byte, 128<<10)
	for {
		n, err := content.Read(buf)
		if n > 0 {
			if _, werr := d.out.Write(buf[:n]); werr != nil {
				return false, werr
			}
			d.sum.Write(buf[:n])
			d.done += int64(n)
			if d.t.Progress != nil {
				d.t.Progress(d.done, d.size)
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil { // without an ETag nothing says that the rest belongs to it
			return d.etag != "" && lost(ctx, err), fmt.Errorf("read content: %w", err)
		}
	}
}

func (d *download) finish() (Downloaded, error) {
	got := hex.EncodeToString(d.sum.Sum(nil))
	if d.want != "" && got != d.want {
		return Downloaded{}, ErrCorrupt
	}
	return Downloaded{Name: d.name, Size: d.done, SHA256: got, MIME: d.mime}, nil
}

// ZipQuery chooses what is in a zip. The zero value is the whole session now.
type ZipQuery struct {
	IDs []string     // artifacts, by any of their ids; empty for all
	At  artifact.Seq // position of the log; 0 for now
}

// Zip returns the session as a zip on its way. The caller closes it. A zip that
// the server could not finish ends in an error, never in io.EOF.
func (c *Client) Zip(ctx context.Context, s artifact.SessionID, z ZipQuery) (io.ReadCloser, error) {
	q := url.Values{}
	setList(q, "ids", z.IDs)
	setNumber(q, "at", int64(z.At))
	return c.bytes(ctx, c.session(s, q, "download"))
}

// bytes returns what comes from an address whose length is not known.
func (c *Client) bytes(ctx context.Context, address string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.request(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	w := newWatchdog(c.opt.Silence, cancel)
	resp, err := c.send(req) //nolint:bodyclose // the reader that is returned closes it
	w.stop()
	if err != nil {
		cancel(nil)
		return nil, w.explain(err)
	}
	return w.reader(resp.Body), nil
}

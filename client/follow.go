package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Following says what Follow reads.
type Following struct {
	From   Cursor // the zero value is the beginning of the log
	Filter artifact.Filter
	// Broken is told of each loss of the connection, and how long the client
	// waits before it connects again.
	Broken func(err error, wait time.Duration)
}

// Follow returns the entries of a session's log from a cursor on, each once and
// in order, as they are written. It goes on for ever: over lost connections and
// restarts of the server, waiting longer after each failure in a row. It ends
//
//   - after the entry of type artifact.TypeDeleted, without an error;
//   - with an *Expired when the cursor is not in the log;
//   - with ErrNotFound when there is no such session, or no longer;
//   - with ErrUnauthorized when the client is not let in, or no longer;
//   - with any other error of the first connection, which is not tried again;
//   - with the context's error.
func (c *Client) Follow(ctx context.Context, s artifact.SessionID, f Following) iter.Seq2[Entry, error] {
	return c.follow(ctx, f, func(q url.Values) string { return c.session(s, q, "events") })
}

func (c *Client) follow(ctx context.Context, f Following, address func(url.Values) string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		t := &tail{c: c, address: address, f: f, at: f.From, yield: yield}
		for n := 0; ; {
			err := t.read(ctx)
			switch {
			case t.ended:
				return
			case ctx.Err() != nil:
				yield(Entry{}, context.Cause(ctx))
				return
			case !t.opened || errors.Is(err, errStream) || isExpired(err) || !lost(ctx, err):
				yield(Entry{}, err)
				return
			}
			if t.heard {
				n = 0
			}
			n++
			wait := c.wait(n, err)
			if f.Broken != nil {
				f.Broken(err, wait)
			}
			if err := sleep(ctx, wait); err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}

func isExpired(err error) bool {
	_, ok := errors.AsType[*Expired](err)
	return ok
}

// tail is the state of one Follow across its connections.
type tail struct {
	c       *Client
	address func(url.Values) string // of the stream
	f       Following
	yield   func(Entry, error) bool
	at      Cursor
	opened  bool // a stream has been open
	heard   bool // this connection brought something
	ended   bool // the caller, or the session, is done
}

// read hands on what one connection brings, until it breaks or all is done.
func (t *tail) read(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.heard = false
	req, err := t.request(ctx)
	if err != nil {
		return err
	}
	w := newWatchdog(t.c.opt.Silence, cancel)
	defer w.stop()
	resp, err := t.c.send(req) //nolint:bodyclose // the reader of the stream closes it
	w.stop()
	if err != nil {
		return w.explain(err)
	}
	stream := w.reader(resp.Body)
	defer stream.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return &Error{Status: resp.StatusCode, Message: fmt.Sprintf("the server sent %q instead of a stream", kind)}
	}
	t.opened = true
	return t.frames(bufio.NewReaderSize(stream, 64<<10))
}

func (t *tail) request(ctx context.Context) (*http.Request, error) {
	q := filterQuery(t.f.Filter)
	if t.at.LogID == "" {
		setNumber(q, "after", int64(t.at.After))
	}
	req, err := t.c.request(ctx, http.MethodGet, t.address(q), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-store")
	if t.at.LogID != "" {
		req.Header.Set("Last-Event-ID", t.at.String())
	}
	return req, nil
}

// frames reads events of the stream until it ends, which is an error unless
// the session or the caller is done.
func (t *tail) frames(r *bufio.Reader) error {
	for {
		f, err := readFrame(r, func() { t.heard = true })
		if err != nil {
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read events: %w", err)
		}
		if err := t.take(f); err != nil || t.ended {
			return err
		}
	}
}

// take hands one entry to the caller and moves the cursor behind it.
func (t *tail) take(f frame) error {
	at, named := parseCursor(f.id)
	if len(f.data) == 0 { // only a cursor: the filter left out what lies before
		if named && at.After >= t.at.After {
			t.at = at
		}
		return nil
	}
	if f.event == "cursor_expired" { // the log was cut before the reader got there
		e := &Expired{Err: &Error{Status: http.StatusGone, Message: "Cursor expired"}}
		if err := json.Unmarshal(f.data, e); err != nil {
			return fmt.Errorf("%w: decode positions: %w", errStream, err)
		}
		return e
	}
	var e Entry
	if err := json.Unmarshal(f.data, &e); err != nil {
		return fmt.Errorf("%w: decode entry: %w", errStream, err)
	}
	if e.Seq == 0 || e.Seq <= t.at.After { // no entry, or one that the caller has
		return nil
	}
	if all(t.f.Filter) && e.Seq != t.at.After+1 {
		return fmt.Errorf("%w: entry %d came after %d", errStream, e.Seq, t.at.After)
	}
	e.LogID = t.at.LogID
	if named {
		e.LogID = at.LogID
	}
	t.at = e.Cursor()
	t.ended = !t.yield(e, nil) || e.Type == artifact.TypeDeleted
	return nil
}

// all reports whether a filter lets every entry through.
func all(f artifact.Filter) bool {
	return len(f.Types) == 0 && len(f.MIME) == 0 && len(f.Ext) == 0 && f.MaxSize == 0
}

// parseCursor reads "7@logid" or "7".
func parseCursor(id string) (Cursor, bool) {
	seq, logID, _ := strings.Cut(id, "@")
	n, err := strconv.ParseInt(seq, 10, 64)
	return Cursor{artifact.Seq(n), logID}, err == nil && n >= 0
}

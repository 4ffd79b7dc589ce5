package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/vitrine-hq/vitrine/artifact"
)

// entry is what every transport must tell of an entry of the log.
type entry struct {
	Seq        int64
	Type, Hash string
}

// logEntry is an entry with what it says of a file.
type logEntry struct {
	entry
	Attachment, Change, Path, Name string
}

// event is what the test reads of an artifact event.
type event struct {
	Seq        int64  `json:"sequence"`
	SHA256     string `json:"sha256"`
	Attachment string `json:"attachment_id"`
	Change     string `json:"change_type"`
	Path       string `json:"relative_path"`
	Name       string `json:"file_name"`
	Source     string `json:"source"`
}

func entryOf(v *event, typ string) logEntry {
	return logEntry{entry{v.Seq, typ, v.SHA256}, v.Attachment, v.Change, v.Path, v.Name}
}

// expired is the answer to a cursor that is not in the log.
type expired struct{ oldest, last int64 }

func (e *expired) Error() string {
	return fmt.Sprintf("the cursor expired: %d to %d", e.oldest, e.last)
}

// errTold ends a connection that has told enough.
var errTold = errors.New("told enough")

// errWrong is what no server may say, dying or not.
var errWrong = errors.New("wrong answer")

// transport reads one connection: from the entry after a position on, until it
// breaks, ctx ends or take returns an error. It returns why it ended.
type transport func(ctx context.Context, a *api, session string, after string, take func(logEntry) error) error

// sse reads the server-sent events of a session.
func sse(ctx context.Context, a *api, session, after string, take func(logEntry) error) error {
	return stream(ctx, a, "/api/sessions/"+session+"/events", after, func(seq int64, typ string, data []byte) error {
		e := event{Seq: seq}
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("%w: event %s: %w", errWrong, data, err)
		}
		e.Seq = seq
		return take(entryOf(&e, typ))
	})
}

// stream reads server-sent events. The cursor is "<seq>" or "<seq>@<log id>".
func stream(ctx context.Context, a *api, path, after string, take func(seq int64, typ string, data []byte) error) error {
	if logID, ok := a.logID.Load().(string); ok && !strings.Contains(after, "@") {
		after += "@" + logID
	}
	req, err := a.request(ctx, "GET", path, []string{"Last-Event-ID", after, "Accept", "text/event-stream"}, nil)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		var gone struct{ Oldest, Last int64 }
		if resp.StatusCode == 410 && json.Unmarshal(text, &gone) == nil {
			return &expired{gone.Oldest, gone.Last}
		}
		return &answered{resp.StatusCode, string(text)}
	}
	lines := bufio.NewReader(resp.Body)
	id, data := "", []byte(nil)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(": "))
		switch string(name) {
		case "id":
			id = string(value)
		case "data":
			data = bytes.Clone(value)
		case "":
			if len(data) == 0 {
				continue
			}
			var e struct {
				Seq  int64           `json:"seq"`
				Type string          `json:"type"`
				Data json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(data, &e); err != nil {
				return fmt.Errorf("%w: event %s: %w", errWrong, data, err)
			}
			seq, logID, _ := strings.Cut(id, "@")
			a.logID.CompareAndSwap(nil, logID)
			if seq != strconv.FormatInt(e.Seq, 10) || logID != a.logID.Load() {
				return fmt.Errorf("%w: event %d of log %v has the id %q", errWrong, e.Seq, a.logID.Load(), id)
			}
			data = nil
			if err := take(e.Seq, e.Type, e.Data); err != nil {
				return err
			}
		}
	}
}

// ws reads the frames of a WebSocket.
func ws(ctx context.Context, a *api, session, after string, take func(logEntry) error) error {
	seq, _, _ := strings.Cut(after, "@")
	url := strings.Replace(a.base, "http", "ws", 1) + "/ws?session_id=" + session + "&after=" + seq
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: a.http})
	if err != nil {
		if resp != nil {
			return &answered{resp.StatusCode, err.Error()}
		}
		return err
	}
	defer func() { _ = conn.CloseNow() }() // it may be closed
	conn.SetReadLimit(64 << 20)
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		var f struct {
			Type string          `json:"type"`
			Seq  int64           `json:"seq"`
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(text, &f); err != nil {
			return fmt.Errorf("%w: frame %s: %w", errWrong, text, err)
		}
		list, err := ofFrame(f.Type, f.Seq, f.Data)
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := take(e); err != nil {
				return err
			}
		}
	}
}

// ofFrame returns the entries that a frame tells of.
func ofFrame(typ string, seq int64, data []byte) ([]logEntry, error) {
	switch typ {
	case "connection":
		return nil, nil
	case "cursor_expired":
		var gone struct{ Oldest, Last int64 }
		if err := json.Unmarshal(data, &gone); err != nil {
			return nil, err
		}
		return nil, &expired{gone.Oldest, gone.Last}
	case "error": // the session went between two looks at it
		if strings.Contains(string(data), "Session not found") {
			return nil, &answered{404, string(data)}
		}
	case artifact.TypeArtifact:
		var d struct{ Events []event }
		if err := json.Unmarshal(data, &d); err != nil {
			return nil, err
		}
		var list []logEntry
		for i := range d.Events {
			list = append(list, entryOf(&d.Events[i], typ))
		}
		if n := len(list); n == 0 || list[n-1].Seq != seq {
			return nil, fmt.Errorf("%w: a frame of %d files has the seq %d", errWrong, n, seq)
		}
		return list, nil
	case artifact.TypeUpload:
		var v event
		if err := json.Unmarshal(data, &v); err != nil {
			return nil, err
		}
		return []logEntry{entryOf(&v, typ)}, nil
	}
	if seq == 0 {
		return nil, fmt.Errorf("%w: frame of type %s without a position: %s", errWrong, typ, data)
	}
	return []logEntry{{entry: entry{seq, typ, ""}}}, nil
}

// poll asks for pages of the files of the log.
func poll(ctx context.Context, a *api, session, after string, take func(logEntry) error) error {
	seq, _, _ := strings.Cut(after, "@")
	at, err := strconv.ParseInt(seq, 10, 64)
	if err != nil {
		return err
	}
	for {
		var page struct {
			Events       []event
			Next         int64 `json:"next_cursor"`
			Truncated    bool
			Oldest, Last int64
		}
		path := fmt.Sprintf("/api/sessions/%s/artifact-events?include_uploads=true&after=%d&limit=%d&wait_seconds=%g",
			session, at, 1+rand.IntN(100), rand.Float64())
		if _, err := a.call(ctx, "GET", path, nil, &page); err != nil {
			return err
		}
		if page.Truncated {
			return &expired{page.Next, page.Next}
		}
		for i := range page.Events {
			v := &page.Events[i]
			typ := artifact.TypeArtifact
			if v.Source == artifact.SourceUpload {
				typ = artifact.TypeUpload
			}
			if err := take(entryOf(v, typ)); err != nil {
				return err
			}
		}
		at = page.Next
	}
}

// follower reads a log across all the deaths of its server, and keeps every
// entry in the order in which it came.
type follower struct {
	name    string
	session string
	by      transport
	files   bool // it is told of files only
	mortal  bool // the session may be deleted and made again
	api     *api
	fickle  *rand.Rand // leaves now and then, to come back with its cursor

	mu    sync.Mutex
	list  []entry
	at    int64 // cursor
	conns int
	fault string
}

func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.mu.Lock()
		f.conns++
		at := f.at
		f.mu.Unlock()
		err := f.by(ctx, f.api, f.session, strconv.FormatInt(at, 10), f.take)
		f.over(ctx, err)
		if f.broken() != "" || !pause(ctx, 15*time.Millisecond) {
			return
		}
	}
}

func (f *follower) take(e logEntry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, e.entry)
	f.at = e.Seq
	if f.fickle != nil && f.fickle.IntN(12) == 0 {
		return errTold
	}
	return nil
}

// over judges why a connection ended.
func (f *follower) over(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, isExpired := errors.AsType[*expired](err)
	status := statusOf(err)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errWrong):
		f.fault = err.Error()
	case isExpired && f.mortal:
		f.list, f.at = nil, e.oldest
	case isExpired:
		f.fault = fmt.Sprintf("at %d: %v", f.at, err)
	case status == 404 && (f.mortal || f.at == 0), status == 503:
	case status != 0:
		f.fault = fmt.Sprintf("at %d: %v", f.at, err)
	}
}

func (f *follower) broken() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// seen returns a copy of what came.
func (f *follower) seen() []entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]entry(nil), f.list...)
}

func (f *follower) position() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

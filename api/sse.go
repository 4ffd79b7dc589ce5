package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// eventStream writes server-sent events (WHATWG HTML §9.2). A client that reads
// no faster than Config.WriteTimeout lets it is cut off and resumes from its
// cursor; nothing is buffered for it.
type eventStream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	logID string
	buf   bytes.Buffer
}

func (s *Server) newEventStream(w http.ResponseWriter) *eventStream {
	endsSoon(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies of the nginx family pass it on at once
	h.Set("X-Content-Type-Options", "nosniff")
	return &eventStream{w: w, rc: http.NewResponseController(w), logID: s.depot.LogID()}
}

// id appends the line that a client sends back as Last-Event-ID.
func (es *eventStream) id(seq artifact.Seq) { fmt.Fprintf(&es.buf, "id: %d@%s\n", seq, es.logID) }

// event appends an event whose data is one line of JSON.
func (es *eventStream) event(name string, data []byte) {
	fmt.Fprintf(&es.buf, "event: %s\ndata: ", name)
	es.buf.Write(data)
	es.buf.WriteString("\n\n")
}

// flush sends what was appended.
func (es *eventStream) flush() error {
	_, err := es.w.Write(es.buf.Bytes())
	es.buf.Reset()
	if err != nil {
		return err
	}
	return es.rc.Flush()
}

// encodeSSE returns "event" and "data" of an entry; the id is each stream's.
func encodeSSE(e *artifact.Entry) []byte {
	data, err := e.MarshalJSON()
	if err != nil {
		data = []byte(`{}`) // the rows hold valid JSON only
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", e.Type, data)
}

// lastEventID reads the header of a client that comes back: "<seq>@<log_id>" or
// a bare seq. It wins over the query.
func lastEventID(r *http.Request, c *depot.Cursor) error {
	given := r.Header.Get("Last-Event-ID")
	if given == "" {
		return nil
	}
	seq, logID, _ := strings.Cut(given, "@")
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || n < 0 {
		return malformed(fault{Type: "int_parsing", Loc: []string{"header", "last-event-id"}, Msg: "Input should be a position in the log", Input: given})
	}
	c.After, c.LogID, c.Now = artifact.Seq(n), logID, false
	return nil
}

// events streams the log from a cursor, all types of entries, until the client
// leaves or the session ends.
func (s *Server) events(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	start, filter := cursor(q, false), filters(q)
	filter.Types = q.list("types")
	if err := q.err(); err != nil {
		return nil, err
	}
	if err := lastEventID(r, &start); err != nil {
		return nil, err
	}
	f, err := s.follow(r, id, start, s.depot.Follow)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if r.Method == http.MethodHead {
		s.newEventStream(w)
		return nil, nil
	}
	es := s.newEventStream(w)
	es.buf.WriteString("retry: 1000\n\n")
	if err := es.flush(); err != nil {
		return nil, err
	}
	return nil, s.streamEntries(r, es, f, &filter)
}

// follow scans the workspace if nobody watches it, so that the log tells of
// what is there, and opens a follower or a reader.
func (s *Server) follow(r *http.Request, id artifact.SessionID, start depot.Cursor, open beginning) (*depot.Follower, error) {
	found, err := s.depot.Session(r.Context(), s.tenant(r), id)
	if err != nil {
		return nil, err
	}
	if err := s.depot.Refresh(r.Context(), &found); err != nil {
		return nil, err
	}
	return open(r.Context(), s.tenant(r), id, start)
}

// beginning is [depot.Depot.Follow] or [depot.Depot.Reader].
type beginning = func(ctx context.Context, tenant string, id artifact.SessionID, start depot.Cursor) (*depot.Follower, error)

// streamEntries sends entries as they come, and a comment when none do.
func (s *Server) streamEntries(r *http.Request, es *eventStream, f *depot.Follower, filter *artifact.Filter) error {
	ctx, cancel := s.following(r)
	defer cancel()
	for {
		beat, stop := context.WithTimeout(ctx, s.Heartbeat)
		items, err := f.Next(beat, true)
		stop()
		switch {
		case err == nil:
			s.appendItems(es, items, filter)
		case errors.Is(err, io.EOF):
			return nil
		case s.closing.Err() != nil:
			es.buf.WriteString(": the server is shutting down, come back with your last id\n\n")
			return es.flush()
		case ctx.Err() != nil:
			return nil // the client left, or is let in no longer
		case errors.Is(err, context.DeadlineExceeded):
			es.buf.WriteString(": still here\n\n")
		case artifact.KindOf(err) == artifact.Gone:
			return s.expired(es, err)
		default:
			return err
		}
		if err := es.flush(); err != nil {
			return nil // the client left, or reads too slowly: it has its cursor
		}
	}
}

// appendItems adds the entries that the filter takes. Where the last ones are
// left out, an id alone moves the client's cursor past them.
func (s *Server) appendItems(es *eventStream, items []*depot.Item, filter *artifact.Filter) {
	told := artifact.Seq(0)
	for _, it := range items {
		if !filter.Match(&it.Entry) {
			continue
		}
		es.id(it.Seq)
		es.buf.Write(it.Encoded(depot.FormatSSE, encodeSSE))
		s.Hooks.Delivered(time.Since(it.At))
		told = it.Seq
	}
	if last := items[len(items)-1].Seq; told != last {
		es.id(last)
		es.buf.WriteByte('\n')
	}
}

// expired ends a stream whose reader fell behind the kept log: it says so
// before it breaks off, so that nothing is skipped in silence.
func (s *Server) expired(es *eventStream, err error) error {
	e, _ := errors.AsType[*artifact.Error](err)
	data, jsonErr := json.Marshal(e.Facts)
	if jsonErr != nil {
		return jsonErr
	}
	es.event("cursor_expired", data)
	return es.flush()
}

// state lists the files at a position, now unless "at" says otherwise, stamped
// with that position; with "follow" the log goes on after it on one stream.
func (s *Server) state(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	start := depot.Cursor{After: artifact.Seq(q.integer("at", 0, atLeast(0))), LogID: q.text("log_id"), Now: !q.has("at")}
	follow, filter := q.truth("follow"), filters(q)
	filter.Types = q.list("types")
	if err := q.err(); err != nil {
		return nil, err
	}
	resumed := follow && r.Header.Get("Last-Event-ID") != ""
	if resumed { // the client has the files already
		if err := lastEventID(r, &start); err != nil {
			return nil, err
		}
	}
	open := s.depot.Reader
	if follow {
		open = s.depot.Follow
	}
	f, err := s.follow(r, id, start, open) // refuses positions that the log does not know
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if follow && r.Method == http.MethodHead {
		s.newEventStream(w)
		return nil, nil
	}
	if resumed {
		return nil, s.streamEntries(r, s.newEventStream(w), f, &filter)
	}
	if follow {
		return nil, s.stateStream(w, r, f, &filter)
	}
	session := f.Session
	if q.has("at") && artifact.CallerOf(r.Context()).Kind == artifact.CallerShare {
		if err := s.asOf(r.Context(), &session, f.After()); err != nil {
			return nil, err
		}
	}
	out := newJSONStream(w)
	out.raw(fmt.Sprintf(`{"cursor":%d,"log_id":%q,"session":`, f.After(), s.depot.LogID()))
	out.value(showSession(&session))
	out.raw(`,"files":[`)
	n := 0
	for v, err := range s.depot.Files(r.Context(), &f.Session, f.After()) {
		if err != nil {
			return nil, err
		}
		out.comma(n)
		out.value(v)
		n++
	}
	out.raw("]}\n")
	return nil, out.flush()
}

// stateStream sends each file as an event without an id, so that a client that
// is cut off meanwhile begins anew, then the position, then the log.
func (s *Server) stateStream(w http.ResponseWriter, r *http.Request, f *depot.Follower, filter *artifact.Filter) error {
	es := s.newEventStream(w)
	es.buf.WriteString("retry: 1000\n\n")
	for v, err := range s.depot.Files(r.Context(), &f.Session, f.After()) {
		if err != nil {
			return err
		}
		data, err := v.MarshalJSON()
		if err != nil {
			return err
		}
		es.event("file", data)
		if es.buf.Len() > 32<<10 {
			if err := es.flush(); err != nil {
				return nil // the client left
			}
		}
	}
	data, err := json.Marshal(map[string]any{"cursor": f.After(), "log_id": s.depot.LogID(), "session": showSession(&f.Session)})
	if err != nil {
		return err
	}
	es.id(f.After())
	es.event("state", data)
	if err := es.flush(); err != nil {
		return nil
	}
	return s.streamEntries(r, es, f, filter)
}

package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// event is one server-sent event; Name is empty where only an id came.
type event struct {
	ID, Name, Data, Comment string
}

func (e event) seq() int64 {
	n, _, _ := strings.Cut(e.ID, "@")
	seq, _ := strconv.ParseInt(n, 10, 64)
	return seq
}

// entry returns the data's object, and of that the file.
func (e event) entry() (entry, file map[string]any) {
	json.Unmarshal([]byte(e.Data), &entry)
	return entry, asMap(entry["data"])
}

// stream reads server-sent events.
type stream struct {
	*house
	resp *http.Response
	r    *bufio.Reader
	seen []event
}

// stream opens /api/sessions/{id}{path}, which must be a stream.
func (h *house) stream(id, path string, headers ...string) *stream {
	h.Helper()
	return h.streamAt("/api/sessions/"+id+path, headers...)
}

// streamAt opens what must be a stream.
func (h *house) streamAt(path string, headers ...string) *stream {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	h.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", h.web.URL+path, nil)
	if err != nil {
		h.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	h.authorize(r)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
		text, _ := io.ReadAll(resp.Body)
		h.Fatalf("%s: status %d, Content-Type %q: %s", path, resp.StatusCode, got, text)
	}
	return &stream{house: h, resp: resp, r: bufio.NewReader(resp.Body)}
}

// read returns the next event or comment, or the error that ends the stream.
func (s *stream) read() (event, error) {
	var e event
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if e != (event{}) {
				s.seen = append(s.seen, e)
				return e, nil
			}
		case field == "":
			e.Comment = value
		case field == "id":
			e.ID = value
		case field == "event":
			e.Name = value
		case field == "data":
			e.Data = value
		case field != "retry":
			s.Fatalf("line %q", line)
		}
	}
}

// next returns the next event that is no comment.
func (s *stream) next() event {
	s.Helper()
	for {
		e, err := s.read()
		if err != nil {
			s.Fatalf("stream ended: %v after %v", err, s.seen)
		}
		if e.Comment == "" {
			return e
		}
	}
}

// end fails the test unless the stream ends well now.
func (s *stream) end() {
	s.Helper()
	if e, err := s.read(); !errors.Is(err, io.EOF) {
		s.Fatalf("stream goes on with %v (%v)", e, err)
	}
}

// stream holds every event of a stream against the description.
func (d *description) stream(operation string, s *stream) {
	d.Helper()
	method, path, _ := strings.Cut(operation, " ")
	d.seen[operation+" 200"] = true
	for _, e := range s.seen {
		if e.Name == "" {
			continue
		}
		place := []string{"paths", path, strings.ToLower(method), "x-events", e.Name}
		if found, _ := d.at(place...); found == nil {
			d.Errorf("%s: event %q is not described", operation, e.Name)
			continue
		}
		d.holds(operation+" "+e.Name, []byte(e.Data), place...)
	}
}

// The log arrives whole, in order, with ids that a client can come back with.
func TestStreamIsTheLog(t *testing.T) {
	d, h := describe(t), open(t)
	h.up("s", "one.txt", "1")
	s := h.stream("s", "/events")
	h.up("s", "two.txt", "2")
	h.change("s", "out/three.txt", "3")
	logID := fmt.Sprint(h.get("/api/sessions/s/state").json["log_id"])
	var names []string
	for i := range 3 {
		e := s.next()
		entry, file := e.entry()
		if want := fmt.Sprintf("%d@%s", i+1, logID); e.ID != want || entry["type"] != e.Name || entry["seq"] != float64(i+1) || entry["session_id"] != "s" {
			t.Errorf("event %+v, want id %s", e, want)
		}
		names = append(names, e.Name+" "+fmt.Sprint(file["name"]))
	}
	want := []string{"attachment_uploaded one.txt", "attachment_uploaded two.txt", "artifact_created three.txt"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for given, first := range map[string]int64{"1@" + logID: 2, "2": 3, "0": 1} {
		if e := h.stream("s", "/events?after=3", "Last-Event-ID", given).next(); e.seq() != first {
			t.Errorf("Last-Event-ID %s: begins with %d, want %d: it wins over after", given, e.seq(), first)
		}
	}
	if e := h.stream("s", "/events?after=2").next(); e.seq() != 3 {
		t.Errorf("after=2 begins with %d", e.seq())
	}
	h.ok(h.do("DELETE", "/api/sessions/s", nil))
	if e := s.next(); e.Name != "session_deleted" || e.seq() != 4 {
		t.Errorf("last event %+v", e)
	}
	s.end()
	d.stream("GET "+sessionPath+"/events", s)
}

func TestStreamHeadersAndHead(t *testing.T) {
	h := open(t)
	h.up("s", "one.txt", "1")
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"} {
		if got := h.stream("s", "/events").resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, path := range []string{"/events", "/state", "/state?follow=1", "/artifact-events?wait_seconds=0"} {
		if a := h.ok(h.do("HEAD", "/api/sessions/s"+path, nil)); len(a.body) != 0 {
			t.Errorf("HEAD %s has a body", path)
		}
	}
}

// A stream on which nothing happens stays alive, and costs nothing else.
func TestStreamHeartbeat(t *testing.T) {
	h := open(t, func(s *setup) { s.api.Heartbeat = 10 * time.Millisecond })
	h.up("s", "one.txt", "1")
	s := h.stream("s", "/events?after=1")
	for range 3 {
		if e, err := s.read(); err != nil || e.Comment == "" || e.ID != "" {
			t.Fatalf("%+v (%v), want a comment", e, err)
		}
	}
	h.up("s", "two.txt", "2")
	if e := s.next(); e.seq() != 2 {
		t.Errorf("after the heartbeats: %+v", e)
	}
}

// What a filter leaves out moves the client's cursor all the same.
func TestStreamFilters(t *testing.T) {
	h := open(t)
	h.up("s", "one.txt", "1")
	h.change("s", "a.png", "\x89PNG\r\n\x1a\n")
	h.change("s", "b.csv", "a,b")
	h.change("s", "c.tar.gz", strings.Repeat("c", 100))
	h.change("s", "d.log", "d")
	// What matches, by position; the last position comes as an id alone where
	// it does not match.
	for query, want := range map[string]string{
		"":                                   "1 2 3 4 5",
		"types=artifact_created":             "2 3 4 5",
		"types=artifact_created,%20nonsense": "2 3 4 5",
		"types=attachment_uploaded":          "1 id5",
		"types=nonsense&include_uploads=1":   "1 id5",
		"include_mime=IMAGE/*":               "2 id5",
		"include_mime=text/csv,image":        "2 3 id5",
		"include_ext=.PNG,tar.gz":            "2 4 id5",
		"max_size=10":                        "1 2 3 5",
		"include_ext=gz&max_size=10":         "id5",
		"include_ext=none":                   "id5",
	} {
		s := h.stream("s", "/events?"+query)
		var got []string
		for seq := int64(0); seq < 5; {
			e := s.next()
			seq = e.seq()
			if e.Name == "" {
				got = append(got, fmt.Sprint("id", seq))
			} else {
				got = append(got, fmt.Sprint(seq))
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

// A cursor outside of the log is 410 with where the log is (cursors, rows 1 and 3).
func TestStreamExpiredCursor(t *testing.T) {
	h := open(t)
	h.up("s", "one.txt", "1")
	for path, headers := range map[string][]string{
		"/events?after=2": nil, "/state?at=2": nil, "/state?follow=1&at=2": nil, "/events?after=1&log_id=old": nil,
		"/events?x": {"Last-Event-ID", "1@old"}, "/events": {"Last-Event-ID", "7"}, "/state?follow=1": {"Last-Event-ID", "1@old"},
		"/download?at=2": nil,
	} {
		a := h.want(h.get("/api/sessions/s"+path, headers...), 410, "")
		if a.json["oldest"] != 0.0 || a.json["last"] != 1.0 || a.json["log_id"] == "" || a.json["log_id"] == "old" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

// A server that goes down tells its followers, who come back with their cursor.
func TestStreamsEndAtShutdown(t *testing.T) {
	h := open(t)
	h.up("s", "one.txt", "1")
	s := h.stream("s", "/events")
	s.next()
	h.server.Drain()
	if e, err := s.read(); err != nil || e.Comment == "" {
		t.Errorf("%+v (%v), want a comment that says so", e, err)
	}
	s.end()
}

package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// page is an answer of artifact-events.
type page struct {
	Seqs      []int64
	Next      int64
	TimedOut  bool
	More      bool
	Truncated bool
}

func (h *house) page(id, query string) page {
	h.Helper()
	return pageOf(h.ok(h.get("/api/sessions/" + id + "/artifact-events?" + query)))
}

func pageOf(a answer) page {
	p := page{Next: whole(a.json["next_cursor"]), Seqs: []int64{}}
	p.TimedOut, _ = a.json["timed_out"].(bool)
	p.More, _ = a.json["has_more"].(bool)
	p.Truncated, _ = a.json["truncated"].(bool)
	for _, e := range objects(a.json["events"]) {
		p.Seqs = append(p.Seqs, whole(e["sequence"]))
	}
	return p
}

func whole(v any) int64 {
	f, _ := v.(float64)
	return int64(f)
}

// sampleLog makes a session with 1 upload, 2 a.png, 3 b.csv, 4 c.tar.gz, 5 a.png again, 6 b.csv deleted.
func sampleLog(h *house, id string) {
	h.Helper()
	h.up(id, "in.txt", "in")
	h.change(id, "a.png", "\x89PNG\r\n\x1a\n")
	h.change(id, "b.csv", "a,b")
	h.change(id, "out/c.tar.gz", strings.Repeat("c", 100))
	h.change(id, "a.png", "\x89PNG\r\n\x1a\n2")
	h.remove(id, "b.csv")
}

// The rules for cursors of the long poll (contract, sessions §3).
func TestLongPollCursors(t *testing.T) {
	h := open(t)
	sampleLog(h, "s")
	for name, c := range map[string]struct {
		query string
		want  page
	}{
		"1 from the beginning":               {"", page{Seqs: []int64{2, 3, 4, 5, 6}, Next: 6}},
		"1 after a position, ascending":      {"after=3", page{Seqs: []int64{4, 5, 6}, Next: 6}},
		"2 filtered events are consumed":     {"include_ext=png", page{Seqs: []int64{2, 5}, Next: 6}},
		"2 it stops after the limit-th":      {"include_ext=png&limit=1", page{Seqs: []int64{2}, Next: 2, More: true}},
		"2 no match moves to the end":        {"include_ext=none&wait_seconds=0", page{Seqs: []int64{}, Next: 6, TimedOut: true}},
		"3 nothing examined, the start":      {"after=6&wait_seconds=0", page{Seqs: []int64{}, Next: 6, TimedOut: true}},
		"3 a future cursor is told":          {"after=7&wait_seconds=25", page{Seqs: []int64{}, Next: 6, TimedOut: true, Truncated: true}},
		"5 timed out though nothing waited":  {"after=6&wait_seconds=0", page{Seqs: []int64{}, Next: 6, TimedOut: true}},
		"6 more, though none would match":    {"include_ext=csv&limit=2&after=2", page{Seqs: []int64{3, 6}, Next: 6}},
		"6 more is not about the filter":     {"include_ext=gz&limit=1", page{Seqs: []int64{4}, Next: 4, More: true}},
		"include_mime is a prefix":           {"include_mime=%20IMAGE/,text/csv", page{Seqs: []int64{2, 3, 5, 6}, Next: 6}},
		"include_mime with a star":           {"include_mime=image/*", page{Seqs: []int64{2, 5}, Next: 6}},
		"include_ext of two parts":           {"include_ext=.TAR.GZ", page{Seqs: []int64{4}, Next: 6}},
		"include_ext, only whole extensions": {"include_ext=ng&wait_seconds=0", page{Seqs: []int64{}, Next: 6, TimedOut: true}},
		"max_size":                           {"max_size=50", page{Seqs: []int64{2, 3, 5, 6}, Next: 6}},
		"filters are joined by and":          {"max_size=50&include_ext=gz,csv&include_mime=text", page{Seqs: []int64{3, 6}, Next: 6}},
		"include_uploads":                    {"include_uploads=true&limit=2", page{Seqs: []int64{1, 2}, Next: 2, More: true}},
		"the last of repeated ones counts":   {"after=1&after=5", page{Seqs: []int64{6}, Next: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, h.page("s", c.query)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.query, diff)
			}
		})
	}
	t.Run("7 readers do not know of each other", func(t *testing.T) {
		for range 2 {
			if p := h.page("s", "after=4"); !slices.Equal(p.Seqs, []int64{5, 6}) {
				t.Errorf("%+v", p)
			}
		}
	})
	t.Run("another log's cursor is expired", func(t *testing.T) {
		a := h.ok(h.get("/api/sessions/s/artifact-events?after=2&log_id=old"))
		if a.json["truncated"] != true || a.json["oldest_cursor"] != 0.0 || a.json["last_cursor"] != 6.0 || a.json["next_cursor"] != 6.0 {
			t.Errorf("%s", a.body)
		}
		same := h.page("s", "after=2&log_id="+fmt.Sprint(a.json["log_id"]))
		if same.Truncated || len(same.Seqs) != 4 {
			t.Errorf("this log's: %+v", same)
		}
	})
}

// Rule 4: without a match a poll blocks until one comes or time is up.
func TestLongPollWaits(t *testing.T) {
	h := open(t)
	h.up("s", "in.txt", "in")
	start := time.Now()
	if p := h.page("s", "wait_seconds=0.2"); !p.TimedOut || p.Next != 1 || time.Since(start) < 200*time.Millisecond {
		t.Errorf("%+v after %v", p, time.Since(start))
	}
	answers := make(chan page, 3)
	for range 3 {
		go func() { answers <- pageOf(h.get("/api/sessions/s/artifact-events?wait_seconds=30&include_ext=csv")) }()
	}
	for i := range 3 { // none of these is a match
		h.write("s", fmt.Sprint(i, ".txt"), "x")
		h.scan("s") // it may find nothing: a poll that begins looks as well
	}
	h.write("s", "a.csv", "x")
	h.scan("s")
	for range 3 {
		if p := <-answers; !slices.Equal(p.Seqs, []int64{5}) || p.Next != 5 || p.TimedOut {
			t.Errorf("%+v", p)
		}
	}
	go func() { answers <- pageOf(h.get("/api/sessions/s/artifact-events?after=5&wait_seconds=30")) }()
	h.ok(h.do("DELETE", "/api/sessions/s", nil))
	if p := <-answers; len(p.Seqs) != 0 {
		t.Errorf("at the end of the session: %+v", p)
	}
}

// The bounds of parameters, as the reference has them.
func TestLongPollBounds(t *testing.T) {
	h := open(t)
	h.up("s", "in.txt", "in")
	for _, query := range []string{"wait_seconds=0", "limit=1", "limit=100", "after=0", "max_size=1", "wait_seconds=0.5", "after=%201%20"} {
		h.page("s", "after=0&wait_seconds=0&"+query)
	}
	for query, kind := range map[string]string{
		"wait_seconds=-0.1": "greater_than_equal", "wait_seconds=60.1": "less_than_equal", "wait_seconds=x": "float_parsing", "wait_seconds=nan": "finite_number",
		"after=-1": "greater_than_equal", "after=1.0": "int_parsing", "after=": "int_parsing", "limit=0": "greater_than_equal",
		"limit=101": "less_than_equal", "max_size=0": "greater_than", "after=%zz": "query_parsing", "include_uploads=2": "bool_parsing",
	} {
		a := h.want(h.get("/api/sessions/s/artifact-events?"+query), 422, "")
		if got := objects(a.json["detail"])[0]["type"]; got != kind {
			t.Errorf("%s: %v, want %s", query, got, kind)
		}
	}
	h.want(h.get("/api/sessions/nobody/artifact-events"), 404, "Session not found")
	h.want(h.ask("POST", "/api/sessions", `{"session_id":"empty"}`), 201, "")
	if p := h.page("empty", "wait_seconds=0"); !p.TimedOut || p.Next != 0 || p.More {
		t.Errorf("a session in which nothing happened: %+v", p)
	}
}

// With --keep-events old entries go; a cursor before them is told so on every
// transport, and what is left goes on.
func TestTrimmedLog(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.KeepEvents = 3 })
	h.up("sx", "in.txt", "in")
	for i := range 5 {
		h.change("sx", fmt.Sprint(i), "x")
	}
	h.sweep()
	a := h.ok(h.get("/api/sessions/sx/artifact-events?after=1"))
	last := whole(a.json["last_cursor"])
	if a.json["truncated"] != true || whole(a.json["oldest_cursor"]) != last-3 || whole(a.json["next_cursor"]) != last {
		t.Fatalf("%s", a.body)
	}
	h.want(h.get("/api/sessions/sx/events?after=1"), 410, "")
	h.want(h.get("/api/sessions/sx/state?at=1"), 410, "")
	c := h.dial("/ws?session_id=sx&after=1")
	c.await("cursor_expired")
	c.closed(4410)
	if p := h.page("sx", fmt.Sprint("after=", last-3)); len(p.Seqs) != 3 || p.Truncated {
		t.Errorf("the oldest cursor: %+v", p)
	}
	if s := h.ok(h.get("/api/sessions/sx/state")); len(objects(s.json["files"])) != 6 {
		t.Errorf("files went with the log: %s", s.body)
	}
}

// state is the files at any position, and the log goes on after it.
func TestState(t *testing.T) {
	h := open(t)
	sampleLog(h, "s")
	names := func(query string) []string {
		h.Helper()
		a := h.ok(h.get("/api/sessions/s/state" + query))
		var list []string
		for _, f := range objects(a.json["files"]) {
			list = append(list, fmt.Sprint(f["relative_path"], "@", f["sequence"]))
		}
		return list
	}
	in := texts(objects(h.ok(h.get("/api/sessions/s/state?at=1")).json["files"]), "relative_path")[0] + "@1"
	for query, want := range map[string][]string{
		"?at=0": nil,
		"?at=1": {in},
		"?at=4": {in, "a.png@2", "b.csv@3", "out/c.tar.gz@4"},
		"?at=5": {in, "b.csv@3", "out/c.tar.gz@4", "a.png@5"},
		"?at=6": {in, "out/c.tar.gz@4", "a.png@5"},
		"":      {in, "out/c.tar.gz@4", "a.png@5"},
	} {
		if diff := cmp.Diff(want, names(query)); diff != "" {
			t.Errorf("state%s (-want +got):\n%s", query, diff)
		}
	}
	s := h.stream("s", "/state?follow=1&at=4")
	for i := range 4 {
		if e := s.next(); e.Name != "file" || e.ID != "" {
			t.Fatalf("file %d: %+v", i, e)
		}
	}
	if e := s.next(); e.Name != "state" || e.seq() != 4 {
		t.Fatalf("%+v", e)
	}
	resume := ""
	for seq := range int64(2) {
		e := s.next()
		if e.Name != "artifact_created" || e.seq() != seq+5 {
			t.Fatalf("%+v", e)
		}
		if resume == "" {
			resume = e.ID
		}
	}
	if e := h.stream("s", "/state?follow=1&at=4", "Last-Event-ID", resume).next(); e.Name != "artifact_created" || e.seq() != 6 {
		t.Errorf("a client that comes back gets the files again: %+v", e)
	}
	describe(t).stream("GET "+sessionPath+"/state", s)
}

// An old client that never heard of HEAD, nor of gzip, nor of keep-alive.
func TestLongPollOverHTTP10(t *testing.T) {
	h := open(t)
	sampleLog(h, "s")
	a, err := h.raw("GET /api/sessions/s/artifact-events HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", false)
	if err != nil || a.StatusCode != http.StatusOK || len(objects(a.json["events"])) != 5 {
		t.Errorf("%v %s", err, a.body)
	}
}

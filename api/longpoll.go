package api

import (
	"context"
	"net/http"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// filters reads the parameters that choose entries by their file.
func filters(q *query) artifact.Filter {
	return artifact.Filter{
		MIME: q.list("include_mime"), Ext: q.list("include_ext"),
		MaxSize: q.integer("max_size", 0, above(0)), Uploads: q.truth("include_uploads"),
	}
}

// cursor reads where to start in the log; now is where none is given.
func cursor(q *query, now bool) depot.Cursor {
	return depot.Cursor{
		After: artifact.Seq(q.integer("after", 0, atLeast(0))), LogID: q.text("log_id"), Now: now && !q.has("after"),
	}
}

// artifactEvents is the long-poll of contract, sessions §3: the files of the
// log, from a cursor.
func (s *Server) artifactEvents(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	ask := depot.Query{
		Start: cursor(q, false), Filter: filters(q),
		Limit: int(q.integer("limit", 25, atLeast(1), atMost(100))),
		Wait:  time.Duration(q.number("wait_seconds", 25, atLeast(0), atMost(60)) * float64(time.Second)),
	}
	ask.Filter.Types = []string{artifact.TypeArtifact}
	if err := q.err(); err != nil {
		return nil, err
	}
	ctx, cancel := s.following(r)
	defer cancel()
	page, err := s.depot.Events(ctx, s.tenant(r), id, ask)
	if err != nil {
		return nil, whyEnded(ctx, err)
	}
	return s.showPage(&page), nil
}

// whyEnded returns what a wait ended of: where the caller is let in no longer,
// that.
func whyEnded(ctx context.Context, err error) error {
	if cause := artifact.ShutOut(ctx); cause != nil {
		return cause
	}
	return err
}

func (s *Server) showPage(p *depot.Page) map[string]any {
	events := make([]*artifact.Version, 0, len(p.Entries))
	for i := range p.Entries {
		if e := &p.Entries[i]; e.Version != nil { // the end of a session has none
			events = append(events, e.Version)
			s.Hooks.Delivered(time.Since(e.At))
		}
	}
	m := map[string]any{
		"events": events, "next_cursor": p.Next, "timed_out": len(events) == 0, "has_more": p.More, "log_id": p.LogID,
	}
	if p.Truncated {
		m["truncated"], m["oldest_cursor"], m["last_cursor"] = true, p.Oldest, p.Last
	}
	return m
}

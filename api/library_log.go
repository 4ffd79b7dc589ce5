package api

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// libraryEvents is the change log of the library.
func (s *Server) libraryEvents(w http.ResponseWriter, r *http.Request) (any, error) {
	if _, err := s.depot.Library(r.Context(), s.tenant(r)); err != nil {
		return nil, err
	}
	return s.tenantLog(w, r, artifact.LibraryLog)
}

// audit is the audit log of the tenant.
func (s *Server) audit(w http.ResponseWriter, r *http.Request) (any, error) {
	log, err := s.depot.Audit(r.Context(), s.tenant(r))
	if err != nil {
		return nil, err
	}
	if accepts(r, "application/jsonl") || accepts(r, "application/x-ndjson") {
		return nil, s.exportLog(w, r, &log)
	}
	return s.tenantLog(w, r, artifact.AuditLog)
}

// accepts reports whether the client asks for a media type by its name.
func accepts(r *http.Request, mediaType string) bool {
	for item := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		name, _, _ := strings.Cut(item, ";")
		if strings.EqualFold(strings.TrimSpace(name), mediaType) {
			return true
		}
	}
	return false
}

// tenantLog answers with a page of a log of the tenant, or follows it where the
// client asks for server-sent events.
func (s *Server) tenantLog(w http.ResponseWriter, r *http.Request, log artifact.SessionID) (any, error) {
	q := parseQuery(r)
	ask := depot.Query{
		Start: cursor(q, false), Filter: artifact.Filter{Types: q.list("types")},
		Limit: int(q.integer("limit", 100, atLeast(1), atMost(maxListed))),
		Wait:  time.Duration(q.number("wait_seconds", 0, atLeast(0), atMost(60)) * float64(time.Second)),
	}
	if err := q.err(); err != nil {
		return nil, err
	}
	if accepts(r, "text/event-stream") {
		return nil, s.streamLog(w, r, log, &ask)
	}
	ctx, cancel := s.following(r)
	defer cancel()
	page, err := s.depot.Events(ctx, s.tenant(r), log, ask)
	if err != nil {
		return nil, whyEnded(ctx, err)
	}
	return showLogPage(&page), nil
}

func showLogPage(p *depot.Page) map[string]any {
	events := make([]*artifact.Entry, len(p.Entries))
	for i := range p.Entries {
		events[i] = &p.Entries[i]
	}
	m := map[string]any{
		"events": events, "next_cursor": p.Next, "timed_out": len(events) == 0, "has_more": p.More, "log_id": p.LogID,
	}
	if p.Truncated {
		m["truncated"], m["oldest_cursor"], m["last_cursor"] = true, p.Oldest, p.Last
	}
	return m
}

func (s *Server) streamLog(w http.ResponseWriter, r *http.Request, log artifact.SessionID, ask *depot.Query) error {
	if err := lastEventID(r, &ask.Start); err != nil {
		return err
	}
	f, err := s.depot.Follow(r.Context(), s.tenant(r), log, ask.Start)
	if err != nil {
		return err
	}
	defer f.Close()
	es := s.newEventStream(w)
	if r.Method == http.MethodHead {
		return nil
	}
	es.buf.WriteString("retry: 1000\n\n")
	if err := es.flush(); err != nil {
		return nil // the client left
	}
	return s.streamEntries(r, es, f, &ask.Filter)
}

// exportLog writes a log as JSON lines, from a cursor up to where it is now.
func (s *Server) exportLog(w http.ResponseWriter, r *http.Request, log *artifact.Session) error {
	q := parseQuery(r)
	start, filter := cursor(q, false), artifact.Filter{Types: q.list("types")}
	if err := q.err(); err != nil {
		return err
	}
	f, err := s.depot.Reader(r.Context(), log.Tenant, log.ID, start)
	if err != nil {
		return err
	}
	defer f.Close()
	out := newJSONStream(w)
	w.Header().Set("Content-Type", "application/jsonl")
	for f.After() < f.Session.LastSeq {
		items, err := f.Next(r.Context(), false)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, it := range items {
			if filter.Match(&it.Entry) {
				out.value(&it.Entry)
				out.raw("\n")
			}
		}
	}
	return out.flush()
}

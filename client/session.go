package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Time is a moment as the API of sessions writes it: seconds since 1970 with a
// fraction. Logs of a tenant write it as RFC 3339, which is read too.
type Time struct{ time.Time }

// MarshalJSON writes seconds.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(artifact.UnixSeconds(t.Time)) }

// UnmarshalJSON reads seconds, or text of RFC 3339; null leaves the time zero.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.Time)
	}
	var s *float64
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	t.Time = artifact.FromUnixSeconds(*s)
	return nil
}

// Session is one session of the server.
type Session struct {
	ID          artifact.SessionID `json:"session_id"`
	Status      string             `json:"status"`
	Created     Time               `json:"created_at"`
	Updated     Time               `json:"updated_at"`
	LastSeq     artifact.Seq       `json:"last_seq"`
	Attachments int64              `json:"attachments"` // files that were uploaded
	Artifacts   int64              `json:"artifacts"`   // files that are in the workspace
	Bytes       int64              `json:"bytes"`
	Metadata    map[string]any     `json:"metadata"`
}

// SessionQuery chooses sessions.
type SessionQuery struct {
	Status string // empty for any
	Text   string // what the id must contain; empty for any
	Limit  int    // of one page; 0 leaves it to the server
	Cursor string // where the page before ended; empty for the first
}

// SessionPage is a part of the list, and where the next begins. Next is empty
// at the end.
type SessionPage struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next_cursor"`
}

// SessionPage returns one page of sessions, newest first.
func (c *Client) SessionPage(ctx context.Context, q SessionQuery) (SessionPage, error) {
	v := url.Values{}
	setText(v, "status", q.Status)
	setText(v, "q", q.Text)
	setText(v, "cursor", q.Cursor)
	setNumber(v, "limit", int64(q.Limit))
	var page SessionPage
	err := c.call(ctx, http.MethodGet, c.url(v, "api", "sessions"), nil, &page)
	return page, err
}

// Sessions returns all sessions, newest first, page by page. It ends after the
// first error.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		for {
			page, err := c.SessionPage(ctx, q)
			if err != nil {
				yield(Session{}, err)
				return
			}
			for _, s := range page.Sessions {
				if !yield(s, nil) {
					return
				}
			}
			if page.Next == "" || page.Next == q.Cursor {
				return
			}
			q.Cursor = page.Next
		}
	}
}

// CreateSession makes a session. An empty id lets the server choose one;
// metadata may be nil. The error is ErrExists when the id is taken.
func (c *Client) CreateSession(ctx context.Context, id artifact.SessionID, metadata map[string]any) (Session, error) {
	in := struct {
		ID       artifact.SessionID `json:"session_id,omitempty"`
		Metadata map[string]any     `json:"metadata,omitempty"`
	}{id, metadata}
	var s Session
	err := c.call(ctx, http.MethodPost, c.url(nil, "api", "sessions"), in, &s)
	return s, err
}

// Session returns one session, or ErrNotFound.
func (c *Client) Session(ctx context.Context, id artifact.SessionID) (Session, error) {
	var s Session
	err := c.call(ctx, http.MethodGet, c.session(id, nil), nil, &s)
	return s, err
}

// DeleteSession deletes a session with all that is in it.
func (c *Client) DeleteSession(ctx context.Context, id artifact.SessionID) error {
	return c.call(ctx, http.MethodDelete, c.session(id, nil), nil, nil)
}

// State is the files of a session at one position of its log.
type State struct {
	Cursor  artifact.Seq `json:"cursor"`
	LogID   string       `json:"log_id"`
	Session Session      `json:"session"`
	Files   []Artifact   `json:"files"`
}

// State returns what is in a session now, or was when the log ended at at.
func (c *Client) State(ctx context.Context, id artifact.SessionID, at artifact.Seq) (State, error) {
	q := url.Values{}
	setNumber(q, "at", int64(at))
	var s State
	err := c.call(ctx, http.MethodGet, c.session(id, q, "state"), nil, &s)
	return s, err
}

// ScanResult is what a look through the workspace found.
type ScanResult struct {
	Events []Artifact   `json:"events"`
	Cursor artifact.Seq `json:"cursor"`
}

// Scan has the server look through the session's workspace. When it returns,
// every change made there before is in the log.
func (c *Client) Scan(ctx context.Context, id artifact.SessionID) (ScanResult, error) {
	var r ScanResult
	err := c.call(ctx, http.MethodPost, c.session(id, nil, "scan"), nil, &r)
	return r, err
}

// Health returns nil when the server says that it is well.
func (c *Client) Health(ctx context.Context) error {
	var h struct {
		Status string `json:"status"`
	}
	req, err := c.request(ctx, http.MethodGet, c.url(nil, "health"), nil)
	if err != nil {
		return err
	}
	if err := c.ask(req, "", &h); err != nil { // a login that ended is no illness
		return err
	}
	if h.Status != "healthy" {
		return fmt.Errorf("the server says it is %q", h.Status)
	}
	return nil
}

func setText(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

func setNumber(v url.Values, name string, value int64) {
	if value != 0 {
		v.Set(name, strconv.FormatInt(value, 10))
	}
}

func setList(v url.Values, name string, values []string) {
	setText(v, name, strings.Join(values, ","))
}

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Uploads returns the files that were uploaded to a session and those that
// were found in its workspace, oldest first.
func (c *Client) Uploads(ctx context.Context, s artifact.SessionID) ([]Artifact, error) {
	var list struct {
		Items []Artifact `json:"items"`
	}
	err := c.call(ctx, http.MethodGet, c.url(nil, "api", "uploads", string(s)), nil, &list)
	return list.Items, err
}

// Cursor is a position in a log. LogID names the log, so that a server which
// was restored from a backup can tell its own cursors from those of the future
// that it lost; it may be empty.
type Cursor struct {
	After artifact.Seq
	LogID string
}

// String returns "7@logid", or "7" without an id.
func (c Cursor) String() string {
	seq := strconv.FormatInt(int64(c.After), 10)
	if c.LogID == "" {
		return seq
	}
	return seq + "@" + c.LogID
}

// EventQuery chooses events of files. Types of the filter are not used.
type EventQuery struct {
	After  Cursor
	Filter artifact.Filter
	Limit  int           // of the page; 0 leaves it to the server
	Wait   time.Duration // for the first event; the server allows a minute
}

// ask adds where and how to read to the parameters of a long-poll.
func (q EventQuery) ask(v url.Values) {
	setNumber(v, "after", int64(q.After.After))
	setText(v, "log_id", q.After.LogID)
	setNumber(v, "limit", int64(q.Limit))
	v.Set("wait_seconds", strconv.FormatFloat(q.Wait.Seconds(), 'f', -1, 64))
}

// EventPage is a part of a session's log.
type EventPage struct {
	Events []Artifact `json:"events"`
	Page
}

// Page says where in a log a page of it is.
type Page struct {
	Next      artifact.Seq `json:"next_cursor"` // goes past what the filter left out
	TimedOut  bool         `json:"timed_out"`   // the page is empty
	More      bool         `json:"has_more"`
	LogID     string       `json:"log_id"`
	Truncated bool         `json:"truncated"` // the cursor was not in the log; Oldest and Last say what is
	Oldest    artifact.Seq `json:"oldest_cursor"`
	Last      artifact.Seq `json:"last_cursor"`
}

// Events returns the next page of events of files, waiting for the first if
// the query says so (long-poll). To see every entry as it comes, use Follow.
func (c *Client) Events(ctx context.Context, s artifact.SessionID, q EventQuery) (EventPage, error) {
	v := filterQuery(q.Filter)
	v.Del("types")
	q.ask(v)
	var page EventPage
	err := c.call(ctx, http.MethodGet, c.session(s, v, "artifact-events"), nil, &page)
	return page, err
}

// filterQuery returns a filter as parameters.
func filterQuery(f artifact.Filter) url.Values {
	v := url.Values{}
	setList(v, "types", f.Types)
	setList(v, "include_mime", f.MIME)
	setList(v, "include_ext", f.Ext)
	setNumber(v, "max_size", f.MaxSize)
	if f.Uploads {
		v.Set("include_uploads", "true")
	}
	return v
}

// Entry is one entry of the log of a session, of the library, or of the audit
// log.
type Entry struct {
	Type    string             `json:"type"`
	Seq     artifact.Seq       `json:"seq"`
	Session artifact.SessionID `json:"session_id"`
	At      Time               `json:"at"`
	Data    json.RawMessage    `json:"data"`
	// Artifact is what Data tells of when the entry is about a file of a session.
	Artifact *Artifact `json:"-"`
	// File is what Data tells of when the entry is about a file of the library.
	File *LibraryChange `json:"-"`
	// LogID names the log, if the server said so.
	LogID string `json:"-"`
	// Raw is the entry as it came, on one line.
	Raw json.RawMessage `json:"-"`
}

// Cursor returns the position after the entry.
func (e *Entry) Cursor() Cursor { return Cursor{e.Seq, e.LogID} }

// UnmarshalJSON reads an entry and, if it is about a file, that file.
func (e *Entry) UnmarshalJSON(b []byte) error {
	type plain Entry
	if err := json.Unmarshal(b, (*plain)(e)); err != nil {
		return err
	}
	e.Raw = append(json.RawMessage(nil), b...)
	switch e.Type {
	case artifact.TypeArtifact, artifact.TypeUpload:
		e.Artifact = new(Artifact)
		return json.Unmarshal(e.Data, e.Artifact)
	case artifact.TypeSaved, artifact.TypeMoved, artifact.TypeRemoved:
		e.File = new(LibraryChange)
		return json.Unmarshal(e.Data, e.File)
	}
	return nil
}

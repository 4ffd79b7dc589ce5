package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/vitrine-hq/vitrine/artifact"
)

// LibraryChange is what the library's log tells of one artifact.
type LibraryChange struct {
	LibraryFile
	Change artifact.Change `json:"change_type"` // "created", "updated", "moved" or "deleted"
	From   artifact.Path   `json:"from,omitempty"`
}

// LogPage is a part of a log of the tenant.
type LogPage struct {
	Entries   []Entry      `json:"events"`
	Next      artifact.Seq `json:"next_cursor"` // goes past what the filter left out
	TimedOut  bool         `json:"timed_out"`   // there are no entries
	More      bool         `json:"has_more"`
	LogID     string       `json:"log_id"`
	Truncated bool         `json:"truncated"` // the cursor was not in the log; Oldest and Last say what is
	Oldest    artifact.Seq `json:"oldest_cursor"`
	Last      artifact.Seq `json:"last_cursor"`
}

// LibraryEvents returns the next page of the library's log, waiting for the
// first entry if the query says so (long-poll). Of its filter only the types
// count. To see every entry as it comes, use FollowLibrary.
func (c *Client) LibraryEvents(ctx context.Context, q EventQuery) (LogPage, error) {
	return c.logPage(ctx, q, c.libraryLog)
}

// FollowLibrary is Follow for the library. Of the filter only the types count.
func (c *Client) FollowLibrary(ctx context.Context, f Following) iter.Seq2[Entry, error] {
	return c.follow(ctx, f, c.libraryLog)
}

// AuditEvents is LibraryEvents for the audit log of the tenant, which needs the
// scope admin.
func (c *Client) AuditEvents(ctx context.Context, q EventQuery) (LogPage, error) {
	return c.logPage(ctx, q, c.auditLog)
}

// FollowAudit is Follow for the audit log of the tenant, which needs the scope
// admin. Of the filter only the types count.
func (c *Client) FollowAudit(ctx context.Context, f Following) iter.Seq2[Entry, error] {
	return c.follow(ctx, f, c.auditLog)
}

func (c *Client) libraryLog(q url.Values) string { return c.library(q, "events") }

func (c *Client) auditLog(q url.Values) string { return c.url(q, "api", "v2", "audit") }

func (c *Client) logPage(ctx context.Context, q EventQuery, address func(url.Values) string) (LogPage, error) {
	v := url.Values{}
	setList(v, "types", q.Filter.Types)
	setNumber(v, "after", int64(q.After.After))
	setText(v, "log_id", q.After.LogID)
	setNumber(v, "limit", int64(q.Limit))
	v.Set("wait_seconds", strconv.FormatFloat(q.Wait.Seconds(), 'f', -1, 64))
	var page LogPage
	err := c.data(ctx, http.MethodGet, address(v), nil, &page)
	for i := range page.Entries {
		page.Entries[i].LogID = page.LogID
	}
	return page, err
}

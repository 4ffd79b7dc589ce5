package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

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
	Entries []Entry `json:"events"`
	Page
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
	q.ask(v)
	var page LogPage
	err := c.data(ctx, http.MethodGet, address(v), nil, &page)
	for i := range page.Entries {
		page.Entries[i].LogID = page.LogID
	}
	return page, err
}

package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// ListOptions choose what of a folder is listed. The zero value is all of it.
type ListOptions struct {
	Pattern string // what a name must contain, in any case; empty for any
	Limit   int    // of folders and files together, up to 1000; 0 is none
}

// Listing is what lies right below a folder.
type Listing struct {
	Path      artifact.Path `json:"path"`
	Folders   []string      `json:"folders"`
	Files     []ListedFile  `json:"files"`
	Truncated bool          `json:"truncated"` // the limit cut it off
	Total     int           `json:"total"`     // of both, if it was cut off
}

// ListedFile is an artifact in a listing.
type ListedFile struct {
	Name     string    `json:"name"` // below the folder
	MIME     string    `json:"content_type"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"last_modified"`
}

// List returns the folders and artifacts right below dir, each in the order of
// their names. "/" is the top. A folder that is not there is empty.
func (c *Client) List(ctx context.Context, dir artifact.Path, o ListOptions) (Listing, error) {
	q := url.Values{}
	setText(q, "prefix", string(dir))
	setText(q, "name_pattern", o.Pattern)
	setNumber(q, "limit", int64(o.Limit))
	var l Listing
	err := c.data(ctx, http.MethodGet, c.library(q, "list"), nil, &l)
	return l, err
}

// FileQuery chooses artifacts at any depth.
type FileQuery struct {
	Dir     artifact.Path // below which they lie; empty for all
	Pattern string        // what a name must contain, in any case; empty for any
	Limit   int           // of one page; 0 leaves it to the server
	Cursor  string        // where the page before ended; empty for the first
}

// FilePage is a part of a list, and where the next begins. Next is empty at the
// end. What happens after the page was read is in the library's log behind At:
// who follows from there misses nothing.
type FilePage struct {
	Files []LibraryFile
	Next  string
	At    Cursor
}

// FilePage returns one page of the artifacts below a folder at any depth, in the
// order of their paths.
func (c *Client) FilePage(ctx context.Context, q FileQuery) (FilePage, error) {
	v := url.Values{"recursive": {"true"}}
	setText(v, "prefix", string(q.Dir))
	setText(v, "name_pattern", q.Pattern)
	setText(v, "cursor", q.Cursor)
	setNumber(v, "limit", int64(q.Limit))
	var page struct {
		Files    []LibraryFile `json:"files"`
		Next     string        `json:"next_cursor"`
		Position artifact.Seq  `json:"position"`
		LogID    string        `json:"log_id"`
	}
	err := c.data(ctx, http.MethodGet, c.library(v, "list"), nil, &page)
	return FilePage{page.Files, page.Next, Cursor{page.Position, page.LogID}}, err
}

// ListAll returns the artifacts below a folder at any depth, in the order of
// their paths, page by page. It ends after the first error.
func (c *Client) ListAll(ctx context.Context, q FileQuery) iter.Seq2[LibraryFile, error] {
	return func(yield func(LibraryFile, error) bool) {
		for {
			page, err := c.FilePage(ctx, q)
			if err != nil {
				yield(LibraryFile{}, err)
				return
			}
			for _, f := range page.Files {
				if !yield(f, nil) {
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

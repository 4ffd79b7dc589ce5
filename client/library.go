package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
)

// LibraryFile is an artifact of the library, as it stands or in one of its
// versions. Answers to changes do not tell all of it.
type LibraryFile struct {
	Path     artifact.Path  `json:"path"`
	ID       string         `json:"artifact_id"` // stays the same through versions and moves
	Version  int64          `json:"version"`     // counts from 1; 0 where the server did not say
	MIME     string         `json:"content_type"`
	Size     int64          `json:"size"`
	ETag     string         `json:"etag"` // names the content; for the conditions below
	Metadata map[string]any `json:"metadata"`
	Actor    string         `json:"actor"` // who saved it
	Scan     string         `json:"scan,omitempty"`
	Modified time.Time      `json:"last_modified,omitzero"`
}

// library returns an address below /api/v2/artifacts.
func (c *Client) library(q url.Values, below ...string) string {
	return c.url(q, append([]string{"api", "v2", "artifacts"}, below...)...)
}

// at returns the parameters that name an artifact; version 0 is the one that
// stands.
func at(p artifact.Path, version int64) url.Values {
	q := url.Values{"path": {string(p)}}
	setNumber(q, "version", version)
	return q
}

// condition sets a condition unless it is empty.
func condition(req *http.Request, name, tag string) {
	if tag != "" {
		req.Header.Set(name, tag)
	}
}

// data sends in as JSON and decodes the data of the answer into out.
func (c *Client) data(ctx context.Context, method, address string, in, out any) error {
	return c.call(ctx, method, address, in, &envelope{Data: out})
}

// post sends in as JSON on condition that the artifact has the entity tag
// match, and returns the artifact that the answer tells of.
func (c *Client) post(ctx context.Context, address, match string, in any) (LibraryFile, error) {
	req, err := c.withJSON(ctx, http.MethodPost, address, in)
	if err != nil {
		return LibraryFile{}, err
	}
	condition(req, "If-Match", match)
	return c.saved(req)
}

// saved sends req and reads the artifact that was saved.
func (c *Client) saved(req *http.Request) (LibraryFile, error) {
	var f LibraryFile
	resp, err := c.send(req)
	if err != nil {
		return f, err
	}
	tag := resp.Header.Get("Etag")
	err = decode(resp, &envelope{Data: &f})
	if f.ETag == "" {
		f.ETag = tag
	}
	return f, err
}

// errNoText is for contents that JSON would change on the way.
var errNoText = errors.New("the content is not UTF-8; PutRaw takes any bytes")

// SaveOptions are the choices of Save. The zero value makes a new artifact, and
// is ErrExists where one stands.
type SaveOptions struct {
	// Overwrite makes another version of what stands, if something does.
	Overwrite bool
	// IfMatch makes another version only if what stands has this ETag; otherwise
	// the error is ErrStale.
	IfMatch string
	// Metadata is kept with the artifact. Nil keeps what there is.
	Metadata map[string]any
	// MIME is the media type, for names whose extension says nothing.
	MIME string
	// IdempotencyKey is a word of the caller's choice for this one save: sent
	// again with the same content within a day it has the answer of the first.
	IdempotencyKey string
}

func (o *SaveOptions) headers(req *http.Request) {
	condition(req, "If-Match", o.IfMatch)
	condition(req, "Idempotency-Key", o.IdempotencyKey)
}

// Save keeps a text of up to 10 MiB as the artifact at p.
func (c *Client) Save(ctx context.Context, p artifact.Path, content string, o SaveOptions) (LibraryFile, error) {
	if !utf8.ValidString(content) {
		return LibraryFile{}, fmt.Errorf("save %s: %w", p, errNoText)
	}
	in := struct {
		Path      artifact.Path  `json:"path"`
		Content   string         `json:"content"`
		MIME      string         `json:"content_type,omitempty"`
		Overwrite bool           `json:"overwrite,omitempty"`
		Metadata  map[string]any `json:"metadata,omitempty"`
	}{p, content, o.MIME, o.Overwrite, o.Metadata}
	req, err := c.withJSON(ctx, http.MethodPost, c.library(nil), in)
	if err != nil {
		return LibraryFile{}, err
	}
	o.headers(req)
	return c.saved(req)
}

// Text is an artifact with its content.
type Text struct {
	LibraryFile
	Content string `json:"content"`
}

// Retrieve returns the text at p: as it stands, or where version is above 0 that
// version of it. Of an artifact that is no text, or is larger than 10 MiB, use
// OpenRaw. The error is ErrNotFound where there is none.
func (c *Client) Retrieve(ctx context.Context, p artifact.Path, version int64) (Text, error) {
	t := Text{LibraryFile: LibraryFile{Version: version}}
	req, err := c.request(ctx, http.MethodGet, c.library(at(p, version)), nil)
	if err != nil {
		return t, err
	}
	resp, err := c.send(req)
	if err != nil {
		return t, err
	}
	t.ETag = resp.Header.Get("Etag")
	err = decode(resp, &envelope{Data: &t})
	return t, err
}

// Delete deletes the artifact at p with all its versions. With an ETag it does
// so only if the artifact still has it; otherwise the error is ErrStale.
func (c *Client) Delete(ctx context.Context, p artifact.Path, etag string) error {
	req, err := c.request(ctx, http.MethodDelete, c.library(at(p, 0)), nil)
	if err != nil {
		return err
	}
	condition(req, "If-Match", etag)
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	return decode(resp, nil)
}

// Versions returns the versions of the artifact at p, newest first.
func (c *Client) Versions(ctx context.Context, p artifact.Path) ([]LibraryFile, error) {
	var all []LibraryFile
	for q := at(p, 0); ; {
		var page struct {
			Versions []LibraryFile `json:"versions"`
			Next     int64         `json:"next_cursor"`
		}
		err := c.data(ctx, http.MethodGet, c.library(q, "versions"), nil, &page)
		if all = append(all, page.Versions...); err != nil || page.Next == 0 {
			return all, err
		}
		setNumber(q, "cursor", page.Next)
	}
}

// Restore makes an earlier version of the artifact at p its newest. With an ETag
// it does so only if the artifact still has it.
func (c *Client) Restore(ctx context.Context, p artifact.Path, version int64, etag string) (LibraryFile, error) {
	in := struct {
		Path    artifact.Path `json:"path"`
		Version int64         `json:"version"`
	}{p, version}
	return c.post(ctx, c.library(nil, "restore"), etag, in)
}

// Edit replaces a text that occurs once by another.
type Edit struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// Patch is what to change of an artifact: edits one after the other, then what
// is appended.
type Patch struct {
	Edits    []Edit         `json:"edits,omitempty"`
	Append   string         `json:"append,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"` // nil keeps it
	IfMatch  string         `json:"-"`                  // the ETag that the artifact must have; empty for any
	// IdempotencyKey is a word of the caller's choice for this one change: sent
	// again within a day it changes nothing and is answered as before.
	IdempotencyKey string `json:"-"`
}

// Patch changes the text at p. The error is ErrEdit where a text to replace is
// absent or occurs more than once; nothing is changed then.
func (c *Client) Patch(ctx context.Context, p artifact.Path, patch Patch) (LibraryFile, error) {
	texts := []string{patch.Append}
	for _, e := range patch.Edits {
		texts = append(texts, e.Old, e.New)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return LibraryFile{}, fmt.Errorf("patch %s: %w", p, errNoText)
		}
	}
	req, err := c.withJSON(ctx, http.MethodPatch, c.library(at(p, 0)), patch)
	if err != nil {
		return LibraryFile{}, err
	}
	condition(req, "If-Match", patch.IfMatch)
	condition(req, "Idempotency-Key", patch.IdempotencyKey)
	return c.saved(req)
}

// Append adds text to the end of the artifact at p.
func (c *Client) Append(ctx context.Context, p artifact.Path, text string) (LibraryFile, error) {
	return c.Patch(ctx, p, Patch{Append: text})
}

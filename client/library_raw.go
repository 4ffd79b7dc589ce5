package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// raw returns the address of the bytes of an artifact; its path stands in it
// segment by segment.
func (c *Client) raw(p artifact.Path, q url.Values) string {
	segments := strings.Split(strings.TrimPrefix(string(p), "/"), "/")
	return c.library(q, append([]string{"raw"}, segments...)...)
}

func (c *Client) rawVersion(p artifact.Path, version int64) string {
	q := url.Values{"download": {"true"}}
	setNumber(q, "version", version)
	return c.raw(p, q)
}

// OpenRaw returns the bytes of the artifact at p from offset on: as it stands,
// or where version is above 0 that version of it. The caller closes it.
func (c *Client) OpenRaw(ctx context.Context, p artifact.Path, version, offset int64) (*Content, error) {
	return c.open(ctx, c.rawVersion(p, version), offset, "")
}

// DownloadRaw is Download for an artifact of the library.
func (c *Client) DownloadRaw(ctx context.Context, p artifact.Path, version int64, out io.Writer, t Transfer) (Downloaded, error) {
	return c.download(ctx, c.rawVersion(p, version), out, t)
}

// PutOptions are the choices of PutRaw. The zero value makes a new artifact, and
// is ErrExists where one stands.
type PutOptions struct {
	// Overwrite makes another version of what stands, if something does.
	Overwrite bool
	// IfMatch makes another version only if what stands has this ETag; otherwise
	// the error is ErrStale.
	IfMatch string
	// IdempotencyKey is a word of the caller's choice for this one save: sent
	// again with the same content within a day it has the answer of the first.
	IdempotencyKey string
	// Progress is told how many bytes have left. It is called from other
	// goroutines and must not block.
	Progress func(sent int64)
}

// PutRaw saves bytes of any kind and size as the artifact at p. It reads f once,
// and compares the hash that the server answers with that of what it read. The
// name of f is not used.
func (c *Client) PutRaw(ctx context.Context, p artifact.Path, f File, o PutOptions) (LibraryFile, error) {
	f.Name = string(p)
	body := &sending{progress: o.Progress, length: f.Size}
	body.add(f)
	req, err := c.putRequest(ctx, c.raw(p, nil), f, body)
	if err != nil {
		return LibraryFile{}, err
	}
	condition(req, "If-Match", o.IfMatch)
	condition(req, "Idempotency-Key", o.IdempotencyKey)
	create := !o.Overwrite && o.IfMatch == ""
	if create {
		req.Header.Set("If-None-Match", "*")
	}
	var saved LibraryFile
	if err := c.push(req, body, &envelope{Data: &saved}); err != nil {
		if create && errors.Is(err, ErrStale) {
			err = fmt.Errorf("%w: %w", ErrExists, err)
		}
		return LibraryFile{}, err
	}
	sum := sha256Of(http.Header{"Etag": {saved.ETag}})
	return saved, body.compare([]Artifact{{Size: saved.Size, SHA256: sum}})
}

// Export returns the artifacts below a folder, as they stand, as a zip on its
// way. The caller closes it. One that the server could not finish ends in an
// error, never in io.EOF.
func (c *Client) Export(ctx context.Context, dir artifact.Path) (io.ReadCloser, error) {
	q := url.Values{}
	setText(q, "prefix", string(dir))
	return c.bytes(ctx, c.library(q, "archive"))
}

// Imported is what came of an archive.
type Imported struct {
	Files   int64           `json:"imported"`
	Bytes   int64           `json:"bytes"`
	Skipped []artifact.Path `json:"skipped"` // where something stood that was not to be overwritten
}

// Import saves every file of a zip, such as one of Export, below a folder. What
// stands gets another version with overwrite, and is left alone without. A zip
// that does not fit the library's rules is refused as a whole. The zip is read
// once; size is that of all of it, or -1.
func (c *Client) Import(ctx context.Context, dir artifact.Path, zip io.Reader, size int64, overwrite bool) (Imported, error) {
	f := File{Name: "archive", Size: size, MIME: "application/zip", Content: zip}
	body := &sending{length: size}
	body.add(f)
	q := url.Values{}
	setText(q, "prefix", string(dir))
	if overwrite {
		q.Set("overwrite", "true")
	}
	var done Imported
	req, err := c.request(ctx, http.MethodPost, c.library(q, "archive"), body)
	if err != nil {
		return done, err
	}
	req.Header.Set("Content-Type", f.MIME)
	err = c.push(req, body, &envelope{Data: &done})
	return done, err
}

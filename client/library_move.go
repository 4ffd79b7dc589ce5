package client

import (
	"context"
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Move gives an artifact another path; its versions stay with it. With an ETag
// it does so only if the artifact still has it. The error is ErrExists where
// something stands at to.
func (c *Client) Move(ctx context.Context, from, to artifact.Path, etag string) (LibraryFile, error) {
	in := struct {
		From artifact.Path `json:"from"`
		To   artifact.Path `json:"to"`
	}{from, to}
	return c.post(ctx, c.library(nil, "move"), etag, in)
}

// CopyOptions are the choices of Copy.
type CopyOptions struct {
	Version   int64 // of the source; 0 is the one that stands
	Overwrite bool  // what stands at the target gets another version
}

// Copy saves the content of an artifact at another path. The error is ErrExists
// where something stands there that is not to be overwritten.
func (c *Client) Copy(ctx context.Context, from, to artifact.Path, o CopyOptions) (LibraryFile, error) {
	in := struct {
		From      artifact.Path `json:"from"`
		To        artifact.Path `json:"to"`
		Version   int64         `json:"version,omitempty"`
		Overwrite bool          `json:"overwrite,omitempty"`
	}{from, to, o.Version, o.Overwrite}
	return c.post(ctx, c.library(nil, "copy"), "", in)
}

// PromoteOptions are the choices of Promote.
type PromoteOptions struct {
	Overwrite bool   // what stands at the path gets another version
	IfMatch   string // the ETag that it must have then; empty for any
}

// Promote saves a file of a session, by any of its ids, in the library. The
// bytes do not pass through the client.
func (c *Client) Promote(ctx context.Context, s artifact.SessionID, id string, p artifact.Path, o PromoteOptions) (LibraryFile, error) {
	in := struct {
		Session   artifact.SessionID `json:"session_id"`
		ID        string             `json:"artifact_id"`
		Path      artifact.Path      `json:"path"`
		Overwrite bool               `json:"overwrite,omitempty"`
	}{s, id, p, o.Overwrite}
	return c.post(ctx, c.library(nil, "promote"), o.IfMatch, in)
}

// Checkout puts an artifact into a session, as an upload with its name: as it
// stands, or where version is above 0 that version of it. The bytes do not pass
// through the client.
func (c *Client) Checkout(ctx context.Context, p artifact.Path, version int64, s artifact.SessionID) (Artifact, error) {
	in := struct {
		Path    artifact.Path      `json:"path"`
		Version int64              `json:"version,omitempty"`
		Session artifact.SessionID `json:"session_id"`
	}{p, version, s}
	var out struct {
		Attachment Artifact `json:"attachment"`
	}
	err := c.data(ctx, http.MethodPost, c.library(nil, "checkout"), in, &out)
	return out.Attachment, err
}

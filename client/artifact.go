package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Artifact is one version of one file of a session: uploaded, or captured from
// the workspace. Its bytes never change.
type Artifact struct {
	ID         string          `json:"artifact_id"`   // "art_…", this version; empty where the server did not say
	Attachment string          `json:"attachment_id"` // "att_…", the file through all its versions
	EventID    string          `json:"event_id,omitempty"`
	Seq        artifact.Seq    `json:"sequence,omitempty"`
	Change     artifact.Change `json:"change_type,omitempty"`
	Name       string          `json:"name"`                    // for people; no path
	Path       string          `json:"relative_path,omitempty"` // slash path below the session's workspace
	MIME       string          `json:"mime_type"`
	Size       int64           `json:"size"`
	SHA256     string          `json:"sha256"`         // lower-case hex
	Kind       string          `json:"kind,omitempty"` // "image", "audio", "video" or "file"
	Source     string          `json:"source"`
	Storage    string          `json:"storage,omitempty"` // "cleaned" when the bytes were deleted
	Node       string          `json:"node_id,omitempty"`
	Created    Time            `json:"created_at"`
}

// UnmarshalJSON reads an artifact in each of the forms in which the API sends
// one: event, file of a state, answer to an upload, and meta.
func (a *Artifact) UnmarshalJSON(b []byte) error {
	type plain Artifact
	v := struct {
		*plain
		Path          string `json:"path"`
		WorkspacePath string `json:"workspace_path"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if a.Path == "" {
		a.Path = strings.TrimPrefix(cmp.Or(v.Path, v.WorkspacePath), artifact.WorkspaceDir+"/")
	}
	if a.EventID != "" { // meta has the id that was asked for instead
		a.ID = "art_" + a.EventID
	}
	return nil
}

// Artifact returns what the server knows of an artifact, by any of its ids.
func (c *Client) Artifact(ctx context.Context, s artifact.SessionID, id string) (Artifact, error) {
	var a Artifact
	err := c.call(ctx, http.MethodGet, c.session(s, nil, "artifacts", id), nil, &a)
	return a, err
}

// Content is the bytes of an artifact on their way.
type Content struct {
	io.ReadCloser
	Name   string // that the server gives it; not safe as a path
	MIME   string
	Size   int64  // of the whole; -1 when unknown
	Offset int64  // where the reader begins
	SHA256 string // of the whole, in hex; empty when the server did not say
	etag   string
}

// Open returns the content of an artifact from offset on. The caller closes it.
// Its reader fails when nothing comes for the time of Options.Silence.
func (c *Client) Open(ctx context.Context, s artifact.SessionID, id string, offset int64) (*Content, error) {
	return c.open(ctx, c.stream(s, id), offset, "")
}

// stream returns the address of an artifact's bytes.
func (c *Client) stream(s artifact.SessionID, id string) string {
	return c.session(s, url.Values{"mode": {"stream"}, "download": {"true"}}, "artifacts", id)
}

// open returns the content at an address. It asks for a range when offset is
// above 0. With an etag the range counts only if the content is still the same;
// else all of it comes.
func (c *Client) open(ctx context.Context, address string, offset int64, etag string) (*Content, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.request(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		if etag != "" {
			req.Header.Set("If-Range", etag)
		}
	}
	w := newWatchdog(c.opt.Silence, cancel)
	resp, err := c.send(req) //nolint:bodyclose // the reader of Content closes it
	w.stop()
	if err != nil {
		cancel(nil)
		return nil, w.explain(err)
	}
	_, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
	content := &Content{
		Name:       params["filename"],
		ReadCloser: w.reader(resp.Body), MIME: resp.Header.Get("Content-Type"), Size: resp.ContentLength,
		SHA256: sha256Of(resp.Header), etag: resp.Header.Get("Etag"),
	}
	if resp.StatusCode == http.StatusPartialContent {
		if err := content.ranged(resp.Header.Get("Content-Range"), offset); err != nil {
			return nil, errors.Join(err, content.Close())
		}
	}
	return content, nil
}

// ranged reads "bytes 5-9/10" and checks that it begins at offset.
func (ct *Content) ranged(header string, offset int64) error {
	var first, last, size int64
	if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &first, &last, &size); err != nil || first != offset {
		return fmt.Errorf("the server sent the range %q instead of what begins at %d", header, offset)
	}
	ct.Offset, ct.Size = first, size
	return nil
}

// sha256Of returns the hash of the whole content by Repr-Digest or ETag, or "".
func sha256Of(h http.Header) string {
	for field := range strings.SplitSeq(h.Get("Repr-Digest"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if sum, err := base64.StdEncoding.DecodeString(strings.Trim(value, ":")); name == "sha-256" && err == nil && len(sum) == sha256.Size {
			return hex.EncodeToString(sum)
		}
	}
	tag := strings.TrimPrefix(strings.Trim(h.Get("Etag"), `"`), "sha256:")
	if sum, err := hex.DecodeString(tag); err == nil && len(sum) == sha256.Size {
		return tag
	}
	return ""
}

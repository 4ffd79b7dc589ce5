package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"

	"github.com/vitrine-hq/vitrine/artifact"
)

// File is what Upload sends.
type File struct {
	Name    string
	MIME    string // empty lets the server find out
	Size    int64  // of Content, or -1 when it is not known
	Content io.Reader
}

// Interrupted says that the connection broke before the server answered an
// upload. An upload cannot be continued, only begun anew.
type Interrupted struct {
	Sent int64 // bytes of the files that had left
	// Whole says that all of them had left. The server may have stored them:
	// who sends them again may have them twice.
	Whole bool
	// Sums are the SHA-256 of the files in hex, if Whole: with them they can be
	// looked for in the log.
	Sums []string
	Err  error
}

// Error tells of the loss.
func (e *Interrupted) Error() string { return fmt.Sprintf("upload interrupted: %v", e.Err) }

// Unwrap returns the cause.
func (e *Interrupted) Unwrap() error { return e.Err }

// Upload sends files to a session in one request: all are stored, or none. It
// reads each reader once, in order, and compares the hashes that the server
// answers with those of what was read. progress, which may be nil, is told how
// many bytes have left; it is called from other goroutines and must not block.
func (c *Client) Upload(ctx context.Context, s artifact.SessionID, files []File, progress func(sent int64)) ([]Artifact, error) {
	body, kind, err := newForm(files, progress)
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPost, c.url(nil, "api", "uploads", string(s)), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	var answer json.RawMessage
	if err := c.push(req, body, &answer); err != nil {
		return nil, err
	}
	var several struct {
		Attachments []Artifact `json:"attachments"`
	}
	if err := json.Unmarshal(answer, &several); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	stored := several.Attachments
	if len(stored) == 0 {
		stored = make([]Artifact, 1)
		if err := json.Unmarshal(answer, &stored[0]); err != nil {
			return nil, fmt.Errorf("decode answer: %w", err)
		}
	}
	return stored, body.compare(stored)
}

// digestUpTo is the size up to which PutFile reads a file twice, in order to
// send its digest ahead.
const digestUpTo = 1 << 20

// PutFile sends one file as the whole body of a request. A small one that can
// be read twice takes its digest along, so that the server refuses what was
// damaged on the way; otherwise hashes are compared afterwards, as in Upload.
func (c *Client) PutFile(ctx context.Context, s artifact.SessionID, f File, progress func(sent int64)) (Artifact, error) {
	body := &sending{progress: progress, length: f.Size}
	body.add(f)
	req, err := c.putRequest(ctx, c.url(nil, "api", "uploads", string(s), f.Name), f, body)
	if err != nil {
		return Artifact{}, err
	}
	stored := make([]Artifact, 1)
	if err := c.push(req, body, &stored[0]); err != nil {
		return Artifact{}, err
	}
	return stored[0], body.compare(stored)
}

// putRequest returns a request with one file as its body.
func (c *Client) putRequest(ctx context.Context, address string, f File, body *sending) (*http.Request, error) {
	digest, err := contentDigest(f)
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPut, address, body)
	if err != nil {
		return nil, err
	}
	if digest != "" {
		req.Header.Set("Content-Digest", digest)
	}
	if f.MIME != "" {
		req.Header.Set("Content-Type", f.MIME)
	}
	return req, nil
}

// contentDigest returns the header of a small file that can be read again.
func contentDigest(f File) (string, error) {
	seeker, ok := f.Content.(io.Seeker)
	if !ok || f.Size < 0 || f.Size > digestUpTo {
		return "", nil
	}
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", nil //nolint:nilerr // a pipe under a file's type: no digest
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f.Content, f.Size); err != nil {
		return "", fmt.Errorf("read %s: %w", f.Name, err)
	}
	if _, err := seeker.Seek(start, io.SeekStart); err != nil {
		return "", fmt.Errorf("rewind %s: %w", f.Name, err)
	}
	return "sha-256=:" + base64.StdEncoding.EncodeToString(h.Sum(nil)) + ":", nil
}

// push sends an upload and decodes its answer. It does not ask first by
// "Expect: 100-continue": Go's server then closes at once after it has refused,
// and its answer is lost to a client that is still sending.
func (c *Client) push(req *http.Request, body *sending, out any) error {
	req.ContentLength = body.length
	if body.length == 0 {
		req.Body, body.whole = http.NoBody, true
	}
	resp, err := c.send(req)
	if err == nil {
		err = decode(resp, out)
	}
	return body.explain(req.Context(), err)
}

// newForm returns the files as a multipart body, whose length is known when
// all their sizes are.
func newForm(files []File, progress func(int64)) (body *sending, contentType string, err error) {
	var text bytes.Buffer
	form := multipart.NewWriter(&text)
	body = &sending{progress: progress}
	for _, f := range files {
		h := textproto.MIMEHeader{"Content-Disposition": {multipart.FileContentDisposition("file", f.Name)}}
		if f.MIME != "" {
			h.Set("Content-Type", f.MIME)
		}
		if _, err := form.CreatePart(h); err != nil {
			return nil, "", fmt.Errorf("make form: %w", err)
		}
		body.addText(text.Bytes())
		text.Reset()
		body.add(f)
		if f.Size < 0 || body.length < 0 {
			body.length = -1
		} else {
			body.length += f.Size
		}
	}
	if err := form.Close(); err != nil {
		return nil, "", fmt.Errorf("make form: %w", err)
	}
	body.addText(text.Bytes())
	return body, form.FormDataContentType(), nil
}

// same compares what the server stored with what was sent.
func (p *part) same(a *Artifact) bool {
	return a.Size == p.sent && (a.SHA256 == "" || a.SHA256 == p.sha256())
}

func (p *part) sha256() string { return hex.EncodeToString(p.sum.Sum(nil)) }

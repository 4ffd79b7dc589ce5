package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// attachmentJSON answers for one uploaded file (contract, sessions §2).
type attachmentJSON struct {
	AttachmentID string             `json:"attachment_id"`
	ArtifactID   string             `json:"artifact_id"`
	SessionID    artifact.SessionID `json:"session_id"`
	Name         string             `json:"name"`
	MIME         string             `json:"mime"`
	MIMEType     string             `json:"mime_type"`
	Size         int64              `json:"size"`
	SHA256       string             `json:"sha256"`
	Hash         string             `json:"hash"`
	Kind         string             `json:"kind"`
	Source       string             `json:"source"`
	CreatedAt    float64            `json:"created_at"`
	Sequence     artifact.Seq       `json:"sequence"`
	Scan         string             `json:"scan,omitempty"`
	Attachments  []attachmentJSON   `json:"attachments,omitempty"` // all of them, where there are several
}

func showAttachment(v *artifact.Version) attachmentJSON {
	return attachmentJSON{
		AttachmentID: v.Attachment, ArtifactID: v.ID(), SessionID: v.Session, Name: v.Name, MIME: v.MIME, MIMEType: v.MIME,
		Size: v.Size, SHA256: v.SHA256, Hash: v.Hash(), Kind: v.Kind(), Source: v.Source,
		CreatedAt: artifact.UnixSeconds(v.At), Sequence: v.Seq, Scan: v.Scan,
	}
}

// source is the body of an upload. It extends the read deadline while data
// comes, counts, and remembers why reading failed, which tells the client's
// faults from the server's.
type source struct {
	r     io.Reader
	rc    *http.ResponseController
	idle  time.Duration
	until time.Time
	next  time.Time // when the deadline is due to be moved
	err   error
}

// body returns the body of an upload under the limits of its duration.
func (s *Server) body(w http.ResponseWriter, r *http.Request) *source {
	return &source{r: r.Body, rc: http.NewResponseController(w), idle: s.UploadIdle, until: time.Now().Add(s.UploadTimeout)}
}

func (b *source) Read(p []byte) (int, error) {
	if now := time.Now(); now.After(b.next) {
		deadline := now.Add(b.idle)
		if deadline.After(b.until) {
			deadline = b.until
		}
		_ = b.rc.SetReadDeadline(deadline) // a connection without deadlines has no idle limit
		b.next = now.Add(b.idle / 8)
	}
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// fault returns what an upload failed of: an error of reading the body where
// there was one, else err.
func (b *source) fault(err error) error {
	if b.err == nil {
		if err == nil || artifact.KindOf(err) != artifact.Internal || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, multipart.ErrMessageTooLarge) {
			return err
		}
		return artifact.Wrap(artifact.Invalid, err, "The upload is incomplete")
	}
	switch {
	case errors.Is(b.err, os.ErrDeadlineExceeded) && time.Now().Before(b.until):
		return artifact.Wrap(artifact.TimedOut, b.err, "The upload sent nothing for too long")
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return artifact.Wrap(artifact.TimedOut, b.err, "The upload took too long")
	}
	return artifact.Wrap(artifact.Invalid, b.err, "The upload is incomplete")
}

// refuse returns what an upload that came to nothing is answered with. The
// connection ends with the answer, whatever the client still sends.
func (b *source) refuse(w http.ResponseWriter, err error) error {
	if b.err == nil {
		w.Header().Set("Connection", "close")
	}
	return b.fault(err)
}

// maxParts bounds what is skipped in a form.
const maxParts = 10_000

// uploadForm stores every "file" of a multipart form, or none of them.
func (s *Server) uploadForm(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	digests, err := parseDigests(r.Header)
	if err != nil {
		return nil, err
	}
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return nil, artifact.Errorf(artifact.Invalid, "Missing boundary in multipart")
	}
	up, err := s.depot.NewUpload(r.Context(), s.tenant(r), id)
	if err != nil {
		return nil, err
	}
	defer up.Discard()
	body := s.body(w, r)
	raw := digests.reader(body)
	n, err := s.receiveParts(r.Context(), multipart.NewReader(whole(raw), params["boundary"]), up)
	if err == nil {
		_, err = io.Copy(io.Discard, raw) // what follows the form belongs to the body
	}
	if err == nil {
		err = digests.check()
	}
	if err != nil {
		return nil, body.refuse(w, err)
	}
	if n == 0 {
		return nil, malformed(missing("body", "file"))
	}
	return s.commit(r.Context(), up)
}

// whole returns a form for multipart.Reader, to which the end of the input in
// the header of a part is like the closing boundary. Here the form is cut off
// unless the closing boundary came, with or without a line end.
func whole(form io.Reader) io.Reader {
	return io.MultiReader(form, strings.NewReader("\r\n"), cutOff{})
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// receiveParts takes in the files of a form and returns how many there were.
func (s *Server) receiveParts(ctx context.Context, form *multipart.Reader, up *depot.Upload) (files int, err error) {
	for range maxParts {
		part, err := form.NextRawPart()
		if err == io.EOF { // the closing boundary; a form that is cut off wraps it
			return files, nil
		}
		if err != nil {
			return 0, badForm(err)
		}
		if part.FormName() != "file" {
			continue // the reader skips it
		}
		if err := s.receivePart(ctx, part, up); err != nil {
			return 0, err
		}
		files++
	}
	return 0, artifact.Errorf(artifact.Invalid, "A form holds at most %d parts", maxParts)
}

// badForm tells a form that was cut off, or is none, from an I/O error, which
// the source knows of.
func badForm(err error) error {
	return artifact.Wrap(artifact.Invalid, err, "There was an error parsing the body")
}

func (s *Server) receivePart(ctx context.Context, part *multipart.Part, up *depot.Upload) error {
	_, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name, isFile := params["filename"]
	if !isFile {
		return malformed(fault{Type: "value_error", Loc: []string{"body", "file"}, Msg: "Value error, Expected UploadFile, received: <class 'str'>"})
	}
	own, err := parseDigests(part.Header)
	if err != nil {
		return err
	}
	v, err := up.Add(ctx, name, part.Header.Get("Content-Type"), own.reader(part))
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return badForm(err)
		}
		return err
	}
	if n := part.Header.Get("Content-Length"); n != "" && n != strconv.FormatInt(v.Size, 10) {
		return artifact.Errorf(artifact.Invalid, "Content-Length of the part is %.20q, its content has %d bytes", n, v.Size)
	}
	return own.check()
}

// uploadRaw stores the body as one file, as "curl -T" sends it.
func (s *Server) uploadRaw(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	own, err := parseDigests(r.Header)
	if err != nil {
		return nil, err
	}
	up, err := s.depot.NewUpload(r.Context(), s.tenant(r), id)
	if err != nil {
		return nil, err
	}
	defer up.Discard()
	body := s.body(w, r)
	v, err := up.Add(r.Context(), r.PathValue("name"), r.Header.Get("Content-Type"), own.reader(body))
	if err == nil && r.ContentLength >= 0 && v.Size != r.ContentLength {
		err = fmt.Errorf("%d of %d bytes: %w", v.Size, r.ContentLength, io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = own.check()
	}
	if err != nil {
		return nil, body.refuse(w, err)
	}
	return s.commit(r.Context(), up)
}

// commit acknowledges an upload. A client that has left by now does not stop it,
// one that is let in no longer does.
func (s *Server) commit(ctx context.Context, up *depot.Upload) (any, error) {
	if err := artifact.ShutOut(ctx); err != nil {
		return nil, err
	}
	list, err := up.Commit(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	var size int64
	all := make([]attachmentJSON, len(list))
	for i := range list {
		all[i] = showAttachment(&list[i])
		size += list[i].Size
	}
	s.Hooks.Uploaded(len(all), size)
	answer := all[0]
	if len(all) > 1 {
		answer.Attachments = all
	}
	return answer, nil
}

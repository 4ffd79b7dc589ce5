package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// Bounds of a save (contract, artifacts §5): a body of JSON may spell each byte
// of the content in six.
const (
	maxSaveBody = 6*depot.MaxText + 64<<10
	maxEdits    = 100
)

// savedJSON answers a save (contract, artifacts §5). What follows the storage
// path is given to requests that use an extension only.
type savedJSON struct {
	Success     bool   `json:"success"`
	Message     string `json:"message"`
	Path        string `json:"path"`
	ArtifactID  string `json:"artifact_id"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
	StoragePath string `json:"storage_path"`
	Version     int64  `json:"version,omitempty"`
	ETag        string `json:"etag,omitempty"`
}

func showSaved(v *artifact.Version, extended bool) savedJSON {
	s := savedJSON{Success: true, Message: "Artifact saved successfully", Path: v.Path, ArtifactID: v.Attachment,
		ContentType: v.MIME, Size: v.Size, StoragePath: "artifacts" + v.Path}
	if extended {
		s.Version, s.ETag = v.Number, v.ETag()
	}
	return s
}

// saveArtifact saves a text at a path.
func (s *Server) saveArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, release, err := s.readLargeObject(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	path, content := o.text("path"), o.text("content")
	ask := depot.Save{Tenant: s.tenant(r), Declared: o.optionalContentType(), Replace: o.truth("overwrite", false), Limit: depot.MaxText}
	ask.Metadata = o.metadata()
	if err := o.err(); err != nil {
		return nil, err
	}
	if ask.Path, err = artifact.ParsePath(path); err != nil {
		return nil, err
	}
	if int64(len(content)) > depot.MaxText {
		return nil, contentTooLong(int64(len(content)))
	}
	if err := conditions(r, &ask); err != nil {
		return nil, err
	}
	v, _, err := s.depot.SaveFile(r.Context(), ask, strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	w.Header().Set("ETag", v.ETag())
	return showSaved(&v, o.has("overwrite") || o.has("metadata") || len(ask.If.Match)+len(ask.If.NoneMatch) > 0), nil
}

func contentTooLong(n int64) error {
	e := artifact.Errorf(artifact.TooLarge, "Content is larger than %d bytes", depot.MaxText)
	e.Code, e.Field = "VAL_FIELD_TOO_LONG", "content"
	e.Facts = map[string]any{"field": "content", "max_length": depot.MaxText, "actual_length": n}
	return e
}

// optionalContentType returns what a client says the content is. It may say
// anything: what is none is ignored (contract, artifacts §11.3).
func (o *object) optionalContentType() string {
	if v := o.fields["content_type"]; v.is('"') {
		return v.decode()
	}
	return ""
}

// metadata returns the object of that name, or nil.
func (o *object) metadata() map[string]any {
	raw := o.raw("metadata")
	if raw == nil {
		return nil
	}
	if raw[0] != '{' || len(raw) > depot.MaxMetadata {
		o.refuse("metadata", "dict_type", "Input should be an object of at most 16 KiB")
		return nil
	}
	if err := o.fields["metadata"].once(); err != nil {
		o.refuse("metadata", "json_duplicate", err.Error())
		return nil
	}
	m := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // keeps every digit
	if err := d.Decode(&m); err != nil {
		o.refuse("metadata", "dict_type", "Input should be an object")
	}
	return m
}

// conditions reads what a request asks of the artifact that stands (RFC 9110
// §13.1), and its Idempotency-Key. If-Match asks for a replacement.
func conditions(r *http.Request, ask *depot.Save) error {
	var err error
	if ask.If, err = precondition(r); err != nil {
		return err
	}
	ask.Replace = ask.Replace || len(ask.If.Match) > 0
	ask.Replay, err = idempotencyKey(r)
	return err
}

func idempotencyKey(r *http.Request) (string, error) {
	name := r.Header.Get("Idempotency-Key")
	if len(name) > 255 || strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		return "", badHeader("Idempotency-Key", "Idempotency-Key has at most 255 printable characters of ASCII")
	}
	return name, nil
}

func precondition(r *http.Request) (c depot.Precondition, err error) {
	if c.Match, err = entityTags(r, "If-Match"); err == nil {
		c.NoneMatch, err = entityTags(r, "If-None-Match")
	}
	return c, err
}

// maxTags bounds the tags of one header.
const maxTags = 64

// entityTags reads a list of entity tags, or "*". A weak one matches nothing
// here and is left out; of a list of those alone something has to remain.
func entityTags(r *http.Request, name string) ([]string, error) {
	text := strings.Join(r.Header.Values(name), ",")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var tags []string
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		opaque, quoted := strings.CutPrefix(item, `"`)
		opaque, closed := strings.CutSuffix(opaque, `"`)
		switch {
		case item == "*":
			tags = append(tags, item)
		case quoted && closed && !strings.Contains(opaque, `"`):
			tags = append(tags, opaque)
		case strings.HasPrefix(item, `W/"`):
			tags = append(tags, item) // equal to no hash
		case item != "":
			return nil, badHeader(name, name+` is a list of entity tags in quotes, or "*"`)
		}
	}
	if len(tags) > maxTags {
		return nil, badHeader(name, name+" holds too many entity tags")
	}
	return tags, nil
}

func badHeader(name, msg string) error {
	e := artifact.Errorf(artifact.Invalid, "%s", msg)
	e.Field = "header." + strings.ToLower(name)
	return e
}

// pathParam reads the path that a request speaks of. One that is given twice is
// refused: a client that means two must not be answered about one (contract,
// artifacts §2).
func pathParam(r *http.Request) (artifact.Path, *query, error) {
	q := parseQuery(r)
	text := q.required("path")
	if err := q.err(); err != nil {
		return "", nil, err
	}
	path, err := artifact.ParsePath(text)
	return path, q, err
}

// versionParam reads which version is meant; 0 is the one that stands.
func versionParam(q *query) int64 { return q.integer("version", 0, atLeast(1)) }

// noFile says of which path an artifact is not there.
func noFile(err error, path artifact.Path) error {
	if !errors.Is(err, depot.ErrNoFile) {
		return err
	}
	e := artifact.Errorf(artifact.NotFound, "%s", depot.ErrNoFile.Msg)
	e.Facts = map[string]any{"resource_type": "Artifact", "resource_id": string(path)}
	return e
}

// getArtifact answers with the text at a path (contract, artifacts §6). It is
// never held whole: whoever does not read would hold it with us.
func (s *Server) getArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	path, q, err := pathParam(r)
	if err != nil {
		return nil, err
	}
	version := versionParam(q)
	if err := q.err(); err != nil {
		return nil, err
	}
	v, err := s.depot.File(r.Context(), s.tenant(r), path, version)
	if err != nil {
		return nil, noFile(err, path)
	}
	text, err := s.depot.OpenText(r.Context(), &v)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	w.Header().Set("ETag", v.ETag())
	return nil, s.dialect.streamData(w, func(out *jsonStream) error {
		out.raw(`{"success":true,"content":`)
		if err := out.text(text); err != nil {
			return err
		}
		out.raw(`,"path":`)
		out.value(v.Path)
		out.raw(`,"content_type":`)
		out.value(v.MIME)
		out.raw(`,"size":`)
		out.value(v.Size)
		out.raw("}")
		return nil
	})
}

// deleteArtifact deletes the artifact at a path with its versions.
func (s *Server) deleteArtifact(_ http.ResponseWriter, r *http.Request) (any, error) {
	path, _, err := pathParam(r)
	if err != nil {
		return nil, err
	}
	c, err := precondition(r)
	if err != nil {
		return nil, err
	}
	if err := s.depot.DeleteFile(r.Context(), s.tenant(r), path, c); err != nil {
		return nil, noFile(err, path)
	}
	return map[string]string{"message": "Artifact deleted: " + string(path)}, nil
}

// patchArtifact edits the text at a path.
func (s *Server) patchArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, release, err := s.readLargeObject(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	p := depot.Patch{Tenant: s.tenant(r), Append: o.optionalText("append", ""), Metadata: o.metadata()}
	for _, e := range o.objects("edits", maxEdits) {
		edit := depot.Edit{Old: e.text("old"), New: e.text("new")}
		if edit.Old == "" {
			e.refuse("old", "string_too_short", "String should have at least 1 character")
		}
		p.Edits = append(p.Edits, edit)
	}
	if !o.has("edits") && !o.has("append") && !o.has("metadata") {
		o.refuse("edits", "missing", "Field required")
	}
	if err := o.err(); err != nil {
		return nil, err
	}
	if p.Path, _, err = pathParam(r); err != nil {
		return nil, err
	}
	if p.If, err = precondition(r); err != nil {
		return nil, err
	}
	if p.Replay, err = idempotencyKey(r); err != nil {
		return nil, err
	}
	v, err := s.depot.PatchFile(r.Context(), p)
	if err != nil {
		return nil, noFile(err, p.Path)
	}
	w.Header().Set("ETag", v.ETag())
	return showSaved(&v, true), nil
}

package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// artifact answers for one version: what it is, or its bytes (contract,
// sessions §3). Any of its three ids names it.
func (s *Server) artifact(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	mode := q.oneOf("mode", "meta", "meta", "stream")
	download := q.truth("download", false)
	if err := q.err(); err != nil {
		return nil, err
	}
	v, err := s.depot.Version(r.Context(), s.tenant(r), id, r.PathValue("artifact_id"))
	if err != nil {
		return nil, err
	}
	if mode == "stream" {
		return nil, s.stream(w, r, &v, download)
	}
	return nil, s.meta(w, r, &v)
}

// metaJSON is the wire form of a version by itself. DataURI follows it, because
// it is streamed.
type metaJSON struct {
	ArtifactID   string             `json:"artifact_id"` // as asked for, like the reference
	Name         string             `json:"name"`
	MIMEType     string             `json:"mime_type"`
	Size         int64              `json:"size"`
	SHA256       string             `json:"sha256"`
	LocalPath    string             `json:"local_path"`
	Extra        map[string]any     `json:"extra"`
	VersionID    string             `json:"version_id"` // always the art_… id of exactly these bytes
	EventID      string             `json:"event_id"`
	AttachmentID string             `json:"attachment_id"`
	SessionID    artifact.SessionID `json:"session_id"`
	FileName     string             `json:"file_name"`
	MIME         string             `json:"mime"`
	Hash         string             `json:"hash"`
	Path         string             `json:"path"`
	Workspace    string             `json:"workspace_path"`
	Kind         string             `json:"kind"`
	Source       string             `json:"source"`
	Storage      string             `json:"storage"`
	NodeID       string             `json:"node_id"`
	Sequence     artifact.Seq       `json:"sequence"`
	CreatedAt    float64            `json:"created_at"`
	Timestamp    int64              `json:"timestamp"`
	ChangeType   artifact.Change    `json:"change_type"`
	DownloadURL  string             `json:"download_url"`
	StreamURL    string             `json:"stream_url"`
}

func (s *Server) meta(w http.ResponseWriter, r *http.Request, v *artifact.Version) error {
	base := "/api/sessions/" + string(v.Session) + "/artifacts/" + v.ID() + "?mode=stream"
	m := metaJSON{
		ArtifactID: r.PathValue("artifact_id"), Name: v.Name, MIMEType: v.MIME, Size: v.Size, SHA256: v.SHA256,
		LocalPath: v.LocalPath(), Extra: v.ManifestExtra(), VersionID: v.ID(), EventID: v.EventID, AttachmentID: v.Attachment,
		SessionID: v.Session, FileName: v.Name, MIME: v.MIME, Hash: v.Hash(), Path: artifact.WorkspaceDir + "/" + v.Path,
		Workspace: v.LocalPath(), Kind: v.Kind(), Source: v.Source, Storage: v.Storage(), NodeID: v.Node, Sequence: v.Seq,
		CreatedAt: artifact.UnixSeconds(v.At), Timestamp: v.At.Unix(), ChangeType: v.Change,
		DownloadURL: base + "&download=true", StreamURL: base,
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	text = append(text[:len(text)-1], `,"data_uri":`...)
	switch {
	case v.Key == "":
		writeJSON(w, http.StatusOK, append(text, "null}\n"...))
	case v.Size > s.DataURILimit:
		uri, err := json.Marshal(m.DownloadURL)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, append(append(text, uri...), "}\n"...))
	default:
		return s.metaWithData(w, r, v, text)
	}
	return nil
}

// metaWithData writes text, which ends where the value of data_uri belongs, and
// streams the content after it, so that no answer is held in memory whole.
func (s *Server) metaWithData(w http.ResponseWriter, r *http.Request, v *artifact.Version, text []byte) error {
	content, err := s.depot.OpenContent(r.Context(), v)
	if artifact.KindOf(err) == artifact.NotFound {
		writeJSON(w, http.StatusOK, append(text, "null}\n"...))
		return nil
	}
	if err != nil {
		return err
	}
	defer content.Close()
	mediaType, _ := safeType(v.MIME)
	text = fmt.Appendf(text, `"data:%s;base64,`, mediaType)
	const end = "\"}\n"
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)+base64.StdEncoding.EncodedLen(int(v.Size))+len(end)))
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	enc := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := io.CopyN(enc, content, v.Size); err != nil {
		return fmt.Errorf("inline content: %w", err)
	}
	if err := enc.Close(); err != nil {
		return err
	}
	_, err = io.WriteString(w, end)
	return err
}

// stream writes the bytes of a version with everything that HTTP asks of a
// file: ranges, conditions, HEAD. They are hostile, see content.go.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, v *artifact.Version, download bool) error {
	if err := codeRequest(r); err != nil {
		return err
	}
	content, err := s.depot.OpenContent(r.Context(), v)
	if err != nil {
		return err
	}
	defer content.Close()
	head := make([]byte, min(v.Size, sniffLength))
	if _, err := io.ReadFull(content, head); err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	h := w.Header()
	safeContent(h, v.MIME, v.Name, head, download)
	h.Set("ETag", `"`+v.SHA256+`"`)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Repr-Digest", reprDigest(v.SHA256))
	http.ServeContent(s.dialect.contentWriter(w, r), r, "", v.At, content)
	return nil
}

// listUploads answers with the files that stand now, twice: by id in the form
// of the manifest, and flat. It streams, reading the rows once for each.
func (s *Server) listUploads(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	found, err := s.depot.Session(r.Context(), s.tenant(r), id)
	if artifact.KindOf(err) == artifact.NotFound {
		return nil, artifact.Errorf(artifact.Invalid, "Session not connected")
	}
	if err == nil {
		err = s.depot.Refresh(r.Context(), &found)
	}
	if err != nil {
		return nil, err
	}
	out := newJSONStream(w)
	out.raw(`{"attachments":{`)
	n := 0
	for v, err := range s.depot.Files(r.Context(), &found, found.LastSeq) {
		if err != nil {
			return nil, err
		}
		out.comma(n)
		out.value(v.Attachment)
		out.raw(":")
		out.merged(s.depot.Record(v), flat(v))
		n++
	}
	out.raw(`},"items":[`)
	i := 0
	for v, err := range s.depot.Files(r.Context(), &found, found.LastSeq) {
		if err != nil {
			return nil, err
		}
		out.comma(i)
		out.value(flat(v))
		i++
	}
	out.raw(fmt.Sprintf(`],"count":%d}`+"\n", n))
	return nil, out.flush()
}

// flatJSON is what each record of a list carries besides its nested form.
type flatJSON struct {
	AttachmentID string  `json:"attachment_id"`
	ArtifactID   string  `json:"artifact_id"`
	Name         string  `json:"name"`
	MIME         string  `json:"mime"`
	MIMEType     string  `json:"mime_type"`
	Size         int64   `json:"size"`
	Source       string  `json:"source"`
	Workspace    string  `json:"workspace_path"`
	Storage      string  `json:"storage"`
	SHA256       string  `json:"sha256"`
	Hash         string  `json:"hash"`
	CreatedAt    float64 `json:"created_at"`
}

func flat(v *artifact.Version) flatJSON {
	return flatJSON{
		AttachmentID: v.Attachment, ArtifactID: v.ID(), Name: v.Name, MIME: v.MIME, MIMEType: v.MIME, Size: v.Size,
		Source: v.Source, Workspace: v.Path, Storage: v.Storage(), SHA256: v.SHA256, Hash: v.Hash(), CreatedAt: artifact.UnixSeconds(v.At),
	}
}

// jsonStream writes a JSON document piece by piece; the first error sticks.
type jsonStream struct {
	w   http.ResponseWriter
	buf bytes.Buffer
	err error
}

// newJSONStream sets the headers of a JSON answer of unknown length.
func newJSONStream(w http.ResponseWriter) *jsonStream {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return &jsonStream{w: w}
}

func (j *jsonStream) raw(text string) {
	j.buf.WriteString(text)
	j.spill(32 << 10)
}

func (j *jsonStream) comma(n int) {
	if n > 0 {
		j.buf.WriteByte(',')
	}
}

func (j *jsonStream) value(v any) {
	b, err := json.Marshal(v)
	if err != nil && j.err == nil {
		j.err = err
	}
	j.buf.Write(b)
	j.spill(32 << 10)
}

// merged writes one object with the members of two; those of b come last.
func (j *jsonStream) merged(a, b any) {
	x, err := json.Marshal(a)
	if err != nil && j.err == nil {
		j.err = err
	}
	y, err := json.Marshal(b)
	if err != nil && j.err == nil {
		j.err = err
	}
	if j.err == nil {
		var all map[string]json.RawMessage
		if j.err = json.Unmarshal(x, &all); j.err == nil {
			j.err = json.Unmarshal(y, &all)
		}
		j.value(all)
	}
}

func (j *jsonStream) spill(limit int) {
	if j.err == nil && j.buf.Len() > limit {
		_, j.err = j.w.Write(j.buf.Bytes())
		j.buf.Reset()
	}
}

// flush writes what is left and returns the first error.
func (j *jsonStream) flush() error {
	j.spill(0)
	return j.err
}

// download answers with the session as a zip, or with a selection of it.
func (s *Server) download(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	at := q.integer("at", 0, atLeast(1))
	ids := q.list("ids")
	if err := q.err(); err != nil {
		return nil, err
	}
	found, err := s.depot.Session(r.Context(), s.tenant(r), id)
	if artifact.KindOf(err) == artifact.NotFound {
		return nil, artifact.Errorf(artifact.NotFound, "Session directory not found")
	}
	if err != nil {
		return nil, err
	}
	zip, err := s.depot.PrepareZip(r.Context(), &found, depot.ZipOptions{IDs: ids, At: artifact.Seq(at)})
	if err != nil {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", "attachment; filename="+zip.Name())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	if r.Method == http.MethodHead {
		return nil, nil
	}
	return nil, zip.Stream(r.Context(), w)
}

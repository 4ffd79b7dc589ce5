package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

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
	download := q.truth("download")
	if err := q.err(); err != nil {
		return nil, err
	}
	v, err := s.depot.Version(r.Context(), s.tenant(r), id, versionName(r.PathValue("artifact_id")))
	if err != nil {
		return nil, err
	}
	if mode == "stream" {
		return nil, s.stream(w, r, &v, download)
	}
	return nil, s.meta(w, r, &v)
}

// versionName returns an id as a client gave it, of a version and of whatever
// else has one, or "" for what no database has and one does not even take.
func versionName(id string) string {
	if len(id) > 128 || !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
		return ""
	}
	return id
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
	Scan         string             `json:"scan,omitempty"`
}

func (s *Server) meta(w http.ResponseWriter, r *http.Request, v *artifact.Version) error {
	base := "/api/sessions/" + string(v.Session) + "/artifacts/" + v.ID() + "?mode=stream"
	m := metaJSON{
		ArtifactID: r.PathValue("artifact_id"), Name: v.Name, MIMEType: v.MIME, Size: v.Size, SHA256: v.SHA256,
		LocalPath: v.LocalPath(), Extra: v.ManifestExtra(), VersionID: v.ID(), EventID: v.EventID, AttachmentID: v.Attachment,
		SessionID: v.Session, FileName: v.Name, MIME: v.MIME, Hash: v.Hash(), Path: artifact.WorkspaceDir + "/" + v.Path,
		Workspace: v.LocalPath(), Kind: v.Kind(), Source: v.Source, Storage: v.Storage(), NodeID: v.Node, Sequence: v.Seq,
		CreatedAt: artifact.UnixSeconds(v.At), Timestamp: v.At.Unix(), ChangeType: v.Change,
		DownloadURL: base + "&download=true", StreamURL: base, Scan: v.Scan,
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	text = append(text[:len(text)-1], `,"data_uri":`...)
	switch {
	case v.Key == "", depot.Withheld(s.depot.MayRead(r.Context(), v)) != "":
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
	if artifact.KindOf(err) == artifact.NotFound || depot.Withheld(err) != "" {
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
	if h.Set("ETag", `"`+v.SHA256+`"`); v.Source == artifact.SourceLibrary {
		h.Set("ETag", v.ETag())
	}
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Repr-Digest", reprDigest(v.SHA256))
	http.ServeContent(s.dialect.contentWriter(w, r), r, "", v.At, content)
	return nil
}

package api

import (
	"fmt"
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// listUploads answers with the files that stand now, twice: by id in the form
// of the manifest, and flat. It streams, reading the rows once for each.
func (s *Server) listUploads(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	found, err := s.depot.Connected(r.Context(), s.tenant(r), id)
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
		out.value(listedJSON{s.depot.Record(v), name(v)})
		n++
	}
	out.raw(`},"items":[`)
	i := 0
	for v, err := range s.depot.Files(r.Context(), &found, found.LastSeq) {
		if err != nil {
			return nil, err
		}
		out.comma(i)
		out.value(flatJSON{name(v), v.Source, v.Path, v.Storage(), artifact.UnixSeconds(v.At)})
		i++
	}
	out.raw(fmt.Sprintf(`],"count":%d}`+"\n", n))
	return nil, out.flush()
}

// nameJSON is what a record of the manifest says below "ref" only.
type nameJSON struct {
	AttachmentID string `json:"attachment_id"`
	ArtifactID   string `json:"artifact_id"`
	Name         string `json:"name"`
	MIME         string `json:"mime"`
	MIMEType     string `json:"mime_type"`
	Size         int64  `json:"size"`
	SHA256       string `json:"sha256"`
	Hash         string `json:"hash"`
}

func name(v *artifact.Version) nameJSON {
	return nameJSON{v.Attachment, v.ID(), v.Name, v.MIME, v.MIME, v.Size, v.SHA256, v.Hash()}
}

// listedJSON is a record of the manifest with the flat names beside it.
type listedJSON struct {
	depot.ManifestRecord
	nameJSON
}

// flatJSON is a record without nesting.
type flatJSON struct {
	nameJSON
	Source    string  `json:"source"`
	Workspace string  `json:"workspace_path"`
	Storage   string  `json:"storage"`
	CreatedAt float64 `json:"created_at"`
}

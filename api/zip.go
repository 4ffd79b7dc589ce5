package api

import (
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// download answers with the session as a zip, or with a selection of it.
func (s *Server) download(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	at := q.integer("at", 0, atLeast(1))
	ids := q.items("ids")
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
	zip, err := s.depot.PrepareZip(r.Context(), &found, depot.ZipOptions{
		IDs: ids, At: artifact.Seq(at), Standing: artifact.CallerOf(r.Context()).Kind == artifact.CallerShare,
	})
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

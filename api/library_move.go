package api

import (
	"errors"
	"maps"
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// path reads a field that holds a path. It comes last: faults of the others go
// before a path that is none (contract, artifacts §2).
func (o *object) path(name string) (artifact.Path, error) {
	text := o.text(name)
	if err := o.err(); err != nil {
		return "", err
	}
	path, err := artifact.ParsePath(text)
	if e, ok := errors.AsType[*artifact.Error](err); ok {
		named := *e
		named.Field = name
		named.Facts = maps.Clone(e.Facts)
		named.Facts["field"] = name
		err = &named
	}
	return path, err
}

// fromTo reads the two paths of a request.
func (o *object) fromTo() (from, to artifact.Path, err error) {
	o.text("to") // that it is missing is told with what is wrong with the rest
	if from, err = o.path("from"); err == nil {
		to, err = o.path("to")
	}
	return from, to, err
}

// saved answers with the version that a request made.
func saved(w http.ResponseWriter, v *artifact.Version, message string) (any, error) {
	w.Header().Set("ETag", v.ETag())
	s := showSaved(v, true)
	s.Message = message
	return s, nil
}

// moveArtifact gives an artifact another path.
func (s *Server) moveArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	from, to, err := o.fromTo()
	if err != nil {
		return nil, err
	}
	c, err := precondition(r)
	if err != nil {
		return nil, err
	}
	v, err := s.depot.MoveFile(r.Context(), s.tenant(r), from, to, c)
	if err != nil {
		return nil, noFile(err, from)
	}
	return saved(w, &v, "Artifact moved successfully")
}

// copyArtifact saves the content of an artifact at another path.
func (s *Server) copyArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	ask := depot.Save{Tenant: s.tenant(r), Replace: o.truth("overwrite", false)}
	version := o.integer("version", 0, atLeast(1))
	from, to, err := o.fromTo()
	if err != nil {
		return nil, err
	}
	ask.Path = to
	v, err := s.depot.CopyFile(r.Context(), from, version, ask)
	if err != nil {
		return nil, noFile(err, from)
	}
	return saved(w, &v, "Artifact copied successfully")
}

// restoreArtifact makes an earlier version the newest.
func (s *Server) restoreArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	version := o.integer("version", 0, atLeast(1))
	if !o.has("version") {
		o.refuse("version", "missing", "Field required")
	}
	path, err := o.path("path")
	if err != nil {
		return nil, err
	}
	c, err := precondition(r)
	if err != nil {
		return nil, err
	}
	v, err := s.depot.RestoreFile(r.Context(), s.tenant(r), path, version, c)
	if err != nil {
		return nil, noFile(err, path)
	}
	return saved(w, &v, "Artifact restored successfully")
}

// promoteArtifact saves a file of a session in the library.
func (s *Server) promoteArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	session, id := o.text("session_id"), o.text("artifact_id")
	ask := depot.Save{Tenant: s.tenant(r), Replace: o.truth("overwrite", false)}
	if ask.Path, err = o.path("path"); err != nil {
		return nil, err
	}
	name, err := artifact.ParseSessionID(session)
	if err != nil {
		return nil, err
	}
	if ask.If, err = precondition(r); err != nil {
		return nil, err
	}
	ask.Replace = ask.Replace || len(ask.If.Match) > 0
	v, err := s.depot.Promote(r.Context(), name, versionName(id), ask)
	if err != nil {
		return nil, err
	}
	return saved(w, &v, "Artifact promoted successfully")
}

// checkoutArtifact puts an artifact into a session.
func (s *Server) checkoutArtifact(_ http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	session, version := o.text("session_id"), o.integer("version", 0, atLeast(1))
	path, err := o.path("path")
	if err != nil {
		return nil, err
	}
	name, err := artifact.ParseSessionID(session)
	if err != nil {
		return nil, err
	}
	v, err := s.depot.Checkout(r.Context(), s.tenant(r), path, version, name)
	if err != nil {
		return nil, noFile(err, path)
	}
	return map[string]any{"success": true, "path": path, "session_id": name, "attachment": showAttachment(&v)}, nil
}

package api

import (
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// place reads the field of an object that holds a path, once the object as a
// whole is known to be well-formed.
func (o *object) place(name string) (artifact.Path, error) {
	path, err := artifact.ParsePath(o.text(name))
	if err != nil {
		e := *err.(*artifact.Error) //nolint:errorlint // ParsePath has no other
		e.Field = name
		e.Facts["field"] = name
		return "", &e
	}
	return path, nil
}

// fromTo reads the two paths of a request.
func (o *object) fromTo() (from, to artifact.Path, err error) {
	o.text("from")
	o.text("to")
	if err = o.err(); err == nil {
		from, err = o.place("from")
	}
	if err == nil {
		to, err = o.place("to")
	}
	return from, to, err
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
	w.Header().Set("ETag", v.ETag())
	saved := showSaved(&v, true)
	saved.Message = "Artifact moved successfully"
	return saved, nil
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
	w.Header().Set("ETag", v.ETag())
	return showSaved(&v, true), nil
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
	o.text("path")
	if err := o.err(); err != nil {
		return nil, err
	}
	path, err := o.place("path")
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
	w.Header().Set("ETag", v.ETag())
	return showSaved(&v, true), nil
}

// promoteArtifact saves a file of a session in the library.
func (s *Server) promoteArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	session, id := o.text("session_id"), o.text("artifact_id")
	ask := depot.Save{Tenant: s.tenant(r), Replace: o.truth("overwrite", false)}
	o.text("path")
	if err := o.err(); err != nil {
		return nil, err
	}
	if ask.Path, err = o.place("path"); err != nil {
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
	w.Header().Set("ETag", v.ETag())
	return showSaved(&v, true), nil
}

// checkoutArtifact puts an artifact into a session.
func (s *Server) checkoutArtifact(_ http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	session, version := o.text("session_id"), o.integer("version", 0, atLeast(1))
	o.text("path")
	if err := o.err(); err != nil {
		return nil, err
	}
	path, err := o.place("path")
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

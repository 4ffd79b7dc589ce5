package api

import (
	"fmt"
	"io"
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// rawPath returns the path that follows /raw. It was decoded once; what names
// something else after that was refused before.
func rawPath(r *http.Request) (artifact.Path, error) {
	return artifact.ParsePath("/" + r.PathValue("path"))
}

// getRaw answers with the bytes of an artifact, which are hostile.
func (s *Server) getRaw(w http.ResponseWriter, r *http.Request) (any, error) {
	path, err := rawPath(r)
	if err != nil {
		return nil, err
	}
	q := parseQuery(r)
	version, download := versionParam(q), q.truth("download")
	if err := q.err(); err != nil {
		return nil, err
	}
	v, err := s.depot.File(r.Context(), s.tenant(r), path, version)
	if err != nil {
		return nil, noFile(err, path)
	}
	v.Name = path.Name()
	w.Header().Set("X-Artifact-Version", fmt.Sprint(v.Number))
	return nil, s.stream(w, r, &v, download)
}

// putRaw saves the body at a path; what stands there gets another version,
// unless a condition forbids that.
func (s *Server) putRaw(w http.ResponseWriter, r *http.Request) (any, error) {
	path, err := rawPath(r)
	if err != nil {
		return nil, err
	}
	ask := depot.Save{Tenant: s.tenant(r), Path: path, Declared: r.Header.Get("Content-Type"), Replace: true, Limit: s.depot.MaxUpload()}
	if err := conditions(r, &ask); err != nil {
		return nil, err
	}
	own, err := parseDigests(r.Header)
	if err != nil {
		return nil, err
	}
	body := s.body(w, r)
	v, _, err := s.depot.SaveFile(r.Context(), ask, &checked{r: own.reader(body), digests: own, want: r.ContentLength})
	if err != nil {
		return nil, body.refuse(w, err)
	}
	w.Header().Set("ETag", v.ETag())
	s.Hooks.Uploaded(1, v.Size)
	if v.Change == artifact.Created {
		w.Header().Set("Location", r.URL.EscapedPath())
		return created(showSaved(&v, true)), nil
	}
	return showSaved(&v, true), nil
}

// checked gives a body and fails at its end where it is not what was announced,
// so that nothing false is ever stored.
type checked struct {
	r       io.Reader
	digests *digests
	want    int64 // bytes; -1 is any
	n       int64
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != io.EOF {
		return n, err
	}
	if c.want >= 0 && c.n != c.want {
		return n, fmt.Errorf("%d of %d bytes: %w", c.n, c.want, io.ErrUnexpectedEOF)
	}
	if bad := c.digests.check(); bad != nil {
		return n, bad
	}
	return n, io.EOF
}

// exportLibrary answers with the artifacts below a folder as a zip.
func (s *Server) exportLibrary(w http.ResponseWriter, r *http.Request) (any, error) {
	dir, _, err := prefixParam(r)
	if err != nil {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", "attachment; filename=library.zip")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	if r.Method == http.MethodHead {
		return nil, nil
	}
	return nil, s.depot.Export(r.Context(), s.tenant(r), dir, w)
}

// prefixParam reads the folder that a request speaks of.
func prefixParam(r *http.Request) (artifact.Path, *query, error) {
	q := parseQuery(r)
	text, _ := q.single("prefix")
	if err := q.err(); err != nil {
		return "", nil, err
	}
	dir, err := artifact.ParsePrefix(text)
	return dir, q, err
}

// importLibrary saves every file of a zip below a folder.
func (s *Server) importLibrary(w http.ResponseWriter, r *http.Request) (any, error) {
	dir, q, err := prefixParam(r)
	if err != nil {
		return nil, err
	}
	overwrite := q.truth("overwrite")
	if err := q.err(); err != nil {
		return nil, err
	}
	own, err := parseDigests(r.Header)
	if err != nil {
		return nil, err
	}
	body := s.body(w, r)
	done, err := s.depot.Import(r.Context(), s.tenant(r), dir, overwrite, &checked{r: own.reader(body), digests: own, want: r.ContentLength})
	if err != nil {
		return nil, body.refuse(w, err)
	}
	return done, nil
}

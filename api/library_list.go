package api

import (
	"encoding/base64"
	"math"
	"net/http"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// fileJSON is an artifact in a listing (contract, artifacts §7).
type fileJSON struct {
	Name         string `json:"name"`
	Size         int64  `json:"size"`
	ContentType  string `json:"content_type"`
	LastModified string `json:"last_modified"`
}

func showFile(v *artifact.Version) fileJSON {
	return fileJSON{artifact.Path(v.Path).Name(), v.Size, v.MIME, artifact.Stamp(v.At)}
}

// fullJSON is an artifact with everything that extensions tell of it.
type fullJSON struct {
	Path string `json:"path"`
	fileJSON
	ArtifactID string         `json:"artifact_id"`
	Version    int64          `json:"version"`
	ETag       string         `json:"etag"`
	Metadata   map[string]any `json:"metadata"`
	Actor      string         `json:"actor"`
	Scan       string         `json:"scan,omitempty"`
}

func showFull(v *artifact.Version) fullJSON {
	f := fullJSON{v.Path, showFile(v), v.Attachment, v.Number, v.ETag(), v.Extra, v.Node, v.Scan}
	if f.Metadata == nil {
		f.Metadata = map[string]any{}
	}
	return f
}

// maxListed is how many entries a page may hold.
const maxListed = 1000

// listArtifacts lists what lies right below a folder, or with "recursive" what
// lies below it at any depth.
func (s *Server) listArtifacts(w http.ResponseWriter, r *http.Request) (any, error) {
	q := parseQuery(r)
	text, given := q.single("prefix")
	if other, _ := q.single("path_prefix"); !given {
		text = other
	}
	limit, recursive := int(q.integer("limit", 0, atLeast(1), atMost(maxListed))), q.truth("recursive")
	pattern, _ := q.last("name_pattern")
	if err := q.err(); err != nil {
		return nil, err
	}
	dir, err := artifact.ParsePrefix(text)
	if err != nil {
		return nil, err
	}
	matches := func(name string) bool { return true }
	if pattern != "" {
		pattern = lowerASCII(pattern)
		matches = func(name string) bool { return strings.Contains(lowerASCII(name), pattern) }
	}
	if recursive {
		return s.listTree(r, dir, q, limit, matches)
	}
	list, err := s.depot.List(r.Context(), s.tenant(r), dir, limit, matches)
	if err != nil {
		return nil, err
	}
	return nil, s.dialect.streamData(w, func(out *jsonStream) error {
		out.raw(`{"success":true,"path":`)
		out.value(dir)
		out.raw(`,"folders":`)
		out.value(list.Folders)
		out.raw(`,"files":[`)
		for i := range list.Files {
			out.comma(i)
			out.value(showFile(&list.Files[i]))
		}
		out.raw("]")
		if shown := len(list.Folders) + len(list.Files); shown < list.Total {
			out.raw(`,"truncated":true,"total":`)
			out.value(list.Total)
		}
		out.raw("}")
		return nil
	})
}

func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// listTree answers with a page of the artifacts at any depth. Its position is
// where the library's log stood before: what happened since is told from there.
// With much metadata it ends before it has limit artifacts.
func (s *Server) listTree(r *http.Request, dir artifact.Path, q *query, limit int, matches func(string) bool) (any, error) {
	after, err := decodeCursor(q)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = maxListed
	}
	files, weight := make([]fullJSON, 0, limit), 0
	full := func() bool { return len(files) == limit || weight >= depot.PageBytes }
	position := artifact.Seq(-1)
	var next any // on the last page
	for next == nil {
		list, at, err := s.depot.Tree(r.Context(), s.tenant(r), dir, after, limit)
		if err != nil {
			return nil, err
		}
		if position < 0 {
			position = at
		}
		if len(list) == 0 {
			break
		}
		for i := 0; i < len(list) && !full(); i++ {
			after = list[i].Path
			if matches(artifact.Path(after).Name()) {
				files, weight = append(files, showFull(&list[i])), weight+list[i].Stored
			}
		}
		if full() {
			next = base64.RawURLEncoding.EncodeToString([]byte(after))
		}
	}
	return map[string]any{"success": true, "path": dir, "files": files, "next_cursor": next, "position": max(position, 0), "log_id": s.depot.LogID()}, nil
}

// decodeCursor reads the cursor of a listing: the path that the page before
// ended with.
func decodeCursor(q *query) (string, error) {
	text, given := q.last("cursor")
	if !given || text == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		_, err = artifact.ParsePath(string(b))
	}
	if err != nil {
		q.refuse("cursor", "value_error", "The cursor is none of this listing's", nil)
	}
	return string(b), q.err()
}

// listVersions answers with a page of the versions of an artifact, newest first.
// Its cursor is the number of the last version on the page before.
func (s *Server) listVersions(_ http.ResponseWriter, r *http.Request) (any, error) {
	path, q, err := pathParam(r)
	if err != nil {
		return nil, err
	}
	before := q.integer("cursor", math.MaxInt64, atLeast(1))
	limit := int(q.integer("limit", artifact.MaxVersions, atLeast(1), atMost(artifact.MaxVersions)))
	if err := q.err(); err != nil {
		return nil, err
	}
	v, list, err := s.depot.FileVersions(r.Context(), s.tenant(r), path, before, limit)
	if err != nil {
		return nil, noFile(err, path)
	}
	versions, weight := make([]fullJSON, len(list)), 0
	for i := range list {
		versions[i], weight = showFull(&list[i]), weight+list[i].Stored
	}
	var next any // on the last page
	if n := len(list); n > 0 && (n == limit || weight >= depot.PageBytes) && list[n-1].Number > 1 {
		next = list[n-1].Number
	}
	return map[string]any{"success": true, "path": path, "artifact_id": v.Attachment, "versions": versions, "next_cursor": next}, nil
}

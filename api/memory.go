package api

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// maxRecord is how many characters a memory record has (contract, memory §2).
const maxRecord = 10_000

// memoryJSON is the memory record that an artifact has: a view of the artifact,
// under the same id (contract, artifacts §10).
type memoryJSON struct {
	ID              string         `json:"id"`
	Content         string         `json:"content"`
	MemoryType      string         `json:"memory_type"`
	Importance      float64        `json:"importance"`
	Confidence      float64        `json:"confidence"`
	SurpriseScore   float64        `json:"surprise_score"`
	SourceType      string         `json:"source_type"`
	UserID          string         `json:"user_id"`
	AccessCount     int64          `json:"access_count"`
	LastAccessed    *string        `json:"last_accessed"`
	CreatedAt       string         `json:"created_at"`
	UpdatedAt       string         `json:"updated_at"`
	Metadata        map[string]any `json:"metadata"`
	EmbeddingStatus string         `json:"embedding_status"`
	Relationships   []string       `json:"relationships"`
	Tags            []string       `json:"tags"`
}

// memory returns the artifact whose record the path names.
func (s *Server) memory(r *http.Request) (artifact.Version, error) {
	id := strings.ToLower(r.PathValue("memory_id"))
	if !uuidLike(id) {
		e := artifact.Errorf(artifact.Malformed, "memory_id is not a UUID")
		e.Code, e.Field, e.Facts = "VAL_UUID_INVALID", "memory_id", map[string]any{"field": "memory_id"}
		return artifact.Version{}, e
	}
	v, err := s.depot.FileByID(r.Context(), s.tenant(r), id)
	if artifact.KindOf(err) == artifact.NotFound {
		e := artifact.Errorf(artifact.NotFound, "Memory not found")
		e.Facts = map[string]any{"resource_type": "Memory", "resource_id": id}
		return v, e
	}
	return v, err
}

// uuidLike reports whether s has the form of a UUID of any version.
func uuidLike(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// getMemory answers with the record of an artifact.
func (s *Server) getMemory(_ http.ResponseWriter, r *http.Request) (any, error) {
	v, err := s.memory(r)
	if err != nil {
		return nil, err
	}
	text, err := s.depot.TextStart(r.Context(), &v, utf8.UTFMax*maxRecord)
	if k := artifact.KindOf(err); k == artifact.Unsupported || k == artifact.TooLarge || depot.Withheld(err) != "" {
		text, err = "", nil // the record tells of the artifact all the same
	}
	if err != nil {
		return nil, err
	}
	at := artifact.Stamp(v.At)
	return memoryJSON{
		ID: v.Attachment, Content: leading(v.Path+"\n\n"+text, maxRecord), MemoryType: "reference", Importance: .5, Confidence: .8,
		SurpriseScore: .5, SourceType: "artifact", UserID: v.Node, CreatedAt: at, UpdatedAt: at, EmbeddingStatus: "completed",
		Relationships: []string{}, Tags: []string{}, Metadata: map[string]any{
			"artifact_id": v.Attachment, "path": v.Path, "content_type": v.MIME, "size": v.Size, "system": true,
		},
	}, nil
}

// leading returns at most n characters of text.
func leading(text string, n int) string {
	for i := range text {
		if n--; n < 0 {
			return text[:i]
		}
	}
	return text
}

// protectMemory refuses to change or delete the record of an artifact.
func (s *Server) protectMemory(_ http.ResponseWriter, r *http.Request) (any, error) {
	if _, err := s.memory(r); err != nil {
		return nil, err
	}
	return nil, artifact.Errorf(artifact.Denied, "The record belongs to an artifact: change or delete it by /api/v2/artifacts")
}

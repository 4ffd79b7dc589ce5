package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// sessionJSON is the wire form of a session (extensions §2).
type sessionJSON struct {
	SessionID     artifact.SessionID `json:"session_id"`
	Status        string             `json:"status"`
	CreatedAt     float64            `json:"created_at"`
	UpdatedAt     float64            `json:"updated_at"`
	LastSeq       artifact.Seq       `json:"last_seq"`
	Attachments   int64              `json:"attachments"`
	Artifacts     int64              `json:"artifacts"`
	Bytes         int64              `json:"bytes"`
	Metadata      json.RawMessage    `json:"metadata"`
	CurrentNodeID *string            `json:"current_node_id"`
	Waiting       bool               `json:"waiting_for_input"`
	ErrorMessage  *string            `json:"error_message"`
}

func showSession(s *artifact.Session) sessionJSON {
	return sessionJSON{
		SessionID: s.ID, Status: s.Status, CreatedAt: artifact.UnixSeconds(s.Created), UpdatedAt: artifact.UnixSeconds(s.Updated),
		LastSeq: s.LastSeq, Attachments: s.Attachments, Artifacts: s.Artifacts, Bytes: s.Bytes, Metadata: s.Metadata,
	}
}

func (s *Server) listSessions(w http.ResponseWriter, r *http.Request) (any, error) {
	q := parseQuery(r)
	ask := depot.SessionQuery{
		Tenant: s.tenant(r),
		Limit:  int(q.integer("limit", 50, atLeast(1), atMost(1000))),
		Status: q.oneOf("status", "", artifact.StatusIdle, artifact.StatusRunning, artifact.StatusWaiting,
			artifact.StatusCompleted, artifact.StatusError, artifact.StatusCancelled),
		Text: q.text("q"),
	}
	if q.has("cursor") {
		ask.Before = q.integer("cursor", 0, atLeast(1))
	}
	if err := q.err(); err != nil {
		return nil, err
	}
	if len(ask.Text) > 128 { // longer than any id
		return map[string]any{"sessions": []sessionJSON{}, "next_cursor": nil}, nil
	}
	return nil, s.streamSessions(w, r, ask)
}

// streamSessions writes a page of sessions as they are read, some at a time:
// with their metadata, a page can be large.
func (s *Server) streamSessions(w http.ResponseWriter, r *http.Request, ask depot.SessionQuery) error {
	out := newJSONStream(w)
	out.raw(`{"sessions":[`)
	n, want := 0, ask.Limit
	for n < want {
		ask.Limit = min(want-n, 50)
		list, err := s.depot.Sessions(r.Context(), ask)
		if err != nil {
			return err
		}
		for i := range list {
			out.comma(n)
			out.value(showSession(&list[i]))
			ask.Before = list[i].Key
			n++
		}
		if len(list) < ask.Limit {
			break
		}
	}
	next := "null" // on the last page
	if n == want {
		next = strconv.Quote(strconv.FormatInt(ask.Before, 10))
	}
	out.raw(`],"next_cursor":` + next + "}\n")
	return out.flush()
}

// maxSessionBody bounds a JSON body, and with it a session's metadata, in bytes.
const maxSessionBody = 64 << 10

// decode reads a JSON object into v. Unknown fields, a wrong type and anything
// after the object are faults.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSessionBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("unexpected text after the object")
		}
	}
	if errors.Is(err, io.EOF) {
		return nil // no body at all: every field is optional
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return artifact.Wrap(artifact.TimedOut, err, "The body took too long")
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return malformed(fault{Type: "type_error", Loc: append([]string{"body"}, strings.Split(wrong.Field, ".")...), Msg: "Input should be a valid " + wrong.Type.String()})
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return malformed(fault{Type: "extra_forbidden", Loc: []string{"body", strings.Trim(name, `"`)}, Msg: "Extra inputs are not permitted"})
	}
	return malformed(fault{Type: "json_invalid", Loc: []string{"body"}, Msg: "JSON decode error"})
}

// parseMetadata returns the JSON object as the client wrote it, without white
// space: nothing is lost on the way through Go's types. null is nil. An object
// that whoever decodes it would alter, one with a member given twice or with half
// of a surrogate pair, is a fault.
func parseMetadata(given json.RawMessage) (json.RawMessage, error) {
	if len(given) == 0 || string(given) == "null" {
		return nil, nil
	}
	if given[0] != '{' || !utf8.Valid(given) {
		return nil, malformed(fault{Type: "dict_type", Loc: []string{"body", "metadata"}, Msg: "Input should be a valid dictionary"})
	}
	if bad, ok := errors.AsType[badJSON](jsonValue{text: given}.once()); ok {
		kind := "json_invalid"
		if bad == errTwice {
			kind = "json_duplicate"
		}
		return nil, malformed(fault{Type: kind, Loc: []string{"body", "metadata"}, Msg: bad.Error()})
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, given); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

func (s *Server) createSession(w http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		SessionID *string         `json:"session_id"`
		Metadata  json.RawMessage `json:"metadata"`
	}
	if err := decode(w, r, &body); err != nil {
		return nil, err
	}
	metadata, err := parseMetadata(body.Metadata)
	if err != nil {
		return nil, err
	}
	var id artifact.SessionID
	if body.SessionID != nil {
		if id, err = artifact.ParseSessionID(*body.SessionID); err != nil {
			return nil, err
		}
	}
	made, err := s.depot.CreateSession(r.Context(), s.tenant(r), id, metadata)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Location", "/api/sessions/"+string(made.ID))
	return created(showSession(&made)), nil
}

func (s *Server) showSession(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	found, err := s.depot.Session(r.Context(), s.tenant(r), id)
	if err != nil {
		return nil, err
	}
	return showSession(&found), nil
}

func (s *Server) patchSession(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := decode(w, r, &body); err != nil {
		return nil, err
	}
	metadata, err := parseMetadata(body.Metadata)
	if err != nil {
		return nil, err
	}
	if metadata == nil {
		return nil, malformed(missing("body", "metadata"))
	}
	changed, err := s.depot.SetMetadata(r.Context(), s.tenant(r), id, metadata)
	if err != nil {
		return nil, err
	}
	return showSession(&changed), nil
}

func (s *Server) deleteSession(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	if err := s.depot.DeleteSession(r.Context(), s.tenant(r), id); err != nil {
		return nil, err
	}
	return map[string]any{"session_id": id, "deleted": true}, nil
}

func (s *Server) scan(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	found, err := s.depot.Scan(r.Context(), s.tenant(r), id, "")
	if err != nil {
		return nil, err
	}
	events := make([]*artifact.Version, len(found.Versions))
	for i := range found.Versions {
		events[i] = &found.Versions[i]
	}
	skipped, err := s.depot.NotCaptured(r.Context(), s.tenant(r), id)
	if err != nil {
		return nil, err
	}
	return map[string]any{"events": events, "cursor": found.Cursor, "skipped": skipped}, nil
}

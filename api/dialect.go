package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// dialect turns values and errors into answers. It chooses the statuses, and
// the path's [wording] the words.
type dialect struct {
	log   *slog.Logger
	now   func() time.Time
	stall time.Duration // that one write to a client may take; 0 is any
	body  time.Duration // in which a body that is no upload must arrive; 0 is any
	base  string        // URL of the server, without a slash at the end; may be empty
	rate  int           // requests a minute that a tenant may make; 0 is any

	// remote returns the address that a request comes from. nil takes that of
	// the connection.
	remote func(r *http.Request) string

	overQuota func(quota string) // hears which quota refuses something; may be nil

	// admit says who asks and whether they may use the route. It returns the
	// request that the handler gets. nil admits everybody.
	admit func(rt route, w http.ResponseWriter, r *http.Request) (*http.Request, error)
}

// reply is a value that leaves with another status than 200.
type reply struct {
	status int
	value  any // nil for no body
}

// created is the answer to a request that made something new.
func created(value any) reply { return reply{http.StatusCreated, value} }

// problem is an error of HTTP itself, which no use case can cause.
type problem struct {
	status int
	code   string
	msg    string
}

// Error returns the message for the client.
func (p *problem) Error() string { return p.msg }

var (
	errNoRoute     = &problem{http.StatusNotFound, "RESOURCE_NOT_FOUND", "Not Found"}
	errWrongMethod = &problem{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "Method Not Allowed"}
	errBadRange    = &problem{http.StatusRequestedRangeNotSatisfiable, "RANGE_NOT_SATISFIABLE", "Range Not Satisfiable"}
	errStale       = &problem{http.StatusPreconditionFailed, "PRECONDITION_FAILED", "Precondition Failed"}
)

// problems gives every kind its status and code.
var problems = map[artifact.Kind]problem{
	artifact.Malformed:    {422, "VALIDATION_ERROR", "Request validation failed"},
	artifact.Invalid:      {400, "VALIDATION_ERROR", "Bad Request"},
	artifact.Unauthorized: {401, "UNAUTHORIZED", "Unauthorized"},
	artifact.Denied:       {403, "SECURITY_ERROR", "Forbidden"},
	artifact.NotFound:     {404, "RESOURCE_NOT_FOUND", "Not Found"},
	artifact.TimedOut:     {408, "TIMEOUT_ERROR", "Request Timeout"},
	artifact.Exists:       {409, "RESOURCE_CONFLICT", "Conflict"},
	artifact.Gone:         {410, "GONE", "Gone"},
	artifact.TooLarge:     {413, "PAYLOAD_TOO_LARGE", "Payload Too Large"},
	artifact.Stale:        {412, "PRECONDITION_FAILED", "Precondition Failed"},
	artifact.Limited:      {429, "RATE_LIMIT_EXCEEDED", "Too Many Requests"},
	artifact.Unsupported:  {415, "UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type"},
	artifact.Internal:     {500, "INTERNAL_ERROR", "An internal server error occurred"},
	artifact.Unavailable:  {503, "SERVICE_UNAVAILABLE", "Service Unavailable"},
	artifact.Full:         {507, "INSUFFICIENT_STORAGE", "Insufficient Storage"},
}

// serve answers one request by its route.
func (d *dialect) serve(rt route, w http.ResponseWriter, r *http.Request) {
	rec := recorderOf(w)
	if rec == nil {
		rec = &recorder{ResponseWriter: w}
		w = rec
	}
	rec.route(rt)
	defer rec.leave()
	words := wordingAt(r.URL.Path)
	words.headers(w)
	value, err := d.handle(rt, w, r)
	if err == nil && value == nil {
		return
	}
	if err == nil {
		err = d.render(words, w, value)
	}
	if err != nil {
		d.fail(w, r, err)
	}
}

// handle calls the handler, unless the request is refused before: for who
// asks, then for the type of its body, then for the length of it. Whatever a
// request failed of whose caller is let in no longer, it failed of that.
func (d *dialect) handle(rt route, w http.ResponseWriter, r *http.Request) (any, error) {
	if d.admit != nil {
		admitted, err := d.admit(rt, w, r)
		if err != nil {
			return nil, err
		}
		r = admitted
	}
	if err := rt.takes(r); err != nil {
		return nil, err
	}
	r, err := rt.bounded(w, r)
	if err != nil {
		return nil, err
	}
	value, err := rt.h(w, r)
	if err != nil {
		return nil, whyEnded(r.Context(), err)
	}
	if rec := recorderOf(w); rec.cut != nil {
		return nil, rec.cut
	}
	return value, nil
}

// render writes value as JSON. An error means that nothing was written.
func (d *dialect) render(words wording, w http.ResponseWriter, value any) error {
	status := http.StatusOK
	if r, ok := value.(reply); ok {
		if r.value == nil {
			w.WriteHeader(r.status)
			return nil
		}
		status, value = r.status, r.value
	}
	text, err := encode(words.success(d, w, value))
	if err != nil {
		return err
	}
	writeJSON(w, status, text)
	return nil
}

// encode returns v as a line of JSON, without the escapes that HTML would need.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

func writeJSON(w http.ResponseWriter, status int, text []byte) {
	endsSoon(w)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	w.Write(text) // the client has left; there is nobody to tell
}

// fail answers with err. Once a body has begun nothing may be added to it: the
// connection is broken instead, so that the client sees that it is not whole.
func (d *dialect) fail(w http.ResponseWriter, r *http.Request, err error) {
	rec := recorderOf(w)
	if r.Context().Err() != nil && (artifact.KindOf(err) == artifact.Internal) && !isProblem(err) {
		d.log.DebugContext(r.Context(), "request abandoned", "id", correlationID(r.Context()), "error", err)
		d.breakOff(rec)
		return
	}
	p, e := translate(err)
	words := wordingAt(r.URL.Path)
	words.headers(w)
	var body any
	p.status, body = words.failure(d, w, p, e)
	d.report(r, p, e, err)
	d.countQuota(e)
	if rec != nil && rec.begun() {
		d.breakOff(rec)
		return
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Disposition", "Accept-Ranges", "ETag",
		"Last-Modified", "Repr-Digest", "Content-Digest", "Content-Security-Policy", "Cross-Origin-Resource-Policy"} {
		h.Del(name)
	}
	if p.status != http.StatusRequestedRangeNotSatisfiable { // whose Content-Range tells the size
		h.Del("Content-Range")
	}
	h.Set("Cache-Control", "no-store")
	if p.status == http.StatusServiceUnavailable || p.status == http.StatusTooManyRequests {
		h.Set("Retry-After", retryAfter(e.Facts))
	}
	if p.status == http.StatusRequestTimeout {
		h.Set("Connection", "close")
	}
	if c := d.challenge(p.status, e); c != "" {
		h.Set("WWW-Authenticate", c)
	}
	text, jsonErr := encode(body)
	if jsonErr != nil { // a fact that JSON cannot tell
		_, body = words.failure(d, w, p, &artifact.Error{Kind: e.Kind, Code: e.Code, Msg: e.Msg})
		text, _ = encode(body)
	}
	rest := unreadOf(w, r)
	writeJSON(w, p.status, text)
	rest.linger(w)
}

// breakOff ends the request without an answer. It only returns when the
// connection was hijacked and is no longer ours.
func (d *dialect) breakOff(rec *recorder) {
	if rec != nil && rec.hijacked {
		return
	}
	panic(http.ErrAbortHandler)
}

func isProblem(err error) bool {
	_, ok := errors.AsType[*problem](err)
	return ok
}

// translate returns the problem that a client sees and what may be said of it.
func translate(err error) (problem, *artifact.Error) {
	if p, ok := errors.AsType[*problem](err); ok {
		return *p, &artifact.Error{Msg: p.msg}
	}
	e, ok := errors.AsType[*artifact.Error](err)
	switch tooLarge, large := errors.AsType[*http.MaxBytesError](err); {
	case ok && e.Kind != artifact.Internal:
	case large:
		e = artifact.Errorf(artifact.TooLarge, "Request body is larger than %d bytes", tooLarge.Limit)
		e.Facts = map[string]any{"limit": tooLarge.Limit}
	case errors.Is(err, context.Canceled): // by the server: the client is still there
		e = artifact.Wrap(artifact.Unavailable, err, "The server is shutting down")
	default:
		e = &artifact.Error{Kind: artifact.Internal, Err: err}
	}
	p, known := problems[e.Kind]
	if !known || e.Kind == artifact.Internal {
		p = problems[artifact.Internal]
		return p, &artifact.Error{Kind: artifact.Internal, Msg: p.msg, Err: err}
	}
	if e.Msg == "" {
		e = &artifact.Error{Kind: e.Kind, Code: e.Code, Msg: p.msg, Field: e.Field, Facts: e.Facts, Err: e.Err}
	}
	return p, e
}

// quotaExceeded is the code of a tenant that wants more than it may: other than
// a full disk it asks no operator to act.
const quotaExceeded = "BIZ_QUOTA_EXCEEDED"

// countQuota tells which quota it was, if e is the refusal of one.
func (d *dialect) countQuota(e *artifact.Error) {
	if quota, ok := e.Facts["quota"].(string); ok && e.Code == quotaExceeded && d.overQuota != nil {
		d.overQuota(quota)
	}
}

// report logs what the client is not told.
func (d *dialect) report(r *http.Request, p problem, e *artifact.Error, err error) {
	level := slog.LevelInfo
	switch {
	case isProblem(err), depot.Withheld(err) != "":
		return // nothing but its status
	case p.status == 500, p.status == 507 && e.Code != quotaExceeded:
		level = slog.LevelError
	case p.status == 503:
		level = slog.LevelWarn
	case e.Err == nil || e.Kind == artifact.Malformed:
		return // the access log says enough
	}
	d.log.Log(r.Context(), level, "request failed", "id", correlationID(r.Context()), "method", r.Method,
		"status", p.status, "error", err)
}

func retryAfter(facts map[string]any) string {
	if s, ok := facts["retry_after"].(int); ok && s > 0 {
		return strconv.Itoa(s)
	}
	return "1"
}

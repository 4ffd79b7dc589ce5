package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
)

// bodyTypes are those that bodies of these kinds have.
var bodyTypes = map[bodyKind]string{
	bodyJSON: "application/json", bodyForm: "multipart/form-data", bodyFields: "application/x-www-form-urlencoded",
}

// takes returns an Unsupported error for a body of the wrong media type. Where
// a route reads no body, its type does not matter.
func (rt route) takes(r *http.Request) error {
	want := bodyTypes[rt.body]
	if want == "" {
		return nil
	}
	given := r.Header.Get("Content-Type")
	if rt.body == bodyJSON && given == "" && (r.ContentLength == 0 || !rt.ofSessions()) {
		return nil // what is missing, the handler says
	}
	if got, _, err := mime.ParseMediaType(given); err == nil && got == want {
		return nil
	}
	err := artifact.Errorf(artifact.Unsupported, "Content-Type must be %s for API endpoints", want)
	err.Field = "header.content-type"
	return err
}

// ofSessions reports whether the route belongs to the session half.
func (rt route) ofSessions() bool { return wordingAt(rt.pattern) == sessionWording{} }

// smallBody is how long a body of JSON or of form fields may be where the route
// does not say.
const smallBody = 64 << 10

// bounded returns r with its body cut off behind what the route takes. One that
// announces more is refused before any of it is read.
func (rt route) bounded(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	if rt.body != bodyJSON && rt.body != bodyFields {
		return r, nil
	}
	limit := rt.limit
	if limit == 0 {
		limit = smallBody
	}
	if r.ContentLength > limit {
		return r, &http.MaxBytesError{Limit: limit}
	}
	clone := *r
	clone.Body = http.MaxBytesReader(w, r.Body, limit)
	return &clone, nil
}

// readBody returns all of a body that the route has bounded. What is only
// announced takes no memory.
func readBody(r *http.Request) ([]byte, error) {
	var text bytes.Buffer
	text.Grow(bytes.MinRead + int(min(max(0, r.ContentLength), smallBody)))
	if _, err := text.ReadFrom(r.Body); err != nil {
		return nil, unread(err)
	}
	return text.Bytes(), nil
}

// unread returns what a body that did not come whole is answered with.
func unread(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return artifact.Wrap(artifact.TimedOut, err, "The body took too long")
	}
	return artifact.Wrap(artifact.Invalid, err, "The body is incomplete")
}

// fields are the parameters of a form or a query (RFC 6749, appendix B).
type fields map[string]string

// readFields returns the body of r, of kind bodyFields, or an Invalid error.
func readFields(r *http.Request) (fields, error) {
	text, err := readBody(r)
	if err != nil {
		return nil, err
	}
	return parseFields(string(text))
}

// parseFields reads parameters by the rules of OAuth: none is given twice, and
// one without a value is not given. What it refuses is an Invalid error with
// the code invalid_request.
func parseFields(text string) (fields, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, badFields("The parameters are not form-urlencoded")
	}
	f := make(fields, len(values))
	for name, given := range values {
		switch v := given[0]; {
		case len(given) > 1:
			return nil, badFields("The parameter " + cut(name, 64) + " is given twice")
		case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
			return nil, badFields("The parameter " + cut(name, 64) + " is not text")
		case v != "":
			f[name] = v
		}
	}
	return f, nil
}

func badFields(msg string) error {
	return &artifact.Error{Kind: artifact.Invalid, Code: "invalid_request", Msg: msg}
}

const (
	lingerTime  = 10 * time.Second // that what a refused client still sends is read
	lingerPause = time.Second      // in which lingerPiece of it must come
	lingerPiece = 64 << 10
	netReads    = 256 << 10 // of an unread body, by net/http before it answers
)

// incoming is a body that notes whether it has come to its end. It has come to
// none while its sender is let in no longer.
type incoming struct {
	io.ReadCloser
	rec  *recorder
	over atomic.Bool
}

func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // after which more may come
		b.over.Store(true)
	}
	if shutOut := b.rec.shutOut; shutOut != nil {
		if why := shutOut(); why != nil {
			return 0, why
		}
	}
	return n, err
}

// unreadOf returns the body of r if the client may still be sending much of it,
// else nil, and sees to it that the connection ends with the answer. It is
// asked before the answer is written.
func unreadOf(w http.ResponseWriter, r *http.Request) *incoming {
	b, ok := r.Body.(*incoming)
	if !ok || b.over.Load() {
		return nil
	}
	if r.ContentLength >= 0 && r.ContentLength <= netReads && w.Header().Get("Connection") != "close" {
		return nil
	}
	w.Header().Set("Connection", "close")
	return b
}

// linger reads what still comes, for a while after the answer has left: a
// connection that is closed while the client sends is reset, and the answer
// lost with it.
func (b *incoming) linger(w http.ResponseWriter) {
	if b == nil {
		return
	}
	rc := http.NewResponseController(w)
	err := rc.Flush()
	for now, until := time.Now(), time.Now().Add(lingerTime); err == nil && now.Before(until); now = time.Now() {
		if err = rc.SetReadDeadline(now.Add(lingerPause)); err == nil {
			_, err = io.CopyN(io.Discard, b.ReadCloser, lingerPiece)
		}
	}
}

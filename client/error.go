package client

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Error is an answer of the server that is not success.
type Error struct {
	Status        int    // of HTTP
	Code          string // such as "RESOURCE_NOT_FOUND", "AUTH_TOKEN_EXPIRED" or "invalid_grant"; empty when a proxy answered
	Message       string
	CorrelationID string // names the request in the server's log
	Details       map[string]any
	RetryAfter    time.Duration // how long the server asks to wait; 0 when it does not say
}

// Error returns the message and the status.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s (%d)", e.Message, e.Status)
}

// Is makes errors.Is work with the errors below.
func (e *Error) Is(target error) bool {
	_, edit := e.Details["reason"]
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrExists:
		return e.Status == http.StatusConflict && !edit
	case ErrEdit:
		return e.Status == http.StatusConflict && edit
	case ErrStale:
		return e.Status == http.StatusPreconditionFailed
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	}
	return false
}

// What callers most often ask of an [Error], for errors.Is.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("exists already")
	ErrEdit         = errors.New("the text to replace is absent or ambiguous") // Details["reason"] says which
	ErrStale        = errors.New("is not in the state that was asked for")
	ErrUnauthorized = errors.New("not logged in, or no longer")
)

// temporary reports whether the same request may well succeed later.
func (e *Error) temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Expired says that a cursor is no longer in the log, not yet in it, or of
// another log. Cursors from Oldest to Last can be read from.
type Expired struct {
	Oldest artifact.Seq `json:"oldest"`
	Last   artifact.Seq `json:"last"`
	Err    *Error       `json:"-"`
}

// Error names the positions that can be read.
func (e *Expired) Error() string {
	return fmt.Sprintf("the cursor is not in the log, which takes %d to %d", e.Oldest, e.Last)
}

// Unwrap returns the answer of the server.
func (e *Expired) Unwrap() error { return e.Err }

// body is what the server says of an error. Detail is a text, or a list for
// 422. Of OAuth the error is a code, and everywhere else an object.
type body struct {
	Detail      json.RawMessage `json:"detail"`
	Error       json.RawMessage `json:"error"`
	Description string          `json:"error_description"`
	Oldest      *artifact.Seq   `json:"oldest"`
	Last        *artifact.Seq   `json:"last"`
}

const maxErrorBody = 1 << 20

// readError returns the *Error, or the *Expired, that a response tells of.
func readError(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, CorrelationID: cmp.Or(resp.Header.Get("X-Correlation-Id"), resp.Header.Get("X-Request-Id"))}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(min(s, 3600)) * time.Second
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var b body
	if err != nil || json.Unmarshal(text, &b) != nil {
		return e // not ours, or cut off: the status says enough
	}
	b.tell(e)
	if resp.StatusCode == http.StatusGone {
		return &Expired{Oldest: seq(b.Oldest, e, "oldest"), Last: seq(b.Last, e, "last"), Err: e}
	}
	return e
}

// tell fills in what the body says.
func (b *body) tell(e *Error) {
	if bytes.HasPrefix(b.Error, []byte{'"'}) && json.Unmarshal(b.Error, &e.Code) == nil {
		e.Message = b.Description
		return
	}
	var said struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	}
	if json.Unmarshal(b.Error, &said) == nil { // else the status says enough
		e.Code, e.Message, e.Details = said.Code, said.Message, said.Details
	}
	if text := b.detail(); text != "" {
		e.Message = text
	}
}

// detail returns the text of detail; of a list, each fault with its place.
func (b *body) detail() string {
	var text string
	if json.Unmarshal(b.Detail, &text) == nil {
		return text
	}
	var list []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(b.Detail, &list) != nil {
		return ""
	}
	var lines []string
	for _, fault := range list {
		place := make([]string, len(fault.Loc))
		for i, segment := range fault.Loc {
			place[i] = fmt.Sprint(segment)
		}
		lines = append(lines, strings.Join(place, ".")+": "+fault.Msg)
	}
	return strings.Join(lines, "; ")
}

// seq returns a position from the top of the body or from its details.
func seq(top *artifact.Seq, e *Error, name string) artifact.Seq {
	if top != nil {
		return *top
	}
	n, _ := e.Details[name].(float64)
	return artifact.Seq(n)
}

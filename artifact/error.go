package artifact

import (
	"errors"
	"fmt"
)

// Kind says what a caller can do about an error, and nothing else.
// The dialects of package api turn a Kind into a status code.
type Kind uint8

// The kinds. The order is not part of any wire format.
const (
	Internal     Kind = iota // our fault; the message never leaves the server
	Malformed                // not understood: a field missing or of the wrong type (422)
	Invalid                  // understood, but breaks a rule (400)
	Unauthorized             // who asks is not known (401)
	Denied                   // refused whoever asks (403)
	NotFound                 // 404
	TimedOut                 // the client was too slow (408)
	Exists                   // conflicts with what is there (409)
	Gone                     // the cursor is no longer, or not yet, in the log (410)
	TooLarge                 // over a configured limit (413)
	Stale                    // a condition of the request does not hold (412)
	Unsupported              // a media type that the operation does not take (415)
	Limited                  // too many requests; Facts has "retry_after" in seconds (429)
	Unavailable              // try again later (503)
	Full                     // no room left on the disk (507)
)

// Error is an error that a client may act on. Every other error is Internal.
type Error struct {
	Kind  Kind
	Code  string         // of contract, artifacts §3, where the kind alone does not say it; may be empty
	Msg   string         // safe to show to anybody
	Field string         // the input at fault, such as "query.limit"; may be empty
	Facts map[string]any // limits and positions that a dialect may show
	Err   error          // the cause, for the log only; may be nil
}

// Error returns the message for the client followed by the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Msg + ": " + e.Err.Error()
	}
	return e.Msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error of the given kind. A %w verb sets the cause, which
// is then part of the message: use it only with causes that are safe to show.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Msg: err.Error()}
}

// Wrap returns an *Error of the given kind that shows msg and logs err.
func Wrap(kind Kind, err error, msg string) *Error {
	return &Error{Kind: kind, Msg: msg, Err: err}
}

// KindOf returns the kind of the first *Error in err's chain, or Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

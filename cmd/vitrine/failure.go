package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

// errSilent is a failure that was told already, line by line.
var errSilent = errors.New("failed")

// hinted is an error with advice on what to do about it.
type hinted struct {
	error
	hint string
}

// withHint returns err with advice, which is shown on a line of its own.
func withHint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Unwrap returns the error itself.
func (h *hinted) Unwrap() error { return h.error }

// usageError is a command line that cannot be meant.
type usageError struct{ msg string }

// Error says what is wrong.
func (e *usageError) Error() string { return e.msg }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// explain returns err in the form of all messages: lower case, no full stop.
func explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	text := strings.TrimSuffix(err.Error(), ".")
	if e, ok := errors.AsType[*client.Error](err); ok && e.CorrelationID != "" && e.Status >= 500 {
		text += fmt.Sprintf(", request %s", e.CorrelationID)
	}
	first, n := utf8.DecodeRuneInString(text)
	second, _ := utf8.DecodeRuneInString(text[n:])
	if unicode.IsUpper(first) && unicode.IsLower(second) {
		text = string(unicode.ToLower(first)) + text[n:]
	}
	return text
}

// inSession gives an answer of the server about a session the words of the
// command line.
func inSession(err error, id artifact.SessionID) error {
	e, answered := errors.AsType[*client.Error](err)
	switch {
	case answered && e.Status == 404 && strings.HasPrefix(e.Message, "Session"),
		answered && e.Status == 400 && e.Message == "Session not connected":
		return withHint(fmt.Errorf("no session %q", id), `list sessions with "vitrine ls"`)
	case answered && e.Status == 413:
		return withHint(err, "the server was started with a limit, --max-upload")
	}
	return err
}

// unreachable gives a failed connection the words of the command line.
func unreachable(err error, server string) error {
	if _, ok := errors.AsType[*hinted](err); ok {
		return err
	}
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err
	}
	if i, ok := errors.AsType[*client.Interrupted](err); ok {
		return fmt.Errorf("upload interrupted after %s: %w", bytesText(i.Sent), cause)
	}
	if op, ok := errors.AsType[*net.OpError](cause); ok && op.Op == "dial" {
		return withHint(fmt.Errorf("no server at %s", server),
			`start one with "vitrine serve", or name another with --server or VITRINE_SERVER`)
	}
	return cause
}

package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// RequestHeader names the id that every answer of /api/v2 tells.
const RequestHeader = "X-Request-ID"

// libraryWording is that of /api/v2/… (contract, artifacts §1 and §3).
type libraryWording struct{}

// meta says of every answer when and to which request it was given.
type meta struct {
	Timestamp string `json:"timestamp"`
	Version   string `json:"version"`
	RequestID string `json:"request_id"`
}

type successBody struct {
	Status string `json:"status"`
	Data   any    `json:"data"`
	Meta   meta   `json:"meta"`
}

type failureBody struct {
	Status string `json:"status"`
	Error  struct {
		Code        string              `json:"code"`
		Message     string              `json:"message"`
		Details     map[string]any      `json:"details"`      // null where there are none
		FieldErrors map[string][]string `json:"field_errors"` // null where it is no field's fault
	} `json:"error"`
	Meta meta `json:"meta"`
}

// headers gives the answer an id, unless it has one, and keeps it out of caches.
func (libraryWording) headers(w http.ResponseWriter) {
	h := w.Header()
	if h.Get(RequestHeader) == "" {
		h.Set(RequestHeader, newUUID())
	}
	h.Set("Cache-Control", "no-store")
}

func (d *dialect) meta(w http.ResponseWriter) meta {
	return meta{Timestamp: artifact.Stamp(d.now()), Version: "2.0.0", RequestID: w.Header().Get(RequestHeader)}
}

// rates tells of the limit in an answer to somebody who is not counted: that
// all of it is left.
func (d *dialect) rates(h http.Header) {
	if d.rate > 0 && h.Get("X-RateLimit-Limit") == "" {
		tellRate(h, d.rate, d.rate, d.now())
	}
}

func (libraryWording) success(d *dialect, w http.ResponseWriter, value any) any {
	d.rates(w.Header())
	return successBody{Status: "success", Data: value, Meta: d.meta(w)}
}

// streamData answers with data that write makes piece by piece. An error before
// the first piece has left is answered as usual.
func (d *dialect) streamData(w http.ResponseWriter, write func(out *jsonStream) error) error {
	out := newJSONStream(w)
	out.raw(`{"status":"success","data":`)
	if err := write(out); err != nil {
		return err
	}
	out.raw(`,"meta":`)
	out.value(d.meta(w))
	out.raw("}\n")
	return out.flush()
}

// libraryCodes are the codes of errors that do not name their own. Those that
// the contract does not have are ours.
var libraryCodes = map[int]string{
	400: "VAL_FIELD_INVALID",
	401: "AUTH_UNAUTHORIZED",
	403: "AUTH_FORBIDDEN",
	404: "RES_NOT_FOUND",
	405: "RES_METHOD_NOT_ALLOWED",
	408: "SYS_REQUEST_TIMEOUT",
	409: "RES_ALREADY_EXISTS",
	410: "RES_CURSOR_EXPIRED",
	412: "RES_PRECONDITION_FAILED",
	413: "VAL_FIELD_TOO_LONG",
	415: "VAL_VALIDATION_FAILED",
	416: "RES_RANGE_NOT_SATISFIABLE",
	422: "VAL_VALIDATION_FAILED",
	429: "BIZ_RATE_LIMIT_EXCEEDED",
	500: "SYS_INTERNAL_ERROR",
	503: "SYS_SERVICE_UNAVAILABLE",
	507: "SYS_INSUFFICIENT_STORAGE",
}

func (libraryWording) failure(d *dialect, w http.ResponseWriter, p problem, e *artifact.Error) (status int, body any) {
	d.rates(w.Header())
	out := failureBody{Status: "error", Meta: d.meta(w)}
	out.Error.Code, out.Error.Message = libraryCodes[p.status], e.Msg
	if catalogued(e.Code) {
		out.Error.Code = e.Code
	}
	if list, ok := errors.AsType[faults](e.Err); ok && len(list) > 0 {
		status = list.tell(&out)
		return status, out
	}
	if details := libraryDetails(p.status, e); len(details) > 0 {
		out.Error.Details = details
	}
	if e.Kind == artifact.Malformed && e.Field != "" {
		out.Error.FieldErrors = map[string][]string{fieldName(strings.Split(e.Field, ".")): {e.Msg}}
	}
	return p.status, out
}

// libraryDetails returns the facts of an error with the field that they are about.
func libraryDetails(status int, e *artifact.Error) map[string]any {
	details := make(map[string]any)
	maps.Copy(details, e.Facts)
	if details["field"] != nil {
		return details
	}
	if limit, ok := details["limit"]; ok && status == http.StatusRequestEntityTooLarge {
		return map[string]any{"field": "body", "max_length": limit} // of the body as a whole
	}
	if e.Field != "" {
		details["field"] = fieldName(strings.Split(e.Field, "."))
	}
	return details
}

// fieldName returns the name of a field from its place in the request.
func fieldName(loc []string) string {
	if len(loc) > 1 && slices.Contains([]string{"body", "query", "path", "header"}, loc[0]) {
		loc = loc[1:]
	}
	return strings.Join(loc, ".")
}

// faultCodes are the codes of faults that are not VAL_FIELD_INVALID.
var faultCodes = map[string]string{
	"missing":         "VAL_FIELD_REQUIRED",
	"literal_error":   "VAL_ENUM_INVALID",
	"uuid_parsing":    "VAL_UUID_INVALID",
	"string_too_long": "VAL_FIELD_TOO_LONG",
	"json_invalid":    "VAL_VALIDATION_FAILED",
	"json_duplicate":  "VAL_VALIDATION_FAILED",
	"dict_type":       "VAL_VALIDATION_FAILED",
	"list_type":       "VAL_VALIDATION_FAILED",
	"string_type":     "VAL_VALIDATION_FAILED",
	"bool_type":       "VAL_VALIDATION_FAILED",
	"int_type":        "VAL_VALIDATION_FAILED",
}

// quotedWords returns a, b and c of "'a', 'b' or 'c'".
func quotedWords(text string) (words []string) {
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}

// faultReasons are the faults that are 400 here: the query is no query, or says
// two things at once.
var faultReasons = map[string]string{"query_parsing": "malformed", "repeated": "repeated"}

// tell puts the faults into out and returns the status. The code is that of the
// one to be mended first: of the query as a whole, then of what is missing.
func (list faults) tell(out *failureBody) (status int) {
	first := list[0]
	for _, kind := range []string{"missing", "repeated", "query_parsing"} {
		if i := slices.IndexFunc(list, func(f fault) bool { return f.Type == kind }); i >= 0 {
			first = list[i]
		}
	}
	name := fieldName(first.Loc)
	out.Error.Message = "Request validation failed: " + name + ": " + first.Msg
	out.Error.Code = libraryCodes[http.StatusBadRequest]
	out.Error.Details = map[string]any{"field": name}
	if reason := faultReasons[first.Type]; reason != "" {
		out.Error.Details["reason"] = reason
		return http.StatusBadRequest
	}
	if code := faultCodes[first.Type]; code != "" {
		out.Error.Code = code
	}
	if expected, ok := first.Ctx["expected"].(string); ok {
		out.Error.Details["allowed_values"] = quotedWords(expected)
	}
	if out.Error.Code == "VAL_VALIDATION_FAILED" {
		out.Error.Details = nil
	}
	out.Error.FieldErrors = make(map[string][]string)
	for _, f := range list {
		name := fieldName(f.Loc)
		out.Error.FieldErrors[name] = append(out.Error.FieldErrors[name], f.Msg)
	}
	return http.StatusUnprocessableEntity
}

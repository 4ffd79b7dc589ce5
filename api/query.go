package api

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
)

// fault is one entry of the list that stands as detail of a 422, in the form
// and words that clients of FastAPI and pydantic know.
type fault struct {
	Type  string         `json:"type"`
	Loc   []string       `json:"loc"`
	Msg   string         `json:"msg"`
	Input any            `json:"input"`
	Ctx   map[string]any `json:"ctx,omitempty"`
}

// faults are all that was found wrong with one request.
type faults []fault

// Error returns the messages with their places.
func (list faults) Error() string {
	var lines []string
	for _, f := range list {
		lines = append(lines, strings.Join(f.Loc, ".")+": "+f.Msg)
	}
	return strings.Join(lines, "; ")
}

// malformed returns the Malformed error that tells of all faults.
func malformed(list ...fault) error {
	e := artifact.Wrap(artifact.Malformed, faults(list), "Request validation failed")
	if len(list) == 1 {
		e.Field = strings.Join(list[0].Loc, ".")
	}
	return e
}

// missing is the fault of an input that was left out.
func missing(loc ...string) fault {
	return fault{Type: "missing", Loc: loc, Msg: "Field required"}
}

// query reads the parameters of a request and collects what is wrong with
// them, for one answer. Unknown parameters are ignored; of a repeated one the
// last counts. Where a parameter is absent or faulty the default is returned.
type query struct {
	values url.Values
	faults faults
}

// parseQuery returns the query of r. Text that is none is a fault: a filter
// must not be dropped silently.
func parseQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.faults = append(q.faults, fault{Type: "query_parsing", Loc: []string{"query"}, Msg: "Query string should be valid"})
	}
	return q
}

// err returns a Malformed error with every fault found so far, or nil.
func (q *query) err() error {
	if len(q.faults) == 0 {
		return nil
	}
	return malformed(q.faults...)
}

// has reports whether the parameter is given.
func (q *query) has(name string) bool { return len(q.values[name]) > 0 }

func (q *query) last(name string) (string, bool) {
	given := q.values[name]
	if len(given) == 0 {
		return "", false
	}
	return given[len(given)-1], true
}

// single returns a parameter that may be given once.
func (q *query) single(name string) (text string, given bool) {
	if len(q.values[name]) > 1 {
		q.refuse(name, "repeated", "Parameter should be given once", nil)
	}
	return q.last(name)
}

// required returns a parameter that must be given, and once.
func (q *query) required(name string) string {
	text, ok := q.single(name)
	if !ok {
		q.refuse(name, "missing", "Field required", nil)
	}
	return text
}

func (q *query) refuse(name, kind, msg string, ctx map[string]any) {
	input, _ := q.last(name)
	q.faults = append(q.faults, fault{Type: kind, Loc: []string{"query", name}, Msg: msg, Input: input, Ctx: ctx})
}

// bound is a limit of a number.
type bound struct {
	kind, words, key string
	limit            float64
	holds            func(x, limit float64) bool
}

func (b bound) message() string {
	return "Input should be " + b.words + strconv.FormatFloat(b.limit, 'f', -1, 64)
}

func atLeast(n float64) bound {
	return bound{"greater_than_equal", "greater than or equal to ", "ge", n, func(x, n float64) bool { return x >= n }}
}

func atMost(n float64) bound {
	return bound{"less_than_equal", "less than or equal to ", "le", n, func(x, n float64) bool { return x <= n }}
}

func above(n float64) bound {
	return bound{"greater_than", "greater than ", "gt", n, func(x, n float64) bool { return x > n }}
}

// within reports whether x keeps to the bounds, and notes the first it breaks.
func (q *query) within(name string, x float64, bounds []bound) bool {
	for _, b := range bounds {
		if !b.holds(x, b.limit) {
			q.refuse(name, b.kind, b.message(), map[string]any{b.key: b.limit})
			return false
		}
	}
	return true
}

// integer returns a whole number within the bounds.
func (q *query) integer(name string, absent int64, bounds ...bound) int64 {
	text, ok := q.last(name)
	if !ok {
		return absent
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		q.refuse(name, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", nil)
		return absent
	case err != nil:
		q.refuse(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", nil)
		return absent
	case !q.within(name, float64(n), bounds):
		return absent
	}
	return n
}

// number returns a finite number within the bounds.
func (q *query) number(name string, absent float64, bounds ...bound) float64 {
	text, ok := q.last(name)
	if !ok {
		return absent
	}
	text = strings.TrimSpace(text)
	x, err := strconv.ParseFloat(text, 64)
	switch {
	case strings.ContainsAny(text, "xX_pP"), err != nil && !errors.Is(err, strconv.ErrRange):
		q.refuse(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", nil)
		return absent
	case math.IsNaN(x), math.IsInf(x, 0):
		q.refuse(name, "finite_number", "Input should be a finite number", nil)
		return absent
	case !q.within(name, x, bounds):
		return absent
	}
	return x
}

// truth returns a boolean in any spelling that FastAPI knows.
func (q *query) truth(name string) bool {
	text, ok := q.last(name)
	if !ok {
		return false
	}
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on", "t", "y":
		return true
	case "false", "0", "no", "off", "f", "n":
		return false
	}
	q.refuse(name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", nil)
	return false
}

// oneOf returns one of the allowed values.
func (q *query) oneOf(name, absent string, allowed ...string) string {
	text, ok := q.last(name)
	if !ok {
		return absent
	}
	if slices.Contains(allowed, text) {
		return text
	}
	expected := "'" + strings.Join(allowed, "', '") + "'"
	if i := strings.LastIndex(expected, ", "); i >= 0 {
		expected = expected[:i] + " or " + expected[i+2:]
	}
	q.refuse(name, "literal_error", "Input should be "+expected, map[string]any{"expected": expected})
	return absent
}

// text returns any text that every store can keep: UTF-8 without NUL.
func (q *query) text(name string) string {
	s, ok := q.last(name)
	if !ok {
		return ""
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		q.refuse(name, "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string", nil)
		return ""
	}
	return s
}

// maxItems bounds a list, because every entry of a log is held against all of it.
const maxItems = 64

// list returns the trimmed, non-empty items of comma-separated text.
func (q *query) list(name string) []string {
	items := q.items(name)
	if len(items) > maxItems {
		q.refuse(name, "too_long", "List should have at most "+strconv.Itoa(maxItems)+" items", map[string]any{"max_length": maxItems})
		return nil
	}
	return items
}

// items is list for as many as there are.
func (q *query) items(name string) []string {
	var items []string
	for item := range strings.SplitSeq(q.text(name), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

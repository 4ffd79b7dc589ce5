package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// testDialect returns a dialect at a fixed time, and its log.
func testDialect() (*dialect, *bytes.Buffer) {
	var log bytes.Buffer
	at := time.Date(2026, 5, 12, 10, 11, 12, 345000, time.FixedZone("", 3600))
	return &dialect{
		log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		now: func() time.Time { return at },
	}, &log
}

func answer(v any, err error) handler {
	return func(http.ResponseWriter, *http.Request) (any, error) { return v, err }
}

// do runs one request through h.
func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decodeBody(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q, want application/json", got)
	}
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return m
}

func TestErrorsOfEveryKind(t *testing.T) {
	cause := errors.New("secret cause")
	for _, c := range []struct {
		err    error
		status int
		code   string
		msg    string
	}{
		{artifact.Errorf(artifact.Malformed, "odd"), 422, "VALIDATION_ERROR", "odd"},
		{artifact.Errorf(artifact.Invalid, "wrong"), 400, "VALIDATION_ERROR", "wrong"},
		{artifact.Errorf(artifact.Denied, "no"), 403, "SECURITY_ERROR", "no"},
		{artifact.Errorf(artifact.NotFound, "Session not found"), 404, "RESOURCE_NOT_FOUND", "Session not found"},
		{artifact.Errorf(artifact.TimedOut, "slow"), 408, "TIMEOUT_ERROR", "slow"},
		{artifact.Errorf(artifact.Exists, "there"), 409, "RESOURCE_CONFLICT", "there"},
		{artifact.Errorf(artifact.Gone, "gone"), 410, "GONE", "gone"},
		{artifact.Errorf(artifact.TooLarge, "big"), 413, "PAYLOAD_TOO_LARGE", "big"},
		{artifact.Errorf(artifact.Unsupported, "type"), 415, "UNSUPPORTED_MEDIA_TYPE", "type"},
		{artifact.Wrap(artifact.Unavailable, cause, "later"), 503, "SERVICE_UNAVAILABLE", "later"},
		{artifact.Wrap(artifact.Full, cause, "full"), 507, "INSUFFICIENT_STORAGE", "full"},
		{artifact.Wrap(artifact.Internal, cause, "never shown"), 500, "INTERNAL_ERROR", "An internal server error occurred"},
		{&artifact.Error{Kind: 200, Msg: "unknown kind"}, 500, "INTERNAL_ERROR", "An internal server error occurred"},
		{cause, 500, "INTERNAL_ERROR", "An internal server error occurred"},
		{fmt.Errorf("read: %w", artifact.Errorf(artifact.NotFound, "Artifact not found")), 404, "RESOURCE_NOT_FOUND", "Artifact not found"},
		{fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 7}), 413, "PAYLOAD_TOO_LARGE", "Request body is larger than 7 bytes"},
		{fmt.Errorf("wait: %w", context.Canceled), 503, "SERVICE_UNAVAILABLE", "The server is shutting down"},
	} {
		d, log := testDialect()
		w := do(table{{method: "GET", pattern: "/x", h: answer(nil, c.err)}}.mux(d), httptest.NewRequest("GET", "/x", nil))
		if w.Code != c.status {
			t.Errorf("%v: status %d, want %d", c.err, w.Code, c.status)
		}
		m := decodeBody(t, w)
		e, _ := m["error"].(map[string]any)
		if e["code"] != c.code || e["message"] != c.msg || e["details"] == nil {
			t.Errorf("%v: error = %v, want code %s and message %q", c.err, e, c.code, c.msg)
		}
		if c.status != 422 && m["detail"] != c.msg {
			t.Errorf("%v: detail = %v, want %q", c.err, m["detail"], c.msg)
		}
		if m["timestamp"] != "2026-05-12T09:11:12.000345" {
			t.Errorf("%v: timestamp = %v", c.err, m["timestamp"])
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v: headers %v", c.err, w.Header())
		}
		if got := w.Header().Get("Retry-After"); (got == "1") != (c.status == 503) {
			t.Errorf("%v: Retry-After = %q", c.err, got)
		}
		if strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "never shown") {
			t.Errorf("%v: the cause left the server: %s", c.err, w.Body)
		}
		if errors.Is(c.err, cause) && !strings.Contains(log.String(), "secret cause") {
			t.Errorf("%v: the cause is not in the log %q", c.err, log)
		}
	}
}

func TestFactsOfErrors(t *testing.T) {
	d, _ := testDialect()
	err := &artifact.Error{Kind: artifact.Gone, Msg: "Cursor expired", Field: "query.after", Facts: map[string]any{"oldest": 3, "last": 9}}
	m := decodeBody(t, do(table{{method: "GET", pattern: "/x", h: answer(nil, err)}}.mux(d), httptest.NewRequest("GET", "/x", nil)))
	want := map[string]any{
		"detail": "Cursor expired", "oldest": 3.0, "last": 9.0, "timestamp": "2026-05-12T09:11:12.000345",
		"error": map[string]any{"code": "GONE", "message": "Cursor expired",
			"details": map[string]any{"oldest": 3.0, "last": 9.0, "field": "query.after"}},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if len(err.Facts) != 2 {
		t.Errorf("the error's own facts were changed: %v", err.Facts)
	}

	unfit := &artifact.Error{Kind: artifact.Exists, Msg: "clash", Facts: map[string]any{"x": math.NaN()}}
	m = decodeBody(t, do(table{{method: "GET", pattern: "/x", h: answer(nil, unfit)}}.mux(d), httptest.NewRequest("GET", "/x", nil)))
	if m["detail"] != "clash" {
		t.Errorf("with a fact that is no JSON: %v", m)
	}
}

func TestMalformedHasAListAsDetail(t *testing.T) {
	d, _ := testDialect()
	single := &artifact.Error{Kind: artifact.Malformed, Msg: "Input should be a string", Field: "body.name",
		Facts: map[string]any{"type": "string_type", "input": 7}}
	for _, c := range []struct {
		err  error
		want []any
	}{
		{single, []any{map[string]any{"type": "string_type", "loc": []any{"body", "name"}, "msg": "Input should be a string", "input": 7.0}}},
		{artifact.Errorf(artifact.Malformed, "odd"), []any{map[string]any{"type": "value_error", "loc": []any{}, "msg": "odd", "input": nil}}},
		{malformed(missing("body", "file")), []any{map[string]any{"type": "missing", "loc": []any{"body", "file"}, "msg": "Field required", "input": nil}}},
	} {
		m := decodeBody(t, do(table{{method: "GET", pattern: "/x", h: answer(nil, c.err)}}.mux(d), httptest.NewRequest("GET", "/x", nil)))
		if diff := cmp.Diff(any(c.want), m["detail"]); diff != "" {
			t.Errorf("%v: detail (-want +got):\n%s", c.err, diff)
		}
	}
}

func TestValues(t *testing.T) {
	d, _ := testDialect()
	for _, c := range []struct {
		value  any
		status int
		body   string
	}{
		{map[string]any{"a": "<b>&"}, 200, `{"a":"<b>&"}` + "\n"},
		{created(map[string]int{"n": 1}), 201, `{"n":1}` + "\n"},
		{reply{status: 204}, 204, ""},
		{[]string{}, 200, "[]\n"},
	} {
		w := do(table{{method: "GET", pattern: "/x", h: answer(c.value, nil)}}.mux(d), httptest.NewRequest("GET", "/x", nil))
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%v: answered %d %q, want %d %q", c.value, w.Code, w.Body, c.status, c.body)
		}
	}
	if w := do(table{{method: "GET", pattern: "/x", h: answer(math.NaN(), nil)}}.mux(d), httptest.NewRequest("GET", "/x", nil)); w.Code != 500 {
		t.Errorf("a value that is no JSON: status %d, want 500", w.Code)
	}
}

func TestFailedAnswerLosesHeadersOfContent(t *testing.T) {
	d, _ := testDialect()
	h := func(w http.ResponseWriter, r *http.Request) (any, error) {
		safeContent(w.Header(), "image/png", "a.png", nil, false)
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Length", "999999")
		return nil, artifact.Errorf(artifact.NotFound, "Artifact file missing")
	}
	w := do(table{{method: "GET", pattern: "/x", h: h}}.mux(d), httptest.NewRequest("GET", "/x", nil))
	decodeBody(t, w)
	for _, name := range []string{"ETag", "Content-Disposition", "Content-Security-Policy"} {
		if w.Header().Get(name) != "" {
			t.Errorf("%s = %q on an error", name, w.Header().Get(name))
		}
	}
	if w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Errorf("Content-Length = %s for %d bytes", w.Header().Get("Content-Length"), w.Body.Len())
	}
}

func TestContentTypeGuard(t *testing.T) {
	d, _ := testDialect()
	var all table
	for name, b := range map[string]bodyKind{"/none": bodyNone, "/json": bodyJSON, "/form": bodyForm, "/raw": bodyRaw} {
		all = append(all, route{method: "POST", pattern: name, body: b, h: answer("ok", nil)})
	}
	mux := all.mux(d)
	for _, c := range []struct {
		path, given, content string
		status               int
	}{
		{"/json", "application/json", "{}", 200},
		{"/json", "Application/JSON; charset=utf-8", "{}", 200},
		{"/json", "", "", 200},
		{"/json", "", "{}", 415},
		{"/json", "text/plain", "{}", 415},
		{"/json", "text/plain", "", 415},
		{"/json", "application/jsonp", "{}", 415},
		{"/json", "multipart/form-data; boundary=x", "{}", 415},
		{"/json", "application/json; =", "{}", 415},
		{"/form", "multipart/form-data; boundary=x", "x", 200},
		{"/form", "application/x-www-form-urlencoded", "x", 415},
		{"/form", "", "", 415},
		{"/raw", "text/html", "x", 200},
		{"/raw", "", "x", 200},
		{"/none", "text/plain", "x", 200},
	} {
		r := httptest.NewRequest("POST", c.path, strings.NewReader(c.content))
		if c.given != "" {
			r.Header.Set("Content-Type", c.given)
		}
		if w := do(mux, r); w.Code != c.status {
			t.Errorf("%s with %q: status %d, want %d", c.path, c.given, w.Code, c.status)
		}
	}
}

// An answer that has begun is broken off: a client must never take an error
// for the end of a file.
func TestErrorAfterTheFirstByte(t *testing.T) {
	d, log := testDialect()
	h := func(w http.ResponseWriter, r *http.Request) (any, error) {
		fmt.Fprint(w, "the beginning")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
		return nil, errors.New("disk on fire")
	}
	g := &guard{d: d}
	ended := make(chan Outcome, 1)
	server := httptest.NewServer(surround(table{{method: "GET", pattern: "/x", h: h}}.mux(d), d, g, func(o Outcome) { ended <- o }))
	defer server.Close()
	resp, err := http.Get(server.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "the beginning" {
		t.Errorf("read %q, %v; want the beginning and an unexpected EOF", got, err)
	}
	o := <-ended
	if !o.Aborted || o.Status != 200 || o.Bytes != int64(len("the beginning")) || o.Pattern != "/x" {
		t.Errorf("outcome %+v, want an aborted 200", o)
	}
	if !strings.Contains(log.String(), "disk on fire") {
		t.Errorf("log %q lacks the cause", log)
	}
}

func TestAbandonedRequestIsNoFailure(t *testing.T) {
	d, log := testDialect()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("recovered %v, want http.ErrAbortHandler", err)
		}
		if w.Body.Len() > 0 || !strings.Contains(log.String(), "level=DEBUG") || strings.Contains(log.String(), "ERROR") {
			t.Errorf("wrote %q, logged %q; want nothing and a debug line", w.Body, log)
		}
	}()
	d.fail(&recorder{ResponseWriter: w}, httptest.NewRequest("GET", "/x", nil).WithContext(ctx), fmt.Errorf("query rows: %w", ctx.Err()))
}

// A tenant that is over its quota asks no operator to act; a full disk does.
func TestQuotasAreNoErrors(t *testing.T) {
	for code, want := range map[string]bool{quotaExceeded: false, "": true} {
		d, log := testDialect()
		var refused []string
		d.overQuota = func(quota string) { refused = append(refused, quota) }
		h := answer(nil, &artifact.Error{Kind: artifact.Full, Code: code, Msg: "full", Facts: map[string]any{"quota": "files"}})
		w := do(table{{method: "GET", pattern: "/x", h: h}}.mux(d), httptest.NewRequest("GET", "/x", nil))
		if got := strings.Contains(log.String(), "level=ERROR"); w.Code != http.StatusInsufficientStorage || got != want {
			t.Errorf("%q: status %d, logged %q; want an error: %v", code, w.Code, log, want)
		}
		if counted := len(refused) == 1 && refused[0] == "files"; counted == want {
			t.Errorf("%q: counted as refusals by a quota: %q", code, refused)
		}
	}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// golden returns an answer of /api/v2 with its meta, whose parts it checks,
// written as META.
func golden(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	h := w.Header()
	id := h.Get("X-Request-ID")
	if !uuid4.MatchString(id) || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	meta := `{"timestamp":"2026-05-12T09:11:12.000Z","version":"2.0.0","request_id":"` + id + `"}`
	body, ok := strings.CutSuffix(w.Body.String(), `,"meta":`+meta+"}\n")
	if !ok {
		t.Errorf("answer %s does not end in the meta %s", w.Body, meta)
	}
	return body + ",META}"
}

// refusal runs a handler that fails with err at path.
func refusal(t *testing.T, path string, err error) *httptest.ResponseRecorder {
	t.Helper()
	d, _ := testDialect()
	d.base = "https://v.example/b"
	return do(table{{method: "GET", pattern: path, h: answer(nil, err)}}.mux(d), httptest.NewRequest("GET", path, nil))
}

func coded(kind artifact.Kind, code, msg string, facts map[string]any) error {
	return &artifact.Error{Kind: kind, Code: code, Msg: msg, Facts: facts}
}

// Every row of the catalogue (contract, artifacts §3), and our own.
func TestErrorsOfTheLibrary(t *testing.T) {
	_, badPath := artifact.ParsePath("a.md")
	_, badPrefix := artifact.ParsePrefix("/a b")
	_, badID := artifact.ParseSessionID("a b")
	file := map[string]any{"resource_type": "Artifact", "resource_id": "/a.md"}
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{badPath, 400, `"VAL_FIELD_INVALID","message":"Invalid path: it must begin with a slash","details":{"field":"path","reason":"no_leading_slash","value":"a.md"},"field_errors":null`},
		{badPrefix, 400, `"VAL_FIELD_INVALID","message":"Invalid prefix: only the letters A to Z and a to z, digits, hyphens, underscores, dots and slashes are allowed","details":{"field":"prefix","reason":"bad_character","value":"/a b"},"field_errors":null`},
		{badID, 400, `"VAL_FIELD_INVALID","message":"Invalid session_id: only letters, digits, underscores, and hyphens are allowed","details":{"field":"session_id","max_length":128},"field_errors":null`},
		{artifact.Errorf(artifact.Invalid, "a <b> & \"é\""), 400, `"VAL_FIELD_INVALID","message":"a <b> & \"é\"","details":null,"field_errors":null`},
		{artifact.Errorf(artifact.Unauthorized, "who"), 401, `"AUTH_UNAUTHORIZED","message":"who","details":null,"field_errors":null`},
		{coded(artifact.Unauthorized, "AUTH_INVALID_CREDENTIALS", "no", nil), 401, `"AUTH_INVALID_CREDENTIALS","message":"no","details":null,"field_errors":null`},
		{coded(artifact.Unauthorized, "AUTH_TOKEN_INVALID", "no", nil), 401, `"AUTH_TOKEN_INVALID","message":"no","details":null,"field_errors":null`},
		{fmt.Errorf("verify: %w", coded(artifact.Unauthorized, "AUTH_TOKEN_EXPIRED", "old", nil)), 401, `"AUTH_TOKEN_EXPIRED","message":"old","details":null,"field_errors":null`},
		{coded(artifact.Denied, "AUTH_INSUFFICIENT_PERMISSIONS", "Insufficient permissions. Required scope(s): delete", map[string]any{"required_scopes": artifact.Scopes{"delete"}}), 403,
			`"AUTH_INSUFFICIENT_PERMISSIONS","message":"Insufficient permissions. Required scope(s): delete","details":{"required_scopes":["delete"]},"field_errors":null`},
		{artifact.Errorf(artifact.Denied, "system"), 403, `"AUTH_FORBIDDEN","message":"system","details":null,"field_errors":null`},
		{coded(artifact.NotFound, "", "Artifact not found", file), 404, `"RES_NOT_FOUND","message":"Artifact not found","details":{"resource_id":"/a.md","resource_type":"Artifact"},"field_errors":null`},
		{coded(artifact.Exists, "", "taken", map[string]any{"resource_type": "Artifact", "identifier": "/a.md"}), 409, `"RES_ALREADY_EXISTS","message":"taken","details":{"identifier":"/a.md","resource_type":"Artifact"},"field_errors":null`},
		{coded(artifact.TooLarge, "", "big", map[string]any{"field": "content", "max_length": 10485760, "actual_length": 10485761}), 413,
			`"VAL_FIELD_TOO_LONG","message":"big","details":{"actual_length":10485761,"field":"content","max_length":10485760},"field_errors":null`},
		{fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 7}), 413, `"VAL_FIELD_TOO_LONG","message":"Request body is larger than 7 bytes","details":{"field":"body","max_length":7},"field_errors":null`},
		{artifact.Errorf(artifact.Unsupported, "type"), 415, `"VAL_VALIDATION_FAILED","message":"type","details":null,"field_errors":null`},
		{artifact.Errorf(artifact.Malformed, "odd"), 422, `"VAL_VALIDATION_FAILED","message":"odd","details":null,"field_errors":null`},
		{&artifact.Error{Kind: artifact.Malformed, Code: "VAL_UUID_INVALID", Msg: "no UUID", Field: "path.memory_id"}, 422, `"VAL_UUID_INVALID","message":"no UUID","details":{"field":"memory_id"},"field_errors":{"memory_id":["no UUID"]}`},
		{coded(artifact.Limited, "", "slow down", map[string]any{"retry_after": 7}), 429, `"BIZ_RATE_LIMIT_EXCEEDED","message":"slow down","details":{"retry_after":7},"field_errors":null`},
		{errors.New("secret"), 500, `"SYS_INTERNAL_ERROR","message":"An internal server error occurred","details":null,"field_errors":null`},
		{coded(artifact.Internal, "RES_NOT_FOUND", "secret", file), 500, `"SYS_INTERNAL_ERROR","message":"An internal server error occurred","details":null,"field_errors":null`},
		{artifact.Errorf(artifact.Unavailable, "later"), 503, `"SYS_SERVICE_UNAVAILABLE","message":"later","details":null,"field_errors":null`},
		{fmt.Errorf("wait: %w", context.Canceled), 503, `"SYS_SERVICE_UNAVAILABLE","message":"The server is shutting down","details":null,"field_errors":null`},
		{fmt.Errorf("read: %w", unread(os.ErrDeadlineExceeded)), 408, `"SYS_REQUEST_TIMEOUT","message":"The body took too long","details":null,"field_errors":null`},
		{coded(artifact.Gone, "", "gone", map[string]any{"oldest": 3, "last": 9}), 410, `"RES_CURSOR_EXPIRED","message":"gone","details":{"last":9,"oldest":3},"field_errors":null`},
		{artifact.Errorf(artifact.Stale, "changed"), 412, `"RES_PRECONDITION_FAILED","message":"changed","details":null,"field_errors":null`},
		{errBadRange, 416, `"RES_RANGE_NOT_SATISFIABLE","message":"Range Not Satisfiable","details":null,"field_errors":null`},
		{artifact.Errorf(artifact.Full, "full"), 507, `"SYS_INSUFFICIENT_STORAGE","message":"full","details":null,"field_errors":null`},
		{coded(artifact.Invalid, "invalid_grant", "of OAuth", nil), 400, `"VAL_FIELD_INVALID","message":"of OAuth","details":null,"field_errors":null`},
		{coded(artifact.Exists, "", "clash", map[string]any{"x": math.NaN()}), 409, `"RES_ALREADY_EXISTS","message":"clash","details":null,"field_errors":null`},
	} {
		w := refusal(t, "/api/v2/x", c.err)
		want := `{"status":"error","error":{"code":` + c.body + "},META}"
		if got := golden(t, w); got != want || w.Code != c.status {
			t.Errorf("%v: %d\n%s\nwant %d\n%s", c.err, w.Code, got, c.status, want)
		}
		retry := map[int]string{429: "7", 503: "1"}[c.status]
		if got := w.Header().Get("Retry-After"); got != retry {
			t.Errorf("%v: Retry-After %q, want %q", c.err, got, retry)
		}
	}
}

// What is wrong with the fields of a body or a query.
func TestFaultsOfTheLibrary(t *testing.T) {
	body := func(text string) func() error {
		return func() error {
			o, err := objectOf(text)
			if err != nil {
				return err
			}
			o.text("path")
			o.text("content")
			o.truth("overwrite", false)
			o.integer("n", 0, atLeast(1))
			return o.err()
		}
	}
	params := func(text string) func() error {
		return func() error {
			q := parseQuery(httptest.NewRequest("GET", "/x?"+text, nil))
			q.required("path")
			q.single("prefix")
			q.integer("limit", 0, atLeast(1), atMost(1000))
			q.oneOf("status", "", "a", "b", "c")
			return q.err()
		}
	}
	const failed = "Request validation failed: "
	for _, c := range []struct {
		request func() error
		status  int
		body    string
	}{
		{body(""), 422, `"VAL_VALIDATION_FAILED","message":"` + failed + `body: Body should not be empty","details":null,"field_errors":{"body":["Body should not be empty"]}`},
		{body("[]"), 422, `"VAL_VALIDATION_FAILED","message":"` + failed + `body: Input should be an object","details":null,"field_errors":{"body":["Input should be an object"]}`},
		{body("{"), 422, `"VAL_VALIDATION_FAILED","message":"` + failed + `body: JSON decode error","details":null,"field_errors":{"body":["JSON decode error"]}`},
		{body(`{"path":"/a","path":"/b"}`), 422, `"VAL_VALIDATION_FAILED","message":"` + failed + `path: Field should be given once","details":null,"field_errors":{"path":["Field should be given once"]}`},
		{body(`{"path":"/a"}`), 422, `"VAL_FIELD_REQUIRED","message":"` + failed + `content: Field required","details":{"field":"content"},"field_errors":{"content":["Field required"]}`},
		{body(`{"path":null}`), 422, `"VAL_FIELD_REQUIRED","message":"` + failed + `content: Field required","details":{"field":"content"},"field_errors":{"content":["Field required"],"path":["Input should be a valid string"]}`},
		{body(`{}`), 422, `"VAL_FIELD_REQUIRED","message":"` + failed + `path: Field required","details":{"field":"path"},"field_errors":{"content":["Field required"],"path":["Field required"]}`},
		{body(`{"path":"","content":1}`), 422, `"VAL_VALIDATION_FAILED","message":"` + failed + `content: Input should be a valid string","details":null,"field_errors":{"content":["Input should be a valid string"]}`},
		{body(`{"path":"","content":"","overwrite":"yes"}`), 422, `"VAL_VALIDATION_FAILED","message":"` + failed + `overwrite: Input should be a valid boolean","details":null,"field_errors":{"overwrite":["Input should be a valid boolean"]}`},
		{body(`{"path":"","content":"","n":0}`), 422, `"VAL_FIELD_INVALID","message":"` + failed + `n: Input should be greater than or equal to 1","details":{"field":"n"},"field_errors":{"n":["Input should be greater than or equal to 1"]}`},
		{params(""), 422, `"VAL_FIELD_REQUIRED","message":"` + failed + `path: Field required","details":{"field":"path"},"field_errors":{"path":["Field required"]}`},
		{params("path=a&path=a"), 400, `"VAL_FIELD_INVALID","message":"` + failed + `path: Parameter should be given once","details":{"field":"path","reason":"repeated"},"field_errors":null`},
		{params("path=a&prefix=&prefix="), 400, `"VAL_FIELD_INVALID","message":"` + failed + `prefix: Parameter should be given once","details":{"field":"prefix","reason":"repeated"},"field_errors":null`},
		{params("path=%zz"), 400, `"VAL_FIELD_INVALID","message":"` + failed + `query: Query string should be valid","details":{"field":"query","reason":"malformed"},"field_errors":null`},
		{params("path=a;b"), 400, `"VAL_FIELD_INVALID","message":"` + failed + `query: Query string should be valid","details":{"field":"query","reason":"malformed"},"field_errors":null`},
		{params("path=a&limit=x"), 422, `"VAL_FIELD_INVALID","message":"` + failed + `limit: Input should be a valid integer, unable to parse string as an integer","details":{"field":"limit"},"field_errors":{"limit":["Input should be a valid integer, unable to parse string as an integer"]}`},
		{params("path=a&limit=1001"), 422, `"VAL_FIELD_INVALID","message":"` + failed + `limit: Input should be less than or equal to 1000","details":{"field":"limit"},"field_errors":{"limit":["Input should be less than or equal to 1000"]}`},
		{params("path=a&status=d"), 422, `"VAL_ENUM_INVALID","message":"` + failed + `status: Input should be 'a', 'b' or 'c'","details":{"allowed_values":["a","b","c"],"field":"status"},"field_errors":{"status":["Input should be 'a', 'b' or 'c'"]}`},
	} {
		err := c.request()
		w := refusal(t, "/api/v2/x", err)
		want := `{"status":"error","error":{"code":` + c.body + "},META}"
		if got := golden(t, w); got != want || w.Code != c.status {
			t.Errorf("%v: %d\n%s\nwant %d\n%s", err, w.Code, got, c.status, want)
		}
	}
}

func TestSuccessesOfTheLibrary(t *testing.T) {
	d, _ := testDialect()
	pieces := func(fail error) handler {
		return func(w http.ResponseWriter, r *http.Request) (any, error) {
			return nil, d.streamData(w, func(out *jsonStream) error {
				out.raw(`{"files":[`)
				for i := range 3 {
					out.comma(i)
					out.value(i)
				}
				out.raw("]}")
				return fail
			})
		}
	}
	mux := table{
		{method: "GET", pattern: "/api/v2/object", h: answer(map[string]any{"a": "<b>&é\u2028"}, nil)},
		{method: "GET", pattern: "/api/v2/created", h: answer(created([]int{}), nil)},
		{method: "GET", pattern: "/api/v2/pieces", h: pieces(nil)},
		{method: "GET", pattern: "/api/v2/broken", h: pieces(artifact.Errorf(artifact.NotFound, "gone"))},
	}.mux(d)
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"object", 200, `{"status":"success","data":{"a":"<b>&é\u2028"},META}`},
		{"created", 201, `{"status":"success","data":[],META}`},
		{"pieces", 200, `{"status":"success","data":{"files":[0,1,2]},META}`},
		{"broken", 404, `{"status":"error","error":{"code":"RES_NOT_FOUND","message":"gone","details":null,"field_errors":null},META}`},
	} {
		w := do(mux, httptest.NewRequest("GET", "/api/v2/"+c.path, nil))
		if got := golden(t, w); got != c.body || w.Code != c.status {
			t.Errorf("%s: %d %s, want %d %s", c.path, w.Code, got, c.status, c.body)
		}
	}
}

// Requests have ids of their own, which the client's correlation id does not
// replace, and the log knows both.
func TestRequestID(t *testing.T) {
	d, log := testDialect()
	var seen string
	h := func(_ http.ResponseWriter, r *http.Request) (any, error) {
		seen = requestID(r.Context())
		return "ok", nil
	}
	all := surround(table{{method: "GET", pattern: "/api/v2/x", h: h}}.mux(d), d, &guard{d: d}, nil)
	known := make(map[string]bool)
	for _, given := range []string{"", "mine", "mine"} {
		r := localRequest("GET", "/api/v2/x")
		r.Header.Set(CorrelationHeader, given)
		r.Header.Set(RequestHeader, "theirs")
		w := do(all, r)
		golden(t, w)
		id := w.Header().Get(RequestHeader)
		if known[id] || seen != id || !strings.Contains(log.String(), id) {
			t.Errorf("with %q: id %q, the handler saw %q, log %s", given, id, seen, log)
		}
		known[id] = true
	}
	if requestID(t.Context()) != "" {
		t.Error("an id outside a request")
	}
}

func TestErrorsOfOAuth(t *testing.T) {
	_, badPath := artifact.ParsePath("a.md")
	_, badJSON := objectOf(`{`)
	missingField := malformed(missing("body", "client_name"))
	for _, c := range []struct {
		err       error
		status    int
		code, msg string
	}{
		{coded(artifact.Invalid, "authorization_pending", "wait", nil), 400, "authorization_pending", "wait"},
		{coded(artifact.Invalid, "invalid_grant", "dead", map[string]any{"secret": 1}), 400, "invalid_grant", "dead"},
		{coded(artifact.Malformed, "invalid_scope", "wider", nil), 400, "invalid_scope", "wider"},
		{coded(artifact.Invalid, "invalid_client", "unknown", nil), 401, "invalid_client", "unknown"},
		{coded(artifact.Unauthorized, "invalid_client", "unknown", nil), 401, "invalid_client", "unknown"},
		{coded(artifact.Unauthorized, "AUTH_TOKEN_EXPIRED", "old", nil), 401, "invalid_token", "old"},
		{coded(artifact.Denied, "unauthorized_client", "no", nil), 403, "unauthorized_client", "no"},
		{artifact.Errorf(artifact.Denied, "no"), 403, "access_denied", "no"},
		{artifact.Errorf(artifact.NotFound, "no"), 404, "not_found", "no"},
		{artifact.Errorf(artifact.TooLarge, "big"), 413, "invalid_request", "big"},
		{artifact.Errorf(artifact.Unsupported, "type"), 415, "invalid_request", "type"},
		{coded(artifact.Limited, "slow_down", "slower", nil), 429, "slow_down", "slower"},
		{artifact.Errorf(artifact.Limited, "slower"), 429, "temporarily_unavailable", "slower"},
		{artifact.Errorf(artifact.Unavailable, "later"), 503, "temporarily_unavailable", "later"},
		{artifact.Errorf(artifact.Full, "full"), 507, "server_error", "full"},
		{errors.New("secret"), 500, "server_error", "An internal server error occurred"},
		{coded(artifact.Internal, "invalid_grant", "secret", nil), 500, "server_error", "An internal server error occurred"},
		{badPath, 400, "invalid_request", "Invalid path: it must begin with a slash"},
		{badJSON, 400, "invalid_request", "body: JSON decode error"},
		{missingField, 400, "invalid_request", "client_name: Field required"},
		{artifact.Errorf(artifact.Invalid, "a \"b\" \\ é\n"), 400, "invalid_request", "a 'b' / ??"},
	} {
		for _, path := range []string{"/oauth/token", "/.well-known/x"} {
			w := refusal(t, path, c.err)
			want := `{"error":"` + c.code + `","error_description":"` + c.msg + `"}` + "\n"
			h := w.Header()
			if w.Code != c.status || w.Body.String() != want || h.Get("Content-Type") != "application/json" {
				t.Errorf("%v: %d %s, want %d %s", c.err, w.Code, w.Body, c.status, want)
			}
			if h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || (h.Get("Www-Authenticate") != "") != (c.status == 401) {
				t.Errorf("%v: headers %v", c.err, h)
			}
		}
	}
}

func TestSuccessesOfOAuth(t *testing.T) {
	d, _ := testDialect()
	w := do(table{{method: "GET", pattern: "/oauth/x", h: answer(created(map[string]string{"client_id": "dyn_1"}), nil)}}.mux(d), httptest.NewRequest("GET", "/oauth/x", nil))
	if w.Code != 201 || w.Body.String() != `{"client_id":"dyn_1"}`+"\n" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Pragma") != "no-cache" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}

func TestChallenges(t *testing.T) {
	const more = `resource_metadata="https://v.example/b/.well-known/oauth-protected-resource"`
	short := coded(artifact.Denied, "AUTH_INSUFFICIENT_PERMISSIONS", "no", map[string]any{"required_scopes": artifact.Scopes{"read", "write"}})
	for _, c := range []struct {
		err  error
		want string
	}{
		{coded(artifact.Unauthorized, "AUTH_UNAUTHORIZED", "no", nil), "Bearer " + more},
		{artifact.Errorf(artifact.Unauthorized, "no"), "Bearer " + more},
		{coded(artifact.Unauthorized, "AUTH_TOKEN_INVALID", "no", nil), `Bearer error="invalid_token", ` + more},
		{coded(artifact.Unauthorized, "AUTH_TOKEN_EXPIRED", "no", nil), `Bearer error="invalid_token", ` + more},
		{coded(artifact.Unauthorized, "AUTH_INVALID_CREDENTIALS", "no", nil), `Bearer error="invalid_token", ` + more},
		{short, `Bearer error="insufficient_scope", scope="read write", ` + more},
		{artifact.Errorf(artifact.Denied, "no"), ""},
		{artifact.Errorf(artifact.NotFound, "no"), ""},
	} {
		for _, path := range []string{"/api/sessions", "/api/v2/x", "/oauth/x", "/ws"} {
			if got := refusal(t, path, c.err).Header().Get("WWW-Authenticate"); got != c.want {
				t.Errorf("%s, %v: %q, want %q", path, c.err, got, c.want)
			}
		}
	}
	d, _ := testDialect() // of a server that does not know its own address
	if got := d.challenge(401, &artifact.Error{}); got != "Bearer" {
		t.Errorf("without an address: %q", got)
	}
}

// The path alone decides how something is said, whoever says it.
func TestWordingOfRefusalsEverywhere(t *testing.T) {
	d, _ := testDialect()
	const in = "/api/v2/deep/{x...}"
	var all table
	for _, top := range []string{"/api", "/api/v2", "/oauth", "/.well-known"} {
		all = append(all,
			route{method: "POST", pattern: top + "/panic", h: func(http.ResponseWriter, *http.Request) (any, error) { panic("slip") }},
			route{method: "POST", pattern: top + "/json", h: answer("ok", nil), body: bodyJSON, limit: 4})
	}
	all = append(all, route{method: "GET", pattern: in, h: answer("ok", nil)})
	whole := surround(all.mux(d), d, &guard{d: d}, nil)
	kindOf := func(w *httptest.ResponseRecorder) string {
		switch m := decodeBody(t, w); {
		case m["status"] == "error" && m["meta"] != nil:
			e, _ := m["error"].(map[string]any)
			return fmt.Sprint("library ", e["code"])
		case m["detail"] != nil:
			e, _ := m["error"].(map[string]any)
			return fmt.Sprint("sessions ", e["code"])
		default:
			return fmt.Sprint("oauth ", m["error"])
		}
	}
	big := []string{"Content-Type: application/json", "Content-Length: 5"}
	for _, c := range []struct {
		method, path string
		headers      []string
		status       int
		code         map[string]string
	}{
		{"POST", "/nowhere", nil, 404, map[string]string{"/api": "sessions RESOURCE_NOT_FOUND", "/api/v2": "library RES_NOT_FOUND", "/oauth": "oauth not_found"}},
		{"PUT", "/json", nil, 405, map[string]string{"/api": "sessions METHOD_NOT_ALLOWED", "/api/v2": "library RES_METHOD_NOT_ALLOWED", "/oauth": "oauth invalid_request"}},
		{"POST", "/panic", nil, 500, map[string]string{"/api": "sessions INTERNAL_ERROR", "/api/v2": "library SYS_INTERNAL_ERROR", "/oauth": "oauth server_error"}},
		{"POST", "/json", []string{"Host: evil.example"}, 403, map[string]string{"/api": "sessions SECURITY_ERROR", "/api/v2": "library AUTH_FORBIDDEN", "/oauth": "oauth access_denied"}},
		{"POST", "/json", []string{"Origin: https://evil.example"}, 403, map[string]string{"/api": "sessions SECURITY_ERROR", "/api/v2": "library AUTH_FORBIDDEN", "/oauth": "oauth access_denied"}},
		{"POST", "//json", nil, 400, map[string]string{"/api": "sessions VALIDATION_ERROR", "/api/v2": "library VAL_FIELD_INVALID", "/oauth": "oauth invalid_request"}},
		{"POST", "/x/..", nil, 400, map[string]string{"/api": "sessions VALIDATION_ERROR", "/api/v2": "library VAL_FIELD_INVALID", "/oauth": "oauth invalid_request"}},
		{"POST", "/json", big, 413, map[string]string{"/api": "sessions PAYLOAD_TOO_LARGE", "/api/v2": "library VAL_FIELD_TOO_LONG", "/oauth": "oauth invalid_request"}},
		{"POST", "/json", []string{"Content-Type: text/plain"}, 415, map[string]string{"/api": "sessions UNSUPPORTED_MEDIA_TYPE", "/api/v2": "library VAL_VALIDATION_FAILED", "/oauth": "oauth invalid_request"}},
	} {
		c.code["/.well-known"] = c.code["/oauth"]
		for top, want := range c.code {
			r := sent(c.method, c.headers...)
			r.URL.Path = top + c.path
			if r.Header.Get("Content-Length") != "" {
				r.ContentLength, r.Body = 5, io.NopCloser(strings.NewReader(`{"a":`))
			}
			w := do(whole, r)
			if got := kindOf(w); got != want || w.Code != c.status {
				t.Errorf("%s %s: %d %s, want %d %s", c.method, r.URL.Path, w.Code, got, c.status, want)
			}
		}
	}
	for path, want := range map[string]string{
		"/api/v2": "library RES_NOT_FOUND", "/api/v2/": "library RES_NOT_FOUND", "/api/v2/deep": "library RES_NOT_FOUND", "/api/v2x": "sessions RESOURCE_NOT_FOUND",
		"/oauth": "oauth not_found", "/oauthx/a": "sessions RESOURCE_NOT_FOUND", "/": "sessions RESOURCE_NOT_FOUND", "/api/v20/x": "sessions RESOURCE_NOT_FOUND",
	} {
		r := localRequest("GET", path)
		if got := kindOf(do(whole, r)); got != want {
			t.Errorf("GET %s: %s, want %s", path, got, want)
		}
	}
	if diff := cmp.Diff([]string{"/", "/api/v2/deep"}, all.tops()); diff != "" {
		t.Errorf("tops (-want +got):\n%s", diff)
	}
}

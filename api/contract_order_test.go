package api_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/depot"
)

// exhausted is a house whose tenant has asked as often as it may, with a token
// that may write and one that may only read.
func exhausted(t *testing.T) (h *house, reader string) {
	t.Helper()
	h = open(t)
	h.data(h.save("/taken.md", "x"))
	key, _ := h.newKey(`"permissions":["read"]`)
	h.setup.api.Rates = api.RateLimits{Tenant: 1}
	h.restart()
	h.spend(library + "/list")
	return h, h.tokenOf(key)
}

// spend asks until it may ask no more, and returns that answer.
func (h *house) spend(path string) answer {
	h.Helper()
	for range 20 {
		if a := h.get(path); a.StatusCode == 429 {
			return a
		}
	}
	h.Fatalf("%s may be asked for without end", path)
	return answer{}
}

// Of several things that are wrong the first of this order is told (contract,
// artifacts §2): route, method, 401, 403, 429, type, length, JSON, fields, path,
// size, conflict.
func TestOrderOfChecks(t *testing.T) {
	full, reader := exhausted(t)
	h := open(t)
	h.data(h.save("/taken.md", "x"))
	const tooLong = 6*depot.MaxText + 64<<10 + 1
	big := strings.Repeat("a", depot.MaxText+1)
	for _, row := range []struct {
		name, method, path, bearer, kind, body string
		length                                 int64 // that is announced, where it is not the body's
		exhausted                              bool
		status                                 int
		code                                   string
	}{
		{name: "no route, no token", method: "POST", path: "/api/v2/artefacts", status: 404, code: "RES_NOT_FOUND"},
		{name: "no such method, no token", method: "PUT", path: library, status: 405, code: "RES_METHOD_NOT_ALLOWED"},
		{name: "no token, all spent", method: "POST", path: library, kind: "text/plain", body: "{", exhausted: true, status: 401, code: "AUTH_UNAUTHORIZED"},
		{name: "no scope, all spent", method: "POST", path: library, bearer: reader, kind: "text/plain", body: "{", exhausted: true, status: 403, code: "AUTH_INSUFFICIENT_PERMISSIONS"},
		{name: "all spent, wrong type, too long", method: "POST", path: library, bearer: full.bearer, kind: "text/plain", length: tooLong, exhausted: true, status: 429, code: "BIZ_RATE_LIMIT_EXCEEDED"},
		{name: "wrong type, too long", method: "POST", path: library, bearer: h.bearer, kind: "text/plain", length: tooLong, status: 415, code: "VAL_VALIDATION_FAILED"},
		{name: "too long, no JSON", method: "POST", path: library, bearer: h.bearer, kind: "application/json", body: "{", length: tooLong, status: 413, code: "VAL_FIELD_TOO_LONG"},
		{name: "no JSON, bad path in the query", method: "PATCH", path: library + "?path=x", bearer: h.bearer, body: "{", status: 422, code: "VAL_VALIDATION_FAILED"},
		{name: "no JSON, bad path", method: "POST", path: library, bearer: h.bearer, body: `{"path":"x","content":"y"}}`, status: 422, code: "VAL_VALIDATION_FAILED"},
		{name: "a field missing, bad path", method: "POST", path: library, bearer: h.bearer, body: `{"path":"x"}`, status: 422, code: "VAL_FIELD_REQUIRED"},
		{name: "a field of the wrong type, bad path", method: "POST", path: library, bearer: h.bearer, body: `{"path":"x","content":7}`, status: 422, code: "VAL_VALIDATION_FAILED"},
		{name: "one missing, one of the wrong type", method: "POST", path: library, bearer: h.bearer, body: `{"content":7}`, status: 422, code: "VAL_FIELD_REQUIRED"},
		{name: "bad path, too large", method: "POST", path: library, bearer: h.bearer, body: `{"path":"x","content":"` + big + `"}`, status: 400, code: "VAL_FIELD_INVALID"},
		{name: "too large, taken", method: "POST", path: library, bearer: h.bearer, body: `{"path":"/taken.md","content":"` + big + `"}`, status: 413, code: "VAL_FIELD_TOO_LONG"},
		{name: "taken, to the byte", method: "POST", path: library, bearer: h.bearer, body: `{"path":"/taken.md","content":"x"}`, status: 409, code: "RES_ALREADY_EXISTS"},
		{name: "no path, a bad version", method: "GET", path: library + "?version=0", bearer: h.bearer, status: 422, code: "VAL_FIELD_REQUIRED"},
		{name: "bad path, a bad version", method: "GET", path: library + "?path=x&version=0", bearer: h.bearer, status: 400, code: "VAL_FIELD_INVALID"},
		{name: "a bad version, nothing there", method: "GET", path: library + "?path=/none&version=0", bearer: h.bearer, status: 422, code: "VAL_FIELD_INVALID"},
	} {
		at := h
		if row.exhausted {
			at = full
		}
		length := row.length
		if length == 0 {
			length = int64(len(row.body))
		}
		text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n", row.method, row.path, length)
		if row.bearer != "" {
			text += "Authorization: Bearer " + row.bearer + "\r\n"
		}
		if row.kind != "" {
			text += "Content-Type: " + row.kind + "\r\n"
		}
		// Half a connection that is closed says that the client has gone: only a
		// body that does not come whole is closed so.
		a, err := at.raw(text+"\r\n"+row.body, int64(len(row.body)) < length)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if code := asMap(a.json["error"])["code"]; a.StatusCode != row.status || code != row.code {
			t.Errorf("%s: %d %v, want %d %s: %.300s", row.name, a.StatusCode, code, row.status, row.code, a.body)
		}
		if row.status == 405 && a.Header.Get("Allow") != "DELETE, GET, HEAD, PATCH, POST" {
			t.Errorf("Allow: %q", a.Header.Get("Allow"))
		}
	}
}

// rateOf returns what an answer tells of the limit.
func rateOf(t *testing.T, a answer) (limit, left int, reset time.Time) {
	t.Helper()
	var n [3]int
	for i, name := range []string{"Limit", "Remaining", "Reset"} {
		var err error
		if n[i], err = strconv.Atoi(a.Header.Get("X-RateLimit-" + name)); err != nil {
			t.Fatalf("%s %s: %v in %v", a.Request.Method, a.Request.URL, err, a.Header)
		}
	}
	return n[0], n[1], time.Unix(int64(n[2]), 0)
}

// Every answer of /api/v2 tells of the limit while there is one, and a refusal
// says when to come again, in seconds (contract, auth §8).
func TestRateLimit(t *testing.T) {
	h := open(t, func(s *setup) { s.api.Rates = api.RateLimits{Tenant: 6, Login: 2} })
	other := h.tenant("pf_other")
	last := 6
	for i, ask := range []func() answer{
		func() answer { return h.get(library + "/list") },
		func() answer { return h.artifactAt("/none") },
		func() answer { return h.get(library + "/list?limit=0") },
		func() answer { return h.get("/api/v2/auth/verify") },
	} {
		a := ask()
		limit, left, reset := rateOf(t, a)
		if limit != 6 || left >= last && i > 0 || left < 0 || left > 5 || time.Until(reset) < 0 || time.Until(reset) > 62*time.Second {
			t.Errorf("%d %s: %d of %d left, all at %v", a.StatusCode, a.Request.URL, left, limit, reset)
		}
		last = left
	}
	a := h.spend(library + "/list")
	h.wantEnveloped(a, "BIZ_RATE_LIMIT_EXCEEDED")
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || wait < 1 || wait > 10 {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	want := map[string]any{"retry_after": float64(wait), "limit": 6.0}
	if diff := cmp.Diff(want, asMap(a.json["error"])["details"]); diff != "" {
		t.Errorf("details: %s", diff)
	}
	if _, left, _ := rateOf(t, a); left != 0 {
		t.Errorf("%d left", left)
	}
	// Sessions of the tenant take from the same, other tenants have their own.
	a = h.want(h.get("/api/sessions"), 429, "")
	if a.Header.Get("Retry-After") == "" || a.Header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("of sessions: %v", a.Header)
	}
	if _, left, _ := rateOf(t, other.ok(other.get(library+"/list"))); left != 5 {
		t.Errorf("of another tenant %d are left", left)
	}
	// Who is not known is told of it too.
	for path, status := range map[string]int{library + "/list": 401, "/api/v2/nothing": 404, "/api/v2/auth/logout": 405} {
		a := h.want(h.get(path, "Authorization", ""), status, "")
		if limit, left, _ := rateOf(t, a); limit != 6 || left != 6 {
			t.Errorf("%s: %d of %d left", path, left, limit)
		}
	}
	// Where keys are tried an address may not ask often, whatever it brings.
	tried := 0
	for a = h.exchange("x"); a.StatusCode == 401; a = h.exchange("x") {
		tried++
	}
	h.want(a, 429, "BIZ_RATE_LIMIT_EXCEEDED")
	if limit, _, _ := rateOf(t, a); limit != 2 || tried < 2 || tried > 3 {
		t.Errorf("%d tries under a limit of %d", tried, limit)
	}
	h.want(h.exchange(h.key), 429, "BIZ_RATE_LIMIT_EXCEEDED")
}

// Without a limit nothing is told of one.
func TestNoRateLimit(t *testing.T) {
	h := open(t)
	for _, a := range []answer{h.get(library + "/list"), h.get(library, "Authorization", "")} {
		if a.Header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%v", a.Header)
		}
	}
}

package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

func TestContentTypesOutsideOfSessions(t *testing.T) {
	d, _ := testDialect()
	var all table
	for name, b := range map[string]bodyKind{"none": bodyNone, "json": bodyJSON, "fields": bodyFields, "raw": bodyRaw} {
		all = append(all, route{method: "POST", pattern: "/api/v2/" + name, body: b, h: answer("ok", nil)})
	}
	mux := all.mux(d)
	for _, c := range []struct {
		path, given, content string
		status               int
	}{
		{"json", "application/json", "{}", 200},
		{"json", "Application/JSON; charset=utf-8", "{}", 200},
		{"json", "", "{}", 200},
		{"json", "", "", 200},
		{"json", "text/plain", "{}", 415},
		{"json", "text/plain", "", 415},
		{"json", "application/x-www-form-urlencoded", "{}", 415},
		{"json", "application/json; =", "{}", 415},
		{"fields", "application/x-www-form-urlencoded", "a=b", 200},
		{"fields", "application/x-www-form-urlencoded; charset=UTF-8", "a=b", 200},
		{"fields", "application/json", "{}", 415},
		{"fields", "multipart/form-data; boundary=x", "x", 415},
		{"fields", "", "a=b", 415},
		{"raw", "text/html", "x", 200},
		{"raw", "", "x", 200},
		{"none", "application/json", "", 200},
		{"none", "application/json", "not json", 200},
		{"none", "text/plain", "x", 200},
	} {
		r := httptest.NewRequest("POST", "/api/v2/"+c.path, strings.NewReader(c.content))
		if c.given != "" {
			r.Header.Set("Content-Type", c.given)
		}
		if w := do(mux, r); w.Code != c.status {
			t.Errorf("%s with %q: status %d, want %d", c.path, c.given, w.Code, c.status)
		}
	}
}

func TestLengthsOfBodies(t *testing.T) {
	d, _ := testDialect()
	read := func(_ http.ResponseWriter, r *http.Request) (any, error) {
		text, err := readBody(r)
		return len(text), err
	}
	mux := table{
		{method: "POST", pattern: "/api/v2/own", body: bodyJSON, limit: 100, h: read},
		{method: "POST", pattern: "/api/v2/json", body: bodyJSON, h: read},
		{method: "POST", pattern: "/oauth/fields", body: bodyFields, h: read},
		{method: "POST", pattern: "/api/v2/raw", body: bodyRaw, h: read},
	}.mux(d)
	for _, c := range []struct {
		path, given string
		length      int
		status      int
	}{
		{"/api/v2/own", "application/json", 100, 200},
		{"/api/v2/own", "application/json", 101, 413},
		{"/api/v2/json", "application/json", smallBody, 200},
		{"/api/v2/json", "application/json", smallBody + 1, 413},
		{"/oauth/fields", "application/x-www-form-urlencoded", smallBody, 200},
		{"/oauth/fields", "application/x-www-form-urlencoded", smallBody + 1, 413},
		{"/api/v2/raw", "", smallBody + 1, 200},
	} {
		for _, announced := range []bool{true, false} {
			r := httptest.NewRequest("POST", c.path, strings.NewReader(strings.Repeat("x", c.length)))
			r.Header.Set("Content-Type", c.given)
			if !announced {
				r.ContentLength = -1
			}
			if w := do(mux, r); w.Code != c.status {
				t.Errorf("%s with %d bytes, announced %v: %d, want %d", c.path, c.length, announced, w.Code, c.status)
			}
		}
	}
}

// The order of contract, artifacts §2: each request is wrong in all that follows.
func TestOrderOfChecks(t *testing.T) {
	d, _ := testDialect()
	refused := map[string]error{
		"who": artifact.Errorf(artifact.Unauthorized, "who"), "scope": artifact.Errorf(artifact.Denied, "scope"), "rate": artifact.Errorf(artifact.Limited, "rate"),
	}
	d.admit = func(rt route, _ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		if rt.scope != artifact.Write || rt.public {
			t.Errorf("asked for the route %+v", rt)
		}
		return r.WithContext(artifact.WithCaller(r.Context(), &artifact.Caller{Tenant: "pf_a"})), refused[r.Header.Get("Caller")]
	}
	h := func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if artifact.CallerOf(r.Context()).Tenant != "pf_a" {
			t.Error("the handler does not know who asks")
		}
		o, err := readObject(r)
		if err != nil {
			return nil, err
		}
		text := o.text("path")
		if err := o.err(); err != nil {
			return nil, err
		}
		return artifact.ParsePath(text)
	}
	mux := table{{method: "POST", pattern: "/api/v2/x", h: h, body: bodyJSON, limit: 20, scope: artifact.Write}}.mux(d)
	long := strings.Repeat("x", 30)
	for _, c := range []struct {
		method, path, caller, media, body string
		status                            int
	}{
		{"POST", "/api/v2/y", "who", "text/plain", long, 404},
		{"PUT", "/api/v2/x", "who", "text/plain", long, 405},
		{"POST", "/api/v2/x", "who", "text/plain", long, 401},
		{"POST", "/api/v2/x", "scope", "text/plain", long, 403},
		{"POST", "/api/v2/x", "rate", "text/plain", long, 429},
		{"POST", "/api/v2/x", "", "text/plain", long, 415},
		{"POST", "/api/v2/x", "", "", long, 413},
		{"POST", "/api/v2/x", "", "", "{", 422},
		{"POST", "/api/v2/x", "", "", "{}", 422},
		{"POST", "/api/v2/x", "", "", `{"path":1}`, 422},
		{"POST", "/api/v2/x", "", "", `{"path":"a"}`, 400},
		{"POST", "/api/v2/x", "", "", `{"path":"/a"}`, 200},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Caller", c.caller)
		if c.media != "" {
			r.Header.Set("Content-Type", c.media)
		}
		if w := do(mux, r); w.Code != c.status {
			t.Errorf("%+v: status %d", c, w.Code)
		}
	}
}

// No operation is open to everybody because somebody forgot to say for whom it is.
func TestEveryRouteSaysForWhomItIs(t *testing.T) {
	public := []string{"/{$}", "/openapi.json", "/health", "/health/live", "/health/ready",
		"/api/v2/auth/token", "/api/v2/auth/refresh", "/api/v2/auth/login"}
	known := []string{"/api/v2/auth/verify", "/api/v2/auth/logout", "/api/v2/auth/logins", "/api/v2/auth/logins/{login_id}"}
	admin := []string{"/api/v2/keys", "/api/v2/keys/{key_id}", "/api/v2/members", "/api/v2/members/{member_id}", "/api/v2/audit"}
	for _, rt := range (&Server{}).table() {
		share := strings.HasPrefix(rt.pattern, "/s/{share}")
		if slices.Contains(known, rt.pattern) {
			if rt.public || rt.scope != "" {
				t.Errorf("%s %s is not for everybody who is known", rt.method, rt.pattern)
			}
			continue
		}
		if wordingAt(rt.pattern) == (oauthWording{}) || rt.pattern == devicePath {
			if !rt.public || rt.scope != "" {
				t.Errorf("%s %s is not for who wants to log in", rt.method, rt.pattern)
			}
			continue
		}
		if rt.public != (share || slices.Contains(public, rt.pattern)) || rt.public != (rt.scope == "") || share != rt.secret {
			t.Errorf("%s %s: public %v, scope %q", rt.method, rt.pattern, rt.public, rt.scope)
		}
		want := artifact.Write
		switch {
		case slices.Contains(admin, rt.pattern):
			want = artifact.Admin
		case rt.method == "GET":
			want = artifact.Read
		case rt.method == "DELETE" && strings.HasPrefix(rt.pattern, "/api/v2/memories/"):
			want = artifact.Delete
		}
		if !rt.public && rt.scope != want {
			t.Errorf("%s %s needs the scope %q, not %q", rt.method, rt.pattern, rt.scope, want)
		}
	}
}

func TestFormFields(t *testing.T) {
	for text, want := range map[string]fields{
		"grant_type=a%3Ab&scope=read+write&empty=&x=%C3%A9": {"grant_type": "a:b", "scope": "read write", "x": "é"},
		"": {},
	} {
		got, err := readFields(httptest.NewRequest("POST", "/x", strings.NewReader(text)))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"a=1&a=1", "a=1&a=", "a=%zz", "a=b;c=d", "a=%ff", "a=%00"} {
		got, err := parseFields(text)
		if e, ok := errors.AsType[*artifact.Error](err); !ok || e.Kind != artifact.Invalid || e.Code != "invalid_request" || got != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// A client that sends a long body to its end before it reads must not have the
// connection reset under it: it would never learn that its token has expired.
func TestRefusedSendersHearTheAnswer(t *testing.T) {
	d, _ := testDialect()
	d.admit = func(rt route, _ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		if r.Header.Get("Caller") == "" {
			return nil, artifact.Errorf(artifact.Unauthorized, "who")
		}
		return r, nil
	}
	h := func(_ http.ResponseWriter, r *http.Request) (any, error) {
		_, err := readBody(r)
		return "ok", err
	}
	all := surround(table{{method: "POST", pattern: "/api/v2/x", h: h, body: bodyJSON, limit: 8 << 20}}.mux(d), d, &guard{d: d}, nil)
	server := httptest.NewServer(all)
	defer server.Close()
	const length = 24 << 20
	for _, c := range []struct {
		target, headers string
		status          string
	}{
		{"/api/v2/x", "Host: localhost\r\nCaller: a\r\n", "413"},
		{"/api/v2/x", "Host: localhost\r\n", "401"},
		{"/api/v2/y", "Host: localhost\r\n", "404"},
		{"/api/v2/x", "Host: evil.example\r\n", "403"},
		{"/api/v2//x", "Host: localhost\r\n", "400"},
	} {
		for _, framing := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n", length), fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", length)} {
			conn := dial(t, server)
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\n%s%s", c.target, c.headers, framing)
			if _, err := io.Copy(conn, io.LimitReader(spaces{}, length)); err != nil {
				t.Errorf("%s %q %q: sending: %v", c.target, c.headers, framing, err)
				continue
			}
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.status) {
				t.Errorf("%s %q %q: answered %q, %v; want %s", c.target, c.headers, framing, line, err, c.status)
			}
		}
	}
}

// spaces is a body that does not end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// A connection on which a refused body came whole goes on.
func TestConnectionsOutliveWhatWasReadWhole(t *testing.T) {
	d, _ := testDialect()
	h := func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if _, err := readBody(r); err != nil {
			return nil, err
		}
		return nil, artifact.Errorf(artifact.Exists, "taken")
	}
	server := httptest.NewServer(surround(table{{method: "POST", pattern: "/api/v2/x", h: h, body: bodyJSON, limit: 8 << 20}}.mux(d), d, &guard{d: d}, nil))
	defer server.Close()
	conn := dial(t, server)
	answers := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprintf(conn, "POST /api/v2/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 1<<20)
		if _, err := io.Copy(conn, io.LimitReader(spaces{}, 1<<20)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil || resp.StatusCode != 409 || resp.Close {
			t.Fatalf("%+v, %v; want a 409 and an open connection", resp, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
}

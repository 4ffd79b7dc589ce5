package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// localRequest is a request as curl on this machine sends it.
func localRequest(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:6400"
	return r
}

// dial opens a connection that does not outlive the test, nor ten seconds.
func dial(t *testing.T, server *httptest.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestCorrelationID(t *testing.T) {
	d, log := testDialect()
	var seen string
	h := func(w http.ResponseWriter, r *http.Request) (any, error) {
		seen = correlationID(r.Context())
		return "ok", nil
	}
	all := surround(table{{method: "GET", pattern: "/x", h: h}}.mux(d), d, &guard{d: d}, nil)
	for given, kept := range map[string]bool{
		"abc-1.2:3_X": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a\tb": false, "é": false, "a/b": false, `a"b`: false,
	} {
		r := localRequest("GET", "/x")
		r.Header.Set(CorrelationHeader, given)
		log.Reset()
		w := do(all, r)
		got := w.Header().Get(CorrelationHeader)
		if kept && got != given || !kept && !uuid4.MatchString(got) {
			t.Errorf("id %q: answered %q, kept should be %v", given, got, kept)
		}
		if seen != got || !strings.Contains(log.String(), got) {
			t.Errorf("id %q: handler saw %q, log %q", got, seen, log)
		}
	}
	if got := correlationID(t.Context()); got != "" {
		t.Errorf("id outside a request = %q", got)
	}
	for _, path := range []string{"/nowhere", "/a//b"} {
		if w := do(all, localRequest("GET", path)); w.Header().Get(CorrelationHeader) == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
	}
}

func TestPanicsAnswer500(t *testing.T) {
	d, log := testDialect()
	all := surround(table{
		{method: "GET", pattern: "/early", h: func(http.ResponseWriter, *http.Request) (any, error) { panic("secret slip") }},
		{method: "GET", pattern: "/late", h: func(w http.ResponseWriter, _ *http.Request) (any, error) {
			fmt.Fprint(w, "x")
			panic("late slip")
		}},
	}.mux(d), d, &guard{d: d}, nil)
	w := do(all, localRequest("GET", "/early"))
	if m := decodeBody(t, w); w.Code != 500 || m["detail"] != "An internal server error occurred" {
		t.Errorf("a panic: %d %v", w.Code, m)
	}
	for _, want := range []string{"secret slip", "middleware_test.go", "status=500"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log %q lacks %q", log, want)
		}
	}
	w = httptest.NewRecorder()
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) || w.Body.String() != "x" {
			t.Errorf("a late panic: recovered %v, body %q", err, w.Body)
		}
	}()
	all.ServeHTTP(w, localRequest("GET", "/late"))
}

func TestAccessLogKeepsSecrets(t *testing.T) {
	d, log := testDialect()
	all := surround(table{
		{method: "GET", pattern: "/s/{share}", h: answer("ok", nil), secret: true},
		{method: "GET", pattern: "/api/sessions/{id}/x", h: answer("ok", nil)},
	}.mux(d), d, &guard{d: d}, nil)
	for _, c := range []struct{ method, path, route string }{
		{"GET", "/s/hidden", "/s/{share}"},
		{"POST", "/s/hidden", "/s/{share}"},
		{"GET", "/s/hidden/more", `""`},
		{"GET", "//s/hidden", `""`},
		{"GET", "/S/hidden", `""`},
		{"GET", "/api/sessions/s/x?token=hidden", "/api/sessions/{id}/x"},
	} {
		log.Reset()
		r := localRequest(c.method, "/")
		u, err := r.URL.Parse("http://127.0.0.1:6400" + c.path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		r.Header.Set("Authorization", "Bearer hidden")
		do(all, r)
		if strings.Contains(log.String(), "hidden") || !strings.Contains(log.String(), "route="+c.route) {
			t.Errorf("%s %s logged %q", c.method, c.path, log)
		}
		if strings.Count(log.String(), "msg=request ") != 1 {
			t.Errorf("%s %s logged %q, want one line", c.method, c.path, log)
		}
	}
	log.Reset()
	do(all, localRequest("GET", "/"+strings.Repeat("é", 5000)))
	if log.Len() > 5000 {
		t.Errorf("a long path made a log line of %d bytes", log.Len())
	}
}

func TestPathGuard(t *testing.T) {
	for path, ok := range map[string]bool{
		"/": true, "/a/b": true, "/a/b..c": true, "/a/...": true, "/a/.hidden": true, "/a/": true, "/a/%20b": true, "/a/%252e%252e/b": true,
		"//a": false, "/a//b": false, "/a//": false, "/./a": false, "/a/.": false, "/a/..": false, "/../a": false,
		"/a/%2e": false, "/a/%2E%2e/b": false, "/a/.%2E/b": false, "/a%2fb": false, "/a%2Fb": false, "/a%5cb": false, "/a%5Cb": false,
		`/a\b`: false, "": false, "*": false, "a/b": false,
	} {
		if got := plainPath(path); got != ok {
			t.Errorf("plainPath(%q) = %v, want %v", path, got, ok)
		}
	}
}

// The guard must see the path as it was sent, and the mux must not redirect.
func TestPathGuardOverTheWire(t *testing.T) {
	d, _ := testDialect()
	server := httptest.NewServer(surround(table{{method: "GET", pattern: "/a/{x...}", h: answer("ok", nil)}}.mux(d), d, &guard{d: d}, nil))
	defer server.Close()
	for target, status := range map[string]string{
		"/a/b": "200", "/a/../a/b": "400", "/a/%2e%2e/b": "400", "//a/b": "400", "/a%2fb": "400", `/a\b`: "400", "/a/b%2e": "200",
	} {
		conn := dial(t, server)
		fmt.Fprint(conn, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+status) {
			t.Errorf("%s: answered %q, %v; want %s", target, line, err, status)
		}
	}
}

// sink is a ResponseWriter that takes files whole, as that of net/http.
type sink struct {
	httptest.ResponseRecorder
	from io.Reader
}

func (s *sink) ReadFrom(src io.Reader) (int64, error) {
	s.from = src
	return io.Copy(struct{ io.Writer }{&s.ResponseRecorder}, src)
}

// A file must reach the connection as a file: only then does it go by sendfile.
func TestFilesPassThroughTheMiddleware(t *testing.T) {
	d, _ := testDialect()
	name := filepath.Join(t.TempDir(), "f")
	content := strings.Repeat("0123456789", 10000)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h := func(w http.ResponseWriter, r *http.Request) (any, error) {
		http.ServeContent(d.contentWriter(w, r), r, "f", time.Unix(1, 0), file)
		return nil, nil
	}
	ended := make(chan Outcome, 1)
	all := surround(table{{method: "GET", pattern: "/f", h: h}}.mux(d), d, &guard{d: d}, func(o Outcome) { ended <- o })
	w := &sink{ResponseRecorder: *httptest.NewRecorder()}
	all.ServeHTTP(w, localRequest("GET", "/f"))
	if limited, ok := w.from.(*io.LimitedReader); !ok || limited.R != file {
		t.Errorf("the writer below read from %T, want the file itself", w.from)
	}
	if w.Body.String() != content {
		t.Errorf("sent %d bytes, want %d", w.Body.Len(), len(content))
	}
	if o := <-ended; o.Bytes != int64(len(content)) || o.Status != 200 {
		t.Errorf("outcome %+v", o)
	}
}

func TestHijackAndFlush(t *testing.T) {
	d, log := testDialect()
	h := func(w http.ResponseWriter, r *http.Request) (any, error) {
		if r.URL.Path == "/flush" {
			if _, ok := w.(http.Flusher); !ok {
				t.Error("no http.Flusher")
			}
			return nil, http.NewResponseController(w).Flush()
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return nil, err
		}
		fmt.Fprint(conn, "mine")
		conn.Close()
		return nil, io.ErrUnexpectedEOF // must neither be written nor panic
	}
	all := table{{method: "GET", pattern: "/hijack", h: h}, {method: "GET", pattern: "/flush", h: h}}
	ended := make(chan Outcome, 2)
	server := httptest.NewServer(surround(all.mux(d), d, &guard{d: d}, func(o Outcome) { ended <- o }))
	defer server.Close()
	resp, err := http.Get(server.URL + "/flush")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("flush: %v, %v", resp, err)
	}
	resp.Body.Close()
	<-ended
	conn := dial(t, server)
	fmt.Fprint(conn, "GET /hijack HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if got, err := io.ReadAll(conn); string(got) != "mine" || err != nil {
		t.Errorf("hijacked connection said %q, %v", got, err)
	}
	if o := <-ended; o.Aborted {
		t.Errorf("outcome %+v, want not aborted; log %s", o, log)
	}
}

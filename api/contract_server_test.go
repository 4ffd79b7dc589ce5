package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/openapi"
	"github.com/vitrine-hq/vitrine/store"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// These tests come in by the door that clients use: a real server, on a real
// data directory, over HTTP.

// setup is what a test may change about its server.
type setup struct {
	depot   depot.Options
	account account.Options
	api     api.Config
	files   fileblob.Options
	// postgres is the address of a database to use instead of SQLite.
	postgres string
	// sendBuffer is the size of the sockets' buffers; nil or 0 leaves it to the system.
	sendBuffer *atomic.Int64
}

// house is a server with its data directory.
type house struct {
	testing.TB
	setup
	dir    string
	web    *httptest.Server
	server *api.Server
	depot  *depot.Depot
	db     *store.DB
	blobs  *fileblob.Driver

	accounts *account.Accounts
	key      string // the first API key
	bearer   string // a token of it, which requests to /api/v2 carry
}

// open starts a server on a new data directory. It is closed with the test.
func open(t testing.TB, change ...func(*setup)) *house {
	t.Helper()
	h := &house{TB: t, dir: t.TempDir(), setup: setup{
		depot: depot.Options{Implicit: true, Log: slog.New(slog.DiscardHandler)},
		api:   api.Config{Version: "test", OpenAPI: openapi.JSON(), Log: slog.New(slog.DiscardHandler)},
	}}
	for _, f := range change {
		f(&h.setup)
	}
	h.start()
	t.Cleanup(h.stop)
	return h
}

// each runs a test on a server with SQLite, and on one with PostgreSQL where
// there is one.
func each(t *testing.T, f func(t *testing.T, h *house)) {
	t.Run("sqlite", func(t *testing.T) { f(t, open(t)) })
	t.Run("postgres", func(t *testing.T) {
		url := storetest.Postgres(t)
		f(t, open(t, func(s *setup) { s.postgres = url }))
	})
}

func (h *house) start() {
	h.Helper()
	ctx := context.Background()
	h.setup.depot.WareHouse = filepath.Join(h.dir, "WareHouse")
	var err error
	if err = os.MkdirAll(h.setup.depot.WareHouse, 0o700); err != nil {
		h.Fatal(err)
	}
	if h.blobs, err = fileblob.Open(filepath.Join(h.dir, "blobs"), h.files); err != nil {
		h.Fatal(err)
	}
	if opt := (store.Options{Now: h.account.Now}); h.postgres != "" {
		h.db, err = store.OpenPostgres(ctx, h.postgres, opt)
	} else {
		h.db, err = store.OpenSQLite(ctx, filepath.Join(h.dir, "vitrine.db"), opt)
	}
	if err != nil {
		h.Fatal(err)
	}
	if h.depot, err = depot.Open(ctx, h.db, blob.New(h.blobs), h.setup.depot); err != nil {
		h.Fatal(err)
	}
	h.account.Issuer = testIssuer
	if h.accounts, err = account.Open(ctx, h.db, h.account); err != nil {
		h.Fatal(err)
	}
	if made, err := h.accounts.Bootstrap(ctx, ""); err != nil {
		h.Fatal(err)
	} else if made != "" {
		h.key = made
	}
	h.bearer = h.tokenOf(h.key)
	h.setup.api.Depot, h.setup.api.Accounts, h.setup.api.PublicURL = h.depot, h.accounts, testIssuer
	if h.server, err = api.New(h.setup.api); err != nil {
		h.Fatal(err)
	}
	h.web = httptest.NewUnstartedServer(h.server.Handler())
	h.web.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if n := h.buffer(); n > 0 {
			if err := c.(*net.TCPConn).SetWriteBuffer(n); err != nil {
				h.Error(err)
			}
		}
		return ctx
	}
	h.web.Start()
}

// testIssuer is the address by which test servers call themselves.
const testIssuer = "http://vitrine.test"

// tokenOf exchanges an API key.
func (h *house) tokenOf(key string) string {
	h.Helper()
	t, err := h.accounts.Exchange(context.Background(), key)
	if err != nil {
		h.Fatal(err)
	}
	return t.Access
}

func (h *house) buffer() int {
	if h.sendBuffer == nil {
		return 0
	}
	return int(h.sendBuffer.Load())
}

func (h *house) stop() {
	if h.web == nil {
		return
	}
	h.server.Drain()
	h.web.Close()
	h.web = nil
	if err := h.depot.Close(); err != nil {
		h.Error(err)
	}
	if err := h.accounts.Close(); err != nil {
		h.Error(err)
	}
	if err := h.db.Close(); err != nil {
		h.Error(err)
	}
}

// restart stops the server and starts another on the same directory.
func (h *house) restart() {
	h.Helper()
	h.stop()
	h.start()
}

// in returns the house for another test, such as one input of a fuzz test.
func (h *house) in(t testing.TB) *house {
	c := *h
	c.TB = t
	return &c
}

// answer is what came back for a request.
type answer struct {
	*http.Response
	body []byte
	json map[string]any // nil where the body is no JSON object
}

// do sends a request. Headers are given as name, value, name, value …
func (h *house) do(method, path string, body io.Reader, headers ...string) answer {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, h.web.URL+path, body)
	if err != nil {
		h.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	h.authorize(r)
	resp, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
	if err != nil {
		h.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Header.Get("Content-Type") == "text/event-stream" {
		return answer{Response: resp} // it would not end
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatalf("%s %s: read answer: %v", method, path, err)
	}
	a := answer{Response: resp, body: text}
	if kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); kind == "application/json" && method != "HEAD" {
		if err := json.Unmarshal(text, &a.json); err != nil && (resp.StatusCode >= 400 || !strings.Contains(path, "mode=stream")) {
			h.Errorf("%s %s: answer is no JSON object: %.200q", method, path, text)
		}
	}
	return a
}

// authorize gives a request the house's token where one is needed, unless it has
// another. An empty one stands for none.
func (h *house) authorize(r *http.Request) {
	path := r.URL.Path
	_, given := r.Header["Authorization"]
	switch {
	case given && r.Header.Get("Authorization") == "":
		r.Header.Del("Authorization")
	case given || strings.HasPrefix(path, "/api/v2/auth/token"):
	case strings.HasPrefix(path, "/api/v2/") || h.setup.api.Access.Required:
		r.Header.Set("Authorization", "Bearer "+h.bearer)
	}
}

func (h *house) get(path string, headers ...string) answer {
	h.Helper()
	return h.do("GET", path, nil, headers...)
}

// ask sends a JSON body, or none where it is empty.
func (h *house) ask(method, path, body string) answer {
	h.Helper()
	if body == "" {
		return h.do(method, path, nil)
	}
	return h.do(method, path, strings.NewReader(body), "Content-Type", "application/json")
}

// want fails the test unless the answer has the status and, in an error, the
// detail and the form of every error.
func (h *house) want(a answer, status int, detail string) answer {
	h.Helper()
	if a.StatusCode != status {
		h.Fatalf("%s %s: status %d, want %d: %.300s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
	}
	if a.Header.Get(api.CorrelationHeader) == "" {
		h.Errorf("%s %s: no correlation id", a.Request.Method, a.Request.URL.Path)
	}
	if status < 400 || a.Request.Method == "HEAD" {
		return a
	}
	if strings.HasPrefix(a.Request.URL.Path, "/api/v2/") {
		return h.wantEnveloped(a, detail)
	}
	if path := a.Request.URL.Path; strings.HasPrefix(path, "/oauth/") || strings.HasPrefix(path, "/.well-known/") {
		return h.wantOAuth(a, status, "")
	}
	e, _ := a.json["error"].(map[string]any)
	if a.json["detail"] == nil || a.json["timestamp"] == nil || e["code"] == nil || e["message"] == nil || e["details"] == nil {
		h.Errorf("%s %s: not the form of an error: %s", a.Request.Method, a.Request.URL.Path, a.body)
	}
	if detail != "" && a.json["detail"] != detail {
		h.Errorf("%s %s: detail %v, want %q", a.Request.Method, a.Request.URL.Path, a.json["detail"], detail)
	}
	return a
}

// wantEnveloped checks the form of an error of /api/v2; code may be empty.
func (h *house) wantEnveloped(a answer, code string) answer {
	h.Helper()
	e, _ := a.json["error"].(map[string]any)
	meta, _ := a.json["meta"].(map[string]any)
	_, details := e["details"]
	_, fields := e["field_errors"]
	if a.json["status"] != "error" || e["message"] == "" || meta["version"] != "2.0.0" || meta["request_id"] == "" || !details || !fields {
		h.Errorf("%s %s: not the form of an error: %s", a.Request.Method, a.Request.URL.Path, a.body)
	}
	if code != "" && e["code"] != code {
		h.Errorf("%s %s: code %v, want %s: %s", a.Request.Method, a.Request.URL, e["code"], code, a.body)
	}
	return a
}

// data returns what a successful answer of /api/v2 holds.
func (h *house) data(a answer) map[string]any {
	h.Helper()
	h.ok(a)
	d, _ := a.json["data"].(map[string]any)
	if d == nil || a.json["status"] != "success" {
		h.Fatalf("%s %s: no data: %s", a.Request.Method, a.Request.URL.Path, a.body)
	}
	return d
}

func (h *house) ok(a answer) answer {
	h.Helper()
	return h.want(a, 200, "")
}

// part is one part of a form.
type part struct {
	field, name, mime string
	content           string
	headers           []string
}

// form returns the body of a multipart form and its content type.
func form(parts ...part) (body []byte, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		head := make(map[string][]string)
		if p.field == "" {
			p.field = "file"
		}
		head["Content-Disposition"] = []string{fmt.Sprintf(`form-data; name="%s"; filename="%s"`, p.field, p.name)}
		if p.mime != "" {
			head["Content-Type"] = []string{p.mime}
		}
		for i := 0; i < len(p.headers); i += 2 {
			head[p.headers[i]] = []string{p.headers[i+1]}
		}
		pw, err := w.CreatePart(head)
		if err == nil {
			_, err = io.WriteString(pw, p.content)
		}
		if err != nil {
			panic(err) // a bytes.Buffer takes everything
		}
	}
	w.Close()
	return b.Bytes(), w.FormDataContentType()
}

func (h *house) post(id string, parts ...part) answer {
	h.Helper()
	body, contentType := form(parts...)
	return h.do("POST", "/api/uploads/"+id, bytes.NewReader(body), "Content-Type", contentType)
}

// up uploads a file and returns the answer's object.
func (h *house) up(id, name, content string) map[string]any {
	h.Helper()
	return h.ok(h.post(id, part{name: name, content: content})).json
}

// write puts a file into the workspace of a session, as an agent would.
func (h *house) write(id, name, content string) {
	h.Helper()
	file := filepath.Join(h.workspace(id), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		h.Fatal(err)
	}
	whole := filepath.Join(h.TempDir(), "whole") // a look must not find the file while it is still empty
	if err := os.WriteFile(whole, []byte(content), 0o600); err != nil {
		h.Fatal(err)
	}
	if err := os.Rename(whole, file); err != nil {
		h.Fatal(err)
	}
}

func (h *house) workspace(id string) string {
	return filepath.Join(h.dir, "WareHouse", "session_"+id, "code_workspace")
}

// scan looks through the workspace and returns the changes.
func (h *house) scan(id string) []map[string]any {
	h.Helper()
	return objects(h.ok(h.do("POST", "/api/sessions/"+id+"/scan", nil)).json["events"])
}

// remove deletes a file from the workspace and has that captured.
func (h *house) remove(id, name string) map[string]any {
	h.Helper()
	if err := os.Remove(filepath.Join(h.workspace(id), filepath.FromSlash(name))); err != nil {
		h.Fatal(err)
	}
	events := h.scan(id)
	if len(events) != 1 || events[0]["change_type"] != "deleted" {
		h.Fatalf("scan after removing %s: %v, want one deletion", name, events)
	}
	return events[0]
}

// sweep runs the sweeper.
func (h *house) sweep() {
	h.Helper()
	if _, err := h.depot.Sweep(context.Background(), false); err != nil {
		h.Fatal(err)
	}
}

// change writes a file and has it captured.
func (h *house) change(id, name, content string) map[string]any {
	h.Helper()
	h.write(id, name, content)
	events := h.scan(id)
	if len(events) != 1 {
		h.Fatalf("scan after writing %s: %v, want one event", name, events)
	}
	return events[0]
}

// objects returns the objects of a decoded list.
func objects(v any) []map[string]any {
	var list []map[string]any
	items, _ := v.([]any)
	for _, x := range items {
		m, _ := x.(map[string]any)
		list = append(list, m)
	}
	return list
}

// texts returns one member of each object.
func texts(list []map[string]any, key string) []string {
	var out []string
	for _, m := range list {
		s, _ := m[key].(string)
		out = append(out, s)
	}
	return out
}

// traces is all that a request can leave behind.
type traces struct {
	Rows    map[string]artifact.Seq // sessions and how far their log goes
	Blobs   []string
	Folders []string
}

// traces looks at rows, blobs and folders.
func (h *house) traces() traces {
	h.Helper()
	tr := traces{Rows: make(map[string]artifact.Seq)}
	ctx := context.Background()
	list, err := h.depot.Sessions(ctx, depot.SessionQuery{Limit: 10_000})
	if err != nil {
		h.Fatal(err)
	}
	for _, s := range list {
		tr.Rows[string(s.ID)] = s.LastSeq
	}
	for e, err := range h.blobs.List(ctx) {
		if err != nil {
			h.Fatal(err)
		}
		tr.Blobs = append(tr.Blobs, e.Key)
	}
	for e, err := range h.blobs.Unfinished(ctx) {
		if err != nil {
			h.Fatal(err)
		}
		tr.Blobs = append(tr.Blobs, "unfinished "+e.Key)
	}
	err = filepath.WalkDir(filepath.Join(h.dir, "WareHouse"), func(name string, e fs.DirEntry, err error) error {
		// The manifest follows earlier changes in its own time; .vitrine marks a
		// workspace that was looked through.
		if err == nil && e.Name() != "attachments_manifest.json" && e.Name() != ".vitrine" && !strings.HasPrefix(e.Name(), ".manifest-") {
			tr.Folders = append(tr.Folders, name)
		}
		if errors.Is(err, fs.ErrNotExist) { // a manifest that was just put in its place
			return nil
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return tr
}

// leavesNoTrace fails the test if f leaves something behind.
func (h *house) leavesNoTrace(f func()) {
	h.Helper()
	before := h.traces()
	f()
	if diff := cmp.Diff(before, h.traces()); diff != "" {
		h.Errorf("it left something behind (-before +after):\n%s", diff)
	}
}

// raw sends bytes as they are and returns the answer, of which the connection
// may be gone already.
func (h *house) raw(request string, closeWrite bool) (answer, error) {
	h.Helper()
	conn, err := net.Dial("tcp", h.web.Listener.Addr().String())
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return answer{}, err
	}
	if closeWrite {
		conn.(*net.TCPConn).CloseWrite()
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.SplitN(request, " ", 2)[0]})
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{Response: resp}
	a.Request, _ = http.NewRequest(strings.SplitN(request, " ", 2)[0], "/", nil)
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, err
	}
	json.Unmarshal(a.body, &a.json)
	return a, nil
}

// eventually waits until cond holds; it does so as short as can be.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

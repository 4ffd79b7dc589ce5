package api_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
)

// fetch begins a download and reads a little of it.
func (h *house) fetch(path string) *http.Response {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	h.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", h.web.URL+path, nil)
	if err != nil {
		h.Fatal(err)
	}
	h.authorize(r)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { resp.Body.Close() })
	if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil || resp.StatusCode != 200 {
		h.Fatalf("GET %s: %d, %v", path, resp.StatusCode, err)
	}
	return resp
}

// trickle reads an answer to its end, as slowly as a bad line.
func trickle(r io.Reader) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		if _, err := io.CopyN(io.Discard, r, 32<<10); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// filled gives the house large contents, and returns what downloads them.
func (h *house) filled() (paths []string) {
	h.Helper()
	random := make([]byte, 8<<20)
	rand.Read(random) // never fails
	text := hex.EncodeToString(random[:5<<20])
	large := strings.Repeat(string(random), 4) // more than sockets hold
	id := fmt.Sprint(h.up("s", "large.bin", large)["artifact_id"])
	inline := fmt.Sprint(h.up("s", "small.bin", large[:19<<20])["artifact_id"])
	h.want(h.do("PUT", library+"/raw/large.bin", strings.NewReader(large)), 201, "")
	h.want(h.do("PUT", library+"/raw/large.txt", strings.NewReader(text)), 201, "")
	return []string{
		"/api/sessions/s/artifacts/" + id + "?mode=stream", "/api/sessions/s/artifacts/" + inline,
		"/api/sessions/s/download", library + "/raw/large.bin", library + "/archive", library + "?path=/large.txt",
	}
}

// shares of what filled made, by the key of a token.
func (h *house) filledShares() []string {
	h.Helper()
	session, zip := "/s/"+tokenIn(h.share("s", "")), "/s/"+tokenIn(h.share("s", `,"kind":"zip"`))
	return []string{session + "/download", zip}
}

// node opens the server once more, as another node on the same database.
func (h *house) node() *house {
	h.Helper()
	accounts, err := account.Open(context.Background(), h.db, account.Options{Issuer: testIssuer})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { accounts.Close() })
	config := h.setup.api
	config.Accounts = accounts
	server, err := api.New(config)
	if err != nil {
		h.Fatal(err)
	}
	node := *h
	node.accounts, node.server, node.web = accounts, server, httptest.NewServer(server.Handler())
	h.Cleanup(func() { server.Drain(); node.web.Close() })
	return &node
}

// A download under way is broken off within a second after what let it in was
// revoked, on every node, whether its client reads or not. Others go on.
func TestRevocationCutsDownloads(t *testing.T) {
	ended := make(chan api.Outcome, 100)
	h := open(t, behindAccounts, func(s *setup) { s.api.Hooks.Ended = func(o api.Outcome) { ended <- o } })
	paths := h.filled()
	key, id := h.newKey(`"permissions":["read","write"]`)
	by := h.with(h.tokenOf(key))
	paths = append(paths, by.filledShares()...)
	other := h.node().with(by.bearer)
	stays := h.fetch(library + "/raw/large.bin")
	readers, stalled := map[string]chan error{}, map[string]*http.Response{}
	for _, path := range paths {
		for where, by := range map[string]*house{"here ": by, "there ": other} {
			read, slow := make(chan error, 1), by.fetch(path)
			go func() { read <- trickle(slow.Body) }()
			readers[where+path], stalled[where+path] = read, by.fetch(path)
		}
	}
	for len(ended) > 0 {
		<-ended
	}
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	late := time.After(time.Second)
	for n := 0; n < 4*len(paths); {
		select {
		case o := <-ended:
			if o.Pattern != "/api/v2/keys/{key_id}" {
				n++
			}
			if o.Method == "GET" && !o.Aborted {
				t.Errorf("%s ends as if it were whole", o.Pattern)
			}
		case <-late:
			t.Fatalf("%d of %d downloads are cut off after a second", n, 4*len(paths))
		}
	}
	for name, read := range readers {
		if err := <-read; err == nil {
			t.Errorf("%s is whole", name)
		}
	}
	for name, resp := range stalled {
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("%s is whole for who does not read", name)
		}
	}
	if n, err := io.Copy(io.Discard, stays.Body); n != 32<<20-1000 || err != nil {
		t.Errorf("of another download %d bytes came, %v", n, err)
	}
}

// A token that expires ends no download.
func TestExpiryCutsNoDownload(t *testing.T) {
	h := open(t, behindAccounts)
	paths := h.filled()
	now := time.Now()
	expires := now.Add(3 * time.Second).Truncate(time.Second)
	by := h.with(h.signed(artifact.Caller{Tenant: "pf_default", Scopes: artifact.Scopes{artifact.Read}}, now, expires))
	under := map[string]*http.Response{}
	for _, path := range paths {
		under[path] = by.fetch(path)
	}
	s := by.streamAt("/api/sessions/s/events")
	s.ended("the stream", expires)
	for path, resp := range under {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// An upload whose key is revoked while it comes in is refused, and leaves
// nothing, on every node.
func TestRevocationEndsUploads(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	h.data(h.save("/a.md", "x"))
	archive := zipped(t, "b.md", strings.Repeat("b", 100))
	key, id := h.newKey(`"permissions":["read","write"]`)
	here := h.with(h.tokenOf(key))
	there := h.node().with(here.bearer)
	before := h.traces()
	large := strings.Repeat("x", 1<<20)
	form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
	ends := map[string]chan string{}
	for _, u := range []struct{ method, path, mime, body string }{
		{"PUT", "/api/uploads/s/small", "", "half"}, {"PUT", "/api/uploads/s/large", "", large}, {"PUT", "/api/uploads/new/large", "", large},
		{"POST", "/api/uploads/s", "multipart/form-data; boundary=b", form + "half"}, {"POST", "/api/uploads/s", "multipart/form-data; boundary=b", form + large},
		{"POST", "/api/uploads/s", "multipart/form-data; boundary=b", form + "all\r\n--b--\r\n"},
		{"PUT", library + "/raw/small", "", "half"}, {"PUT", library + "/raw/large", "", large}, {"PUT", library + "/raw/a.md", "", large},
		{"POST", library, "application/json", `{"path":"/b.md","content":"` + large}, {"POST", library + "/archive", "application/zip", string(archive)},
		{"POST", library, "application/json", `{"path":"/b.md","content":"whole"}`}, {"PATCH", library + "?path=/a.md", "application/json", `{"append":"whole"}`},
	} {
		for node, by := range map[string]*house{"here": here, "there": there} {
			name := fmt.Sprintf("%s %s of %d bytes %s", u.method, u.path, len(u.body), node)
			ended, sent := make(chan string, 1), make(chan struct{})
			ends[name] = ended
			r, w := io.Pipe() // which does not end
			t.Cleanup(func() { w.Close() })
			go func() {
				io.WriteString(w, u.body)
				close(sent)
			}()
			go func() { ended <- by.attempt(u.method, u.path, u.mime, r) }()
			<-sent
		}
	}
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	late := time.After(time.Second)
	for name, ended := range ends {
		select {
		case got := <-ended:
			if got != "401" && got != "broken off" {
				t.Errorf("%s: %s, want 401", name, got)
			}
		case <-late:
			t.Fatalf("%s goes on after a second", name)
		}
	}
	eventually(t, "no trace of them is left", func() bool { return cmp.Equal(before, h.traces()) })
	if n := len(objects(h.list("")["files"])); n != 1 {
		t.Errorf("the library holds %d artifacts, want the one", n)
	}
	if got := asMap(h.get(library + "?path=/a.md").json["data"])["content"]; got != "x" {
		t.Errorf("it was changed to %v", got)
	}
}

// attempt sends a request and returns what it is answered with.
func (h *house) attempt(method, path, mime string, body io.Reader) string {
	r, err := http.NewRequestWithContext(context.Background(), method, h.web.URL+path, body)
	if err != nil {
		return err.Error()
	}
	if mime != "" {
		r.Header.Set("Content-Type", mime)
	}
	h.authorize(r)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return "broken off"
	}
	defer resp.Body.Close()
	return fmt.Sprint(resp.StatusCode)
}

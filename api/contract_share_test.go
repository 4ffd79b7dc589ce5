package api_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/account"
)

// shared is a house behind accounts with a session of three entries, in which
// "out/made.txt" was replaced after the second.
type sharedHouse struct {
	*house
	upload, first, second map[string]any
	path                  string // below which shares are made
}

func sharing(t *testing.T, change ...func(*setup)) *sharedHouse {
	t.Helper()
	h := open(t, append(change, behindAccounts)...)
	s := &sharedHouse{house: h, path: "/api/sessions/s/shares"}
	s.upload = h.up("s", "in.html", "<script>hello</script>")
	s.first = h.change("s", "out/made.txt", "first")
	s.second = h.change("s", "out/made.txt", "second")
	return s
}

// visit asks for an address of a share as somebody without an account.
func (s *sharedHouse) visit(path string, headers ...string) answer {
	s.Helper()
	return s.get(path, append([]string{"Authorization", ""}, headers...)...)
}

// of makes a share and returns its address below this server.
func (s *sharedHouse) of(more string) string {
	s.Helper()
	return "/s/" + tokenIn(s.share("s", more))
}

// A share is made for a while, listed without its address, and bounded.
func TestShareIsMade(t *testing.T) {
	s := sharing(t)
	made := s.share("s", `,"artifact_id":"`+fmt.Sprint(s.first["artifact_id"])+`"`)
	left := made["expires_at"].(float64) - float64(time.Now().Unix())
	if made["kind"] != "artifact" || made["artifact_id"] != s.first["artifact_id"] || made["session_id"] != "s" || left < 3590 || left > 3601 ||
		!strings.HasPrefix(fmt.Sprint(made["url"]), testIssuer+"/s/shr_") || !strings.HasPrefix(fmt.Sprint(made["creator"]), "key:") {
		t.Errorf("made: %v", made)
	}
	delete(made, "url")
	if diff := cmp.Diff([]map[string]any{made}, objects(s.ok(s.get(s.path)).json["shares"])); diff != "" {
		t.Errorf("listed: %s", diff)
	}
	for body, status := range map[string]int{
		`{}`: 422, `{"expires_in":0}`: 422, `{"expires_in":-5}`: 422, `{"expires_in":"x"}`: 422, `{"expires_in":31622401}`: 422, `{"expires_in":9999999999999}`: 422,
		`{"expires_in":60,"at":0}`: 422, `{"expires_in":60,"at":4}`: 422, `{"expires_in":60,"kind":"all"}`: 400, `{"expires_in":60,"kind":"artifact"}`: 400,
		`{"expires_in":60,"artifact_id":"x"}`: 404, `{"expires_in":60,"other":1}`: 422, `[]`: 422,
	} {
		if a := s.ask("POST", s.path, body); a.StatusCode != status {
			t.Errorf("%s: %d %s, want %d", body, a.StatusCode, a.body, status)
		}
	}
	s.want(s.ask("POST", s.path, `{"expires_in":31622400}`), 201, "")
}

// A share of one version shows these bytes for ever, and does it as safely as the API.
func TestShareOfAVersion(t *testing.T) {
	s := sharing(t)
	address := s.of(`,"artifact_id":"` + fmt.Sprint(s.first["artifact_id"]) + `"`)
	for range 2 {
		a := s.ok(s.visit(address))
		if string(a.body) != "first" || a.Header.Get("Referrer-Policy") != "no-referrer" || a.Header.Get("X-Robots-Tag") != "noindex" {
			t.Errorf("%q, %v", a.body, a.Header)
		}
		s.change("s", "out/made.txt", "third "+fmt.Sprint(time.Now().UnixNano()))
	}
	if a := s.want(s.visit(address, "Range", "bytes=1-2"), 206, ""); string(a.body) != "ir" {
		t.Errorf("a part: %q", a.body)
	}
	s.want(s.visit(address, "If-None-Match", `"`+fmt.Sprint(s.first["sha256"])+`"`), 304, "")
	for _, below := range []string{"/state", "/events", "/download", "/artifacts/" + fmt.Sprint(s.second["artifact_id"]), "/artifacts/" + fmt.Sprint(s.first["artifact_id"])} {
		s.want(s.visit(address+below), 404, "Share not found")
	}
	hostile := s.of(`,"artifact_id":"` + fmt.Sprint(s.upload["artifact_id"]) + `"`)
	a := s.ok(s.visit(hostile + "?mode=meta"))
	if !strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment") || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") || string(a.body) != "<script>hello</script>" {
		t.Errorf("hostile content: %v %q", a.Header, a.body)
	}
}

// A share of a session shows it to read, and follows it.
func TestShareOfASession(t *testing.T) {
	s := sharing(t)
	address := s.of(``)
	for _, path := range []string{address, address + "/state"} {
		a := s.ok(s.visit(path))
		files := objects(a.json["files"])
		if got := texts(files, "name"); fmt.Sprint(got) != "[in.html made.txt]" || files[1]["artifact_id"] != s.second["artifact_id"] {
			t.Errorf("%s: %v", path, got)
		}
	}
	page := s.ok(s.visit(address, "Accept", "text/html"))
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(page.body), "made.txt") || !strings.Contains(policy, "default-src 'none'") ||
		page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("page: %v %s", page.Header, page.body)
	}
	for _, link := range regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(string(page.body), -1) {
		s.ok(s.visit(strings.ReplaceAll(link[1], "&amp;", "&")))
	}
	s.want(s.visit(address+"/artifacts/"+fmt.Sprint(s.first["artifact_id"])), 404, "Artifact not found") // it stands no more
	version := address + "/artifacts/" + fmt.Sprint(s.second["artifact_id"])
	if a := s.ok(s.visit(version + "?mode=stream")); string(a.body) != "second" {
		t.Errorf("what stands: %q", a.body)
	}
	if a := s.ok(s.visit(version)); a.json["name"] != "made.txt" {
		t.Errorf("meta: %s", a.body)
	}
	_, files := unzip(t, s.ok(s.visit(address+"/download")).body)
	if files["session_s/code_workspace/out/made.txt"] != "second" {
		t.Errorf("zip: %v", files)
	}
	st := s.streamAt(address + "/events") // from now on
	s.change("s", "out/more.txt", "more")
	if e := st.next(); e.seq() != 4 {
		t.Errorf("followed: %+v", e)
	}
	// It opens nothing else.
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{address, address + "/state", address + "/artifacts/x"} {
			s.want(s.do(method, path, nil, "Authorization", ""), 405, "")
		}
	}
	token := strings.TrimPrefix(address, "/s/")
	for _, path := range []string{"/api/sessions", "/api/sessions/s", "/api/sessions/s/state", "/api/v2/artifacts/list"} {
		s.want(s.get(path, "Authorization", "Bearer "+token), 401, "")
	}
	s.up("other", "x.txt", "x")
	s.want(s.visit(address+"/artifacts/"+fmt.Sprint(s.up("other", "y.txt", "y")["artifact_id"])), 404, "Artifact not found")
	s.want(s.visit(address+"/state?at=%zz"), 422, "")
}

// A share of a moment shows that and nothing that came later.
func TestShareOfAMoment(t *testing.T) {
	s := sharing(t)
	address := s.of(`,"at":2`)
	s.ok(s.ask("PATCH", "/api/sessions/s", `{"metadata":{"later":true}}`))
	for _, query := range []string{"", "?at=3", "?follow=1", "?at=3&follow=true"} {
		for _, path := range []string{address, address + "/state"} {
			a := s.ok(s.visit(path + query))
			files := objects(a.json["files"])
			if a.json["cursor"] != 2.0 || len(files) != 2 || files[1]["artifact_id"] != s.first["artifact_id"] {
				t.Errorf("%s%s: %s", path, query, a.body)
			}
			then := asMap(a.json["session"])
			if diff := cmp.Diff(map[string]any{"last_seq": 2.0, "attachments": 1.0, "artifacts": 1.0, "bytes": files[0]["size"].(float64) + 5, "metadata": map[string]any{}, "updated_at": files[1]["created_at"]},
				map[string]any{"last_seq": then["last_seq"], "attachments": then["attachments"], "artifacts": then["artifacts"], "bytes": then["bytes"], "metadata": then["metadata"], "updated_at": then["updated_at"]}); diff != "" {
				t.Errorf("%s%s: the session (-want +got):\n%s", path, query, diff)
			}
		}
		_, files := unzip(t, s.ok(s.visit(address+"/download"+strings.Replace(query, "follow", "x", 1))).body)
		if files["session_s/code_workspace/out/made.txt"] != "first" {
			t.Errorf("zip%s: %v", query, files)
		}
	}
	if a := s.ok(s.visit(address + "/artifacts/" + fmt.Sprint(s.first["artifact_id"]) + "?mode=stream")); string(a.body) != "first" {
		t.Errorf("its version: %q", a.body)
	}
	if page := s.ok(s.visit(address, "Accept", "text/html")); strings.Contains(string(page.body), fmt.Sprint(s.second["artifact_id"])) {
		t.Error("the page shows what came later")
	}
	for _, below := range []string{"/events", "/events?at=1"} {
		s.want(s.visit(address+below), 404, "Share not found")
	}
	for _, below := range []string{"/artifacts/" + fmt.Sprint(s.second["artifact_id"]), "/artifacts/" + fmt.Sprint(s.second["artifact_id"]) + "?at=3"} {
		s.want(s.visit(address+below), 404, "Artifact not found")
	}
	if a := s.ok(s.visit(address + "/artifacts/" + fmt.Sprint(s.second["attachment_id"]) + "?mode=stream")); string(a.body) != "first" {
		t.Errorf("the file at that moment: %q", a.body)
	}
	for _, ids := range []any{s.second["artifact_id"], s.second["event_id"]} {
		if a := s.visit(fmt.Sprintf("%s/download?ids=%v", address, ids)); a.StatusCode == 200 {
			_, files := unzip(t, a.body)
			if strings.Contains(fmt.Sprint(files), "second") {
				t.Errorf("a selection has what came later: %v", files)
			}
		}
	}
	zip := s.of(`,"kind":"zip","at":2`)
	_, files := unzip(t, s.ok(s.visit(zip)).body)
	if files["session_s/code_workspace/out/made.txt"] != "first" || files["session_s/events.jsonl"] != "" {
		t.Errorf("zip of a moment: %v", files)
	}
	for _, below := range []string{"/state", "/events", "/download", "/artifacts/" + fmt.Sprint(s.first["artifact_id"])} {
		s.want(s.visit(zip+below), 404, "Share not found")
	}
}

// Whatever is wrong with a share the answer is the same.
func TestShareIsOver(t *testing.T) {
	c := &clock{}
	s := sharing(t, c.rules)
	good, made := s.of(``), s.share("s", ``)
	revoked := "/s/" + tokenIn(made)
	s.ok(s.visit(revoked))
	s.ok(s.do("DELETE", s.path+"/"+fmt.Sprint(made["id"]), nil))
	s.want(s.do("DELETE", s.path+"/"+fmt.Sprint(made["id"]), nil), 404, "Share not found")
	short := "/s/" + tokenIn(s.want(s.ask("POST", s.path, `{"expires_in":60}`), 201, "").json)
	parts := strings.Split(strings.TrimPrefix(good, "/s/"), ".")
	gone := "/s/" + tokenIn(s.want(s.ask("POST", "/api/sessions/"+fmt.Sprint(s.up("gone", "a", "a")["session_id"])+"/shares", `{"expires_in":600}`), 201, "").json)
	s.ok(s.visit(gone))
	s.ok(s.do("DELETE", "/api/sessions/gone", nil))
	c.pass(2 * time.Minute)
	said := map[string]bool{}
	for _, address := range map[string]string{
		"expired": short, "revoked": revoked, "of a deleted session": gone, "made up": "/s/shr_abc.def.ghi", "garbage": "/s/x", "the id alone": "/s/" + parts[0],
		"signed otherwise": "/s/" + parts[0] + "." + parts[1] + "." + other(parts[2]), "another's signature": "/s/" + strings.Split(strings.TrimPrefix(revoked, "/s/"), ".")[0] + "." + parts[1] + "." + parts[2],
		"in another case": "/s/" + strings.ToUpper(parts[0]) + "." + parts[1] + "." + parts[2], "with more": good + ".x",
	} {
		for _, below := range []string{"", "/state", "/download", "/artifacts/x"} {
			a := s.want(s.visit(address+below), 404, "Share not found")
			said[fmt.Sprint(a.json["detail"], a.json["error"])] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("the answers differ: %v", said)
	}
	s.ok(s.visit(good))
	if list := objects(s.ok(s.with(s.tokenOf(s.key)).get(s.path)).json["shares"]); len(list) != 1 {
		t.Errorf("listed: %v", list)
	}
	if err := s.accounts.SuspendTenant(context.Background(), "pf_default"); err != nil {
		t.Fatal(err)
	}
	s.want(s.visit(good), 404, "Share not found")
	if err := s.accounts.ResumeTenant(context.Background(), "pf_default"); err != nil {
		t.Fatal(err)
	}
	s.ok(s.visit(good))
}

// logged collects what a server logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps a line.
func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Neither shares nor tokens nor keys are in the log, whatever becomes of the request.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	l := &logged{}
	log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := sharing(t, func(set *setup) { set.api.Log, set.depot.Log, set.account = log, log, account.Options{Log: log} })
	address := s.of(``)
	token := strings.TrimPrefix(address, "/s/")
	refresh := fmt.Sprint(s.data(s.exchange(s.key))["refresh_token"])
	s.ok(s.visit(address))
	s.ok(s.visit(address + "/state?log_id="))
	s.visit(address + "/nothing")
	s.visit("/S/" + token)
	s.visit(address + "/")
	s.visit("/" + address)
	s.visit("/api/sessions/../.." + address)
	s.do("POST", address, nil)
	s.visit("/s/" + token[:len(token)-1])
	s.visit(address+"/artifacts/x", "Referer", testIssuer+address)
	s.want(s.get("/api/v2/artifacts/list?token="+s.bearer, "Authorization", "Bearer "+s.bearer+"x"), 401, "")
	s.exchange(s.key + "x")
	s.refresh(refresh + "x")
	s.ask("POST", "/api/v2/auth/login", `{"api_key":"`+s.key+`"}`)
	s.get("/ws", "Sec-WebSocket-Protocol", "bearer."+s.bearer)
	signature := token[strings.LastIndexByte(token, '.')+1:]
	for name, secret := range map[string]string{"share": signature[:len(signature)-1], "token": s.bearer[len(s.bearer)-20:], "key": s.key[len(s.key)-20:], "refresh token": refresh[len(refresh)-20:]} {
		if i := strings.Index(l.text(), secret); i >= 0 {
			t.Errorf("the %s is in the log: %.400s", name, l.text()[max(0, i-200):])
		}
	}
	if !strings.Contains(l.text(), "route=/s/{share}") {
		t.Errorf("the log does not tell of shares at all: %s", l.text())
	}
}

// other returns a text that differs in its first character.
func other(text string) string {
	if text[0] == 'A' {
		return "B" + text[1:]
	}
	return "A" + text[1:]
}

package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told returns a page of a log of the tenant.
func (h *house) told(path string) (page map[string]any, events []map[string]any) {
	h.Helper()
	page = h.data(h.get(path))
	return page, objects(page["events"])
}

// changes makes one entry of each kind in the library.
func (h *house) changes() {
	h.Helper()
	h.data(h.save("/e/a.md", "one", `,"metadata":{"k":1}`))
	h.data(h.save("/e/a.md", "two", `,"overwrite":true`))
	h.data(h.edit("/e/a.md", `{"append":"!"}`))
	h.data(h.ask("POST", library+"/move", `{"from":"/e/a.md","to":"/e/b.txt"}`))
	h.data(h.ask("POST", library+"/copy", `{"from":"/e/b.txt","to":"/e/c.md"}`))
	h.data(h.do("DELETE", at("/e/b.txt"), nil))
}

// The log of a library tells of every change, once and in order.
func TestLibraryEvents(t *testing.T) {
	h := open(t)
	page, events := h.told(library + "/events")
	if len(events) != 0 || page["next_cursor"] != 0.0 || page["timed_out"] != true || page["has_more"] != false {
		t.Errorf("of an empty library: %v", page)
	}
	h.changes()
	page, events = h.told(library + "/events")
	logID := fmt.Sprint(page["log_id"])
	if page["next_cursor"] != 6.0 || page["has_more"] != false || page["timed_out"] != false || logID == "" {
		t.Errorf("page: %v", page)
	}
	var got []string
	for i, e := range events {
		d := asMap(e["data"])
		if e["seq"] != float64(i+1) || !regexpStamp.MatchString(fmt.Sprint(e["at"])) || d["last_modified"] != e["at"] || !strings.HasPrefix(fmt.Sprint(d["actor"]), "key:") {
			t.Errorf("entry %v", e)
		}
		got = append(got, fmt.Sprint(e["type"], " ", d["change_type"], " ", d["path"], " ", d["from"], " ", d["version"], " ", d["size"], " ", d["content_type"], " ", d["etag"], " ", d["metadata"]))
	}
	want := []string{ // the metadata of what was deleted is gone
		`artifact_saved created /e/a.md <nil> 1 3 text/markdown ` + tag("one") + ` <nil>`,
		`artifact_saved updated /e/a.md <nil> 2 3 text/markdown ` + tag("two") + ` <nil>`,
		`artifact_saved updated /e/a.md <nil> 3 4 text/markdown ` + tag("two!") + ` <nil>`,
		`artifact_moved moved /e/b.txt /e/a.md 3 4 text/plain ` + tag("two!") + ` <nil>`,
		`artifact_saved created /e/c.md <nil> 1 4 text/markdown ` + tag("two!") + ` map[k:1]`,
		`artifact_deleted deleted /e/b.txt <nil> <nil> 0 text/plain <nil> <nil>`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var paged []map[string]any
	for cursor := 0.0; ; {
		page, events := h.told(fmt.Sprintf("%s/events?limit=4&after=%v&log_id=%s", library, cursor, logID))
		paged = append(paged, events...)
		if cursor = page["next_cursor"].(float64); page["has_more"] == false {
			break
		}
	}
	if diff := cmp.Diff(events, paged); diff != "" {
		t.Errorf("in pages: %s", diff)
	}
	if page, events := h.told(library + "/events?types=artifact_moved,artifact_deleted"); len(events) != 2 || page["next_cursor"] != 6.0 {
		t.Errorf("by type: %v", page)
	}
	for _, query := range []string{"after=7", "after=2&log_id=other"} {
		page, events := h.told(library + "/events?wait_seconds=30&" + query)
		if len(events) != 0 || page["truncated"] != true || page["oldest_cursor"] != 0.0 || page["last_cursor"] != 6.0 || page["next_cursor"] != 6.0 {
			t.Errorf("%s: %v", query, page)
		}
	}
	other := h.tenant("pf_other")
	if _, events := other.told(library + "/events"); len(events) != 0 {
		t.Errorf("another tenant is told of %v", events)
	}
}

// A long poll is answered as soon as there is something.
func TestLibraryLongPoll(t *testing.T) {
	h := open(t)
	h.data(h.save("/a.md", "x"))
	started := time.Now()
	if page, _ := h.told(library + "/events?after=1&wait_seconds=0.05"); page["timed_out"] != true || time.Since(started) < 50*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(started), page)
	}
	answered := make(chan map[string]any)
	go func() {
		page, _ := h.told(library + "/events?after=1&wait_seconds=60&types=artifact_deleted")
		answered <- page
	}()
	eventually(t, "the poll waits", func() bool { return h.depot.FollowersOf("pf_default") == 1 })
	h.data(h.save("/b.md", "x"))
	h.data(h.do("DELETE", at("/b.md"), nil))
	select {
	case page := <-answered:
		if events := objects(page["events"]); len(events) != 1 || events[0]["seq"] != 3.0 || page["next_cursor"] != 3.0 {
			t.Errorf("%v", page)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the poll is not answered")
	}
}

// The same as server-sent events, that a client comes back to by Last-Event-ID.
func TestLibraryStream(t *testing.T) {
	h := open(t, func(s *setup) { s.api.Heartbeat = 20 * time.Millisecond })
	h.changes()
	s := h.streamAt(library + "/events?types=artifact_saved,artifact_deleted")
	logID := fmt.Sprint(h.list("?recursive=true")["log_id"])
	var got []string
	for range 5 {
		e := s.next()
		entry, data := e.entry()
		if entry["type"] != e.Name || entry["seq"] != float64(e.seq()) || data["artifact_id"] == nil {
			t.Errorf("event %+v", e)
		}
		got = append(got, e.ID+" "+e.Name)
	}
	want := []string{"1@" + logID + " artifact_saved", "2@" + logID + " artifact_saved", "3@" + logID + " artifact_saved", "5@" + logID + " artifact_saved", "6@" + logID + " artifact_deleted"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if e, err := s.read(); err != nil || e.Comment == "" {
		t.Errorf("while nothing happens: %+v, %v", e, err)
	}
	h.data(h.ask("POST", library+"/move", `{"from":"/e/c.md","to":"/e/d.md"}`))
	if e := s.next(); e.seq() != 7 || e.Name != "" {
		t.Errorf("what is left out moves the id: %+v", e)
	}
	for given, first := range map[string]int64{"3@" + logID: 4, "5": 6} {
		if e := h.streamAt(library+"/events?after=6", "Last-Event-ID", given).next(); e.seq() != first {
			t.Errorf("Last-Event-ID %s: begins with %d, want %d", given, e.seq(), first)
		}
	}
	for query, headers := range map[string][]string{"?after=9": nil, "?after=1&log_id=old": nil, "?x": {"Last-Event-ID", "1@old"}, "?y": {"Last-Event-ID", "99"}} {
		a := h.want(h.get(library+"/events"+query, append(headers, "Accept", "text/event-stream")...), 410, "RES_CURSOR_EXPIRED")
		want := map[string]any{"oldest": 0.0, "last": 7.0, "log_id": logID}
		if diff := cmp.Diff(want, asMap(a.json["error"])["details"]); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	h.want(h.get(library+"/events", "Accept", "text/event-stream", "Last-Event-ID", "x"), 422, "VAL_FIELD_INVALID")
	if a := h.ok(h.do("HEAD", library+"/events", nil, "Accept", "text/event-stream")); len(a.body) != 0 {
		t.Error("HEAD has a body")
	}
}

// Every change and every login is in the audit log: who, what, when, from where.
func TestAuditTells(t *testing.T) {
	h := open(t)
	const agent = "auditor/1"
	var ids []string
	ask := func(method, path, body string) answer {
		t.Helper()
		headers := []string{"User-Agent", agent, "Content-Type", "application/json"}
		if strings.HasPrefix(path, "/api/sessions") {
			headers = append(headers, "Authorization", "Bearer "+h.bearer)
		}
		a := h.do(method, path, strings.NewReader(body), headers...)
		if a.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, a.StatusCode, a.body)
		}
		ids = append(ids, a.Header.Get("X-Request-ID"))
		return a
	}
	ask("POST", library, `{"path":"/a.md","content":"one"}`)
	ask("PATCH", library+"?path=/a.md", `{"append":"!"}`)
	ask("POST", library+"/restore", `{"path":"/a.md","version":1}`)
	ask("POST", library+"/move", `{"from":"/a.md","to":"/b.md"}`)
	ask("POST", library+"/copy", `{"from":"/b.md","to":"/c.md"}`)
	ask("PUT", library+"/raw/d.bin", "x")
	ask("POST", library+"/archive?prefix=/in", string(zipped(t, "e.md", "x")))
	ask("DELETE", library+"?path=/b.md", "")
	ask("POST", "/api/sessions", `{"session_id":"s"}`)
	ask("PATCH", "/api/sessions/s", `{"metadata":{}}`)
	checked := asMap(asMap(ask("POST", library+"/checkout", `{"path":"/c.md","session_id":"s"}`).json["data"])["attachment"])
	ask("POST", library+"/promote", fmt.Sprintf(`{"session_id":"s","artifact_id":"%v","path":"/p.md"}`, checked["artifact_id"]))
	share := ask("POST", "/api/sessions/s/shares", `{"expires_in":60}`).json["id"]
	ask("DELETE", fmt.Sprint("/api/sessions/s/shares/", share), "")
	ask("DELETE", "/api/sessions/s", "")
	key := asMap(ask("POST", "/api/v2/keys", `{"name":"k"}`).json["data"])
	ask("DELETE", fmt.Sprint("/api/v2/keys/", key["id"]), "")
	member := asMap(ask("POST", "/api/v2/members", `{"name":"m"}`).json["data"])["id"]
	ask("DELETE", fmt.Sprint("/api/v2/members/", member), "")
	want := []string{
		"artifact.save artifact:/a.md", "artifact.edit artifact:/a.md", "artifact.restore artifact:/a.md", "artifact.move artifact:/b.md", "artifact.copy artifact:/c.md",
		"artifact.save artifact:/d.bin", "artifact.import artifact:/in/e.md", "artifact.delete artifact:/b.md", "session.create session:s", "session.update session:s",
		"session.upload session:s", "artifact.promote artifact:/p.md", fmt.Sprint("share.create share:", share), fmt.Sprint("share.revoke share:", share), "session.delete session:s",
		fmt.Sprint("key.create key:", key["id"]), fmt.Sprint("key.revoke key:", key["id"]), fmt.Sprint("member.add member:", member), fmt.Sprint("member.remove member:", member),
	}
	me := h.data(h.get("/api/v2/auth/verify"))["user_id"]
	_, events := h.told("/api/v2/audit?limit=1000")
	var got, requests []string
	for _, e := range events {
		if d := asMap(e["data"]); d["user_agent"] == agent {
			got, requests = append(got, fmt.Sprint(d["action"], " ", d["object"])), append(requests, fmt.Sprint(d["request_id"]))
			if e["type"] != d["action"] || d["outcome"] != "ok" || d["user"] != me || d["remote"] != "127.0.0.1" || !strings.HasPrefix(fmt.Sprint(d["actor"]), "key:key_") {
				t.Errorf("entry %v", e)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ids, requests); diff != "" {
		t.Errorf("request ids (-want +got):\n%s", diff)
	}
	for _, e := range events {
		if text := fmt.Sprint(e); strings.Contains(text, fmt.Sprint(key["key"])) || strings.Contains(text, h.key) || strings.Contains(text, h.bearer) {
			t.Errorf("a secret is in %v", e)
		}
	}
}

// The log is read by a cursor or as lines, by those who may, and follows.
func TestAuditIsRead(t *testing.T) {
	h := open(t)
	h.exchange("tm_pf_default_ak_" + strings.Repeat("x", 43))
	tokens := h.data(h.exchange(h.key))
	h.data(h.refresh(tokens["refresh_token"]))
	h.ok(h.with(tokens["access_token"]).do("POST", "/api/v2/auth/logout", nil))
	h.want(h.save("a.md", "x"), 400, "")
	h.want(h.with("x").save("/a.md", "x"), 401, "")
	eventually(t, "the failed login is told", func() bool {
		_, events := h.told("/api/v2/audit?types=login.failed")
		return len(events) == 1
	})
	page, events := h.told("/api/v2/audit?limit=1000")
	var actions []string
	for i, e := range events {
		if e["seq"] != float64(i+1) {
			t.Errorf("entry %d has position %v", i+1, e["seq"])
		}
		actions = append(actions, fmt.Sprint(e["type"]))
	}
	for _, want := range []string{"login", "login.failed", "token.refresh", "logout", "key.create", "member.add"} {
		if !strings.Contains(" "+strings.Join(actions, " ")+" ", " "+want+" ") {
			t.Errorf("no %s in %v", want, actions)
		}
	}
	for _, e := range events {
		if d := asMap(e["data"]); d["action"] == "login.failed" && (d["outcome"] != "denied" || d["actor"] != "nobody" || d["remote"] != "127.0.0.1") {
			t.Errorf("a failed login: %v", d)
		}
		if e["type"] == "artifact.save" {
			t.Errorf("a save that failed: %v", e)
		}
	}
	var paged []map[string]any
	for cursor := 0.0; len(paged) < len(events); {
		page, list := h.told(fmt.Sprintf("/api/v2/audit?limit=2&after=%v", cursor))
		paged, cursor = append(paged, list...), page["next_cursor"].(float64)
		if len(list) == 0 {
			break
		}
	}
	if diff := cmp.Diff(events, paged); diff != "" {
		t.Errorf("in pages: %s", diff)
	}
	for after, want := range map[int][]map[string]any{0: events, 3: events[3:], len(events): nil} {
		a := h.ok(h.get(fmt.Sprint("/api/v2/audit?after=", after), "Accept", "application/jsonl"))
		var lines []map[string]any
		for line := range bytes.Lines(a.body) {
			var e map[string]any
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			lines = append(lines, e)
		}
		if diff := cmp.Diff(want, lines); diff != "" || a.Header.Get("Content-Type") != "application/jsonl" {
			t.Errorf("lines after %d: %s%s", after, a.Header.Get("Content-Type"), diff)
		}
	}
	s := h.streamAt(fmt.Sprintf("/api/v2/audit?after=%v", page["next_cursor"]))
	h.data(h.save("/a.md", "x"))
	if e := s.next(); e.Name != "artifact.save" {
		t.Errorf("followed: %+v", e)
	}
	other := h.tenant("pf_other")
	if _, list := other.told("/api/v2/audit"); strings.Contains(fmt.Sprint(list), "/a.md") || len(list) == 0 {
		t.Errorf("another tenant's: %v", list)
	}
	key, _ := h.newKey(`"permissions":["read","write","delete","run"]`)
	reader := h.with(h.tokenOf(key))
	reader.want(reader.get("/api/v2/audit"), 403, "AUTH_INSUFFICIENT_PERMISSIONS")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		h.want(h.do(method, "/api/v2/audit", nil), 405, "RES_METHOD_NOT_ALLOWED")
	}
}

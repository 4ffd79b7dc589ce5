package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSessions(t *testing.T) {
	h := open(t)
	now := float64(time.Now().Unix())
	a := h.want(h.ask("POST", "/api/sessions", `{"session_id":"one","metadata":{"b":[1,null,"é"],"a":{}}}`), 201, "")
	if a.Header.Get("Location") != "/api/sessions/one" {
		t.Errorf("Location %q", a.Header.Get("Location"))
	}
	want := map[string]any{
		"session_id": "one", "status": "idle", "created_at": a.json["created_at"], "updated_at": a.json["created_at"], "last_seq": 0.0,
		"attachments": 0.0, "artifacts": 0.0, "bytes": 0.0, "metadata": map[string]any{"b": []any{1.0, nil, "é"}, "a": map[string]any{}},
		"current_node_id": nil, "waiting_for_input": false, "error_message": nil,
	}
	if diff := cmp.Diff(want, a.json); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at, _ := a.json["created_at"].(float64); at < now-1 || at > now+60 {
		t.Errorf("created_at %v", at)
	}
	minted := h.want(h.ask("POST", "/api/sessions", `{}`), 201, "").json["session_id"]
	if len(fmt.Sprint(minted)) != 36 {
		t.Errorf("minted %v", minted)
	}
	h.up("one", "a.txt", "12345")
	h.change("one", "b.txt", "123")
	h.change("one", "b.txt", "1234")
	one := h.ok(h.get("/api/sessions/session_one")).json
	if one["last_seq"] != 3.0 || one["attachments"] != 1.0 || one["artifacts"] != 1.0 || one["bytes"] != 12.0 {
		t.Errorf("%v", one)
	}
	patched := h.ok(h.ask("PATCH", "/api/sessions/one", `{"metadata":{"c":1}}`)).json
	if diff := cmp.Diff(map[string]any{"c": 1.0}, patched["metadata"]); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	list := objects(h.ok(h.get("/api/sessions")).json["sessions"])
	if got := texts(list, "session_id"); !cmp.Equal(got, []string{fmt.Sprint(minted), "one"}) {
		t.Errorf("newest first: %v", got)
	}
}

// Pages of sessions have each session once.
func TestSessionPages(t *testing.T) {
	h := open(t)
	var want []string
	for i := range 7 {
		id := fmt.Sprint("s", i)
		h.want(h.ask("POST", "/api/sessions", fmt.Sprintf(`{"session_id":%q}`, id)), 201, "")
		want = append([]string{id}, want...)
	}
	for _, limit := range []int{1, 3, 7, 50} {
		var got []string
		for query := fmt.Sprint("?q=S&limit=", limit); ; {
			page := h.ok(h.get("/api/sessions" + query)).json
			got = append(got, texts(objects(page["sessions"]), "session_id")...)
			if page["next_cursor"] == nil {
				break
			}
			query = fmt.Sprintf("?q=S&limit=%d&cursor=%v", limit, page["next_cursor"])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
	for query, n := range map[string]int{"?q=3": 1, "?q=%25": 0, "?q=_": 0, "?status=idle": 7, "?status=running": 0} {
		if got := len(objects(h.ok(h.get("/api/sessions" + query)).json["sessions"])); got != n {
			t.Errorf("%s: %d sessions, want %d", query, got, n)
		}
	}
}

// Bodies that are not what they should be leave nothing.
func TestBadSessions(t *testing.T) {
	h := open(t)
	h.leavesNoTrace(func() {
		for body, status := range map[string]int{
			`{`: 422, `[]`: 422, `"x"`: 422, `{"session_id":1}`: 422, `{"metadata":[]}`: 422, `{"x":1}`: 422, `{} {}`: 422,
			`{"session_id":""}`: 400, `{"session_id":"a/b"}`: 400, `{"session_id":"é"}`: 400, `{"session_id":"session_"}`: 400, `{"session_id":"a\n"}`: 400,
			`{"session_id":"` + strings.Repeat("a", 129) + `"}`: 400, `{"metadata":{"a":"` + strings.Repeat("a", 70<<10) + `"}}`: 413,
			strings.Repeat("[", 50_000): 422, `{"metadata":{"a":"\ud800"}}x`: 422,
		} {
			h.want(h.ask("POST", "/api/sessions", body), status, "")
		}
	})
	h.want(h.ask("POST", "/api/sessions", `{"session_id":"session_`+strings.Repeat("a", 128)+`"}`), 201, "")
}

// Metadata that would not be read as it was written is refused, wherever it says
// something twice; what has another spelling or stands elsewhere is something else.
func TestAmbiguousMetadata(t *testing.T) {
	h := open(t)
	h.want(h.ask("POST", "/api/sessions", `{"session_id":"s","metadata":{"a":1}}`), 201, "")
	h.leavesNoTrace(func() {
		for metadata, kind := range map[string]string{
			`{"a":1,"a":2}`: "json_duplicate", `{"a":1,"\u0061":2}`: "json_duplicate", `{"b":[{"c":{"a":1, "a":1}}]}`: "json_duplicate",
			`{"a":"\ud800"}`: "json_invalid", `{"a":` + strings.Repeat("[", 80) + strings.Repeat("]", 80) + `}`: "json_invalid",
		} {
			for _, a := range []answer{
				h.want(h.ask("POST", "/api/sessions", `{"metadata":`+metadata+`}`), 422, ""),
				h.want(h.ask("PATCH", "/api/sessions/s", `{"metadata":`+metadata+`}`), 422, ""),
			} {
				if got := objects(a.json["detail"]); len(got) != 1 || got[0]["type"] != kind || !cmp.Equal(got[0]["loc"], []any{"body", "metadata"}) {
					t.Errorf("%s: %v", metadata, got)
				}
			}
		}
	})
	good := `{"a":1,"A":{"a":1},"b":[{"a":1},{"a":1.0}]}`
	h.ok(h.ask("PATCH", "/api/sessions/s", `{"metadata":`+good+`}`))
	if a := h.ok(h.get("/api/sessions/s")); !strings.Contains(string(a.body), good) {
		t.Errorf("metadata became %s", a.body)
	}
}

// A deleted session is out of reach by every operation at once; what followed
// it is told. Made again, it is empty and its log goes on.
func TestDeletedSession(t *testing.T) {
	h := open(t)
	v := h.up("s", "a.txt", "a")
	h.change("s", "b.txt", "b")
	s := h.stream("s", "/events?after=2")
	if got := h.ok(h.do("DELETE", "/api/sessions/s", nil)).json; !cmp.Equal(got, map[string]any{"session_id": "s", "deleted": true}) {
		t.Errorf("%v", got)
	}
	if e := s.next(); e.Name != "session_deleted" || e.seq() != 3 {
		t.Errorf("%+v", e)
	}
	s.end()
	gone := func() {
		t.Helper()
		h.leavesNoTrace(func() {
			for _, call := range []string{"GET ", "DELETE ", "GET /state", "GET /events", "GET /artifact-events", "GET /download", "POST /scan", "GET /artifacts/" + fmt.Sprint(v["artifact_id"])} {
				method, rest, _ := strings.Cut(call, " ")
				h.want(h.do(method, "/api/sessions/s"+rest, nil), 404, "")
			}
			h.want(h.ask("PATCH", "/api/sessions/s", `{"metadata":{}}`), 404, "")
			h.want(h.get("/api/uploads/s"), 404, "")
			h.want(h.post("s", part{name: "a", content: "a"}), 404, "Session not found")
			h.want(h.do("PUT", "/api/uploads/s/a", strings.NewReader("a")), 404, "Session not found")
			if _, resp, err := h.tryDial("/ws?session_id=s"); err == nil || resp.StatusCode != 404 {
				t.Errorf("WebSocket: %v", err)
			}
		})
	}
	eventually(t, "its folder is gone", func() bool { return len(h.traces().Folders) == 3 })
	gone()
	h.restart()
	gone()
	again := h.want(h.ask("POST", "/api/sessions", `{"session_id":"s"}`), 201, "").json
	if again["last_seq"] != 3.0 || again["attachments"] != 0.0 || again["bytes"] != 0.0 {
		t.Errorf("made again: %v", again)
	}
	if files := objects(h.ok(h.get("/api/sessions/s/state")).json["files"]); len(files) != 0 {
		t.Errorf("made again, it has files: %v", files)
	}
	if v := h.up("s", "c.txt", "c"); v["sequence"] != 4.0 {
		t.Errorf("its log begins anew: %v", v)
	}
	h.want(h.get("/api/sessions/s/events?after=2"), 410, "")
}

package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where the documentation and the code of the reference disagree: one test for
// each row of contract, sessions §10, that is about sessions. Rows 16, 19 and
// 20 are about runs.
func TestWhereTheReferenceDisagrees(t *testing.T) {
	h := open(t, func(s *setup) { s.depot.MaxUpload = 1 << 20 })
	up := h.up("s", "in.md", "in")
	ev := h.change("s", "result.json", "{}")
	list := h.ok(h.get("/api/uploads/s")).json
	record := asMap(asMap(list["attachments"])[fmt.Sprint(up["attachment_id"])])
	rows := map[string]func(t *testing.T){
		"01 upload: mime and mime_type":     func(t *testing.T) { both(t, up, "text/markdown", "mime", "mime_type") },
		"02 attachment ids begin with att_": func(t *testing.T) { has(t, up, "attachment_id", "att_"); has(t, ev, "attachment_id", "att_") },
		"03 uploads as a map and as items": func(t *testing.T) {
			both(t, list, 2.0, "count")
			both(t, record, up["sha256"], "sha256")
			both(t, asMap(record["ref"]), up["sha256"], "sha256")
		},
		"04 event_id and artifact_id": func(t *testing.T) { both(t, ev, "art_"+fmt.Sprint(ev["event_id"]), "artifact_id") },
		"05 path, relative_path and workspace_path": func(t *testing.T) {
			both(t, ev, "code_workspace/result.json", "path", "workspace_path")
			both(t, ev, "result.json", "relative_path")
		},
		"06 event: mime and mime_type": func(t *testing.T) { both(t, ev, "application/json", "mime", "mime_type") },
		"07 hash and sha256":           func(t *testing.T) { both(t, ev, "sha256:"+fmt.Sprint(ev["sha256"]), "hash") },
		"08 timestamp and created_at":  func(t *testing.T) { both(t, ev, float64(whole(ev["created_at"])), "timestamp") },
		"09 all other keys of an event": func(t *testing.T) {
			both(t, ev, nil, "data_uri")
			both(t, ev, "created", "change_type")
			both(t, ev, 2.0, "sequence")
		},
		"10 an artifact by any of its three ids": func(t *testing.T) {
			for _, id := range []any{ev["attachment_id"], ev["artifact_id"], ev["event_id"]} {
				both(t, h.meta("s", id), id, "artifact_id")
				if got := h.bytes("s", id); got != "{}" {
					t.Errorf("%v: %q", id, got)
				}
			}
		},
		"11 meta has data_uri and no absolute path": func(t *testing.T) {
			m := h.meta("s", ev["artifact_id"])
			both(t, m, "data:application/json;base64,e30=", "data_uri")
			both(t, m, "code_workspace/result.json", "local_path")
		},
		"12 Content-Disposition always": func(t *testing.T) {
			for query, want := range map[string]string{"": "inline", "&download=true": "attachment", "&download=false": "inline"} {
				a := h.get(fmt.Sprintf("/api/sessions/s/artifacts/%v?mode=stream%s", ev["artifact_id"], query))
				if got, _, _ := strings.Cut(a.Header.Get("Content-Disposition"), ";"); got != want {
					t.Errorf("%q: %s", query, got)
				}
			}
		},
		"17 records have source, workspace_path and storage": func(t *testing.T) {
			path := fmt.Sprintf("attachments/%v/in.md", up["attachment_id"])
			for _, m := range []map[string]any{record, asMap(record["extra"])} {
				both(t, m, "user_upload", "source")
				both(t, m, path, "workspace_path")
				both(t, m, "copy", "storage")
			}
			both(t, asMap(asMap(list["attachments"])[fmt.Sprint(ev["attachment_id"])]), "reference", "storage")
		},
		"21 the WebSocket says what the log says": func(t *testing.T) {
			c := h.dial("/ws?session_id=s&after=1")
			c.await("connection")
			f := c.await("artifact_created")
			both(t, f.Data, "s", "session_id")
			both(t, f.Data, []any{any(ev)}, "events")
		},
		"22 polling works without a WebSocket, and before anything happened": func(t *testing.T) {
			h.want(h.ask("POST", "/api/sessions", `{"session_id":"quiet"}`), 201, "")
			h.page("quiet", "wait_seconds=0")
		},
		"25 413 where there is a limit": func(t *testing.T) {
			h.want(h.post("s", part{name: "x", content: strings.Repeat("x", 1<<20+1)}), 413, "")
		},
	}
	for name, f := range rows {
		t.Run(name, f)
	}
	for name, f := range rowsOfIDs(h) {
		t.Run(name, f)
	}
}

// rowsOfIDs are the rows about ids of sessions.
func rowsOfIDs(h *house) map[string]func(t *testing.T) {
	return map[string]func(t *testing.T){
		"13 both spellings of a session id, one folder": func(t *testing.T) {
			v := h.up("session_s", "again.md", "x")
			both(t, v, "s", "session_id")
			if _, err := os.Stat(filepath.Join(h.workspace("s"), "attachments", fmt.Sprint(v["attachment_id"]))); err != nil {
				t.Error(err)
			}
			for _, path := range []string{"/api/sessions/session_s", "/api/sessions/session_s/state", "/api/sessions/session_s/artifact-events", "/api/sessions/session_s/download", "/api/uploads/session_s"} {
				h.ok(h.get(path))
			}
		},
		"14 the characters of ids, everywhere": func(t *testing.T) {
			for _, op := range h.server.Operations() {
				for _, id := range []string{"a.b", "a%20b", "%C3%A9", "s%0A", strings.Repeat("a", 137)} {
					path := strings.NewReplacer("{session_id}", id, "{artifact_id}", "x", "{name}", "n").Replace(op.Pattern)
					if !strings.Contains(op.Pattern, "{session_id}") {
						continue
					}
					body, contentType := form(part{name: "a", content: "a"})
					switch {
					case op.Method == "PATCH":
						body, contentType = []byte(`{"metadata":{}}`), "application/json"
					case strings.HasSuffix(op.Pattern, "/shares"):
						body, contentType = []byte(`{"expires_in":1}`), "application/json"
					}
					a := h.do(op.Method, path, strings.NewReader(string(body)), "Content-Type", contentType)
					h.want(a, 400, "Invalid session_id: only letters, digits, underscores, and hyphens are allowed")
				}
			}
		},
		"15 unknown sessions: 400 for uploads, 404 for the rest": func(t *testing.T) {
			h.want(h.get("/api/uploads/nobody"), 400, "Session not connected")
			for _, path := range []string{"", "/state", "/events", "/artifact-events", "/artifacts/x"} {
				h.want(h.get("/api/sessions/nobody"+path), 404, "Session not found")
			}
			h.want(h.get("/api/sessions/nobody/download"), 404, "Session directory not found")
		},
	}
}

// The rows about what is kept.
func TestWhatIsKept(t *testing.T) {
	t.Run("18 cleaning waits for the last connection, never takes outputs", func(t *testing.T) {
		h := open(t, func(s *setup) { s.depot.AutoClean = true })
		a, b := h.dial("/ws?session_id=s"), h.dial("/ws?session_id=s")
		a.await("connection")
		b.await("connection")
		v := h.up("s", "in", "in")
		e := h.change("s", "out", "out")
		a.Close(1000, "")
		b.await("attachment_uploaded")
		if got := h.bytes("s", v["artifact_id"]); got != "in" {
			t.Errorf("cleaned while somebody is there")
		}
		b.Close(1000, "")
		eventually(t, "cleaned", func() bool { return h.meta("s", v["artifact_id"])["storage"] == "cleaned" })
		if got := h.bytes("s", e["artifact_id"]); got != "out" {
			t.Errorf("an output was cleaned")
		}
	})
	t.Run("23 and 24 everything is kept, of any size, after a restart", func(t *testing.T) {
		h := open(t)
		v := h.up("s", "big", strings.Repeat("x", 21<<20))
		h.restart()
		if got := h.bytes("s", v["attachment_id"]); len(got) != 21<<20 {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// both fails the test unless all these members have the value.
func both(t *testing.T, m map[string]any, want any, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if diff := cmp.Diff(want, m[k]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", k, diff)
		}
	}
}

func has(t *testing.T, m map[string]any, key, prefix string) {
	t.Helper()
	if s, _ := m[key].(string); !strings.HasPrefix(s, prefix) || s == prefix {
		t.Errorf("%s is %v, want %s…", key, m[key], prefix)
	}
}

package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve starts a server and returns a client of it that does not wait between
// tries.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL, Options{Backoff: func(int) time.Duration { return time.Millisecond }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesAddresses(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:6400", "localhost:6400", "ftp://x", "http://", "http://a b"} {
		if _, err := New(base, Options{}); err == nil {
			t.Errorf("New(%q) took it", base)
		}
	}
}

func TestAddresses(t *testing.T) {
	for base, want := range map[string]string{
		"http://h:1":        "http://h:1/api/sessions/s/artifacts/a%2Fb%3F",
		"https://h/vit/?x":  "https://h/vit/api/sessions/s/artifacts/a%2Fb%3F",
		"http://h/a%2Fb///": "http://h/a%2Fb/api/sessions/s/artifacts/a%2Fb%3F",
	} {
		c, err := New(base, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.session("s", nil, "artifacts", "a/b?"); got != want {
			t.Errorf("below %q: got %q, want %q", base, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, body, retry string
		status            int
		want              error
	}{
		{
			name: "dialect", status: 404,
			body: `{"detail":"Session not found","error":{"code":"RESOURCE_NOT_FOUND","message":"Session not found","details":{"a":"b"}},"timestamp":"x"}`,
			want: &Error{Status: 404, Code: "RESOURCE_NOT_FOUND", Message: "Session not found", CorrelationID: "cid", Details: map[string]any{"a": "b"}},
		},
		{
			name: "list", status: 422,
			body: `{"detail":[{"loc":["query","limit"],"msg":"too big","type":"t"},{"loc":["body",3],"msg":"bad","type":"t"}],"error":{"code":"VALIDATION_ERROR","message":"no"}}`,
			want: &Error{Status: 422, Code: "VALIDATION_ERROR", Message: "query.limit: too big; body.3: bad", CorrelationID: "cid"},
		},
		{
			name: "envelope", status: 413,
			body: `{"status":"error","error":{"code":"VAL_FIELD_TOO_LONG","message":"too long","details":{"max_length":9},"field_errors":null},"meta":{"request_id":"r"}}`,
			want: &Error{Status: 413, Code: "VAL_FIELD_TOO_LONG", Message: "too long", CorrelationID: "cid", Details: map[string]any{"max_length": 9.0}},
		},
		{
			name: "oauth", status: 400, body: `{"error":"slow_down","error_description":"Ask less often"}`,
			want: &Error{Status: 400, Code: "slow_down", Message: "Ask less often", CorrelationID: "cid"},
		},
		{
			name: "proxy", status: 502, body: "<html>bad gateway", retry: "7",
			want: &Error{Status: 502, CorrelationID: "cid", RetryAfter: 7 * time.Second},
		},
		{
			name: "expired at top", status: 410, body: `{"detail":"gone","error":{"code":"GONE"},"oldest":5,"last":9}`,
			want: &Expired{Oldest: 5, Last: 9, Err: &Error{Status: 410, Code: "GONE", Message: "gone", CorrelationID: "cid"}},
		},
		{
			name: "expired in details", status: 410, body: `{"detail":"gone","error":{"code":"GONE","details":{"oldest":5,"last":9}}}`,
			want: &Expired{Oldest: 5, Last: 9, Err: &Error{Status: 410, Code: "GONE", Message: "gone", CorrelationID: "cid",
				Details: map[string]any{"oldest": 5.0, "last": 9.0}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Correlation-ID", "cid")
				w.Header().Set("Retry-After", tt.retry)
				w.WriteHeader(tt.status)
				w.Write([]byte(tt.body))
			})
			_, err := c.Session(t.Context(), "s")
			if diff := cmp.Diff(tt.want, err); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorsIs(t *testing.T) {
	kinds := []error{ErrNotFound, ErrExists, ErrEdit, ErrStale, ErrUnauthorized}
	for _, tt := range []struct {
		e    Error
		want int // of kinds
	}{
		{Error{Status: 404}, 0}, {Error{Status: 409}, 1}, {Error{Status: 409, Details: map[string]any{"reason": "ambiguous"}}, 2},
		{Error{Status: 412}, 3}, {Error{Status: 401}, 4}, {Error{Status: 500}, -1},
	} {
		for i, kind := range kinds {
			if got := errors.Is(&tt.e, kind); got != (i == tt.want) {
				t.Errorf("%d with %v is %q: %v", tt.e.Status, tt.e.Details, kind, got)
			}
		}
	}
}

func TestSessionsReadsEveryPage(t *testing.T) {
	pages := map[string]string{
		"":  `{"sessions":[{"session_id":"c","updated_at":1.5},{"session_id":"b"}],"next_cursor":"x"}`,
		"x": `{"sessions":[{"session_id":"a","last_seq":3}],"next_cursor":null}`,
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("q"); got != "build" {
			t.Errorf("q = %q", got)
		}
		w.Write([]byte(pages[r.URL.Query().Get("cursor")]))
	})
	var got []string
	for s, err := range c.Sessions(t.Context(), SessionQuery{Text: "build"}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID == "c" && !s.Updated.Equal(time.UnixMilli(1500)) {
			t.Errorf("updated_at of c is %v", s.Updated)
		}
		got = append(got, string(s.ID))
	}
	if diff := cmp.Diff([]string{"c", "b", "a"}, got); diff != "" {
		t.Error(diff)
	}
}

// Every form in which the API sends a file gives the same Artifact.
func TestArtifactForms(t *testing.T) {
	event := `{"event_id":"0a","artifact_id":"art_0a","attachment_id":"att_1","sequence":4,"change_type":"updated","name":"a.txt",
		"file_name":"a.txt","relative_path":"out/a.txt","workspace_path":"code_workspace/out/a.txt","path":"code_workspace/out/a.txt",
		"mime_type":"text/plain","size":3,"sha256":"ff","source":"workspace","storage":"reference","node_id":"n","created_at":2}`
	record := `{"attachment_id":"att_1","name":"a.txt","mime_type":"text/plain","size":3,"source":"workspace",
		"workspace_path":"out/a.txt","storage":"reference","sha256":"ff","created_at":2}`
	full := Artifact{ID: "art_0a", Attachment: "att_1", EventID: "0a", Seq: 4, Change: "updated", Name: "a.txt", Path: "out/a.txt",
		MIME: "text/plain", Size: 3, SHA256: "ff", Source: "workspace", Storage: "reference", Node: "n", Created: Time{time.Unix(2, 0).UTC()}}
	short := full
	short.ID, short.EventID, short.Seq, short.Change, short.Node = "", "", 0, "", ""
	for text, want := range map[string]Artifact{event: full, record: short} {
		var got Artifact
		if err := got.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func TestEventsQuery(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.RawQuery
		w.Write([]byte(`{"events":[{"artifact_id":"art_1","attachment_id":"att_1"}],"next_cursor":8,"has_more":true,"timed_out":false,"log_id":"L"}`))
	})
	page, err := c.Events(t.Context(), "s", EventQuery{After: Cursor{7, "L"}, Wait: 2500 * time.Millisecond, Limit: 3,
		Filter: filter("image/", "image/*")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "after=7&include_ext=png%2Cgif&include_mime=image%2F%2Cimage%2F%2A&include_uploads=true&limit=3&log_id=L&max_size=10&wait_seconds=2.5"; got != want {
		t.Errorf("query\n got %s\nwant %s", got, want)
	}
	if page.Next != 8 || !page.More || page.LogID != "L" || len(page.Events) != 1 || page.Events[0].ID != "art_1" {
		t.Errorf("page is %+v", page)
	}
}

func TestHealth(t *testing.T) {
	status := "healthy"
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"status":"` + status + `"}`)) })
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
	status = "ill"
	if err := c.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "ill") {
		t.Errorf("got %v, want what the server said", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Health(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: got %v", err)
	}
}

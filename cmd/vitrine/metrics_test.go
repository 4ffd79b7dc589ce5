package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/api"
)

// TestMetricsNames holds the names that dashboards and alerts rely on.
func TestMetricsNames(t *testing.T) {
	m := newMetrics()
	m.committed(3, time.Millisecond)
	hooks := m.hooks()
	hooks.Uploaded(2, 10)
	hooks.Delivered(time.Millisecond)
	hooks.OverQuota("files")
	hooks.Ended(api.Outcome{Method: "GET", Pattern: "/health", Status: 200, Bytes: 5, Took: time.Millisecond})
	hooks.Ended(api.Outcome{Method: "BREW", Pattern: "", Aborted: true})
	hooks.Ended(api.Outcome{Method: "GET", Pattern: "/x", Status: http.StatusTooManyRequests})
	rec := httptest.NewRecorder()
	h := m.handler(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	foreign := httptest.NewRequest("GET", "/metrics", nil)
	foreign.Host = "rebound.example:6402"
	h.ServeHTTP(rec, foreign)
	if rec.Code != http.StatusForbidden {
		t.Errorf("under a foreign name /metrics answers %d, want 403", rec.Code)
	}
	rec = httptest.NewRecorder()
	local := httptest.NewRequest("GET", "/metrics", nil)
	local.Host = "127.0.0.1:6402"
	h.ServeHTTP(rec, local)
	for _, want := range []string{
		`vitrine_http_requests_total{method="GET",route="/health",status="200"} 1`,
		`vitrine_http_requests_total{method="other",route="",status="aborted"} 1`,
		`vitrine_http_sent_bytes_total 5`,
		`vitrine_uploads_total 2`,
		`vitrine_upload_bytes_total 10`,
		`vitrine_rate_limited_total 1`,
		`vitrine_quota_refused_total{quota="files"} 1`, `vitrine_quota_refused_total{quota="bytes"} 0`,
		`vitrine_event_lag_seconds_count 1`,
		`vitrine_commit_batch_size_sum 3`,
		`vitrine_commit_seconds_count 1`,
		`vitrine_build_info{version=`,
		`go_goroutines`, `process_open_fds`,
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// Every metric has its place in the documentation, which names the metrics of
// requests by their beginning.
func TestMetricsAreDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`"vitrine_[a-z_]+"`).FindAllString(string(text), -1) {
			found++
			if name = strings.Trim(name, `"`); !strings.HasPrefix(name, "vitrine_http_") && !strings.Contains(string(docs), "`"+name+"`") {
				t.Errorf("docs/operations.md does not name %s", name)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d metrics only", found)
	}
}

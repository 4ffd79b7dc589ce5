package main

import (
	"net"
	"net/http"
	"net/http/httptest"
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

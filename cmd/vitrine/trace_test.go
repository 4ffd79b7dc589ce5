package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTracesReachACollector serves a request under tracing and waits for the
// span at a collector of the test's own, over OTLP.
func TestTracesReachACollector(t *testing.T) {
	spans := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("collector: %s, %v", r.URL.Path, err)
		}
		spans <- string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	wrap, stop, err := startTracing(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h := wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/health", nil))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/shr_slip.kid.mac", nil))
	if err := stop(ctx); err != nil { // sends what is left
		t.Fatal(err)
	}
	select {
	case got := <-spans:
		// Protobuf keeps text as it is.
		if strings.Contains(got, "shr_") || !strings.Contains(got, "vitrine") || !strings.Contains(got, "/health") {
			t.Errorf("the collector got %q, want a span of /health by vitrine", got)
		}
	case <-ctx.Done():
		t.Error("no span came")
	}
}

func TestNoTracingUnlessAskedFor(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	wrap, stop, err := startTracing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := http.NotFoundHandler()
	rec := httptest.NewRecorder()
	wrap(h).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != http.StatusNotFound || stop(t.Context()) != nil {
		t.Errorf("without a collector the handler answers %d", rec.Code)
	}
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// startTracing sends a span for each request to the collector that the
// standard OTEL_EXPORTER_OTLP_… variables name, and does nothing where they
// name none. wrap goes around the API; stop sends what is left.
func startTracing(ctx context.Context) (wrap func(http.Handler) http.Handler, stop func(context.Context) error, err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return func(h http.Handler) http.Handler { return h }, func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("start tracing: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "vitrine"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("start tracing: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	wrap = func(h http.Handler) http.Handler {
		return otelhttp.NewHandler(h, "http", otelhttp.WithFilter(func(r *http.Request) bool {
			// A socket is no request, it would be a span of hours; and the path of
			// a share is a secret, also where it was put by mistake.
			return r.URL.Path != "/ws" && !strings.HasPrefix(r.URL.Path, "/s/") && !strings.Contains(strings.ToLower(r.URL.Path), "shr_")
		}))
	}
	return wrap, provider.Shutdown, nil
}

package main

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/depot"
)

// metrics are what a server counts, served as /metrics on an address of their
// own. Label values are bounded: routes are patterns, never paths.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	sent      prometheus.Counter
	uploads   prometheus.Counter
	received  prometheus.Counter
	limited   prometheus.Counter
	overQuota *prometheus.CounterVec
	lag       prometheus.Histogram
	batches   prometheus.Histogram
	commits   prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vitrine_http_requests_total", Help: "Requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vitrine_http_request_seconds", Help: "Time from the first byte of a request to the last of its answer; streams count until they end.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120},
		}, []string{"route"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vitrine_http_sent_bytes_total", Help: "Bytes of answers' bodies.",
		}),
		uploads: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vitrine_uploads_total", Help: "Files whose upload was acknowledged.",
		}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vitrine_upload_bytes_total", Help: "Bytes of files whose upload was acknowledged.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vitrine_rate_limited_total", Help: "Requests that came too often and were told to come later.",
		}),
		overQuota: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vitrine_quota_refused_total", Help: "What tenants were refused because of a quota: bytes, files, sessions or followers.",
		}, []string{"quota"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vitrine_event_lag_seconds", Help: "Time from the transaction of a log entry to its delivery to one follower; replays of old entries count too.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 10, 60, 600},
		}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vitrine_commit_batch_size", Help: "Transactions that shared one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vitrine_commit_seconds", Help: "Time of a commit, which on the embedded database is the sync of its log.",
			Buckets: prometheus.ExponentialBuckets(.0001, 2, 16),
		}),
	}
	m.registry.MustRegister(m.requests, m.durations, m.sent, m.uploads, m.received, m.limited, m.overQuota, m.lag, m.batches, m.commits,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vitrine_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }))
	for _, quota := range limited { // 0 until something is refused
		m.overQuota.WithLabelValues(quota)
	}
	return m
}

// watch adds what is read from the depot and the accounts when asked for.
func (m *metrics) watch(d *depot.Depot, a *account.Accounts, limits *access) {
	m.watchScans(d)
	m.watchAccounts(a)
	m.tellLimits(limits)
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vitrine_followers", Help: "Open followers: SSE, WebSocket and waiting long-polls.",
		}, func() float64 { _, n := d.Followers(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vitrine_followed_sessions", Help: "Sessions that somebody follows.",
		}, func() float64 { n, _ := d.Followers(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "vitrine_log_reads_total", Help: "Reads of the log's table for followers, who share them.",
		}, func() float64 { return float64(d.LogReads()) }),
	)
}

// committed is told of each commit by the store.
func (m *metrics) committed(batch int, took time.Duration) {
	m.batches.Observe(float64(batch))
	m.commits.Observe(took.Seconds())
}

// hooks are what the API tells.
func (m *metrics) hooks() api.Hooks {
	return api.Hooks{
		Ended: func(o api.Outcome) {
			status := strconv.Itoa(o.Status)
			if o.Aborted {
				status = "aborted"
			}
			m.requests.WithLabelValues(o.Pattern, methodLabel(o.Method), status).Inc()
			m.durations.WithLabelValues(o.Pattern).Observe(o.Took.Seconds())
			m.sent.Add(float64(o.Bytes))
			if o.Status == http.StatusTooManyRequests {
				m.limited.Inc()
			}
		},
		Uploaded: func(files int, bytes int64) {
			m.uploads.Add(float64(files))
			m.received.Add(float64(bytes))
		},
		Delivered: func(lag time.Duration) { m.lag.Observe(lag.Seconds()) },
		OverQuota: func(quota string) { m.overQuota.WithLabelValues(quota).Inc() },
	}
}

// methodLabel keeps invented methods from making labels without end.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// handler serves /metrics. On loopback it answers to local names only: a web
// page whose name is rebound to this machine does not get to read it.
func (m *metrics) handler(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	if tcp, ok := at.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "Host is not served here", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

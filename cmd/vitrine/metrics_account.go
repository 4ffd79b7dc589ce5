package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vitrine-hq/vitrine/account"
)

// watchAccounts adds what is known of logins, and how much all tenants use
// together. There are no labels for tenants: metrics are for whoever runs the
// server, and there may be many.
func (m *metrics) watchAccounts(a *account.Accounts) {
	count := func(name, help string, read func(account.Counts) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(read(a.Counts())) })
	}
	m.registry.MustRegister(
		count("vitrine_logins_total", "Logins by key, browser or device that were let in.", func(c account.Counts) int64 { return c.Logins }),
		count("vitrine_logins_refused_total", "API keys that were not good.", func(c account.Counts) int64 { return c.Refused }),
		count("vitrine_revocations_total", "Revocations that this server has heard of since it started, its own included.", func(c account.Counts) int64 { return c.Revocations }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vitrine_watched_requests", Help: "Requests under way, streams among them, that end when what they came with is revoked.",
		}, func() float64 { return float64(a.Counts().Watched) }),
		&tenantTotals{a},
	)
}

// tellLimits adds what each tenant and each address may have and ask for, unless
// a tenant has limits of its own; 0 is no limit.
func (m *metrics) tellLimits(a *access) {
	quotas := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vitrine_quota_default", Help: "What a tenant without limits of its own may have of bytes, files, sessions and followers; 0 is no limit.",
	}, []string{"quota"})
	for name, n := range map[string]int64{"bytes": a.quota.Bytes, "files": a.quota.Files, "sessions": a.quota.Sessions, "followers": a.quota.Followers} {
		quotas.WithLabelValues(name).Set(float64(n))
	}
	rates := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vitrine_rate_limit_per_minute", Help: "Requests that this server takes in a minute of a tenant, and logins of an address; 0 is no limit.",
	}, []string{"of"})
	rates.WithLabelValues("tenant").Set(float64(a.rates.Tenant))
	rates.WithLabelValues("login").Set(float64(a.rates.Login))
	m.registry.MustRegister(quotas, rates)
}

// tenantTotals reads what tenants use when it is asked for.
type tenantTotals struct{ a *account.Accounts }

var (
	tenantsNumber = prometheus.NewDesc("vitrine_tenants", "Tenants, also suspended ones.", nil, nil)
	usedBytes     = prometheus.NewDesc("vitrine_used_bytes", "Bytes of all tenants that count against quotas.", nil, nil)
	usedFiles     = prometheus.NewDesc("vitrine_used_files", "Files of all tenants that count against quotas.", nil, nil)
	usedSessions  = prometheus.NewDesc("vitrine_used_sessions", "Sessions of all tenants.", nil, nil)
	nearQuota     = prometheus.NewDesc("vitrine_tenants_near_quota", "Tenants that use nine tenths of a quota or more.", []string{"quota"}, nil)
)

// Describe names the gauges.
func (t *tenantTotals) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{tenantsNumber, usedBytes, usedFiles, usedSessions, nearQuota} {
		ch <- d
	}
}

// scrapeTime is how long a look at the database may take.
const scrapeTime = 5 * time.Second

// Collect reads the rows of all tenants.
func (t *tenantTotals) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	list, err := t.a.Tenants(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(tenantsNumber, err)
		return
	}
	var bytes, files, sessions int64
	near := map[string]int{"bytes": 0, "files": 0, "sessions": 0}
	for i := range list {
		n := &list[i]
		bytes, files, sessions = bytes+n.Bytes, files+n.Files, sessions+n.Sessions
		for name, c := range map[string][2]int64{"bytes": {n.Bytes, n.Quota.Bytes}, "files": {n.Files, n.Quota.Files}, "sessions": {n.Sessions, n.Quota.Sessions}} {
			if used, limit := c[0], c[1]; limit > 0 && used >= limit-limit/10 {
				near[name]++
			}
		}
	}
	for name, n := range near {
		ch <- prometheus.MustNewConstMetric(nearQuota, prometheus.GaugeValue, float64(n), name)
	}
	for d, n := range map[*prometheus.Desc]int64{tenantsNumber: int64(len(list)), usedBytes: bytes, usedFiles: files, usedSessions: sessions} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
}

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/scan"
)

// scanSettings say who looks at contents, and what follows from it.
type scanSettings struct {
	Scan        string `placeholder:"SCANNER" help:"Look at every content with a virus scanner: clamd:///run/clamav/clamd.ctl, clamd://HOST:PORT, or exec:COMMAND, which reads it (default: none)."`
	ScanMode    string `default:"hold" enum:"hold,after" placeholder:"MODE" help:"hold: nobody but its owner reads a content before it is clean; after: everybody does, until something is found (default: hold)."`
	ScanFailure string `default:"refuse" enum:"refuse,allow" placeholder:"WHAT" help:"What becomes of contents that cannot be scanned: refuse keeps them from everybody, allow gives them out (default: refuse)."`
}

// pingTime is how long a scanner may take to answer when the server starts.
const pingTime = 30 * time.Second

// apply puts the scanner, which has to answer, into the settings of the use
// cases.
func (c *scanSettings) apply(ctx context.Context, o *depot.Options, log *slog.Logger) error {
	if c.Scan == "" {
		return nil
	}
	s, err := scan.Open(c.Scan)
	if err != nil {
		return usage("--scan: %v", err)
	}
	o.Scanner, o.ScanHold, o.ScanRequired = s, c.ScanMode == "hold", c.ScanFailure == "refuse"
	ping, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	err = s.Ping(ping)
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case o.ScanRequired:
		return withHint(fmt.Errorf("the scanner does not answer: %w", err), "start it first, or say --scan-failure allow to go on without")
	}
	log.Warn("the scanner does not answer; contents are given out unscanned until it does", "err", err)
	return nil
}

// watchScans adds what is known of the scanner.
func (m *metrics) watchScans(d *depot.Depot) {
	count := func(verdict string, read func(depot.Verdicts) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "vitrine_scans_total", Help: "Verdicts of the virus scanner: clean, found, or failed, which was given up.",
			ConstLabels: prometheus.Labels{"verdict": verdict},
		}, func() float64 { return float64(read(d.Verdicts())) })
	}
	m.registry.MustRegister(
		count("clean", func(v depot.Verdicts) int64 { return v.Clean }),
		count("found", func(v depot.Verdicts) int64 { return v.Found }),
		count("failed", func(v depot.Verdicts) int64 { return v.Failed }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vitrine_scan_queue", Help: "Contents that the virus scanner is still to look at, of all servers on the database.",
		}, func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			n, err := d.Unscanned(ctx)
			if err != nil {
				return math.NaN() // the database is the trouble; readiness tells
			}
			return float64(n)
		}))
}

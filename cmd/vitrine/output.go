package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"
)

// output is the flag of commands whose results a program may read.
type output struct {
	JSON bool `name:"json" help:"Write results as JSON, one object per line."`
}

// line writes one result.
func (a *app) line(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.stdout, format+"\n", args...); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// writeJSON writes one result for a program.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// printable returns a name as it is, or quoted where it would do something to
// a terminal or break the line.
func printable(name string) string {
	if name != "" && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return name
	}
	return strconv.Quote(name)
}

// stamp returns a time as listings show it: of one width, and in order as text.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// meter is a progress bar, or nothing where nobody watches: its methods work on
// nil.
type meter struct {
	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

// meter returns a progress bar for total bytes, -1 when unknown.
func (a *app) meter(label string, total int64) *meter {
	if !a.terminal {
		return nil
	}
	return &meter{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(printable(label)),
		progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(total > 0),
	)}
}

// set shows that so many bytes are done. Here and below, a bar that cannot be
// drawn is no reason to stop.
func (m *meter) set(done int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.bar.Set64(done)
}

// count shows done of total, where the total is told late.
func (m *meter) count(done, total int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if total > 0 && m.bar.GetMax64() != total {
		m.bar.ChangeMax64(total)
	}
	_ = m.bar.Set64(done)
}

// end removes the bar.
func (m *meter) end() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.bar.Clear()
}

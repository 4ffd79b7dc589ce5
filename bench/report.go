package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report is what a run found.
type Report struct {
	Server  string    `json:"server"`
	Started time.Time `json:"started"`
	Took    float64   `json:"took_seconds"`
	Rounds  int       `json:"rounds"`
	Quick   bool      `json:"quick"`
	Machine Machine   `json:"machine"`
	Others  *Range    `json:"others_cores,omitempty"` // cores that neither side used; absent where /proc does not tell
	Results []*Result `json:"results"`

	others []float64
}

// Machine is where it was measured.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryGiB  int    `json:"memory_gib"`
	System     string `json:"system"`
	Go         string `json:"go"`
	FileSystem string `json:"file_system"`
}

// Range is the median of a number over the rounds, and its extremes.
type Range struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Result is one case of one workload.
type Result struct {
	Workload string    `json:"workload"`
	Case     string    `json:"case"`
	Metrics  []*Metric `json:"metrics"`
}

// Metric is one number of a result, with its value in each round.
type Metric struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	Range
}

func newReport(o *Options) *Report {
	return &Report{Server: o.Version, Started: time.Now().UTC().Truncate(time.Second), Quick: o.Quick, Machine: machine(cmp.Or(o.Dir, os.TempDir()))}
}

// add appends one round's value to its metric.
func (r *Report) add(workload, name string, v value) {
	i := slices.IndexFunc(r.Results, func(x *Result) bool { return x.Workload == workload && x.Case == name })
	if i < 0 {
		i = len(r.Results)
		r.Results = append(r.Results, &Result{Workload: workload, Case: name})
	}
	res := r.Results[i]
	j := slices.IndexFunc(res.Metrics, func(m *Metric) bool { return m.Name == v.name })
	if j < 0 {
		j = len(res.Metrics)
		res.Metrics = append(res.Metrics, &Metric{Name: v.name, Unit: v.unit})
	}
	res.Metrics[j].Values = append(res.Metrics[j].Values, v.v)
}

func (r *Report) summarize() {
	for _, res := range r.Results {
		for _, m := range res.Metrics {
			m.Range = rangeOf(m.Values)
		}
	}
	if len(r.others) > 0 {
		others := rangeOf(r.others)
		r.Others = &others
	}
}

func rangeOf(values []float64) Range {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return Range{Median: (s[(n-1)/2] + s[n/2]) / 2, Min: s[0], Max: s[n-1]}
}

// Markdown writes the report as a page: what it was measured on, then a table
// for each workload.
func (r *Report) Markdown(w io.Writer) error {
	var b bytes.Buffer
	m := r.Machine
	fmt.Fprintf(&b, "Measured on %s: %s, %d cores, %d GiB, %s, data on %s; server and client on the same machine, built with %s.\n",
		r.Started.Format("2006-01-02 15:04 MST"), m.CPU, m.Cores, m.MemoryGiB, m.System, m.FileSystem, m.Go)
	fmt.Fprintf(&b, "Server: %s. Rounds: %d, interleaved, in %.0f s%s. Numbers are medians [lowest–highest] of the rounds.\n",
		r.Server, r.Rounds, r.Took, map[bool]string{true: " (quick)"}[r.Quick])
	if r.Others != nil {
		fmt.Fprintf(&b, "Other programs used %s of the %d cores meanwhile (median [lowest–highest] of all measurements).\n",
			r.Others.show(true), m.Cores)
	}
	for _, work := range workloads {
		var rows []*Result
		for _, res := range r.Results {
			if res.Workload == work.name {
				rows = append(rows, res)
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", work.name, work.about)
			table(&b, rows, r.Rounds > 1)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// table has a row for each case and a column for each metric that one of them has.
func table(b *bytes.Buffer, rows []*Result, ranges bool) {
	var columns []*Metric
	for _, res := range rows {
		for _, m := range res.Metrics {
			if !slices.ContainsFunc(columns, func(c *Metric) bool { return c.Name == m.Name }) {
				columns = append(columns, m)
			}
		}
	}
	b.WriteString("| |")
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", heading(c))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, res := range rows {
		fmt.Fprintf(b, "| %s |", res.Case)
		for _, c := range columns {
			text := "–"
			for _, m := range res.Metrics {
				if m.Name == c.Name {
					text = m.show(ranges)
				}
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteByte('\n')
	}
}

func heading(m *Metric) string {
	if m.Unit == "1/s" || m.Unit == "×" { // the name says it
		return m.Name
	}
	return m.Name + ", " + m.Unit
}

func (r Range) show(all bool) string {
	if !all {
		return "**" + short(r.Median) + "**"
	}
	return fmt.Sprintf("**%s** [%s–%s]", short(r.Median), short(r.Min), short(r.Max))
}

// short writes a number with three digits that count.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.995:
		return fmt.Sprintf("%.2f", v)
	case a == 0:
		return "0"
	}
	return fmt.Sprintf("%.2g", v)
}

// machine asks the system what it is. What it does not tell stays "unknown".
func machine(dir string) Machine {
	m := Machine{CPU: "unknown processor", Cores: runtime.NumCPU(), System: runtime.GOOS, Go: runtime.Version(), FileSystem: fileSystem(dir)}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(model)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		release, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
		m.System = "Linux " + release
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			m.MemoryGiB = int(math.Round(float64(kib) / (1 << 20)))
		}
	}
	return m
}

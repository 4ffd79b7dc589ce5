package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process reads what the kernel tells of a process in /proc. Where there is
// none, or no process is known, everything is zero.
type process struct{ pid int }

// known reports whether anything can be read.
func (p process) known() bool { return p.pid != 0 && p.cpu() > 0 }

func (p process) path(name string) string { return fmt.Sprintf("/proc/%d/%s", p.pid, name) }

// cpu returns the time that the threads of the process ran. The scheduler
// counts it in nanoseconds, unlike the ticks of /proc/PID/stat; Go does not end
// its threads, so nothing is missed.
func (p process) cpu() time.Duration {
	if p.pid == 0 {
		return 0
	}
	files, err := filepath.Glob(p.path("task/*/schedstat"))
	if err != nil {
		return 0
	}
	var sum time.Duration
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(n)
	}
	return sum
}

// memory returns VmRSS, the memory that the process has now, or VmHWM, the most
// it ever had, in bytes.
func (p process) memory(field string) float64 {
	if p.pid == 0 {
		return 0
	}
	text, err := os.ReadFile(p.path("status"))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(field+":")); ok {
			kib, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
			n, _ := strconv.ParseFloat(kib, 64)
			return n * 1024
		}
	}
	return 0
}

// forgetPeak makes VmHWM begin anew.
func (p process) forgetPeak() {
	if p.pid != 0 {
		_ = os.WriteFile(p.path("clear_refs"), []byte("5"), 0) // not ours: the peak is an older one
	}
}

// busy returns the time that all cores of the machine worked, or were held by
// another machine on the same host.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, word := range strings.Fields(line) {
		// user nice system idle iowait irq softirq steal; guest is in user
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, _ := strconv.ParseInt(word, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// meter measures a stretch of time.
type meter struct {
	b                 *bed
	begin             time.Time
	server, own, busy time.Duration
}

// usage is what a stretch of time took.
type usage struct {
	wall   time.Duration
	server time.Duration // CPU of the server, 0 if unknown
}

func (b *bed) meter() meter {
	return meter{b, time.Now(), b.server.cpu(), process{os.Getpid()}.cpu(), busy()}
}

// stop returns what was used since the meter was made, and notes in the report
// what others took meanwhile.
func (m meter) stop() usage {
	u := usage{wall: time.Since(m.begin), server: m.b.server.cpu() - m.server}
	own := process{os.Getpid()}.cpu() - m.own
	others := busy() - m.busy - own - u.server
	if m.b.server.known() && u.wall > 100*time.Millisecond {
		m.b.rep.others = append(m.b.rep.others, max(0, others.Seconds()/u.wall.Seconds()))
	}
	return u
}

package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// workload is one thing that is measured. It notes its values with bed.note.
type workload struct {
	name  string
	about string
	run   func(context.Context, *bed) error
}

var workloads = []workload{
	{"sync", "The disk alone: a 4 KiB append to a file and its fdatasync, on the file system of the data directory.", diskSync},
	{"upload-4k", "Uploads of 4 KiB as multipart forms into one session. Each is durable when it is answered.", uploadSmall},
	{"upload-1g", "One large upload at a time.", uploadLarge},
	{"flat", "10,000 uploads of 4 KiB into one session at 16 connections: the last 1,000 beside the first.", flat},
	{"download-64k", "One file of 64 KiB, read again and again.", downloadSmall},
	{"events", "An upload told to everybody who follows the session: from its first byte sent to its arrival at each.", events},
	{"zip", "A session of files of 100 KiB, half text and half noise, as a zip.", zip},
	{"idle", "Followers of a session in which nothing happens.", idle},
}

// Workloads returns the names of all workloads in the order in which they run.
func Workloads() []string {
	names := make([]string, len(workloads))
	for i, w := range workloads {
		names[i] = w.name
	}
	return names
}

// value is one measured number. Units say how it is shown.
type value struct {
	name, unit string
	v          float64
}

// note adds the values of one case of the workload to the report. Values that
// need a look into the server are left out where that is not possible.
func (b *bed) note(name string, values ...value) {
	for _, v := range values {
		b.rep.add(b.workload, name, v)
	}
}

// cpuPer is the server's CPU for each of n things.
func (b *bed) cpuPer(thing, unit string, u usage, n float64) []value {
	if !b.server.known() || n == 0 {
		return nil
	}
	perSecond := map[string]float64{"µs": 1e6, "s": 1}[unit]
	return []value{{"CPU/" + thing, unit, u.server.Seconds() * perSecond / n}}
}

// growth notes how far a workload made the server's memory grow at its peak.
func (b *bed) growth(since float64) []value {
	if !b.server.known() {
		return nil
	}
	return []value{{"RSS growth", "MiB", max(0, b.server.memory("VmHWM")-since) / (1 << 20)}}
}

// rest returns the memory of a server at rest, and begins its peak anew.
func (b *bed) rest(ctx context.Context) float64 {
	b.settle(ctx)
	b.server.forgetPeak()
	return b.server.memory("VmRSS")
}

// operation does one thing on a connection. n counts the operations of all
// workers.
type operation func(c *conn, n int64) error

// spans are times that operations took.
type spans []time.Duration

func (s spans) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	i := min(len(s)-1, int(q*float64(len(s))))
	return s[i].Seconds() * 1e3
}

func (s spans) percentiles(prefix string) []value {
	return []value{{prefix + "p50", "ms", s.quantile(.5)}, {prefix + "p99", "ms", s.quantile(.99)}}
}

// team is a number of connections that do the same thing.
type team struct {
	conns []*conn
	next  atomic.Int64
}

func (b *bed) team(ctx context.Context, n int) (*team, error) {
	t := &team{}
	for range n {
		c, err := dial(ctx, b.addr)
		if err != nil {
			t.close()
			return nil, err
		}
		t.conns = append(t.conns, c)
	}
	return t, nil
}

func (t *team) close() {
	for _, c := range t.conns {
		c.close()
	}
}

// each runs f once for each connection, at once, and returns the first error.
func (t *team) each(f func(i int, c *conn) error) error {
	errs := make([]error, len(t.conns))
	var wg sync.WaitGroup
	for i, c := range t.conns {
		wg.Go(func() { errs[i] = f(i, c) })
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// count does an operation n times.
func (t *team) count(ctx context.Context, n int64, op operation) error {
	end := t.next.Load() + n
	return t.each(func(_ int, c *conn) error {
		for ctx.Err() == nil {
			i := t.next.Add(1)
			if i > end {
				t.next.Add(-1)
				return nil
			}
			if err := op(c, i); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// Phases of a measurement by time.
const (
	warming = iota
	measuring
	done
)

// during does an operation over and over, first to warm up, then measured.
func (b *bed) during(ctx context.Context, t *team, warm, length time.Duration, op operation) (spans, usage, error) {
	var phase atomic.Int32
	var u usage
	clock := make(chan struct{})
	go func() { // ends after both waits; joined below
		defer close(clock)
		wait(ctx, warm)
		m := b.meter()
		phase.Store(measuring)
		wait(ctx, length)
		phase.Store(done)
		u = m.stop()
	}()
	took := make([]spans, len(t.conns))
	err := t.each(func(i int, c *conn) error {
		for {
			begin := time.Now()
			if err := op(c, t.next.Add(1)); err != nil {
				return err
			}
			switch phase.Load() {
			case measuring:
				took[i] = append(took[i], time.Since(begin))
			case done:
				return nil
			}
		}
	})
	<-clock
	return slices.Concat(took...), u, errors.Join(err, ctx.Err())
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// diskSync measures what the disk takes to make 4 KiB durable, without a server.
func diskSync(ctx context.Context, b *bed) (err error) {
	dir, err := os.MkdirTemp(b.o.Dir, "vitrine-bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.Create(filepath.Join(dir, "appended"))
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer f.Close()
	block := noise(4 << 10)
	var took spans
	for range pick(b.o.Quick, 100, 300) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		begin := time.Now()
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if err := syncData(f); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		took = append(took, time.Since(begin))
	}
	b.sync = time.Duration(took.quantile(.5) * float64(time.Millisecond))
	b.note("append and fdatasync", took.percentiles("")...)
	return f.Close()
}

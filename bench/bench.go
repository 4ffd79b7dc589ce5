// Package bench measures a server from outside, over its wire contract, with a
// client that is cheap enough not to be what is measured: raw HTTP/1.1 over
// plain sockets. It knows nothing of how the server is made, so that any
// version and any address can be measured. It judges nothing: numbers of a
// machine mean something only beside others of the same run, which is why the
// time of one sync of the disk is among them. Read this file first, then
// workload.go.
package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// Options say what is measured. Either Address or Command must be set.
type Options struct {
	Address   string           // host:port of a running server
	PID       int              // its process, if it runs here: CPU and memory can be read then
	Command   []string         // starts a server, after "--listen" and so on are appended; for each round a new one
	Version   string           // of what is measured, for the report
	Dir       string           // where servers keep their data, and where the disk is measured; "" is the folder for temporary files
	Only      []string         // names of workloads; empty runs all
	Rounds    int              // each workload runs once in each; 0 means 3
	Quick     bool             // a look that takes less than a minute
	LargeSize int64            // bytes of the large upload; 0 means 1 GiB, quick 128 MiB
	Followers []int            // sizes of the audience of events; nil means 1, 100 and 1,000
	Idle      int              // idle followers; 0 means 5,000, quick 1,000
	Progress  func(now string) // told what is going on; may be nil
}

// quickTime bounds a quick run: no round begins that would end after it.
const quickTime = 45 * time.Second

func (o *Options) defaults() error {
	switch {
	case o.Address == "" && len(o.Command) == 0:
		return errors.New("no server to measure")
	case o.Address != "":
		if _, _, err := net.SplitHostPort(o.Address); err != nil {
			return fmt.Errorf("address of the server: %w", err)
		}
	}
	for _, name := range o.Only {
		if !slices.Contains(Workloads(), name) {
			return fmt.Errorf("no workload %q; there are %s", name, strings.Join(Workloads(), ", "))
		}
	}
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if o.LargeSize == 0 {
		o.LargeSize = pick(o.Quick, 128<<20, int64(1<<30))
	}
	if o.Idle == 0 {
		o.Idle = pick(o.Quick, 1000, 5000)
	}
	if o.Followers == nil {
		o.Followers = []int{1, 100, 1000}
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return nil
}

func pick[T any](quick bool, ifQuick, otherwise T) T {
	if quick {
		return ifQuick
	}
	return otherwise
}

// Run measures every workload once in each round and returns what it found. An
// error of one workload ends the run.
func Run(ctx context.Context, o Options) (rep *Report, err error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	rep = newReport(&o)
	var used []*child
	defer func() {
		for _, c := range used {
			err = errors.Join(err, os.RemoveAll(c.dir))
		}
	}()
	begin := time.Now()
	var longest time.Duration
	for n := range o.Rounds {
		if o.Quick && n > 0 && time.Since(begin)+longest > quickTime {
			break
		}
		was := time.Now()
		c, err := round(ctx, &o, rep, n)
		if c != nil {
			used = append(used, c)
		}
		if err != nil {
			return nil, err
		}
		longest = max(longest, time.Since(was))
		rep.Rounds = n + 1
	}
	rep.Took = time.Since(begin).Seconds()
	rep.summarize()
	return rep, nil
}

// round runs every workload once, against a server of its own where servers
// are started here. Its data is left to the caller, and so are its sessions: a
// file system may take long to make files where others were just deleted
// (ext4 looks for an inode that was not used for some minutes), so that
// tidying up early would slow down what is measured next.
func round(ctx context.Context, o *Options, rep *Report, n int) (c *child, err error) {
	b := &bed{o: o, rep: rep, round: n, addr: o.Address, server: process{o.PID}, run: strings.ToLower(rand.Text()[:8])}
	if o.Address == "" {
		if c, err = start(ctx, o); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		b.addr, b.server = c.addr, process{c.cmd.Process.Pid}
		rep.Server = c.greeting
	}
	for _, w := range workloads {
		if len(o.Only) > 0 && !slices.Contains(o.Only, w.name) {
			continue
		}
		o.Progress(fmt.Sprintf("round %d of %d: %s", n+1, o.Rounds, w.name))
		b.settle(ctx)
		b.workload = w.name
		if err := w.run(ctx, b); err != nil {
			return c, fmt.Errorf("%s: %w", w.name, err)
		}
		if c != nil {
			continue
		}
		if err := b.deleteSessions(ctx); err != nil {
			return c, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return c, nil
}

// bed is where the workloads of one round run.
type bed struct {
	o        *Options
	rep      *Report
	addr     string
	server   process
	run      string // random, so that runs against one server do not meet
	round    int
	workload string
	sessions []string
	sync     time.Duration // median of this round
}

// session returns a session id that was not used before; the first upload makes
// the session, and it is deleted when the workload is over.
func (b *bed) session() string {
	id := fmt.Sprintf("bench-%s-%d", b.run, len(b.sessions))
	b.sessions = append(b.sessions, id)
	return id
}

// deleteSessions deletes what the workload made. Ids stay used.
func (b *bed) deleteSessions(ctx context.Context) error {
	c, err := dial(ctx, b.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for i, id := range b.sessions {
		if id == "" {
			continue
		}
		if err := c.do(c.request("DELETE", "/api/sessions/"+id, "")); err != nil {
			return fmt.Errorf("delete session: %w", err)
		}
		b.sessions[i] = ""
	}
	return nil
}

// create makes a session before the first upload to it.
func (b *bed) create(ctx context.Context) (string, error) {
	id := b.session()
	c, err := dial(ctx, b.addr)
	if err != nil {
		return "", err
	}
	defer c.close()
	body := fmt.Sprintf(`{"session_id":%q}`, id)
	return id, c.do(c.request("POST", "/api/sessions", body, "Content-Type: application/json"))
}

// settle waits until the server has come to rest, at most a few seconds: what
// one workload left to do in the background is not the next one's cost.
func (b *bed) settle(ctx context.Context) {
	const quiet = 5 * time.Millisecond // of CPU in each
	const each = 150 * time.Millisecond
	for range 30 {
		was := b.server.cpu()
		select {
		case <-ctx.Done():
			return
		case <-time.After(each):
		}
		if b.server.cpu()-was < quiet {
			return
		}
	}
}

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"

	"github.com/vitrine-hq/vitrine/bench"
)

type benchCmd struct {
	address
	Self      bool     `help:"Start a server with a data directory of its own and measure that; its CPU and memory can be seen then."`
	PID       int      `name:"pid" placeholder:"PID" help:"Process of the server at --server, if it runs on this machine."`
	Only      []string `placeholder:"NAME" help:"Run these workloads only."`
	Rounds    int      `default:"3" placeholder:"N" help:"Rounds; every workload runs once in each (default: 3)."`
	Quick     bool     `help:"Take less than a minute: shorter, smaller, fewer rounds."`
	Large     size     `name:"large-size" default:"none" placeholder:"SIZE" help:"Size of the large upload (default: 1GiB, quick 128MiB)."`
	Followers []int    `placeholder:"N,…" help:"Sizes of the audience of events (default: 1,100,1000)."`
	Idle      int      `placeholder:"N" help:"Number of idle followers (default: 5000, quick 1000)."`
	Dir       string   `type:"path" placeholder:"DIR" help:"Where --self keeps its data and the disk is measured (default: the folder for temporary files)."`
	output
}

// Help is the long help.
func (c *benchCmd) Help() string {
	return fmt.Sprintf(`Measures a server from outside and writes a page of Markdown: rates, times, and where the server's process can be seen its CPU and memory. All sessions that it makes begin with "bench-" and are deleted afterwards, with their bytes. Its sessions must be open (--auth none). Numbers mean something beside others of the same run only, such as the disk's own time for a sync.

Workloads: %s.

Examples:

  vitrine bench --self --quick
  vitrine bench --self --only upload-4k,flat --rounds 5
  vitrine bench --server http://127.0.0.1:6400 --json > before.json`, bench.Workloads())
}

// Validate refuses numbers that measure nothing.
func (c *benchCmd) Validate() error {
	if c.Rounds < 1 || c.Idle < 0 || slices.ContainsFunc(c.Followers, func(n int) bool { return n < 1 }) {
		return fmt.Errorf("--rounds and --followers must be above 0, and --idle not below")
	}
	return nil
}

// Run prints the report.
func (c *benchCmd) Run(ctx context.Context, a *app) error {
	o := bench.Options{
		PID: c.PID, Only: c.Only, Rounds: c.Rounds, Quick: c.Quick, LargeSize: int64(c.Large), Followers: c.Followers, Idle: c.Idle, Dir: c.Dir,
		Version: c.Server,
	}
	if a.terminal {
		o.Progress = func(now string) { a.say("%s", now) }
	}
	if c.Self {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		o.Command = []string{self, "serve"}
	} else {
		u, err := url.Parse(c.Server)
		if err != nil || u.Scheme != "http" || u.Port() == "" {
			return usage("--server: %q is not of the form http://host:port", c.Server)
		}
		o.Address = u.Host
	}
	report, err := bench.Run(ctx, o)
	if err != nil {
		return unreachable(err, c.Server)
	}
	if c.JSON {
		return a.writeJSON(report)
	}
	return report.Markdown(a.stdout)
}

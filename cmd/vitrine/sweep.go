package main

import (
	"context"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

type sweepCmd struct {
	place
	lifetimes
	output
	DryRun bool `help:"Delete nothing; show what would go."`
}

// Help is the long help.
func (c *sweepCmd) Help() string {
	return `Prints what goes, one per line: its kind, how many bytes (of "entries": how many), and its name. A running server sweeps every hour by itself; beside it, this command has it sweep at once, with the server's own settings instead of those given here.

Examples:

  vitrine sweep --dry-run
  vitrine sweep --dry-run | grep '^session'
  vitrine sweep --dry-run --retention 30d      # where no server runs`
}

// Run prints each thing that went or would go.
func (c *sweepCmd) Run(ctx context.Context, a *app) error {
	var swept depot.Swept
	if err := a.onData(ctx, c.place, c.lifetimes, task{Name: "sweep", DryRun: c.DryRun}, "sweep", &swept); err != nil {
		return err
	}
	for i := range swept.Items {
		if err := c.print(a, &swept.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *sweepCmd) print(a *app, it *depot.SweptItem) error {
	if c.JSON {
		return a.writeJSON(it)
	}
	name, n := it.Name, it.Bytes
	if it.Session != "" {
		name = string(it.Session)
		if it.Tenant != "" && it.Tenant != artifact.DefaultTenant {
			name = it.Tenant + "/" + name
		}
	}
	if it.Kind == "entries" {
		n = it.Entries
	}
	return a.line("%-8s %12d  %s", it.Kind, n, printable(name))
}

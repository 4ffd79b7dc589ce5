package main

import (
	"context"
	"fmt"

	"github.com/vitrine-hq/vitrine/depot"
)

type checkCmd struct {
	place
	output
	Deep bool `help:"Read all bytes and compare their hashes; without it, sizes are compared."`
}

// Help is the long help.
func (c *checkCmd) Help() string {
	return `Each row's bytes must exist and have its size, and with --deep its hash; no log may have a gap. Bytes that no row names and deletions under way are counted and are no faults. Beside a running server the server does the work, without pausing.

Exits with 1 when there is a fault.

Examples:

  vitrine check --deep
  vitrine check --json | jq .faults`
}

// Run prints what was counted and each fault.
func (c *checkCmd) Run(ctx context.Context, a *app) error {
	var r depot.Report
	if err := a.onData(ctx, c.place, lifetimes{}, task{Name: "check", Deep: c.Deep}, "check", &r); err != nil {
		return err
	}
	if err := c.print(a, &r); err != nil {
		return err
	}
	if n := int64(len(r.Faults)) + r.Omitted; n > 0 {
		return fmt.Errorf("%d faults", n)
	}
	return nil
}

func (c *checkCmd) print(a *app, r *depot.Report) error {
	if c.JSON {
		return a.writeJSON(r)
	}
	for _, row := range []struct {
		name string
		n    int64
	}{
		{"sessions", r.Sessions}, {"entries", r.Entries}, {"versions", r.Versions}, {"bytes", r.Bytes},
		{"orphans", r.Orphans}, {"orphan_bytes", r.OrphanBytes}, {"pending", r.Pending}, {"faults", int64(len(r.Faults)) + r.Omitted},
	} {
		if err := a.line("%-12s %d", row.name, row.n); err != nil {
			return err
		}
	}
	for _, f := range r.Faults {
		if err := a.line("fault: %s", printable(f)); err != nil {
			return err
		}
	}
	return nil
}

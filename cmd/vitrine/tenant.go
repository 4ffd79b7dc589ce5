package main

import (
	"context"
	"slices"
	"strconv"
)

// tenantCmd is vitrine tenant and what comes after it.
type tenantCmd struct {
	Create  tenantCreateCmd  `cmd:"" help:"Make a tenant."`
	List    tenantListCmd    `cmd:"" help:"List tenants."`
	Show    tenantShowCmd    `cmd:"" help:"Show what a tenant uses and may use."`
	Suspend tenantSuspendCmd `cmd:"" help:"Let nobody of a tenant in until it is resumed."`
	Resume  tenantResumeCmd  `cmd:"" help:"Let a tenant in again."`
	Quota   tenantQuotaCmd   `cmd:"" help:"Give a tenant limits of its own."`
	Delete  tenantDeleteCmd  `cmd:"" help:"Delete a tenant with all its files."`
}

// Help is the long help.
func (c *tenantCmd) Help() string {
	return `Tenants never see each other: each has sessions, a library, keys and an audit log of its own. These commands work on the data directory, or through the server that holds it.`
}

// oneTenant is a command on one tenant.
type oneTenant struct {
	ID tenantID `arg:"" name:"tenant" placeholder:"ID" help:"The tenant."`
	place
}

// do does a task on the tenant.
func (c *oneTenant) do(ctx context.Context, a *app, t task, out any) error {
	t.Tenant = string(c.ID)
	return a.onData(ctx, c.place, lifetimes{}, t, "", out)
}

type tenantCreateCmd struct {
	oneTenant
	Name string `placeholder:"TEXT" help:"A name for people."`
	output
}

// Help is the long help.
func (c *tenantCreateCmd) Help() string {
	return `A tenant begins with one member, its owner, and without a key.

Examples:

  vitrine tenant create pf_acme --name "Acme Ltd"
  vitrine key create --tenant pf_acme`
}

// Run prints nothing but, with --json, the tenant.
func (c *tenantCreateCmd) Run(ctx context.Context, a *app) error {
	var made tenantInfo
	if err := c.do(ctx, a, task{Name: "tenant-create", Called: c.Name}, &made); err != nil || !c.JSON {
		return err
	}
	return a.writeJSON(made)
}

type tenantListCmd struct {
	place
	output
}

// Help is the long help.
func (c *tenantListCmd) Help() string {
	return `One line per tenant: id, active or suspended, sessions, files, bytes, when it was made, name.

Examples:

  vitrine tenant list
  vitrine tenant list --json | jq -r 'select(.suspended_at).tenant_id'`
}

// Run prints the tenants.
func (c *tenantListCmd) Run(ctx context.Context, a *app) error {
	var tenants []tenantInfo
	if err := a.onData(ctx, c.place, lifetimes{}, task{Name: "tenant-list"}, "", &tenants); err != nil {
		return err
	}
	for i := range tenants {
		t := &tenants[i]
		var err error
		if c.JSON {
			err = a.writeJSON(t)
		} else {
			err = a.line("%-16s  %-9s %6d %8d %12d  %s  %s", t.ID, t.state(), t.Usage.Sessions, t.Usage.Files, t.Usage.Bytes, stamp(t.Created), nameOrDash(t.Name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tenantInfo) state() string {
	if t.Suspended.IsZero() {
		return "active"
	}
	return "suspended"
}

type tenantShowCmd struct {
	oneTenant
	output
}

// Help is the long help.
func (c *tenantShowCmd) Help() string {
	return `Beside each limit stands whether it is the tenant's own or the server's. Followers, the rate limit and the server's limits are those of the server that answers; where none runs, they are shown as none.

Examples:

  vitrine tenant show pf_acme
  vitrine tenant show pf_acme --json | jq .usage.bytes`
}

// Run prints the tenant.
func (c *tenantShowCmd) Run(ctx context.Context, a *app) error {
	var t tenantInfo
	if err := c.do(ctx, a, task{Name: "tenant-show"}, &t); err != nil {
		return err
	}
	return t.print(a, c.JSON)
}

func (t *tenantInfo) print(a *app, asJSON bool) error {
	if asJSON {
		return a.writeJSON(t)
	}
	for _, row := range [][2]string{{"tenant", t.ID}, {"name", nameOrDash(t.Name)}, {"created", stamp(t.Created)}, {"state", t.state()}} {
		if err := a.line("%-10s %s", row[0], row[1]); err != nil {
			return err
		}
	}
	for _, name := range limited {
		limit, whose := "none", "server"
		if n := t.Quota.of(name); n > 0 {
			limit = strconv.FormatInt(n, 10)
		}
		if slices.Contains(t.Own, name) {
			whose = "own"
		}
		if err := a.line("%-10s %12d of %s (%s)", name, t.Usage.of(name), limit, whose); err != nil {
			return err
		}
	}
	rate := "none"
	if t.Rate > 0 {
		rate = strconv.Itoa(t.Rate) + " a minute"
	}
	return a.line("%-10s %s (server)", "rate limit", rate)
}

// of returns one of the amounts by its name.
func (a amounts) of(name string) int64 {
	return map[string]int64{"bytes": a.Bytes, "files": a.Files, "sessions": a.Sessions, "followers": a.Followers}[name]
}

type tenantSuspendCmd struct{ oneTenant }

// Help is the long help.
func (c *tenantSuspendCmd) Help() string {
	return `Its keys and tokens are refused, and its streams end within a second. Nothing is deleted.

Examples:

  vitrine tenant suspend pf_acme`
}

// Run prints nothing.
func (c *tenantSuspendCmd) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, task{Name: "tenant-suspend"}, nil)
}

type tenantResumeCmd struct{ oneTenant }

// Help is the long help.
func (c *tenantResumeCmd) Help() string {
	return `Its keys and tokens are good again.

Examples:

  vitrine tenant resume pf_acme`
}

// Run prints nothing.
func (c *tenantResumeCmd) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, task{Name: "tenant-resume"}, nil)
}

type tenantQuotaCmd struct {
	oneTenant
	Bytes     limit `placeholder:"SIZE" help:"Bytes of all versions that are kept, such as 10GiB; none, or default for the server's limit."`
	Files     limit `placeholder:"N" help:"Files of sessions and of the library; none, or default."`
	Sessions  limit `placeholder:"N" help:"Sessions; none, or default."`
	Followers limit `placeholder:"N" help:"Open streams, on each server; none, or default."`
	output
}

// Help is the long help.
func (c *tenantQuotaCmd) Help() string {
	return `Limits that are not named stay as they are. What is there stays, also above a new limit; only more is refused. Prints the tenant as "vitrine tenant show" does.

Examples:

  vitrine tenant quota pf_acme --bytes 10GiB --sessions 500
  vitrine tenant quota pf_acme --bytes default`
}

// Run prints the tenant.
func (c *tenantQuotaCmd) Run(ctx context.Context, a *app) error {
	limits := map[string]*int64{}
	for name, l := range map[string]limit{"bytes": c.Bytes, "files": c.Files, "sessions": c.Sessions, "followers": c.Followers} {
		if l.given {
			limits[name] = l.n
		}
	}
	if len(limits) == 0 {
		return withHint(usage("no limit is named"), "name --bytes, --files, --sessions or --followers")
	}
	var t tenantInfo
	if err := c.do(ctx, a, task{Name: "tenant-quota", Limits: limits}, &t); err != nil {
		return err
	}
	return t.print(a, c.JSON)
}

type tenantDeleteCmd struct {
	oneTenant
	Yes bool `help:"Really: there is no way back."`
}

// Help is the long help.
func (c *tenantDeleteCmd) Help() string {
	return `Its sessions, library, keys and members are gone at once, and their bytes within moments. Its audit log stays, and its id is never given again. Interrupted, the same command goes on.

Examples:

  vitrine tenant delete pf_acme --yes`
}

// Run prints nothing.
func (c *tenantDeleteCmd) Run(ctx context.Context, a *app) error {
	if !c.Yes {
		return withHint(usage("this deletes everything that %s has", c.ID), "say --yes if you mean it")
	}
	return c.do(ctx, a, task{Name: "tenant-delete"}, nil)
}

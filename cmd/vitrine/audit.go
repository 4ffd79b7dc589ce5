package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type auditCmd struct {
	Follow bool     `short:"f" help:"Go on with what happens."`
	After  string   `placeholder:"CURSOR" help:"Begin after this position, such as 7 or 7@log (default: the beginning)."`
	Types  []string `placeholder:"TYPE" help:"Only these actions, such as login or artifact.save."`
	remote
	output
}

// Help is the long help.
func (c *auditCmd) Help() string {
	return `One line per change and login in the tenant: position, time, action, outcome, who, from where, to what. It needs a key with the permission admin. After a lost connection -f goes on where it was.

Examples:

  vitrine audit --types login,login.failed
  vitrine audit -f --json >> audit.jsonl`
}

// Run prints entries.
func (c *auditCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var from client.Cursor
	if c.After != "" {
		if from, err = parseCursor(c.After); err != nil {
			return err
		}
	}
	if c.Follow {
		from, err = c.follow(ctx, a, cl, from)
	} else {
		from, err = c.show(ctx, a, cl, from)
	}
	return c.ended(ctx, a, from, err)
}

// ended returns what is to be told of the end. Who interrupts a command that
// runs for ever has what he wanted.
func (c *auditCmd) ended(ctx context.Context, a *app, from client.Cursor, err error) error {
	if e, ok := asExpired(err); ok {
		return fmt.Errorf("position %s is not in the audit log, which has positions %d to %d", from, e.Oldest, e.Last)
	}
	if c.Follow && ctx.Err() != nil {
		if a.terminal {
			a.say("hint: go on with --after %s", from)
		}
		return nil
	}
	return c.wrong(err, "")
}

// show prints what is there, and returns the position that it reached.
func (c *auditCmd) show(ctx context.Context, a *app, cl *client.Client, from client.Cursor) (client.Cursor, error) {
	for {
		page, err := cl.AuditEvents(ctx, client.EventQuery{After: from, Filter: artifact.Filter{Types: c.Types}, Limit: 1000})
		if err != nil {
			return from, err
		}
		if page.Truncated {
			return from, &client.Expired{Oldest: page.Oldest, Last: page.Last}
		}
		for i := range page.Entries {
			if err := c.print(a, &page.Entries[i]); err != nil {
				return from, err
			}
		}
		from = client.Cursor{After: page.Next, LogID: page.LogID}
		if !page.More {
			return from, nil
		}
	}
}

func (c *auditCmd) follow(ctx context.Context, a *app, cl *client.Client, from client.Cursor) (client.Cursor, error) {
	f := client.Following{From: from, Filter: artifact.Filter{Types: c.Types}, Broken: a.broken(nil, "connecting again")}
	for e, err := range cl.FollowAudit(ctx, f) {
		if err == nil {
			err = c.print(a, &e)
		}
		if err != nil {
			return from, err
		}
		from = e.Cursor()
	}
	return from, errors.New("the audit log has ended")
}

func (c *auditCmd) print(a *app, e *client.Entry) error {
	if c.JSON {
		return a.line("%s", bytes.TrimSpace(e.Raw))
	}
	var what artifact.AuditEntry
	if err := json.Unmarshal(e.Data, &what); err != nil {
		return fmt.Errorf("read entry %d: %w", e.Seq, err)
	}
	return a.line("%6d  %s  %-16s %-6s  %s  %s  %s", e.Seq, stamp(e.At.Time), e.Type, printable(what.Outcome), printable(what.Actor), nameOrDash(what.Remote), printable(what.Object))
}

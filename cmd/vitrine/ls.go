package main

import (
	"context"
	"fmt"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type lsCmd struct {
	Files   sessionID `arg:"" name:"session" optional:"" help:"List the files of this session."`
	Session sessionID `short:"s" placeholder:"ID" help:"The same as a flag."`
	At      int64     `placeholder:"SEQ" help:"List the files as they were at this position of the log."`
	Status  string    `placeholder:"STATUS" help:"List sessions of this status only, such as running."`
	Match   string    `short:"q" placeholder:"TEXT" help:"List sessions only whose id contains this."`
	remote
	output
}

// Help is the long help.
func (c *lsCmd) Help() string {
	return `Sessions come newest first: id, status, number of files, bytes, time of the last change. Files come in the order in which they were written: bytes, time, id, path. Names that would confuse a terminal are quoted.

Examples:

  vitrine ls
  vitrine ls -s build-7
  vitrine ls -s build-7 --json | jq -r .sha256`
}

// Run lists sessions, or the files of one.
func (c *lsCmd) Run(ctx context.Context, a *app) error {
	id := c.Files
	if id == "" {
		id = c.Session
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	if id == "" {
		if c.At != 0 {
			return usage("--at needs a session")
		}
		return c.wrong(c.sessions(ctx, a, cl), "")
	}
	return c.wrong(c.files(ctx, a, cl, id), id)
}

func (c *lsCmd) sessions(ctx context.Context, a *app, cl *client.Client) error {
	for s, err := range cl.Sessions(ctx, client.SessionQuery{Status: c.Status, Text: c.Match, Limit: 200}) {
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.writeJSON(s)
		} else {
			err = a.line("%-36s  %-17s %6d %12d  %s", s.ID, s.Status, s.Attachments+s.Artifacts, s.Bytes, stamp(s.Updated.Time))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *lsCmd) files(ctx context.Context, a *app, cl *client.Client, id sessionID) error {
	state, err := cl.State(ctx, id.id(), artifact.Seq(c.At))
	if err != nil {
		return expiredAt(err, c.At)
	}
	for i := range state.Files {
		f := &state.Files[i]
		if c.JSON {
			err = a.writeJSON(f)
		} else {
			err = a.line("%12d  %s  %s  %s", f.Size, stamp(f.Created.Time), f.ID, printable(f.Path))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expiredAt says which positions can be asked for.
func expiredAt(err error, at int64) error {
	if e, ok := asExpired(err); ok {
		return fmt.Errorf("the log of the session has no position %d, only %d to %d", at, e.Oldest, e.Last)
	}
	return err
}

package main

import (
	"context"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type rmCmd struct {
	Targets []doomed `arg:"" name:"target" help:"Sessions, or artifacts of the library, whose paths begin with a slash."`
	remote
	output
}

// doomed is a session or an artifact.
type doomed struct {
	session sessionID
	path    artifact.Path
}

// UnmarshalText tells one from the other.
func (d *doomed) UnmarshalText(b []byte) (err error) {
	if strings.HasPrefix(string(b), "/") {
		d.path, err = parsePath(string(b))
		return err
	}
	return d.session.UnmarshalText(b)
}

// Help is the long help.
func (c *rmCmd) Help() string {
	return `A session is gone at once, with its files and its log; who follows it is told. An artifact is gone with all its versions. Bytes leave the disk within moments. There is no way back.

Examples:

  vitrine rm build-7
  vitrine rm /docs/plan.md
  vitrine ls --json | jq -r 'select(.status=="error").session_id' | xargs vitrine rm`
}

// Run deletes one after the other and goes on after an error.
func (c *rmCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var failed error
	for _, d := range c.Targets {
		if err := c.remove(ctx, cl, d); err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.fail(err)
			failed = errSilent
			continue
		}
		if c.JSON {
			if err := a.writeJSON(d.told()); err != nil {
				return err
			}
		}
	}
	return failed
}

func (c *rmCmd) remove(ctx context.Context, cl *client.Client, d doomed) error {
	if d.path != "" {
		return c.inLibrary(cl.Delete(ctx, d.path, ""), d.path)
	}
	return c.wrong(cl.DeleteSession(ctx, d.session.id()), d.session)
}

func (d *doomed) told() map[string]any {
	if d.path != "" {
		return map[string]any{"path": d.path, "deleted": true}
	}
	return map[string]any{"session_id": d.session, "deleted": true}
}

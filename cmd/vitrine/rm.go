package main

import (
	"context"
)

type rmCmd struct {
	Sessions []sessionID `arg:"" name:"session" help:"Sessions to delete."`
	remote
	output
}

// Help is the long help.
func (c *rmCmd) Help() string {
	return `A session is gone at once, with its files and its log; who follows it is told. Its bytes leave the disk with the next sweep. There is no way back.

Examples:

  vitrine rm build-7
  vitrine ls --json | jq -r 'select(.status=="error").session_id' | xargs vitrine rm`
}

// Run deletes one after the other and goes on after an error.
func (c *rmCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var failed error
	for _, id := range c.Sessions {
		if err := cl.DeleteSession(ctx, id.id()); err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.fail(c.wrong(err, id))
			failed = errSilent
			continue
		}
		if c.JSON {
			if err := a.writeJSON(map[string]any{"session_id": id, "deleted": true}); err != nil {
				return err
			}
		}
	}
	return failed
}

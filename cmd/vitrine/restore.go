package main

import (
	"context"
	"errors"

	"github.com/vitrine-hq/vitrine/depot"
)

type restoreCmd struct {
	Backup string `arg:"" type:"path" placeholder:"DIR" help:"Folder that vitrine backup made."`
	Data   string `type:"path" default:"./vitrine-data" placeholder:"DIR" help:"Data directory to make; missing or empty (default: ./vitrine-data)."`
	output
}

// Help is the long help.
func (c *restoreCmd) Help() string {
	return `All bytes are compared with their hashes. An interrupted restore goes on when it is run again, and no server starts in between. The restored log has a new id: cursors of the lost server expire, instead of pointing at other entries.

Example:

  vitrine restore /mnt/backup/2026-11-22 --data ./restored
  vitrine serve --data ./restored`
}

// Run prints the data directory.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	dir, err := lockDataDir(c.Data)
	if err != nil {
		return err
	}
	err = c.restore(ctx, a, dir)
	if err = errors.Join(err, dir.Close()); err != nil {
		return err
	}
	if c.JSON {
		return a.writeJSON(map[string]string{"data": dir.path})
	}
	return a.line("%s", dir.path)
}

func (c *restoreCmd) restore(ctx context.Context, a *app, dir *dataDir) error {
	if err := refuseNetworkFS(dir.database()); err != nil {
		return err
	}
	bar := a.meter("restore", -1)
	defer bar.end()
	return depot.Restore(ctx, c.Backup, dir.path, openBlobs, func(done, total int64) { bar.count(done, total) })
}

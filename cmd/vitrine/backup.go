package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/vitrine-hq/vitrine/depot"
)

type backupCmd struct {
	Dir string `arg:"" placeholder:"DIR" help:"Folder for the backup; missing or empty."`
	place
	output
}

// Help is the long help.
func (c *backupCmd) Help() string {
	return `The copy shows one moment, while a running server goes on. All bytes are read and compared with their hashes on the way: a backup that succeeds is whole. Workspaces are not in it; restore makes them again. With PostgreSQL use pg_dump instead, and copy the blobs after it.

Examples:

  vitrine backup /mnt/backup/$(date +%F)
  vitrine restore /mnt/backup/2026-11-22 --data ./restored`
}

// Run prints the folder.
func (c *backupCmd) Run(ctx context.Context, a *app) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", c.Dir, err)
	}
	var info depot.BackupInfo
	if err := a.onData(ctx, c.place, lifetimes{}, task{Name: "backup", Dir: dir}, "backup", &info); err != nil {
		return err
	}
	if c.JSON {
		return a.writeJSON(struct {
			Dir string `json:"dir"`
			depot.BackupInfo
		}{dir, info})
	}
	return a.line("%s", dir)
}

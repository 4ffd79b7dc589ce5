package main

import (
	"context"
	"fmt"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/depot"
)

// task is work on all data that a command does itself, or has the server do
// that holds the data.
type task struct {
	Name   string `json:"-"`
	Deep   bool   `json:"deep,omitempty"`    // check
	Dir    string `json:"dir,omitempty"`     // backup; absolute
	DryRun bool   `json:"dry_run,omitempty"` // sweep

	// Of the tasks on accounts, which are in account_task.go.
	Tenant  string            `json:"tenant,omitempty"` // empty is the first
	ID      string            `json:"id,omitempty"`     // of a key
	Called  string            `json:"called,omitempty"` // name for people
	Scopes  artifact.Scopes   `json:"scopes,omitempty"`
	Expires time.Time         `json:"expires,omitzero"`
	Limits  map[string]*int64 `json:"limits,omitempty"` // by what is limited; null is the server's default
}

// holdings is what tasks work on. There are accounts only for tasks on them.
type holdings struct {
	depot    *depot.Depot
	accounts *account.Accounts
	rate     int // requests a minute that the server takes of a tenant; 0 is any, or no server
}

// run does the task. The result goes out as JSON.
func (t task) run(ctx context.Context, on holdings, progress depot.Progress) (any, error) {
	switch t.Name {
	case "check":
		return on.depot.Check(ctx, t.Deep, progress)
	case "backup":
		return on.depot.Backup(ctx, t.Dir, openBlobs, progress)
	case "sweep":
		return on.depot.Sweep(ctx, t.DryRun)
	}
	work := t.account()
	if work == nil {
		return nil, fmt.Errorf("no task is called %q", t.Name)
	}
	if t.Tenant == "" {
		t.Tenant = on.accounts.FirstTenant()
	}
	return work(ctx, on, &t)
}

func openBlobs(dir string) (blob.Driver, error) { return fileblob.Open(dir, fileblob.Options{}) }

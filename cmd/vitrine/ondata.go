package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/store"
)

// onData does a task on the data directory: itself, or through the server that
// holds it. label names the work on the progress bar; empty is without one. The
// result is decoded into out, unless that is nil.
func (a *app) onData(ctx context.Context, p place, l lifetimes, t task, label string, out any) error {
	dir, err := p.existing()
	if err != nil {
		return err
	}
	var bar *meter
	if label != "" {
		bar = a.meter(label, -1)
	}
	defer bar.end()
	progress := func(done, total int64) { bar.count(done, total) }
	data, err := openDataDir(dir, p.DB)
	if locked, ok := errors.AsType[*lockedError](err); ok {
		if standard := (lifetimes{SweepGrace: age(24 * time.Hour)}); t.Name == "sweep" && l != standard {
			a.say("a server works on this data: its own --retention, --keep-events and --sweep-grace apply, not those given here")
		}
		return askServer(ctx, locked, t, progress, out)
	}
	if err != nil {
		return err
	}
	result, err := p.runTask(ctx, data, l, t, progress)
	if err = errors.Join(err, data.Close()); err != nil {
		return err
	}
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return readResult(text, out)
}

func readResult(text []byte, out any) error {
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read result: %w", err)
	}
	return nil
}

// existing returns the data directory if there is one. A command that looks at
// data must not make an empty directory because of a typing error.
func (p *place) existing() (string, error) {
	dir, err := p.absolute()
	if err != nil {
		return "", err
	}
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	if p.DB == "" && there(adminSocket) {
		return dir, nil // a server that knows where its rows are
	}
	look := dir
	if p.DB == "" {
		look = filepath.Join(dir, "vitrine.db")
	}
	if _, err := os.Stat(look); errors.Is(err, fs.ErrNotExist) {
		if err := depot.Restored(dir); err != nil {
			return "", err
		}
		if there("blobs") {
			return "", withHint(fmt.Errorf("no rows in %s", dir), "if they are in PostgreSQL, name it with --db or VITRINE_DB")
		}
		return "", withHint(fmt.Errorf("no data in %s", dir), "name the server's data directory with --data or VITRINE_DATA")
	} else if err != nil {
		return "", fmt.Errorf("look for data: %w", err)
	}
	return dir, nil
}

// runTask opens the rows and bytes of a locked directory for one task.
func (p *place) runTask(ctx context.Context, dir *dataDir, l lifetimes, t task, progress depot.Progress) (_ any, err error) {
	db, err := p.openStore(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	driver, err := openBlobs(dir.blobs())
	if err != nil {
		return nil, err
	}
	var on holdings
	on.depot, err = depot.Open(ctx, db, blob.New(driver), l.options(dir, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, on.depot.Close()) }()
	if t.account() != nil {
		// Nothing is issued here, so the issuer's name does not matter.
		if on.accounts, err = account.Open(ctx, db, account.Options{Issuer: "vitrine"}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, on.accounts.Close()) }()
	}
	return t.run(ctx, on, progress)
}

func (p *place) openStore(ctx context.Context, dir *dataDir) (*store.DB, error) {
	if p.DB == "" {
		return store.OpenSQLite(ctx, dir.database(), store.Options{})
	}
	return store.OpenPostgres(ctx, p.DB, store.Options{})
}

// askServer has the server that holds the data do the task.
func askServer(ctx context.Context, locked *lockedError, t task, progress depot.Progress, out any) error {
	path := filepath.Join(locked.path, adminSocket)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		short, dir, err := shortSocket(path)
		if err != nil {
			return nil, err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", short)
		return conn, errors.Join(err, closeDir(dir))
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	req, err := t.request(ctx)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return withHint(fmt.Errorf("%w, and does not answer on its admin socket: %w", locked, op.Err), "wait until it has ended, or started")
	}
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("the server refused the task: %s", bytes.TrimSpace(text))
	}
	return readTask(resp.Body, progress, out)
}

// request returns the task as a request to an admin socket.
func (t task) request(ctx context.Context) (*http.Request, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode task: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/admin/"+t.Name, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	return req, nil
}

// readTask reads lines until the one that has the result.
func readTask(r io.Reader, progress depot.Progress, out any) error {
	lines := json.NewDecoder(r)
	for {
		var line taskLine
		if err := lines.Decode(&line); err != nil {
			return fmt.Errorf("the server ended before the task did: %w", err)
		}
		switch {
		case line.Progress != nil:
			progress(line.Progress.Done, line.Progress.Total)
		case line.Error != "":
			return errors.New(line.Error)
		case line.Done:
			return readResult(line.Result, out)
		}
	}
}

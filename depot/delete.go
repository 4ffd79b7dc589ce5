package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// DeleteSession makes a session unreachable in one commit. Its rows and its
// folder go afterwards, and after a crash when the server is back; large
// contents go at the next sweep.
func (d *Depot) DeleteSession(ctx context.Context, tenant string, id artifact.SessionID) error {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return err
	}
	return d.deleteSession(ctx, &s, time.Time{})
}

// deleteSession deletes a session; where idle is set, only if nothing was told
// in it since: otherwise it is as if the session were not there.
func (d *Depot) deleteSession(ctx context.Context, s *artifact.Session, idle time.Time) error {
	d.folders.Lock()
	defer d.folders.Unlock()
	var t store.Tombstone
	err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
		if !idle.IsZero() {
			if err := tx.MustBeIdle(s.Key, idle); err != nil {
				return err
			}
		}
		t, err = tx.DeleteSession(s.Key)
		return err
	})
	if err != nil {
		return err
	}
	d.watch.forget(s.Key)
	if err := d.moveAside(t); err != nil {
		d.opt.Log.Error("folder of a deleted session cannot be moved", "session", t.ID, "err", err)
	}
	d.background(func(ctx context.Context) { d.purge(ctx, t) })
	return nil
}

// trash is the folder of the WareHouse that holds the folders of deleted
// sessions until they are removed, under the key of the session.
const trash = ".trash"

func (d *Depot) trashed(t store.Tombstone) string {
	return filepath.Join(d.opt.WareHouse, trash, strconv.FormatInt(t.Key, 10))
}

// moveAside takes the folder of a deleted session out of the way, so that a
// session that is made again under the same id begins with none.
func (d *Depot) moveAside(t store.Tombstone) error {
	root, err := os.OpenRoot(d.opt.WareHouse)
	if err != nil {
		return fmt.Errorf("open the WareHouse: %w", err)
	}
	defer root.Close()
	from, to := d.below(&artifact.Session{Tenant: t.Tenant, ID: t.ID}), path.Join(trash, strconv.FormatInt(t.Key, 10))
	err = root.Rename(from, to)
	if errors.Is(err, fs.ErrExist) {
		// It has been moved already, and an upload that came too late has made
		// it again before a crash.
		if err = removeFolder(d.trashed(t)); err == nil {
			err = root.Rename(from, to)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// resumeDeletions goes on with deletions that a stop or a crash interrupted.
// Their folders are out of the way when it returns.
func (d *Depot) resumeDeletions(ctx context.Context) error {
	list, err := d.db.Pending(ctx, maxPending)
	if err != nil {
		return fmt.Errorf("list deleted sessions: %w", err)
	}
	for _, t := range list {
		if _, err := d.db.Session(ctx, t.Tenant, t.ID); err == nil {
			continue // made again since: the folder is the new one's
		}
		if err := d.moveAside(t); err != nil {
			return fmt.Errorf("move folder of a deleted session: %w", err)
		}
	}
	d.background(func(ctx context.Context) {
		for _, t := range list {
			d.purge(ctx, t)
		}
	})
	return nil
}

// maxPending bounds what one start takes up; the next one goes on.
const maxPending = 100_000

// purge removes what a deleted session left behind.
func (d *Depot) purge(ctx context.Context, t store.Tombstone) {
	if err := removeFolder(d.trashed(t)); err != nil {
		d.opt.Log.Error("folder of a deleted session cannot be removed", "session", t.ID, "err", err)
		return
	}
	for done := false; !done && ctx.Err() == nil; {
		err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
			done, err = tx.Purge(t.Key)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				d.opt.Log.Error("rows of a deleted session cannot be purged", "session", t.ID, "err", err)
			}
			return
		}
	}
}

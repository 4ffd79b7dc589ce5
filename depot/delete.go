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
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// DeleteSession makes a session unreachable in one commit. Its rows, its blobs
// and its folder go afterwards, and after a crash when the server is back.
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
		if t, err = tx.DeleteSession(s.Key); err == nil {
			tx.Audit(s.Tenant, onSession("session.delete", s.ID))
		}
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

// finishDeletions waits until what was deleted before is purged: only then is
// known what nothing refers to.
func (d *Depot) finishDeletions(ctx context.Context) error {
	list, err := d.db.Pending(ctx, maxPending)
	for _, t := range list {
		d.purge(ctx, t)
	}
	return err
}

// maxPending bounds what one start takes up; the next one goes on.
const maxPending = 100_000

// purging is what the removal of deleted sessions keeps track of.
type purging struct {
	running sync.Map // a channel, which closes at the end, by the key of each session that is being purged
	asked   atomic.Bool
	turn    sync.Mutex // held while the log of the database is emptied
}

// removeTries is how often a folder is tried that somebody still writes to;
// after that it is left to the sweeper.
const removeTries = 4

// purge removes what a deleted session left behind. A folder that cannot be
// removed does not keep the rows.
// It returns when that is done, whoever does it.
func (d *Depot) purge(ctx context.Context, t store.Tombstone) {
	done := make(chan struct{})
	defer close(done)
	if other, running := d.purging.running.LoadOrStore(t.Key, done); running {
		select {
		case <-other.(chan struct{}):
		case <-ctx.Done():
		}
		return
	}
	defer d.purging.running.Delete(t.Key)
	err := removeFolder(d.trashed(t))
	d.purgeRows(ctx, t)
	for try, pause := 1, 50*time.Millisecond; err != nil && try < removeTries; try, pause = try+1, 4*pause {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		err = removeFolder(d.trashed(t))
	}
	if err != nil {
		d.opt.Log.Error("folder of a deleted session is left to the sweeper", "session", t.ID, "err", err)
	}
}

func (d *Depot) purgeRows(ctx context.Context, t store.Tombstone) {
	for done := false; !done && ctx.Err() == nil; {
		var blobs []string
		err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
			blobs, done, err = tx.Purge(t.Key)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				d.opt.Log.Error("rows of a deleted session cannot be purged", "session", t.ID, "err", err)
			}
			return
		}
		d.dropGone(context.WithoutCancel(ctx), t.ID, blobs) // no row will name them again
	}
	d.forget()
}

// dropGone is dropBlobs for who is not told whether the bytes have gone.
func (d *Depot) dropGone(ctx context.Context, id artifact.SessionID, keys []string) {
	if err := d.dropBlobs(ctx, id, keys); err != nil && ctx.Err() == nil {
		d.opt.Log.Warn("blobs are left to the sweeper", "session", id, "err", err)
	}
}

// dropBlobs deletes blobs whose rows went. Where a check or a backup relies on
// them that waits until it ends; if the server stops before, the sweeper has
// them.
func (d *Depot) dropBlobs(ctx context.Context, id artifact.SessionID, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	if release, ok := d.sweeping.tryClear(); ok {
		defer release()
		return d.deleteBlobs(ctx, keys)
	}
	d.background(func(ctx context.Context) {
		release, err := d.sweeping.clear(ctx)
		if err != nil {
			return
		}
		defer release()
		if err := d.deleteBlobs(ctx, keys); err != nil {
			d.opt.Log.Error("blobs are left to the sweeper", "session", id, "err", err)
		}
	})
	return nil
}

// deleteBlobs deletes blobs that no row names.
func (d *Depot) deleteBlobs(ctx context.Context, keys []string) error {
	live, err := d.db.LiveBlobs(ctx, keys)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if live[k] {
			continue
		}
		if err := d.bucket.Delete(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// forget takes what was deleted out of the log of the database, too, soon. A
// request that has not begun serves for all that come until then.
func (d *Depot) forget() {
	if d.purging.asked.Swap(true) {
		return
	}
	d.background(func(ctx context.Context) {
		d.purging.turn.Lock()
		defer d.purging.turn.Unlock()
		d.purging.asked.Store(false)
		if err := d.db.Forget(ctx); err != nil && ctx.Err() == nil {
			d.opt.Log.Warn("what was deleted is still in the log of the database", "err", err)
		}
	})
}

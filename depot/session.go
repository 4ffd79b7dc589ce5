package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// CreateSession makes a session; an empty id mints a random UUID. A session
// that was deleted comes back with an empty state, its log going on from where
// it ended. An Exists error says that the session is there already.
func (d *Depot) CreateSession(ctx context.Context, tenant string, id artifact.SessionID, metadata map[string]any) (artifact.Session, error) {
	if id == "" {
		id = artifact.SessionID(uuid.NewString())
	}
	d.folders.RLock() // a session that comes back must not get its old folder
	defer d.folders.RUnlock()
	var s artifact.Session
	err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
		s, err = tx.CreateSession(tenant, id, metadata, true)
		return err
	})
	return s, err
}

// Session returns a session, or [store.ErrNoSession].
func (d *Depot) Session(ctx context.Context, tenant string, id artifact.SessionID) (artifact.Session, error) {
	return d.db.Session(ctx, tenant, id)
}

// Connected returns the session that an upload speaks of. One that was deleted
// is [store.ErrNoSession], one that never was an Invalid error.
func (d *Depot) Connected(ctx context.Context, tenant string, id artifact.SessionID) (artifact.Session, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if !errors.Is(err, store.ErrNoSession) {
		return s, err
	}
	gone, lookErr := d.db.Deleted(ctx, tenant, id)
	switch {
	case lookErr != nil:
		return s, lookErr
	case gone:
		return s, err
	}
	return s, errNotConnected
}

var errNotConnected = artifact.Errorf(artifact.Invalid, "Session not connected")

// SessionQuery selects a page of sessions (see [store.SessionQuery]).
type SessionQuery = store.SessionQuery

// Sessions returns a page of sessions, newest first.
func (d *Depot) Sessions(ctx context.Context, q SessionQuery) ([]artifact.Session, error) {
	return d.db.Sessions(ctx, q)
}

// SetMetadata replaces what a client keeps with a session.
func (d *Depot) SetMetadata(ctx context.Context, tenant string, id artifact.SessionID, metadata map[string]any) (artifact.Session, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return s, err
	}
	if err := d.db.Tx(ctx, func(tx *store.Tx) error { return tx.SetMetadata(s.Key, metadata) }); err != nil {
		return s, err
	}
	return d.db.SessionByKey(ctx, s.Key)
}

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
	from := d.dir(&artifact.Session{Tenant: t.Tenant, ID: t.ID})
	err := os.Rename(from, d.trashed(t))
	if errors.Is(err, fs.ErrExist) {
		// It has been moved already, and an upload that came too late has made
		// it again before a crash.
		if err = removeFolder(d.trashed(t)); err == nil {
			err = os.Rename(from, d.trashed(t))
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

// recheck is how often somebody who waits looks without having been woken. The
// embedded database has one writer, which wakes everybody; behind another, a
// hint can be lost with the node that would have sent it.
func (d *Depot) recheck() time.Duration {
	if d.db.Engine() == "sqlite" {
		return time.Minute
	}
	return 5 * time.Second
}

// EnsureSession makes the session where there is none and uploads may make
// one; otherwise an unknown session is [store.ErrNoSession], as is one that
// was deleted.
func (d *Depot) EnsureSession(ctx context.Context, tenant string, id artifact.SessionID) error {
	_, err := d.db.Session(ctx, tenant, id)
	if !errors.Is(err, store.ErrNoSession) || !d.opt.Implicit {
		return err
	}
	return d.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.EnsureSession(tenant, id)
		return err
	})
}

// Left is told when the last connection of a session that never had a run is
// gone; its uploads are then cleaned where that is wanted (extensions §5).
func (d *Depot) Left(s *artifact.Session) {
	if !d.opt.AutoClean {
		return
	}
	d.background(func(ctx context.Context) {
		if err := d.CleanUploads(ctx, s.Tenant, s.ID); err != nil && ctx.Err() == nil {
			d.opt.Log.Error("uploads cannot be cleaned", "session", s.ID, "err", err)
		}
	})
}

// Refresh lets the log of a session tell of what is in its workspace, if nobody
// watches it.
func (d *Depot) Refresh(ctx context.Context, s *artifact.Session) error { return d.refresh(ctx, s) }

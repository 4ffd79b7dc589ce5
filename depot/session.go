package depot

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// CreateSession makes a session; an empty id mints a random UUID. A session
// that was deleted comes back with an empty state, its log going on from where
// it ended. An Exists error says that the session is there already.
func (d *Depot) CreateSession(ctx context.Context, tenant string, id artifact.SessionID, metadata json.RawMessage) (artifact.Session, error) {
	if id == "" {
		id = artifact.SessionID(uuid.NewString())
	}
	d.folders.RLock() // a session that comes back must not get its old folder
	defer d.folders.RUnlock()
	var s artifact.Session
	err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
		if s, err = tx.CreateSession(tenant, id, metadata, true); err == nil {
			tx.Audit(tenant, onSession("session.create", id))
		}
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

// NotCaptured returns what is in a session's workspace but not captured, with the
// reason for each path, as the last look found it.
func (d *Depot) NotCaptured(ctx context.Context, tenant string, id artifact.SessionID) (map[string]string, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	return d.db.Skipped(ctx, s.Key)
}

// SetMetadata replaces what a client keeps with a session.
func (d *Depot) SetMetadata(ctx context.Context, tenant string, id artifact.SessionID, metadata json.RawMessage) (artifact.Session, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return s, err
	}
	err = d.db.Tx(ctx, func(tx *store.Tx) error {
		tx.Audit(tenant, onSession("session.update", id))
		return tx.SetMetadata(s.Key, metadata)
	})
	if err != nil {
		return s, err
	}
	return d.db.SessionByKey(ctx, s.Key)
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
		tx.Audit(tenant, onSession("session.create", id))
		_, err := tx.EnsureSession(tenant, id)
		return err
	})
}

// onSession is the entry of the audit log for something done to a session.
func onSession(action string, id artifact.SessionID) artifact.AuditEntry {
	return artifact.AuditEntry{Action: action, Object: "session:" + string(id)}
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

// SessionByKey returns the session with an internal key, or
// [store.ErrNoSession].
func (d *Depot) SessionByKey(ctx context.Context, key int64) (artifact.Session, error) {
	return d.db.SessionByKey(ctx, key)
}

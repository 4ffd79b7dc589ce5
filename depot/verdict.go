package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// Verdicts counts what the scanner said since the depot was opened.
type Verdicts struct {
	Clean, Found, Failed int64
}

// Verdicts returns what the scanner of this server said so far.
func (d *Depot) Verdicts() Verdicts {
	s := d.scanning
	return Verdicts{s.clean.Load(), s.found.Load(), s.failed.Load()}
}

// Unscanned counts the versions that a scanner is still to look at.
func (d *Depot) Unscanned(ctx context.Context) (int64, error) { return d.db.ScanQueue(ctx) }

// settle writes what the scanner said of a version, and with it what more has to
// be told. What was deleted or moved meanwhile, or settled by another server,
// is left as it is: then the verdict is not kept.
func (s *scanning) settle(ctx context.Context, l store.Looked, state string, count *atomic.Int64, more func(*store.Tx) error) (kept bool, err error) {
	err = s.d.db.Tx(ctx, func(tx *store.Tx) (err error) {
		if kept, err = tx.SetScan(l.Session.Key, &l.Version, state); err != nil || !kept {
			return err
		}
		return more(tx)
	})
	if errors.Is(err, store.ErrNoSession) {
		return false, nil // deleted, its rows are about to go
	}
	if err == nil && kept {
		count.Add(1)
	}
	return kept, err
}

// fail gives up on a version that cannot be looked at.
func (s *scanning) fail(ctx context.Context, l store.Looked, reason string, why error) error {
	s.d.opt.Log.Warn("a content cannot be scanned", append(logged(&l), "reason", reason, "err", why)...)
	_, err := s.settle(ctx, l, artifact.ScanFailed, &s.failed, func(tx *store.Tx) error {
		tx.Audit(l.Session.Tenant, audited(&l, "artifact.scan", "failed", "reason", reason))
		return nil
	})
	return err
}

// quarantine keeps a version from everybody and tells of it. The copy of an
// upload goes before: whoever hears of it finds none, also after a crash.
func (s *scanning) quarantine(ctx context.Context, l store.Looked, found string) error {
	s.removeCopy(ctx, &l)
	about := subject(&l)
	about["found"] = found
	data, err := json.Marshal(about)
	if err != nil {
		return fmt.Errorf("encode entry: %w", err)
	}
	kept, err := s.settle(ctx, l, artifact.ScanFound, &s.found, func(tx *store.Tx) error {
		tx.Audit(l.Session.Tenant, audited(&l, "artifact.quarantine", "", "found", found))
		return tx.Append(l.Session.Key, &artifact.Entry{Type: artifact.TypeQuarantined, Data: data})
	})
	if err != nil {
		return err
	}
	s.removeCopy(ctx, &l) // a workspace that was completed meanwhile has got it back
	if !kept {
		return nil
	}
	s.d.opt.Log.Warn("a content was quarantined", append(logged(&l), "found", found)...)
	if !l.Session.IsLog() {
		s.d.manifestChanged(&l.Session)
	}
	return nil
}

// removeCopy removes an upload from the workspace.
func (s *scanning) removeCopy(ctx context.Context, l *store.Looked) {
	if !l.Version.Upload() {
		return
	}
	if err := s.d.removeCopies(&l.Session, l.Version.Attachment); err != nil {
		s.complain(ctx, "the copy of a quarantined upload is left in its workspace", err)
	}
}

// subject names a version in the words of its session or library.
func subject(l *store.Looked) map[string]any {
	v := &l.Version
	if l.Session.ID == artifact.LibraryLog {
		return map[string]any{"artifact_id": v.Attachment, "path": v.Path, "name": v.Name, "version": v.Number}
	}
	return map[string]any{"artifact_id": v.ID(), "attachment_id": v.Attachment, "relative_path": v.Path, "name": v.Name}
}

// logged is what the server's log tells of a version: whose it is, and the ids by
// which the API knows it.
func logged(l *store.Looked) []any {
	about := []any{"tenant", l.Session.Tenant, "artifact_id", subject(l)["artifact_id"], "path", l.Version.Path}
	if l.Session.ID == artifact.LibraryLog {
		return append(about, "in", "library")
	}
	return append(about, "session", l.Session.ID)
}

// audited is the entry of the audit log for what the scanner did.
func audited(l *store.Looked, action, outcome, key, value string) artifact.AuditEntry {
	e := onSession(action, l.Session.ID)
	if l.Session.ID == artifact.LibraryLog {
		e.Object = "artifact:" + l.Version.Path
	}
	e.Outcome, e.Details = outcome, subject(l)
	e.Details[key] = value
	return e
}

// tidy removes copies of quarantined uploads that are in workspaces of this
// machine all the same: another server found something in them, or a crash came
// between. It also forgets what was deleted before it was tried again.
func (s *scanning) tidy(ctx context.Context) {
	s.mu.Lock()
	maps.DeleteFunc(s.retries, func(_ scanID, r retry) bool { return time.Since(r.due) > scanTidy })
	s.mu.Unlock()
	for after := (store.Looked{}); ; {
		list, err := s.d.db.Looked(ctx, artifact.ScanFound, &after, pageSize)
		if err != nil {
			s.complain(ctx, "copies of quarantined uploads may be left in workspaces", err)
			return
		}
		for _, after = range list {
			s.removeCopy(ctx, &after)
		}
		if len(list) < pageSize {
			return
		}
	}
}

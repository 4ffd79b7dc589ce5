package depot

import (
	"context"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// DeleteFile deletes the artifact at a path with all of its versions and its
// memory record in one commit. Bytes in rows are gone with it; blobs follow at
// once, or at the next sweep where a check or a backup relies on them.
func (d *Depot) DeleteFile(ctx context.Context, tenant string, p artifact.Path, c Precondition) error {
	var blobs []string
	err := d.onFile(ctx, tenant, p, c, func(tx *store.Tx, lib int64, v *artifact.Version) error {
		if v == nil {
			return ErrNoFile
		}
		var err error
		if blobs, err = tx.DeleteFile(lib, v); err != nil {
			return err
		}
		tx.Audit(tenant, artifact.AuditEntry{Action: "artifact.delete", Object: "artifact:" + string(p), Details: map[string]any{"artifact_id": v.Attachment}})
		return nil
	})
	if err != nil {
		return err
	}
	d.forget()
	d.dropGone(ctx, artifact.LibraryLog, blobs)
	return nil
}

// onFile runs f in a transaction with the artifact that stands at a path, or
// nil, after the precondition was checked. f may run more than once.
func (d *Depot) onFile(ctx context.Context, tenant string, p artifact.Path, c Precondition, f func(tx *store.Tx, lib int64, v *artifact.Version) error) error {
	return d.db.Tx(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		lib, err := tx.EnsureLog(tenant, artifact.LibraryLog)
		if err != nil {
			return err
		}
		v, err := tx.FileAt(lib, p)
		if err == nil {
			err = c.check(v)
		}
		if err != nil {
			return err
		}
		return f(tx, lib, v)
	})
}

// MoveFile gives an artifact another path; id and history stay with it. The
// error is [ErrNoFile], Stale, or Exists where something stands there.
func (d *Depot) MoveFile(ctx context.Context, tenant string, from, to artifact.Path, c Precondition) (artifact.Version, error) {
	var moved artifact.Version
	err := d.onFile(ctx, tenant, from, c, func(tx *store.Tx, lib int64, v *artifact.Version) error {
		if v == nil {
			return ErrNoFile
		}
		if v.Scan != artifact.ScanPending { // which goes with it, and so does its owner
			if err := d.refusal(ctx, v, v.Scan); err != nil {
				return err
			}
		}
		there, err := tx.FileAt(lib, to)
		if err == nil && there != nil {
			err = exists(to)
		}
		if err != nil {
			return err
		}
		if err := tx.MoveFile(lib, v, to, artifact.TypeFor(to, v.MIME)); err != nil {
			return err
		}
		v.Name = to.Name()
		moved = *v
		tx.Audit(tenant, artifact.AuditEntry{Action: "artifact.move", Object: "artifact:" + string(to), Details: map[string]any{"artifact_id": v.Attachment, "from": string(from)}})
		return nil
	})
	d.scanning.wake()
	return moved, err
}

// CopyFile saves the content of an artifact at another path, where it begins a
// history of its own. ask says where to, and what to do if something stands
// there; its media type and metadata are those of the original.
func (d *Depot) CopyFile(ctx context.Context, from artifact.Path, version int64, ask Save) (artifact.Version, error) {
	v, err := d.File(ctx, ask.Tenant, from, version)
	if err != nil {
		return v, err
	}
	ask.action = "artifact.copy"
	return d.saveContentOf(ctx, &v, ask)
}

// RestoreFile makes an earlier version of an artifact its newest.
func (d *Depot) RestoreFile(ctx context.Context, tenant string, p artifact.Path, version int64, c Precondition) (artifact.Version, error) {
	v, err := d.File(ctx, tenant, p, version)
	if err != nil {
		return v, err
	}
	return d.saveContentOf(ctx, &v, Save{Tenant: tenant, Path: p, Replace: true, If: c, action: "artifact.restore"})
}

// saveContentOf saves the content of a version without its leaving the server.
func (d *Depot) saveContentOf(ctx context.Context, v *artifact.Version, ask Save) (artifact.Version, error) {
	if err := d.look(ctx, &ask); err != nil {
		return artifact.Version{}, err
	}
	k, err := d.duplicate(ctx, ask.Tenant, v)
	if err != nil {
		return artifact.Version{}, err
	}
	ask.Declared, ask.Metadata = v.MIME, v.Extra
	if ask.Metadata == nil { // it has none, which is not to keep what stands there
		ask.Metadata = map[string]any{}
	}
	saved, _, err := d.commit(ctx, &ask, k)
	return saved, err
}

// Promote saves one version of a session's file in the library, at a path. The
// artifact's metadata says where it comes from.
func (d *Depot) Promote(ctx context.Context, session artifact.SessionID, id string, ask Save) (artifact.Version, error) {
	v, err := d.Version(ctx, ask.Tenant, session, id)
	if err != nil {
		return v, err
	}
	v.Extra = map[string]any{"session_id": string(session), "session_artifact_id": v.ID()}
	ask.action = "artifact.promote"
	return d.saveContentOf(ctx, &v, ask)
}

// Checkout puts a version of an artifact into a session, as an upload does. The
// session's record of the file says where it comes from.
func (d *Depot) Checkout(ctx context.Context, tenant string, p artifact.Path, version int64, session artifact.SessionID) (artifact.Version, error) {
	v, err := d.File(ctx, tenant, p, version)
	if err != nil {
		return v, err
	}
	up, err := d.NewUpload(ctx, tenant, session)
	if err != nil {
		return v, err
	}
	defer up.Discard()
	r, err := d.OpenContent(ctx, &v)
	if err != nil {
		return v, err
	}
	defer r.Close()
	file, err := up.Add(ctx, p.Name(), v.MIME, r)
	if err != nil {
		return v, err
	}
	file.Extra = map[string]any{"library_path": v.Path, "library_artifact_id": v.Attachment, "library_version": v.Number}
	list, err := up.Commit(context.WithoutCancel(ctx))
	if err != nil {
		return v, err
	}
	return list[0], nil
}

package depot

import (
	"context"
	"slices"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// ErrNoFile is the NotFound error for a path artifact that is not there.
var ErrNoFile = store.ErrNoFile

// Precondition is what a request asks of the artifact that stands at a path
// (RFC 9110 §13.1). Its texts are hashes, "sha256:<hex>", or "*".
type Precondition struct {
	Match     []string // If-Match; empty asks nothing
	NoneMatch []string // If-None-Match; empty asks nothing
}

var errStale = artifact.Errorf(artifact.Stale, "The artifact is not in the state that the request asks for")

// check returns a Stale error unless the condition holds for v, which is nil
// where nothing stands.
func (c Precondition) check(v *artifact.Version) error {
	holds := func(list []string) bool {
		return v != nil && (slices.Contains(list, "*") || slices.Contains(list, v.Hash()))
	}
	if len(c.Match) > 0 && !holds(c.Match) || holds(c.NoneMatch) {
		return errStale
	}
	return nil
}

// Library returns the log of a tenant's library, whose entries tell of its path
// artifacts. One that is still empty is made, so that it can be followed.
func (d *Depot) Library(ctx context.Context, tenant string) (artifact.Session, error) {
	return d.tenantLog(ctx, tenant, artifact.LibraryLog)
}

// Audit returns the audit log of a tenant, which is made if nothing is in it.
func (d *Depot) Audit(ctx context.Context, tenant string) (artifact.Session, error) {
	return d.tenantLog(ctx, tenant, artifact.AuditLog)
}

func (d *Depot) tenantLog(ctx context.Context, tenant string, log artifact.SessionID) (artifact.Session, error) {
	s, err := d.db.Log(ctx, tenant, log)
	if err != nil || s.Key != 0 {
		return s, err
	}
	err = d.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.EnsureLog(tenant, log)
		return err
	})
	if err != nil {
		return s, err
	}
	return d.db.Log(ctx, tenant, log)
}

// File returns the artifact at a path: as it stands, or where version is above
// 0 that version of it. The error is [ErrNoFile].
func (d *Depot) File(ctx context.Context, tenant string, p artifact.Path, version int64) (artifact.Version, error) {
	lib, err := d.db.Log(ctx, tenant, artifact.LibraryLog)
	if err != nil {
		return artifact.Version{}, err
	}
	v, err := d.db.FileAt(ctx, &lib, p)
	if err != nil || version == 0 || version == v.Number {
		return v, err
	}
	old, err := d.db.FileVersion(ctx, &lib, v.Attachment, version)
	old.Path = v.Path // also of a version that is older than a move
	return old, err
}

// FileByID returns the artifact with that id as it stands, or [ErrNoFile].
func (d *Depot) FileByID(ctx context.Context, tenant, id string) (artifact.Version, error) {
	lib, err := d.db.Log(ctx, tenant, artifact.LibraryLog)
	if err != nil {
		return artifact.Version{}, err
	}
	return d.db.FileByID(ctx, &lib, id)
}

// FileVersions returns the artifact at a path and up to n of its versions, newest
// first, those with a number less than before: fewer with much metadata, see
// [PageBytes], but one at least until there are none.
func (d *Depot) FileVersions(ctx context.Context, tenant string, p artifact.Path, before int64, n int) (v artifact.Version, list []artifact.Version, err error) {
	lib, err := d.db.Log(ctx, tenant, artifact.LibraryLog)
	if err == nil {
		v, err = d.db.FileAt(ctx, &lib, p)
	}
	if err == nil {
		list, err = d.db.FileVersions(ctx, &lib, v.Attachment, before, n)
	}
	return v, list, err
}

// Listing is what lies right below a folder: names of folders and artifacts,
// each in the order of their bytes.
type Listing struct {
	Folders []string
	Files   []artifact.Version
	Total   int // of both, also of those beyond the limit
}

// List returns the children of a folder whose names the filter takes, in one
// snapshot: folders first, at most limit of both where it is above 0. It reads
// the index once for each child and nothing of what lies deeper. The artifacts
// have no Extra.
func (d *Depot) List(ctx context.Context, tenant string, dir artifact.Path, limit int, filter func(name string) bool) (Listing, error) {
	list := Listing{Folders: []string{}, Files: []artifact.Version{}}
	err := d.db.Snapshot(ctx, func(r *store.Reads) error {
		lib, err := r.Log(ctx, tenant, artifact.LibraryLog)
		if err != nil {
			return err
		}
		return r.Children(ctx, &lib, dir, func(name string) bool {
			if filter(name) {
				list.Total++
				if limit <= 0 || len(list.Folders) < limit {
					list.Folders = append(list.Folders, name)
				}
			}
			return ctx.Err() == nil
		}, func(v *artifact.Version) bool {
			if filter(artifact.Path(v.Path).Name()) {
				list.Total++
				if limit <= 0 || len(list.Files) < limit {
					list.Files = append(list.Files, *v)
				}
			}
			return ctx.Err() == nil
		})
	})
	if err == nil {
		err = ctx.Err()
	}
	if limit > 0 {
		list.Files = list.Files[:min(len(list.Files), limit-len(list.Folders))]
	}
	return list, err
}

// Tree returns up to n artifacts below a folder at any depth, in the order of
// the bytes of their paths, behind the path after, which may be empty; and the
// position that the library's log had before it was read. There may be fewer where
// they hold much metadata ([PageBytes]), but none only at the end.
func (d *Depot) Tree(ctx context.Context, tenant string, dir artifact.Path, after string, n int) ([]artifact.Version, artifact.Seq, error) {
	lib, err := d.db.Log(ctx, tenant, artifact.LibraryLog)
	if err != nil {
		return nil, 0, err
	}
	list, err := d.db.FilesUnder(ctx, &lib, dir, after, n)
	return list, lib.LastSeq, err
}

package store

import (
	"context"

	"github.com/vitrine-hq/vitrine/artifact"
)

// ErrNoFile is the NotFound error for a path artifact that is not there.
var ErrNoFile = artifact.Errorf(artifact.NotFound, "Artifact not found")

// Log returns the library or the audit log of a tenant. One that nothing was
// ever written to has the key 0.
func (r *Reads) Log(ctx context.Context, tenant string, log artifact.SessionID) (artifact.Session, error) {
	s, err := r.Session(ctx, tenant, log)
	if artifact.KindOf(err) == artifact.NotFound {
		return artifact.Session{Tenant: tenant, ID: log, FirstSeq: 1}, nil
	}
	return s, err
}

const filesOf = "SELECT " + eventColumns + " FROM events e WHERE e.session = ? AND "

func (r *Reads) file(ctx context.Context, lib *artifact.Session, where string, args ...any) (artifact.Version, error) {
	list, err := r.entries(ctx, lib.ID, filesOf+where, append([]any{lib.Key}, args...)...)
	if err == nil && (len(list) == 0 || list[0].Version == nil) {
		err = ErrNoFile
	}
	if err != nil {
		return artifact.Version{}, err
	}
	return *list[0].Version, nil
}

// FileAt returns the artifact that stands at a path, or [ErrNoFile].
func (r *Reads) FileAt(ctx context.Context, lib *artifact.Session, p artifact.Path) (artifact.Version, error) {
	return r.file(ctx, lib, "e.until = "+current+" AND e.path = ?", string(p))
}

// FileByID returns the artifact with that id as it stands now, or [ErrNoFile].
func (r *Reads) FileByID(ctx context.Context, lib *artifact.Session, id string) (artifact.Version, error) {
	return r.file(ctx, lib, "e.attachment = ? AND e.until = "+current+" ORDER BY e.seq DESC LIMIT 1", id)
}

// FileVersion returns one version of an artifact whose bytes are kept, or
// [ErrNoFile].
func (r *Reads) FileVersion(ctx context.Context, lib *artifact.Session, id string, number int64) (artifact.Version, error) {
	return r.file(ctx, lib, "e.attachment = ? AND e.version = ? AND e.blob > ''", id, number)
}

// FileVersions returns up to n versions of an artifact whose bytes are kept,
// newest first, those with a number less than before: fewer where they come to
// [PageBytes]. Behind the oldest there are none.
func (r *Reads) FileVersions(ctx context.Context, lib *artifact.Session, id string, before int64, n int) ([]artifact.Version, error) {
	list, err := r.page(ctx, lib.ID, filesOf+"e.attachment = ? AND e.version < ? AND e.blob > '' ORDER BY e.version DESC LIMIT ?", lib.Key, id, before, n)
	return versionsOf(list), err
}

func versionsOf(list []artifact.Entry) []artifact.Version {
	versions := make([]artifact.Version, len(list))
	for i := range list {
		versions[i] = *list[i].Version
	}
	return versions
}

// FilesUnder returns up to n artifacts below a folder, in the order of the bytes
// of their paths, those behind after, which is a path or empty: fewer where they
// come to [PageBytes]. Behind the last there are none.
func (r *Reads) FilesUnder(ctx context.Context, lib *artifact.Session, dir artifact.Path, after string, n int) ([]artifact.Version, error) {
	low, high := within(dir)
	list, err := r.page(ctx, lib.ID, filesOf+"e.until = "+current+" AND e.path > ? AND e.path < ? ORDER BY e.path LIMIT ?", lib.Key, max(low, after), high, n)
	return versionsOf(list), err
}

// within returns between which texts the paths below a folder lie: '0' is the
// byte that follows '/'.
func within(dir artifact.Path) (low, high string) {
	low = string(dir)
	if low != "/" {
		low += "/"
	}
	return low, low[:len(low)-1] + "0"
}

// Children calls folder with the name of each folder right below dir, and file
// with each artifact, which has no Extra, in the order of the bytes of their
// names. What lies deeper is skipped and not read: one look at the index for each
// child. A call that returns false ends it.
func (r *Reads) Children(ctx context.Context, lib *artifact.Session, dir artifact.Path, folder func(name string) bool, file func(v *artifact.Version) bool) error {
	low, high := within(dir)
	after, page := low, 2
	for {
		list, err := r.entries(ctx, lib.ID, "SELECT "+bareColumns+" FROM events e WHERE e.session = ? AND e.until = "+current+" AND e.path > ? AND e.path < ? ORDER BY e.path LIMIT ?", lib.Key, after, high, page)
		if err != nil {
			return err
		}
		full := len(list) == page
		page = min(4*page, 512)
		for i := range list {
			v := list[i].Version
			if name, deeper := childFolder(v.Path[len(low):]); deeper {
				if !folder(name) {
					return nil
				}
				after, page, full = low+name+"/~", 2, true // no path holds a "~", and all of its bytes are smaller
				break
			}
			if after = v.Path; !file(v) {
				return nil
			}
		}
		if !full {
			return nil
		}
	}
}

// childFolder returns the first segment of a path below a folder, and whether
// something follows it.
func childFolder(below string) (name string, deeper bool) {
	for i := range len(below) {
		if below[i] == '/' {
			return below[:i], true
		}
	}
	return below, false
}

// AppendFile adds a version of a path artifact: a new artifact, or the next
// version of the one that v.Attachment names and that must stand at the v.Seq
// given. Otherwise, and where another artifact stands at the path, the error is
// Exists. It sets what AppendVersion sets, and v.Number. The oldest version
// beyond [artifact.MaxVersions] loses its bytes and its metadata; dropped is the
// key of the blob that no row names any more by that, or "".
func (tx *Tx) AppendFile(lib int64, v *artifact.Version, content []byte) (dropped string, err error) {
	extra, err := encodeExtra(v)
	if err != nil {
		return "", err
	}
	follows, g := v.Seq, growth{artifacts: 1, size: v.Size, extra: int64(len(extra))}
	if v.Change == artifact.Updated {
		var freed growth
		if freed, dropped, err = tx.dropVersion(lib, v.Attachment, v.Number+1-artifact.MaxVersions); err != nil {
			return "", err
		}
		g = growth{size: g.size - freed.size, extra: g.extra - freed.extra}
	}
	seq, tenant, err := tx.next(lib, g)
	if err != nil {
		return "", err
	}
	tx.place(v, seq)
	v.Number++
	if err := tx.insertContent(lib, v, content); err != nil {
		return "", err
	}
	if v.Change == artifact.Updated {
		if err := tx.supersede(lib, v, follows); err != nil {
			return "", err
		}
	}
	return dropped, tx.insertVersion(lib, tenant, artifact.TypeSaved, v, extra)
}

// place gives a version of the library its position.
func (tx *Tx) place(v *artifact.Version, seq artifact.Seq) {
	v.Seq, v.At, v.EventID, v.Until = seq, tx.now.UTC(), newEventID(seq), artifact.Current
	v.Source, v.Node = artifact.SourceLibrary, tx.caller.Actor()
}

// dropVersion forgets the bytes and the metadata of one version, which more than
// one entry tells of where it was moved. It returns how much that was, and the
// key of its blob if it had one.
func (tx *Tx) dropVersion(lib int64, id string, number int64) (freed growth, blob string, err error) {
	if number < 1 {
		return freed, "", nil
	}
	const where = " WHERE session = ? AND attachment = ? AND version = ?"
	err = tx.s.row(tx.ctx, "SELECT COALESCE(SUM(CASE WHEN blob > '' THEN size ELSE 0 END), 0), COALESCE(SUM(octet_length(data)), 0), COALESCE(MAX(blob), '') FROM events"+where, []any{lib, id, number}, &freed.size, &freed.extra, &blob)
	if InRow(blob) {
		blob = ""
	}
	if err == nil {
		_, err = tx.exec("DELETE FROM contents WHERE owner = ? AND n IN (SELECT seq FROM events"+where+" AND blob > '')", lib, lib, id, number)
	}
	if err == nil {
		_, err = tx.exec("UPDATE events SET blob = '', data = ''"+where, lib, id, number)
	}
	return freed, blob, err
}

// MoveFile gives the artifact v, which must stand, another path. Its history
// stays with it: the new entry takes over the content and the number of the
// version that stood, and tells the same metadata once more. An artifact at the
// path is an Exists error.
func (tx *Tx) MoveFile(lib int64, v *artifact.Version, to artifact.Path, mime string) error {
	extra, err := encodeExtra(v)
	if err != nil {
		return err
	}
	seq, tenant, err := tx.next(lib, growth{extra: int64(len(extra))})
	if err != nil {
		return err
	}
	from := v.Seq
	tx.place(v, seq)
	v.Change, v.Stat, v.Path, v.MIME = artifact.Moved, v.Path, string(to), mime
	if err := tx.supersede(lib, v, from); err != nil {
		return err
	}
	if _, err := tx.exec("UPDATE events SET blob = '' WHERE session = ? AND seq = ?", lib, int64(from)); err != nil {
		return err
	}
	if InRow(v.Key) {
		if _, err := tx.exec("UPDATE contents SET n = ? WHERE owner = ? AND n = ?", int64(seq), lib, int64(from)); err != nil {
			return err
		}
		v.Key = rowKey(lib, seq)
	}
	return tx.insertVersion(lib, tenant, artifact.TypeMoved, v, extra)
}

// DeleteFile deletes the artifact v, which must stand, with all of its
// versions: nothing can reach it any more, and their bytes in rows are gone, as
// is their metadata. It returns the keys of the blobs that no row names any more.
func (tx *Tx) DeleteFile(lib int64, v *artifact.Version) (blobs []string, err error) {
	_, err = tx.exec("DELETE FROM contents WHERE owner = ? AND n IN (SELECT seq FROM events WHERE session = ? AND attachment = ? AND version IS NOT NULL AND blob > '')", lib, lib, v.Attachment)
	if err != nil {
		return nil, err
	}
	freed, blobs, err := tx.forgetVersions(lib, v.Attachment)
	if err != nil {
		return nil, err
	}
	seq, tenant, err := tx.next(lib, growth{artifacts: -1, size: -freed.size, extra: -freed.extra})
	if err != nil {
		return nil, err
	}
	from := v.Seq
	tx.place(v, seq)
	v.Change, v.Until, v.Key, v.Size, v.SHA256, v.Extra, v.Number, v.Scan, v.Owner = artifact.Deleted, seq, "", 0, "", nil, 0, "", ""
	if err := tx.supersede(lib, v, from); err != nil {
		return nil, err
	}
	return blobs, tx.insertVersion(lib, tenant, artifact.TypeRemoved, v, "")
}

// forgetVersions takes bytes and metadata from every version of an artifact. It
// returns how much that was, and the keys of the blobs in the bucket.
func (tx *Tx) forgetVersions(lib int64, id string) (freed growth, blobs []string, err error) {
	const where = " WHERE session = ? AND attachment = ? AND version IS NOT NULL AND (blob > '' OR data > '')"
	err = tx.s.rows(tx.ctx, "SELECT size, octet_length(data), blob FROM events"+where, []any{lib, id}, func(scan func(...any) error) error {
		var size, extra int64
		var key string
		err := scan(&size, &extra, &key)
		if freed.extra += extra; key == "" { // moved on, with its content
			return err
		}
		freed.size += size
		if !InRow(key) {
			blobs = append(blobs, key)
		}
		return err
	})
	if err == nil {
		_, err = tx.exec("UPDATE events SET blob = '', data = ''"+where, lib, id)
	}
	return freed, blobs, err
}

// FileAt returns the artifact that stands at a path, or nil.
func (tx *Tx) FileAt(lib int64, p artifact.Path) (*artifact.Version, error) {
	var v *artifact.Version
	err := tx.s.rows(tx.ctx, filesOf+"e.until = "+current+" AND e.path = ?", []any{lib, string(p)}, func(scan func(...any) error) error {
		e, err := scanEntry(scan, artifact.LibraryLog)
		v = e.Version
		return err
	})
	return v, err
}

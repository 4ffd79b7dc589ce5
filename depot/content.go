package depot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// errNoContent is what a deletion or a cleaned upload has instead of bytes.
var errNoContent = artifact.Errorf(artifact.NotFound, "Artifact file missing")

// Version returns the version that name, one of the three kinds of id, stands
// for in a session (see [store.Reads.Version]).
func (d *Depot) Version(ctx context.Context, tenant string, id artifact.SessionID, name string) (artifact.Version, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return artifact.Version{}, err
	}
	v, err := d.db.Version(ctx, &s, name)
	d.expose(&s, &v)
	return v, err
}

// errNoVersion is what there is of a version that is not shown.
var errNoVersion = artifact.Errorf(artifact.NotFound, "Artifact not found")

// Standing returns the version that name stands for among the files that
// existed at a position of the log, 0 for now, or a NotFound error.
func (d *Depot) Standing(ctx context.Context, s *artifact.Session, name string, at artifact.Seq) (artifact.Version, error) {
	if at == 0 {
		at = artifact.Current - 1
	}
	v, err := d.versionAt(ctx, s, name, at)
	if err == nil && !stood(&v, at) {
		err = errNoVersion
	}
	if err != nil {
		return artifact.Version{}, err
	}
	d.expose(s, &v)
	return v, nil
}

// versionAt returns the version that name stands for at a position: the very
// one, also where it had been superseded, or that of an attachment id.
func (d *Depot) versionAt(ctx context.Context, s *artifact.Session, name string, at artifact.Seq) (artifact.Version, error) {
	v, err := d.db.Version(ctx, s, name)
	if err == nil && v.Seq > at {
		if v.Attachment != name {
			return artifact.Version{}, errNoVersion
		}
		return d.db.AttachmentAt(ctx, s, name, at)
	}
	return v, err
}

// stood reports whether a version was a file of the session at a position.
func stood(v *artifact.Version, at artifact.Seq) bool { return v.Seq <= at && at < v.Until }

// expose lets a version show absolute paths where the operator wants that.
func (d *Depot) expose(s *artifact.Session, v *artifact.Version) {
	if d.opt.ExposePaths {
		v.Root = d.dir(s)
	}
}

// OpenContent opens the bytes of exactly this version for the caller, or returns
// a NotFound error or one of [Depot.MayRead]. Where they are a file the result
// is an *os.File.
func (d *Depot) OpenContent(ctx context.Context, v *artifact.Version) (io.ReadSeekCloser, error) {
	if v.Key == "" {
		return nil, errNoContent
	}
	if err := d.MayRead(ctx, v); err != nil {
		return nil, err
	}
	return d.open(ctx, v)
}

// open opens the bytes of a version for the server itself: nothing that it opens
// may reach a caller.
func (d *Depot) open(ctx context.Context, v *artifact.Version) (io.ReadSeekCloser, error) {
	if v.Key == "" {
		return nil, errNoContent
	}
	if store.InRow(v.Key) {
		b, err := d.db.Content(ctx, v.Key)
		if err != nil {
			return nil, err
		}
		return inMemory{bytes.NewReader(b)}, nil
	}
	f, err := d.bucket.Open(ctx, v.Key, v.Size)
	if err != nil {
		return nil, missing(err)
	}
	if _, ok := f.(*os.File); ok {
		return f, nil // as it is, so that it can be sent without copying
	}
	return remote{f}, nil
}

// missing turns the error for bytes that are gone into one for clients.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return artifact.Wrap(artifact.NotFound, err, errNoContent.Msg)
	}
	return err
}

// remote is content whose absence only the first Read tells.
type remote struct{ io.ReadSeekCloser }

// Read reads as of the content itself.
func (r remote) Read(p []byte) (int, error) {
	n, err := r.ReadSeekCloser.Read(p)
	return n, missing(err)
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

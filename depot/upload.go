package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// MaxUploadFiles is how many files one upload may hold, because all of them
// become durable in one transaction.
const MaxUploadFiles = 500

// Upload is one request that stores files: all of them or none.
type Upload struct {
	d       *Depot
	tenant  string
	id      artifact.SessionID
	session artifact.Session // Key is 0 while it is still to be made
	files   []*received
	moved   bool // the folders are in the session's workspace
	tried   bool // rows may name the blobs
	settled bool // nothing is left to discard
}

// received is a file whose bytes are safe but which no row names yet.
type received struct {
	version artifact.Version
	content []byte // of a small file, not nil
	folder  string // in .incoming, holding the file for the workspace
}

// NewUpload begins an upload. A session that is not known is an Invalid error
// unless uploads may make sessions; one that was deleted is NotFound.
func (d *Depot) NewUpload(ctx context.Context, tenant string, id artifact.SessionID) (*Upload, error) {
	u := &Upload{d: d, tenant: tenant, id: id}
	s, err := d.Connected(ctx, tenant, id)
	if errors.Is(err, errNotConnected) && d.opt.Implicit {
		s, err = artifact.Session{Tenant: tenant, ID: id}, nil
	}
	if err != nil {
		return nil, err
	}
	u.session = s
	return u, nil
}

// Add takes in one file: it reads r to its end, hashing and typing what passes,
// and makes the bytes durable if they are not to live in a row. Memory is
// constant. Errors are TooLarge, Full, or r's own. The version that is returned
// has no position yet.
func (u *Upload) Add(ctx context.Context, name, declared string, r io.Reader) (*artifact.Version, error) {
	if len(u.files) == MaxUploadFiles {
		return nil, artifact.Errorf(artifact.TooLarge, "An upload holds at most %d files", MaxUploadFiles)
	}
	f := &received{version: artifact.Version{
		Attachment: artifact.NewAttachmentID(), Session: u.id, Change: artifact.Created,
		Name: artifact.CleanName(name), Source: artifact.SourceUpload, Node: "upload",
	}}
	v := &f.version
	v.Path = artifact.AttachmentsDir + "/" + v.Attachment + "/" + v.Name
	f.folder = filepath.Join(u.d.opt.WareHouse, incoming, v.Attachment)
	u.files = append(u.files, f)
	err := u.d.receive(ctx, u.tenant, f, declared, r)
	if errors.Is(err, blob.ErrTooLarge) {
		return nil, tooLarge(u.d.opt.MaxUpload)
	}
	if err != nil {
		return nil, noRoom(err)
	}
	return v, nil
}

func tooLarge(limit int64) error {
	e := artifact.Errorf(artifact.TooLarge, "File is larger than the limit of %d bytes", limit)
	e.Facts = map[string]any{"max_size": limit}
	return e
}

// receive stores the bytes of one file and writes the copy for the workspace.
func (d *Depot) receive(ctx context.Context, tenant string, f *received, declared string, r io.Reader) error {
	v := &f.version
	buf := heads.Get().(*[]byte)
	defer heads.Put(buf)
	head := grow(buf, max(d.opt.InlineLimit+1, sniffed))
	n, err := readHead(r, head)
	if err != nil {
		return err
	}
	head = head[:n]
	v.MIME = chooseType(declared, v.Name, head)
	if int64(n) <= d.opt.InlineLimit {
		if d.opt.MaxUpload > 0 && int64(n) > d.opt.MaxUpload {
			return blob.ErrTooLarge
		}
		f.content, v.Blob = small(head)
		return f.writeSmall()
	}
	return d.receiveLarge(ctx, tenant, f, io.MultiReader(bytes.NewReader(head), r))
}

// small returns a copy of a content that is to live in a row, which is never
// nil, and what it is.
func small(b []byte) ([]byte, artifact.Blob) {
	sum := sha256.Sum256(b)
	return append(make([]byte, 0, len(b)), b...), artifact.Blob{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
}

// readHead fills buf from r as far as r goes. Other than io.ReadFull it can
// tell the end of a small file from a source that was cut off, such as a body
// shorter than its Content-Length.
func readHead(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// heads are the buffers in which the beginning of a file is held until it is
// known whether it is small.
var heads = sync.Pool{New: func() any { return new([]byte) }}

func grow(buf *[]byte, n int64) []byte {
	if int64(cap(*buf)) < n {
		*buf = make([]byte, n)
	}
	return (*buf)[:n]
}

func (f *received) create() (*os.File, error) {
	if err := os.Mkdir(f.folder, 0o700); err != nil {
		return nil, fmt.Errorf("make upload folder: %w", err)
	}
	w, err := os.OpenFile(filepath.Join(f.folder, f.version.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make workspace copy: %w", err)
	}
	return w, nil
}

func (f *received) writeSmall() error {
	w, err := f.create()
	if err != nil {
		return err
	}
	_, err = w.Write(f.content)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write workspace copy: %w", err)
	}
	return nil
}

// receiveLarge streams a file into the bucket. The copy for the workspace
// shares the blob's bytes where the file system can, and is otherwise written
// from the same buffers, unsynced: it is a cache.
func (d *Depot) receiveLarge(ctx context.Context, tenant string, f *received, r io.Reader) error {
	w, err := f.create()
	if err != nil {
		return err
	}
	defer w.Close()
	if !d.reflink {
		r = io.TeeReader(r, w)
	}
	err = d.within(ctx, tenant, d.opt.MaxUpload, func(limit int64) error {
		info, err := d.bucket.Put(ctx, r, limit)
		f.version.Blob = artifact.Blob(info)
		return err
	})
	if err != nil {
		return err
	}
	if d.reflink {
		if err := d.bucket.Clone(f.version.Key, w); err != nil {
			return fmt.Errorf("share upload with the workspace: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write workspace copy: %w", err)
	}
	return nil
}

// Commit makes the files appear: in the workspace first, so that they are there
// when anybody hears of them, then in the log. It returns the versions in the
// order in which they were added.
func (u *Upload) Commit(ctx context.Context) ([]artifact.Version, error) {
	if err := u.move(); err != nil {
		return nil, noRoom(err)
	}
	var list []artifact.Version
	var key int64
	u.tried = true
	err := u.d.db.Tx(ctx, func(tx *store.Tx) (err error) {
		list, key = make([]artifact.Version, len(u.files)), u.session.Key
		if key == 0 {
			if key, err = tx.EnsureSession(u.tenant, u.id); err != nil {
				return err
			}
		}
		for i, f := range u.files {
			list[i] = f.version
			u.d.unscanned(ctx, &list[i])
			if err := tx.AppendVersion(key, &list[i], f.content); err != nil {
				return err
			}
		}
		tx.Audit(u.tenant, u.audit(list))
		return nil
	})
	if err != nil {
		// Where the outcome is unknown the rows may exist: what is on the disk stays.
		u.settled = artifact.KindOf(err) == artifact.Unavailable
		u.tried = !undone(err)
		return nil, err
	}
	u.settled = true
	u.session.Key = key
	u.d.scanning.wake()
	u.d.manifestChanged(&u.session)
	u.d.touch(&u.session)
	return list, nil
}

// audit tells of the whole upload in one entry.
func (u *Upload) audit(list []artifact.Version) artifact.AuditEntry {
	ids, size := make([]string, len(list)), int64(0)
	for i := range list {
		ids[i] = list[i].Attachment
		size += list[i].Size
	}
	e := onSession("session.upload", u.id)
	e.Details = map[string]any{"attachments": ids, "size": size}
	return e
}

// move puts the folders of the files into the session's workspace.
func (u *Upload) move() error {
	dir, err := filepath.Rel(u.d.opt.WareHouse, filepath.Join(u.d.workspace(&u.session), artifact.AttachmentsDir))
	if err != nil {
		return fmt.Errorf("move upload into the workspace: %w", err)
	}
	u.moved = true
	for _, f := range u.files {
		err := moveIn(u.d.wareHouse, incoming, dir, f.version.Attachment)
		for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist); try++ { // the session has no folder yet
			if err = u.d.makeFolder(dir); err == nil {
				err = moveIn(u.d.wareHouse, incoming, dir, f.version.Attachment)
			}
		}
		if err != nil {
			return fmt.Errorf("move upload into the workspace: %w", err)
		}
	}
	return nil
}

// makeFolder makes a folder of the WareHouse and those around it.
func (d *Depot) makeFolder(name string) error {
	root, err := os.OpenRoot(d.opt.WareHouse)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.MkdirAll(name, 0o700)
}

// Discard removes what an upload that came to nothing left behind. Blobs that a
// transaction was tried with are left to the sweeper. After a Commit that
// succeeded it does nothing.
func (u *Upload) Discard() {
	if u.settled {
		return
	}
	u.settled = true
	for _, f := range u.files {
		if v := &f.version; !u.tried && v.Key != "" {
			// What cannot be deleted is garbage as well.
			_ = u.d.bucket.Delete(context.WithoutCancel(u.d.ctx), v.Key)
		}
		_ = os.RemoveAll(f.folder)
		if u.moved {
			_ = os.RemoveAll(filepath.Join(u.d.workspace(&u.session), artifact.AttachmentsDir, f.version.Attachment))
		}
	}
	if u.moved {
		// The folders that move made for a session that is not there, if empty.
		_ = os.Remove(filepath.Join(u.d.workspace(&u.session), artifact.AttachmentsDir))
		_ = os.Remove(u.d.workspace(&u.session))
		_ = os.Remove(u.d.dir(&u.session))
	}
}

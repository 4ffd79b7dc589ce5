package depot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// openWorkspace opens the folder of a session's files, or returns
// fs.ErrNotExist. Nothing on the way there may be a link: a node could have
// planted it.
func (d *Depot) openWorkspace(s *artifact.Session) (*os.Root, error) {
	return d.openBelow(d.workspace(s))
}

// openBelow opens a folder of the WareHouse.
func (d *Depot) openBelow(name string) (*os.Root, error) {
	rel, err := filepath.Rel(d.opt.WareHouse, name)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(d.opt.WareHouse)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		sub, err := openDir(dir, name)
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		dir = sub
	}
	return dir, nil
}

// hasWorkspace reports whether the folder is on this machine.
func (d *Depot) hasWorkspace(s *artifact.Session) bool {
	if s.IsLog() {
		return false
	}
	_, err := os.Lstat(d.workspace(s))
	return err == nil
}

var errNoFolder = errors.New("not a folder")

// openDir opens the folder called name in dir, which is not a link to one.
func openDir(dir *os.Root, name string) (*os.Root, error) {
	sub, err := dir.OpenRoot(inside(name))
	if err != nil {
		return nil, err
	}
	is, err := sub.Stat(".")
	if err != nil {
		_ = sub.Close()
		return nil, err
	}
	if named, err := dir.Lstat(name); err != nil || !os.SameFile(is, named) {
		_ = sub.Close()
		return nil, fmt.Errorf("open %s: %w", name, errNoFolder)
	}
	return sub, nil
}

// inside names a folder so that opening it cannot block: where a pipe lies in
// its place, opening that would wait for somebody who writes to it.
func inside(name string) string { return name + "/." }

// home is the name of a file beside code_workspace which says that the files of
// this session, in this log, have been here: only then does a missing file mean
// that somebody deleted it. A folder that merely an upload made, on another
// machine or after a restore, does not have it.
const home = ".vitrine"

// settleHome makes a workspace one whose missing files are deletions: those
// that are missing because they were never here are written first. It reports
// whether some could not be.
func (d *Depot) settleHome(ctx context.Context, s *artifact.Session, root *os.Root) (partial bool, err error) {
	dir, err := d.openBelow(d.dir(s))
	if err != nil {
		return false, fmt.Errorf("open session folder: %w", err)
	}
	defer dir.Close()
	mark := d.db.LogID() + " " + strconv.FormatInt(s.Key, 10) + "\n"
	if hasMark(dir, mark) {
		return false, nil
	}
	err = noRoom(d.restore(ctx, s, root, false))
	if artifact.KindOf(err) == artifact.Full || ctx.Err() != nil {
		return true, err
	}
	if err != nil {
		d.opt.Log.Warn("workspace cannot be completed", "session", s.ID, "err", err)
		return true, nil
	}
	if err := dir.RemoveAll(home); err != nil { // whatever was put there
		return true, fmt.Errorf("mark workspace: %w", err)
	}
	f, err := dir.OpenFile(home, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(mark)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return true, fmt.Errorf("mark workspace: %w", err)
	}
	return false, nil
}

func hasMark(dir *os.Root, mark string) bool {
	info, err := dir.Lstat(home)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(mark)) {
		return false
	}
	f, err := dir.OpenFile(home, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return false
	}
	defer f.Close()                                                  // only read
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) { // a pipe may have taken its place
		return false
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(len(mark))+1))
	return err == nil && string(b) == mark
}

// Materialize writes every file that stands in the log back to its place in
// the session's folder, where it is missing or differs.
func (d *Depot) Materialize(ctx context.Context, s *artifact.Session) error {
	lock := d.watch.lock(s.Key)
	defer d.watch.unlock(s.Key, lock)
	select {
	case lock.free <- struct{}{}:
		defer func() { <-lock.free }()
	case <-ctx.Done():
		return ctx.Err()
	}
	fresh, root, err := d.makeWorkspace(ctx, s.Key)
	if err != nil {
		return noRoom(err)
	}
	defer root.Close()
	if err := d.restore(ctx, &fresh, root, true); err != nil {
		return noRoom(err)
	}
	d.manifestChanged(&fresh)
	_, err = d.settleHome(ctx, &fresh, root)
	return err
}

// makeWorkspace makes the folder of a session that has not been deleted.
func (d *Depot) makeWorkspace(ctx context.Context, key int64) (artifact.Session, *os.Root, error) {
	d.folders.RLock() // a deletion would otherwise leave the folder behind
	defer d.folders.RUnlock()
	s, err := d.db.SessionByKey(ctx, key)
	if err != nil {
		return s, nil, err
	}
	if err := d.makeFolder(d.below(&s) + "/" + artifact.WorkspaceDir); err != nil {
		return s, nil, fmt.Errorf("make workspace: %w", err)
	}
	root, err := d.openWorkspace(&s)
	if err != nil {
		return s, nil, fmt.Errorf("open workspace: %w", err)
	}
	return s, root, nil
}

// restore writes the files that are missing and, with replace, those that
// differ. One that cannot be written does not keep the others; the first error
// is returned.
func (d *Depot) restore(ctx context.Context, s *artifact.Session, root *os.Root, replace bool) error {
	var first error
	for v, err := range d.Files(ctx, s, s.LastSeq) {
		if err != nil {
			return err
		}
		if v.Key == "" || v.Scan == artifact.ScanFound || d.inPlace(ctx, root, v, replace) {
			continue
		}
		err := d.place(ctx, root, v)
		if err == nil && v.Scan == artifact.ScanPending {
			err = d.takeBack(ctx, root, v)
		}
		if artifact.KindOf(noRoom(err)) == artifact.Full || ctx.Err() != nil {
			return err
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// takeBack removes a file that was written while the scanner found something in
// it and removed it, an upload with its folder.
func (d *Depot) takeBack(ctx context.Context, root *os.Root, v *artifact.Version) error {
	state, err := d.db.ScanState(ctx, v.Key)
	if err != nil || state != artifact.ScanFound {
		return err
	}
	if v.Upload() {
		return root.RemoveAll(path.Dir(v.Path))
	}
	return root.Remove(v.Path)
}

// inPlace reports whether a file needs no writing.
func (d *Depot) inPlace(ctx context.Context, root *os.Root, v *artifact.Version, compare bool) bool {
	info, err := root.Lstat(v.Path)
	if err != nil {
		return false
	}
	if !compare {
		return true
	}
	if !info.Mode().IsRegular() || info.Size() != v.Size {
		return false
	}
	if v.Stat != "" && statOf(info).signature() == v.Stat {
		return true
	}
	f, err := root.OpenFile(v.Path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return false
	}
	defer f.Close() // only read
	sum := sha256.New()
	if _, err := blob.Copy(ctx, sum, f); err != nil {
		return false
	}
	return hex.EncodeToString(sum.Sum(nil)) == v.SHA256
}

// place writes one file beside the uploads and then moves it to its place, so
// that nobody sees half of it there.
func (d *Depot) place(ctx context.Context, root *os.Root, v *artifact.Version) error {
	if err := root.MkdirAll(artifact.AttachmentsDir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if dir := path.Dir(v.Path); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder of %s: %w", v.Path, err)
		}
	}
	tmp := artifact.AttachmentsDir + "/.restore-" + rand.Text()
	err := d.fill(ctx, root, tmp, v)
	if err == nil {
		err = root.Chtimes(tmp, v.At, v.At)
	}
	if err == nil {
		err = root.Rename(tmp, v.Path)
	}
	if err != nil {
		_ = root.Remove(tmp)
		return fmt.Errorf("write %s: %w", v.Path, err)
	}
	return nil
}

// fill writes the bytes of a version, shared with the bucket where possible.
func (d *Depot) fill(ctx context.Context, root *os.Root, name string, v *artifact.Version) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if !store.InRow(v.Key) {
		err := d.bucket.Clone(v.Key, f)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	r, err := d.open(ctx, v)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	n, err := blob.Copy(ctx, f, r)
	if err == nil && n != v.Size {
		err = fmt.Errorf("%d bytes instead of %d: %w", n, v.Size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// removeFolder removes a folder with all that lies in it, following no link,
// also where whoever made it took away the right to change it.
func removeFolder(name string) error {
	err := os.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	root, oerr := os.OpenRoot(inside(name))
	if oerr != nil {
		return err
	}
	defer root.Close()
	unlock(root, 0)
	return os.RemoveAll(name)
}

// unlock gives the owner all rights to the folders below dir, as far as it can.
func unlock(dir *os.Root, depth int) {
	_ = dir.Chmod(".", 0o700)
	entries, _ := readDir(dir)
	for _, e := range entries {
		if !e.IsDir() || depth > maxUnlocked {
			continue
		}
		_ = dir.Chmod(e.Name(), 0o700)
		if sub, err := openDir(dir, e.Name()); err == nil {
			unlock(sub, depth+1)
			_ = sub.Close()
		}
	}
}

const maxUnlocked = 10 * maxDepth

// Package fileblob keeps blobs as files of a local directory:
//
//	ab/ab12…   a blob, in one of 256 directories by its first two digits
//	tmp/ab12…  a blob that is being written, or that a crash left behind
//
// A name in one of the 256 directories is always a whole and durable blob, but
// for one case: a crash between rename and directory sync. Nobody was told of
// such a blob, so no row names it. Read put first.
package fileblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vitrine-hq/vitrine/blob"
)

// tmp is the directory of blobs in the making, beside the 256: a rename must
// stay in one file system.
const tmp = "tmp"

// tmpAge is older than any upload may last.
const tmpAge = 24 * time.Hour

// Driver is a blob.Driver on a directory. It is a blob.Opener, blob.Cloner and
// blob.Unfinisher too.
type Driver struct {
	dir string
	fs  FS
}

// Options change how a Driver works.
type Options struct {
	FS FS // instead of the operating system's
}

// Open returns the driver for the blobs in dir. It makes what is missing of dir
// and its directories, but not the parent of dir, and removes unfinished blobs
// older than a day.
func Open(dir string, o Options) (*Driver, error) {
	if o.FS == nil {
		o.FS = OS
	}
	d := &Driver{dir: dir, fs: o.FS}
	if err := d.makeDirs(); err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	limit := time.Now().Add(-tmpAge)
	for e, err := range d.Unfinished(context.Background()) {
		if err == nil && e.Modified.Before(limit) {
			err = d.Delete(context.Background(), e.Key)
		}
		if err != nil {
			return nil, fmt.Errorf("open blobs: %w", err)
		}
	}
	return d, nil
}

// makeDirs makes all directories at once, so that Put needs to sync one only.
// It syncs even if it made none: an earlier process may have died in between.
func (d *Driver) makeDirs() error {
	names := append([]string{"", tmp}, fanOut()...)
	for _, name := range names {
		err := d.fs.Mkdir(filepath.Join(d.dir, name), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := d.syncDir(d.dir); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(d.dir))
}

// fanOut returns the names 00 to ff.
func fanOut() []string {
	names := make([]string, 256)
	for i := range names {
		names[i] = fmt.Sprintf("%02x", i)
	}
	return names
}

// Put implements blob.Driver.
func (d *Driver) Put(ctx context.Context, key string, r io.Reader) error {
	return d.put(ctx, key, func(f File) error {
		_, err := blob.Copy(ctx, f, r)
		return err
	})
}

// PutClone implements blob.Cloner.
func (d *Driver) PutClone(ctx context.Context, key string, src *os.File, read func(io.Reader) error) error {
	return d.put(ctx, key, func(f File) error {
		if err := d.fs.Clone(f, src); err != nil {
			return err
		}
		return read(section(f, 0, -1))
	})
}

// put makes a blob of what fill writes. The order is what makes it whole and
// durable: sync the bytes, then give them their name, then sync the name.
func (d *Driver) put(ctx context.Context, key string, fill func(File) error) error {
	name, err := d.path(key)
	if err != nil {
		return err
	}
	place := filepath.Join(d.dir, tmp, key) // where the bytes are
	f, err := d.fs.OpenFile(place, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	done := false
	defer func() { // deferred, because a reader may panic
		if !done {
			// The sweeper gets what cannot be removed now.
			_ = f.Close()
			_ = d.fs.Remove(place)
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.fs.Rename(place, name); err != nil {
		return err
	}
	place = name
	if err := d.syncDir(filepath.Dir(name)); err != nil {
		return err
	}
	done = true
	return nil
}

// syncDir makes the names in dir durable. Some file systems cannot, and say so.
func (d *Driver) syncDir(dir string) error {
	err := d.fs.SyncDir(dir)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// Get implements blob.Driver.
func (d *Driver) Get(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f, err := d.open(key)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{section(f, off, n), f}, nil
}

// section returns n bytes of f from off, or all where n is negative.
func section(f File, off, n int64) io.Reader {
	if n < 0 {
		n = math.MaxInt64 - off
	}
	return io.NewSectionReader(f, off, n)
}

func (d *Driver) open(key string) (File, error) {
	name, err := d.path(key)
	if err != nil {
		return nil, err
	}
	return d.fs.OpenFile(name, os.O_RDONLY, 0)
}

// OpenFile implements blob.Opener.
func (d *Driver) OpenFile(key string) (*os.File, error) {
	f, err := d.open(key)
	if err != nil {
		return nil, err
	}
	if file, ok := f.(*os.File); ok {
		return file, nil
	}
	_ = f.Close() // only opened
	return nil, errors.ErrUnsupported
}

// Clone implements blob.Cloner.
func (d *Driver) Clone(key string, dst *os.File) error {
	f, err := d.open(key)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	return d.fs.Clone(dst, f)
}

// Delete implements blob.Driver. It also takes the keys of Unfinished. It does
// not sync: a blob that a power cut brings back is swept again.
func (d *Driver) Delete(_ context.Context, key string) error {
	rest, unfinished := strings.CutPrefix(key, tmp+"/")
	name, err := d.path(rest)
	if err != nil {
		return err
	}
	if unfinished {
		name = filepath.Join(d.dir, tmp, rest)
	}
	if err := d.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// List implements blob.Driver.
func (d *Driver) List(ctx context.Context) iter.Seq2[blob.Entry, error] {
	return func(yield func(blob.Entry, error) bool) {
		for _, dir := range fanOut() {
			if !d.list(ctx, dir, "", yield) {
				return
			}
		}
	}
}

// Unfinished implements blob.Unfinisher: it lists the blobs that are being
// written now, or were when the process died.
func (d *Driver) Unfinished(ctx context.Context) iter.Seq2[blob.Entry, error] {
	return func(yield func(blob.Entry, error) bool) {
		d.list(ctx, tmp, tmp+"/", yield)
	}
}

// list yields the blobs in dir, and reports whether the loop goes on.
func (d *Driver) list(ctx context.Context, dir, prefix string, yield func(blob.Entry, error) bool) bool {
	err := ctx.Err()
	var files []fs.DirEntry
	if err == nil {
		files, err = d.fs.ReadDir(filepath.Join(d.dir, dir))
	}
	if err != nil {
		yield(blob.Entry{}, err)
		return false
	}
	for _, f := range files {
		name := f.Name()
		if !validKey(name) || !f.Type().IsRegular() || dir != tmp && name[:2] != dir {
			continue // not ours
		}
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			yield(blob.Entry{}, err)
			return false
		}
		if !yield(blob.Entry{Key: prefix + name, Size: info.Size(), Modified: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// path returns the file of a key. Keys come from our own rows, but a row may
// be damaged: no key leads out of the directory.
func (d *Driver) path(key string) (string, error) {
	if !validKey(key) {
		return "", fmt.Errorf("blob key %q: %w", key, fs.ErrInvalid)
	}
	return filepath.Join(d.dir, key[:2], key), nil
}

func validKey(key string) bool {
	return len(key) >= 16 && len(key) <= 128 && strings.Trim(key, "0123456789abcdef") == ""
}

// Package fault breaks file systems, for tests only. [FS] lets a test fail or
// end the process at any file operation; [Disk] forgets what was not synced,
// as a power cut does. Start with FS.
package fault

import (
	"errors"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/vitrine-hq/vitrine/blob/fileblob"
)

// Op is one file operation.
type Op struct {
	N    int    // 1 for the first one of its FS
	Name string // "open", "read", "write", "sync", "close", "rename", "remove", "mkdir", "readdir", "syncdir" or "clone"
	Path string
}

// FS asks before each operation whether it may happen.
type FS struct {
	under  fileblob.FS
	before func(Op) error
	ops    atomic.Int64
}

// New returns an FS that passes to under what before answers with nil, and
// fails the rest with before's error.
func New(under fileblob.FS, before func(Op) error) *FS {
	return &FS{under: under, before: before}
}

// Fail fails the n-th operation with err, as a disk does for a moment.
func Fail(n int, err error) func(Op) error {
	return func(op Op) error {
		if op.N == n {
			return err
		}
		return nil
	}
}

// FailFrom fails the n-th operation and all after it, as a dead disk does.
func FailFrom(n int, err error) func(Op) error {
	return func(op Op) error {
		if op.N >= n {
			return err
		}
		return nil
	}
}

// ExitCode is the exit code of Exit.
const ExitCode = 86

// Exit ends the process before the n-th operation.
func Exit(n int) func(Op) error {
	return func(op Op) error {
		if op.N == n {
			os.Exit(ExitCode)
		}
		return nil
	}
}

// Ops returns how many operations there were, failed ones included. A loop
// over Fail(n, …) is done when a round had fewer than n.
func (f *FS) Ops() int { return int(f.ops.Load()) }

func (f *FS) ask(name, path string) error {
	err := f.before(Op{N: int(f.ops.Add(1)), Name: name, Path: path})
	if err != nil {
		return &fs.PathError{Op: name, Path: path, Err: err}
	}
	return nil
}

// OpenFile implements fileblob.FS, like the methods below.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (fileblob.File, error) {
	if err := f.ask("open", name); err != nil {
		return nil, err
	}
	under, err := f.under.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{under, f, name}, nil
}

// Mkdir makes a directory.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	if err := f.ask("mkdir", name); err != nil {
		return err
	}
	return f.under.Mkdir(name, perm)
}

// ReadDir lists a directory.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.ask("readdir", name); err != nil {
		return nil, err
	}
	return f.under.ReadDir(name)
}

// Rename renames a file.
func (f *FS) Rename(from, to string) error {
	if err := f.ask("rename", from); err != nil {
		return err
	}
	return f.under.Rename(from, to)
}

// Remove removes a file.
func (f *FS) Remove(name string) error {
	if err := f.ask("remove", name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// SyncDir syncs a directory.
func (f *FS) SyncDir(name string) error {
	if err := f.ask("syncdir", name); err != nil {
		return err
	}
	return f.under.SyncDir(name)
}

// Clone reflinks a file.
func (f *FS) Clone(dst, src fileblob.File) error {
	d, s := f.unwrap(dst), f.unwrap(src)
	if err := f.ask("clone", ""); err != nil {
		return err
	}
	return f.under.Clone(d, s)
}

func (f *FS) unwrap(x fileblob.File) fileblob.File {
	if w, ok := x.(*file); ok {
		return w.File
	}
	return x
}

type file struct {
	fileblob.File
	fs   *FS
	name string
}

// Write that fails has written half, as on a full disk.
func (f *file) Write(p []byte) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		n, werr := f.File.Write(p[:len(p)/2])
		return n, errors.Join(err, werr)
	}
	return f.File.Write(p)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *file) Sync() error {
	if err := f.fs.ask("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close that fails has closed the file nevertheless.
func (f *file) Close() error {
	if err := f.fs.ask("close", f.name); err != nil {
		return errors.Join(err, f.File.Close())
	}
	return f.File.Close()
}

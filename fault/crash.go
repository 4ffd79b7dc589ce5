package fault

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/blob/fileblob"
)

// Disk is a file system in memory that knows which of its bytes and names were
// synced. A sync of a file keeps its bytes, a sync of a directory its names,
// and neither does the other's work. Files are written at their end only.
type Disk struct {
	mu   sync.Mutex
	root *node
}

// node is a file or a directory; Disk.mu guards it.
type node struct {
	data     []byte
	synced   int              // how much of data survives
	names    map[string]*node // nil for a file
	kept     map[string]*node // names as of the last sync
	modified time.Time
}

func newDir() *node { return &node{names: map[string]*node{}, kept: map[string]*node{}} }

// NewDisk returns a Disk with an empty root directory "/".
func NewDisk() *Disk { return &Disk{root: newDir()} }

// PowerCut returns a disk with what is left of d when the power fails now; d
// goes on as if nothing had been. With a nil luck nothing unsynced is left.
// Otherwise each unsynced change of a name, and some of each file's unsynced
// bytes, may be, as luck has it: a disk may write early, in any order.
func (d *Disk) PowerCut(luck *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{root: d.root.survivor(luck)}
}

func (n *node) survivor(luck *rand.Rand) *node {
	if n.names == nil {
		size := n.synced
		if luck != nil {
			size += luck.IntN(len(n.data) - n.synced + 1)
		}
		return &node{data: slices.Clone(n.data[:size]), synced: size, modified: n.modified}
	}
	left := maps.Clone(n.kept)
	if luck != nil {
		either := maps.Clone(n.kept)
		maps.Copy(either, n.names)
		for _, name := range slices.Sorted(maps.Keys(either)) { // sorted: the same luck, the same loss
			if now, ok := n.names[name]; luck.IntN(2) == 0 {
				continue
			} else if ok {
				left[name] = now
			} else {
				delete(left, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		left[name] = left[name].survivor(luck)
	}
	return &node{names: left, kept: maps.Clone(left), modified: n.modified}
}

// find returns the directory that holds path, and path's name in it; mu must be held.
func (d *Disk) find(op, path string) (*node, string, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	n, err := d.dir(op, dir)
	return n, name, err
}

// dir returns the directory at path; mu must be held.
func (d *Disk) dir(op, path string) (*node, error) {
	n := d.root
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == filepath.Separator }) {
		if n = n.names[name]; n == nil || n.names == nil {
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
		}
	}
	return n, nil
}

// OpenFile implements fileblob.FS, like the methods below.
func (d *Disk) OpenFile(path string, flag int, _ fs.FileMode) (fileblob.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, err := d.find("open", path)
	if err != nil {
		return nil, err
	}
	n := dir.names[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	case n == nil:
		n = &node{modified: time.Now()}
		dir.names[name] = n
	}
	return &handle{d, n}, nil
}

// Mkdir makes a directory.
func (d *Disk) Mkdir(path string, _ fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, err := d.find("mkdir", path)
	if err != nil {
		return err
	}
	if dir.names[name] != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrExist}
	}
	dir.names[name] = newDir()
	return nil
}

// ReadDir lists a directory.
func (d *Disk) ReadDir(path string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.dir("readdir", path)
	if err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(dir.names)) {
		n := dir.names[name]
		entries = append(entries, fs.FileInfoToDirEntry(info{name, int64(len(n.data)), n.names != nil, n.modified}))
	}
	return entries, nil
}

// Rename moves a name, over what was there.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	src, name, err := d.find("rename", from)
	if err != nil {
		return err
	}
	dst, newName, err := d.find("rename", to)
	if err != nil {
		return err
	}
	if src.names[name] == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	n := src.names[name]
	delete(src.names, name)
	dst.names[newName] = n
	return nil
}

// Remove removes a name. Open files go on.
func (d *Disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, err := d.find("remove", path)
	if err != nil {
		return err
	}
	if dir.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	delete(dir.names, name)
	return nil
}

// SyncDir keeps the names that are now in the directory.
func (d *Disk) SyncDir(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.dir("syncdir", path)
	if err != nil {
		return err
	}
	dir.kept = maps.Clone(dir.names)
	return nil
}

// Clone copies: who reads cannot tell that from sharing.
func (d *Disk) Clone(dst, src fileblob.File) error {
	data, err := io.ReadAll(io.NewSectionReader(src, 0, 1<<62))
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	_, err = dst.Write(data)
	return err
}

// handle is an open file of a Disk.
type handle struct {
	disk *Disk
	node *node
}

func (h *handle) Write(p []byte) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.node.data = append(h.node.data, p...)
	h.node.modified = time.Now()
	return len(p), nil
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	n := copy(p, h.node.data[min(off, int64(len(h.node.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.node.synced = len(h.node.data)
	return nil
}

func (h *handle) Close() error { return nil }

// info is the fs.FileInfo of a node.
type info struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return i.modified }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// networkTypes are file systems on which locks and shared memory do not work
// between machines, or not at all: a database there gets corrupted.
var networkTypes = []string{
	"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "glusterfs", "afs", "coda", "ncpfs", "gpfs", "beegfs",
	"orangefs", "pvfs2", "vboxsf", "prl_fs", "acfs", "panfs", "webdav", "davfs", "afpfs",
}

// localFUSE are the only file systems in user space that may hold a database:
// of the others most are a network in disguise.
var localFUSE = []string{
	"fuseblk", "fuse.ntfs", "fuse.ntfs-3g", "fuse.ext4", "fuse.exfat", "fuse.lxcfs", "fuse.fuse-overlayfs", "fuse.bindfs",
	"fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.securefs", "fuse.mergerfs", "fuse.unionfs",
}

func isNetworkType(fstype string) bool {
	if slices.Contains(networkTypes, fstype) {
		return true
	}
	isFUSE := fstype == "fuse" || strings.HasPrefix(fstype, "fuse.")
	return isFUSE && !slices.Contains(localFUSE, fstype)
}

// refuseNetworkFS returns an error if the database file lies, or would lie, on
// a network file system.
func refuseNetworkFS(file string) error {
	path, err := filepath.EvalSymlinks(file)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = filepath.EvalSymlinks(filepath.Dir(file))
	}
	if err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	fstype, err := fileSystemOf(path)
	if err != nil {
		return fmt.Errorf("find the file system of %s: %w", path, err)
	}
	if isNetworkType(fstype) {
		return withHint(fmt.Errorf("%s is on a network file system (%s), where the database would get corrupted", file, fstype),
			"choose a local --data directory, or a PostgreSQL --db")
	}
	return nil
}

// mountedType returns the type of the file system in which path lies, by the
// text of /proc/self/mountinfo, or "". path is absolute and without links.
func mountedType(mountinfo io.Reader, path string) (string, error) {
	found, length := "", -1
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, types := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(types) < 1 {
			continue
		}
		// Of mounts on one point the last hides the others.
		if point := unescape(fields[4]); len(point) >= length && below(path, point) {
			found, length = types[0], len(point)
		}
	}
	return found, lines.Err()
}

// below reports whether path is dir or lies in it.
func below(path, dir string) bool {
	if path == dir || dir == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(path, dir)
	return ok && os.IsPathSeparator(rest[0])
}

// unescape undoes the octal escapes of mountinfo, such as \040 for a space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

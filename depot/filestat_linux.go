package depot

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

func statOf(info fs.FileInfo) fileStat {
	s := fileStat{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ctime, s.inode, s.links = st.Ctim.Nano(), st.Ino, uint64(st.Nlink) //nolint:unconvert // 32 bits on arm64
	}
	return s
}

// openFlags keep a pipe that took a file's place from blocking.
const openFlags = syscall.O_NONBLOCK

// remoteFS reports whether a folder lies on a file system that other machines
// may write to, of which the kernel cannot tell events.
func remoteFS(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC:
		return true
	}
	return false
}

package bench

import (
	"fmt"
	"os"
	"syscall"
)

// syncData makes what was written to a file durable, without its times.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// syncAll writes out what others have left to be written.
func syncAll() { syscall.Sync() }

// endWithParent lets no server outlive a run that was killed.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

// Numbers of statfs(2).
var fileSystems = map[int64]string{
	0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs, which has no disk to sync", 0x794c7630: "overlayfs", 0x2fc12fc1: "zfs",
}

// fileSystem names what a folder lies on.
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	if name, ok := fileSystems[int64(s.Type)]; ok { //nolint:unconvert // other architectures have an int32
		return name
	}
	return fmt.Sprintf("%#x", s.Type)
}

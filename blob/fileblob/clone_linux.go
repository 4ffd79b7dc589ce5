package fileblob

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// clone makes dst share the bytes of src by FICLONE (btrfs, XFS, bcachefs, …).
func clone(dst, src *os.File) error {
	err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	switch err {
	case nil:
		return nil
	case unix.EOPNOTSUPP, unix.ENOTTY, unix.ENOSYS, unix.EXDEV, unix.EINVAL, unix.EPERM, unix.ETXTBSY:
		// Another file system, one that cannot, or a file that it will not share.
		return fmt.Errorf("clone %s: %w", src.Name(), errors.ErrUnsupported)
	}
	return &os.PathError{Op: "clone", Path: src.Name(), Err: err}
}

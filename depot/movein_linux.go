package depot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// moveIn moves the folder from/name of the WareHouse into its folder to. No part
// of to may be a link: whoever writes in a workspace could have planted one.
// Where to is missing the error is fs.ErrNotExist.
func moveIn(wareHouse *os.File, from, to, name string) error {
	dir, err := unix.Openat2(int(wareHouse.Fd()), to, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", to, err)
	}
	defer unix.Close(dir)
	if err := unix.Renameat(int(wareHouse.Fd()), from+"/"+name, dir, name); err != nil {
		return fmt.Errorf("move into %s: %w", to, err)
	}
	return nil
}

//go:build !linux

package depot

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// moveIn moves the folder from/name of the WareHouse into its folder to, which
// must not be reached through a link. Other than on Linux, a link that is
// planted at this very moment goes unnoticed.
func moveIn(wareHouse *os.File, from, to, name string) error {
	for dir := to; dir != "."; dir = path.Dir(dir) {
		info, err := os.Lstat(filepath.Join(wareHouse.Name(), dir))
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("move into %s: it is reached through a link", to)
		}
	}
	return os.Rename(filepath.Join(wareHouse.Name(), from, name), filepath.Join(wareHouse.Name(), to, name))
}

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile makes or replaces the file name below root in one step, with what
// write puts into it. Nothing outside root is touched, whatever name says; a
// failure leaves what was there.
func writeFile(root *os.Root, name string, mode fs.FileMode, write func(*os.File) error) (err error) {
	dir := filepath.Dir(name)
	if err := root.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	part := filepath.Join(dir, ".vitrine-"+rand.Text()[:12]+".part")
	f, err := root.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the error that is told came first
			err = errors.Join(err, root.Remove(part))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", name, err)
	}
	if err := root.Rename(part, name); err != nil {
		return fmt.Errorf("put file in place: %w", err)
	}
	return nil
}

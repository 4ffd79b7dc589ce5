//go:build !linux

package bench

import (
	"os"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

func syncAll() {}

func endWithParent() *syscall.SysProcAttr { return nil }

func fileSystem(string) string { return "unknown" }

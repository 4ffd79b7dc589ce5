package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirIsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "data")
	d, err := openDataDir(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, want := range map[string]fs.FileMode{".": 0o711, "WareHouse": 0o711, "blobs": 0o700, "lock": 0o600} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

func TestDataDirIsOneServers(t *testing.T) {
	path := t.TempDir()
	first, err := openDataDir(path, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = openDataDir(path, "")
	locked, ok := errors.AsType[*lockedError](err)
	if !ok || locked.pid != os.Getpid() || locked.path != path {
		t.Fatalf("second open: got %v, want the number of this process", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openDataDir(path, "")
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}

// A restore refuses folders that a server makes, so the lock must do without.
func TestLockMakesNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := lockDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	list, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name() != "lock" {
		t.Errorf("the directory has %v", list)
	}
}

func TestDataDirRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(file, ""); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("a file: got %v", err)
	}
	torn := t.TempDir()
	if err := os.Mkdir(filepath.Join(torn, "restoring"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(torn, ""); err == nil || !strings.Contains(err.Error(), "interrupted restore") {
		t.Errorf("a restore that was interrupted: got %v", err)
	}
	if d, err := lockDataDir(torn); err != nil {
		t.Errorf("the refusal kept the lock: %v", err)
	} else {
		d.Close()
	}
}

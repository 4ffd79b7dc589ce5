package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vitrine-hq/vitrine/depot"
)

// Modes of the data directory: folders that nodes of other users must pass
// through, and those that are nobody else's business.
const (
	modePassage = 0o711
	modePrivate = 0o700
)

// dataDir is a data directory that this process has locked.
type dataDir struct {
	path string // absolute
	lock *os.File
}

// lockedError says that another process works in the data directory.
type lockedError struct {
	path string
	pid  int // 0 when it did not say
}

// Error names the process.
func (e *lockedError) Error() string {
	if e.pid == 0 {
		return fmt.Sprintf("another server works in %s", e.path)
	}
	return fmt.Sprintf("another server works in %s (process %d)", e.path, e.pid)
}

// openDataDir makes what is missing of a data directory and locks it. It
// refuses one that another process has locked, that a restore left unfinished,
// or whose embedded database would lie on a network file system; db is the
// address of another database, or empty.
func openDataDir(path, db string) (_ *dataDir, err error) {
	d, err := lockDataDir(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if db == "" {
		if err := refuseNetworkFS(d.database()); err != nil {
			return nil, err
		}
	}
	if err := depot.Restored(d.path); err != nil {
		return nil, err
	}
	if err := makeDir(d.wareHouse(), modePassage); err != nil {
		return nil, err
	}
	return d, makeDir(d.blobs(), modePrivate)
}

// lockDataDir makes the directory alone, if it is missing, and locks it.
func lockDataDir(path string) (*dataDir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", path, err)
	}
	if err := makeDir(abs, modePassage); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(abs, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer lock.Close()
		return nil, &lockedError{abs, holder(lock)}
	}
	if err == nil {
		err = sign(lock)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", abs, err), lock.Close())
	}
	return &dataDir{path: abs, lock: lock}, nil
}

// holder returns the process that wrote its number into a lock, or 0.
func holder(lock *os.File) int {
	text, err := io.ReadAll(io.LimitReader(lock, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// sign writes the number of this process for those who find the lock taken.
func sign(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// makeDir makes a directory and those above it. What it made outlives a loss
// of power: a database in a folder that is forgotten would be lost with it.
func makeDir(path string, mode fs.FileMode) error {
	info, err := os.Stat(path)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDir(parent, 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, mode); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if mode != 0o755 { // a mask must not close what others pass through
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if err := syncDir(path); err != nil {
		return err
	}
	return syncDir(parent)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

func (d *dataDir) database() string  { return filepath.Join(d.path, "vitrine.db") }
func (d *dataDir) blobs() string     { return filepath.Join(d.path, "blobs") }
func (d *dataDir) wareHouse() string { return filepath.Join(d.path, "WareHouse") }

// Close gives the lock back. The file stays: removing it would let two
// processes lock two files of one name.
func (d *dataDir) Close() error {
	if err := d.lock.Truncate(0); err != nil {
		return errors.Join(fmt.Errorf("unlock %s: %w", d.path, err), d.lock.Close())
	}
	return d.lock.Close()
}

package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// restoringDir is the folder of a data directory that marks a restore under
// way and holds its database until it is complete.
const restoringDir = "restoring"

// Restore makes the data directory dataDir from a backup. It refuses one that
// holds data, but goes on with what an interrupted restore left there. The
// caller holds the lock on dataDir.
//
// Every blob is compared with its hash, and the folders of all sessions are
// written, before the database gets its name: until then there is no data
// directory that a server would take for one. The log gets a new id, so that
// cursors of the lost server expire.
func Restore(ctx context.Context, from, dataDir string, open OpenBlobs, progress Progress) error {
	info, err := readMark(from)
	if err != nil {
		return err
	}
	staged, err := stage(dataDir)
	if err != nil {
		return err
	}
	db := filepath.Join(staged, databaseFile)
	if err := copyDatabase(filepath.Join(from, databaseFile), db, info.Database); err != nil {
		return err
	}
	if err := checkRows(ctx, db); err != nil {
		return err
	}
	bucket, err := restoreBlobs(ctx, from, dataDir, db, open, progress)
	if err != nil {
		return err
	}
	if err := revive(ctx, db, bucket, filepath.Join(dataDir, wareHouseDir)); err != nil {
		return err
	}
	if err := os.Rename(db, filepath.Join(dataDir, databaseFile)); err != nil {
		return fmt.Errorf("put database in place: %w", err)
	}
	if err := syncDir(dataDir); err != nil {
		return err
	}
	if err := os.RemoveAll(staged); err != nil {
		return fmt.Errorf("remove folder of the restore: %w", err)
	}
	return nil
}

// stage makes, or finds, the folder in which the restore works.
func stage(dataDir string) (string, error) {
	staged := filepath.Join(dataDir, restoringDir)
	_, err := os.Stat(filepath.Join(dataDir, databaseFile))
	if err == nil {
		return "", artifact.Errorf(artifact.Exists, "%s already holds a database", dataDir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look into data directory: %w", err)
	}
	if _, err := os.Stat(staged); errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{databaseFile + "-wal", blobsDir, wareHouseDir} {
			if _, err := os.Lstat(filepath.Join(dataDir, name)); !errors.Is(err, fs.ErrNotExist) {
				return "", artifact.Errorf(artifact.Exists, "%s already holds data (%s)", dataDir, name)
			}
		}
	}
	if err := os.MkdirAll(dataDir, 0o711); err != nil {
		return "", fmt.Errorf("make data directory: %w", err)
	}
	if err := os.RemoveAll(staged); err != nil {
		return "", fmt.Errorf("remove what an interrupted restore left: %w", err)
	}
	if err := os.Mkdir(staged, 0o700); err != nil {
		return "", fmt.Errorf("make folder of the restore: %w", err)
	}
	return staged, syncDir(dataDir)
}

// copyDatabase copies the database of a backup and verifies the copy.
func copyDatabase(from, to string, want FileInfo) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open database of the backup: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	_, err = io.Copy(dst, src)
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	got, err := seal(to)
	if err != nil {
		return err
	}
	if got != want {
		return artifact.Errorf(artifact.Invalid, "The database of the backup is damaged")
	}
	return nil
}

// checkRows refuses a database whose rows would lead the server to folders that
// are not its own. A backup is not trusted: nothing else is touched before.
func checkRows(ctx context.Context, file string) error {
	rows, err := store.OpenCopy(ctx, file)
	if err != nil {
		return err
	}
	defer rows.Close() // only read
	err = rows.CheckNames(ctx)
	if errors.Is(err, store.ErrBadName) {
		return artifact.Wrap(artifact.Invalid, err, "The database of the backup names a session as none can be called")
	}
	return err
}

func restoreBlobs(ctx context.Context, from, dataDir, db string, open OpenBlobs, progress Progress) (*blob.Bucket, error) {
	src, err := open(filepath.Join(from, blobsDir))
	if err != nil {
		return nil, err
	}
	dst, err := open(filepath.Join(dataDir, blobsDir))
	if err != nil {
		return nil, err
	}
	if u, ok := dst.(blob.Unfinisher); ok { // what an interrupted restore left stands in the way
		for e, err := range u.Unfinished(ctx) {
			if err == nil {
				err = dst.Delete(ctx, e.Key)
			}
			if err != nil {
				return nil, fmt.Errorf("remove half a blob: %w", err)
			}
		}
	}
	c := &copying{from: blob.New(src), to: dst, resume: true, progress: progress}
	return blob.New(dst), c.all(ctx, db)
}

// revive gives the restored database its new log and writes the folders of its
// sessions, while it is still out of the way.
func revive(ctx context.Context, file string, bucket *blob.Bucket, wareHouse string) (err error) {
	if err := os.MkdirAll(wareHouse, 0o711); err != nil {
		return fmt.Errorf("make the WareHouse: %w", err)
	}
	db, err := store.OpenSQLite(ctx, file, store.Options{})
	if err != nil {
		return err
	}
	defer func() { // closing moves all of it into the one file
		if cerr := db.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = single(file)
		}
	}()
	if err := db.RenewLogID(ctx); err != nil {
		return err
	}
	d, err := Open(ctx, db, bucket, Options{WareHouse: wareHouse})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := d.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			syncAll() // a workspace file that a power cut empties would look like a change
		}
	}()
	release, err := d.sweeping.keep(ctx)
	if err != nil {
		return err
	}
	defer release()
	return d.eachSession(ctx, time.Time{}, func(s *artifact.Session) error {
		return d.Materialize(ctx, s)
	})
}

// single makes sure that the database is one durable file.
func single(file string) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(file + suffix); err == nil && info.Size() > 0 {
			return fmt.Errorf("the restored database was not closed: %s%s is left", filepath.Base(file), suffix)
		}
	}
	_, err := seal(file)
	return err
}

// Restored returns an error if a restore of the data directory was interrupted
// and has to be repeated. A server that started there would begin with nothing.
func Restored(dataDir string) error {
	if _, err := os.Stat(filepath.Join(dataDir, databaseFile)); err == nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dataDir, restoringDir)); err == nil {
		return artifact.Errorf(artifact.Unavailable, "%s holds an interrupted restore: run it again", dataDir)
	}
	return nil
}

package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// OpenBlobs opens, or makes, the folder in which blobs are kept as files.
type OpenBlobs func(dir string) (blob.Driver, error)

// What is where in a backup, and in a data directory.
const (
	databaseFile = "vitrine.db"
	blobsDir     = "blobs"
	wareHouseDir = "WareHouse"
	backupFile   = "backup.json" // of a backup only, written last
)

// BackupInfo is backup.json: it says that a backup is complete, and of what.
type BackupInfo struct {
	Version  int       `json:"version"` // of this layout
	Created  time.Time `json:"created_at"`
	LogID    string    `json:"log_id"` // of the server that was backed up
	Database FileInfo  `json:"database"`
	Blobs    int64     `json:"blobs"`
	Bytes    int64     `json:"bytes"` // of those blobs
}

// FileInfo is what a file has to be like.
type FileInfo struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// backupVersion is the layout that this program writes and reads.
const backupVersion = 1

// Backup writes a copy of all rows and of every blob they name to the folder
// dir, which is made, or is there and empty. The copy shows one moment; the
// server goes on meanwhile, but for the sweeper. Every blob is read in full and
// compared with its hash; one that is missing or damaged ends the backup with
// an error. Workspaces are not in it: they are made again from it, without what
// was never captured.
//
// An interrupted backup has no backup.json; [Restore] refuses it.
func (d *Depot) Backup(ctx context.Context, dir string, open OpenBlobs, progress Progress) (BackupInfo, error) {
	var info BackupInfo
	if d.db.Engine() != "sqlite" {
		return info, artifact.Errorf(artifact.Invalid,
			"Only the embedded database is backed up by vitrine: use pg_dump, and then copy the blobs")
	}
	release, err := d.sweeping.keep(ctx) // before the rows are copied
	if err != nil {
		return info, err
	}
	defer release()
	if err := makeEmpty(dir); err != nil {
		return info, err
	}
	info = BackupInfo{Version: backupVersion, Created: d.opt.Now().UTC(), LogID: d.db.LogID()}
	db := filepath.Join(dir, databaseFile)
	if err := d.db.Backup(ctx, db); err != nil {
		return info, err
	}
	if err := os.Chmod(db, 0o600); err != nil {
		return info, fmt.Errorf("protect backup: %w", err)
	}
	if info.Database, err = seal(db); err != nil {
		return info, err
	}
	to, err := open(filepath.Join(dir, blobsDir))
	if err != nil {
		return info, err
	}
	c := &copying{from: d.bucket, to: to, progress: progress}
	if err := c.all(ctx, db); err != nil {
		return info, err
	}
	info.Blobs, info.Bytes = c.blobs.Load(), c.bytes.Load()
	err = writeMark(dir, &info)
	return info, err
}

// makeEmpty makes a folder, or takes one that is empty.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make backup folder: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look into backup folder: %w", err)
	}
	if len(list) == 0 {
		return syncDir(filepath.Dir(filepath.Clean(dir)))
	}
	if _, err := os.Stat(filepath.Join(dir, backupFile)); errors.Is(err, fs.ErrNotExist) {
		return artifact.Errorf(artifact.Exists, "%s is not empty; if it holds an interrupted backup, remove it", dir)
	}
	return artifact.Errorf(artifact.Exists, "%s already holds a backup", dir)
}

// writeMark declares the backup complete.
func writeMark(dir string, info *BackupInfo) error {
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", backupFile, err)
	}
	tmp := filepath.Join(dir, backupFile+".tmp")
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", backupFile, err)
	}
	if _, err := seal(tmp); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil { // what the mark speaks of, before the mark
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, backupFile)); err != nil {
		return fmt.Errorf("write %s: %w", backupFile, err)
	}
	return syncDir(dir)
}

// readMark returns what a complete backup holds.
func readMark(dir string) (BackupInfo, error) {
	var info BackupInfo
	text, err := os.ReadFile(filepath.Join(dir, backupFile))
	if errors.Is(err, fs.ErrNotExist) {
		return info, artifact.Errorf(artifact.Invalid, "%s holds no complete backup: %s is missing", dir, backupFile)
	}
	if err != nil {
		return info, fmt.Errorf("read %s: %w", backupFile, err)
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return info, artifact.Errorf(artifact.Invalid, "%s of %s is damaged", backupFile, dir)
	}
	if info.Version != backupVersion {
		return info, artifact.Errorf(artifact.Invalid, "The backup has version %d; this program knows version %d", info.Version, backupVersion)
	}
	return info, nil
}

// copying copies blobs that rows name from one place to another.
type copying struct {
	from     *blob.Bucket
	to       blob.Driver
	resume   bool // blobs may be there from an earlier attempt
	progress Progress

	blobs, bytes atomic.Int64
}

// all copies every blob that the copy of a database in file names.
func (c *copying) all(ctx context.Context, file string) error {
	rows, err := store.OpenCopy(ctx, file)
	if err != nil {
		return err
	}
	defer rows.Close()
	total, err := rows.Totals(ctx)
	if err != nil {
		return err
	}
	var last store.Stored
	var done int64
	for {
		list, err := rows.AllStored(ctx, last, pageSize)
		if err != nil || len(list) == 0 {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(readers)
		for _, row := range list {
			if !store.InRow(row.Key) {
				g.Go(func() error { return c.one(gctx, blob.Info(row.Blob)) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
		last = list[len(list)-1]
		done += int64(len(list))
		c.progress.tell(done, total.Versions)
	}
}

func (c *copying) one(ctx context.Context, b blob.Info) error {
	c.blobs.Add(1)
	c.bytes.Add(b.Size)
	if c.resume {
		if err := blob.New(c.to).Verify(ctx, b); err == nil {
			return nil
		}
		if err := c.to.Delete(ctx, b.Key); err != nil {
			return fmt.Errorf("remove half a blob: %w", err)
		}
	}
	r, err := c.from.Open(ctx, b.Key, b.Size)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := c.to.Put(ctx, b.Key, &verified{r: r, want: b, hash: sha256.New()}); err != nil {
		return fmt.Errorf("copy blob %s: %w", b.Key, err)
	}
	return nil
}

// verified gives the bytes of a blob and fails at their end if they are not
// those that a row names, so that nothing false is ever stored.
type verified struct {
	r    io.Reader
	want blob.Info
	n    int64
	hash hash.Hash
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && (v.n != v.want.Size || hex.EncodeToString(v.hash.Sum(nil)) != v.want.SHA256) {
		return n, blob.ErrDamaged
	}
	return n, err
}

// seal makes a file durable and returns what it holds. Its name is left to
// syncDir.
func seal(name string) (FileInfo, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return FileInfo{}, fmt.Errorf("open for sync: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return FileInfo{}, fmt.Errorf("sync %s: %w", filepath.Base(name), err)
	}
	return FileInfo{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder for sync: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

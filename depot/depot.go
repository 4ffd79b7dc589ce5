// Package depot holds the use cases of Vitrine: where bytes and rows meet. It
// knows what an upload does, how a log is followed and what a session shows at
// any position; it does not speak HTTP (package api) and holds no SQL (package
// store). Read this file first, then upload.go and follow.go.
package depot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/store"
)

// Options are the settings of a Depot; WareHouse is the only one that must be set.
type Options struct {
	WareHouse   string        // folder of the session folders; it must exist
	InlineLimit int64         // contents up to this size live in rows; 0 means 16 KiB
	MaxUpload   int64         // bytes of one file; 0 means no limit
	Implicit    bool          // the first upload to a new id makes the session
	Ignore      []string      // names of folders that are never captured
	Watch       bool          // look for changes in workspaces by file system events
	AutoClean   bool          // delete the bytes of uploads when a session is left (extensions §5)
	KeepEvents  int64         // entries kept in a log; 0 keeps all
	Retention   time.Duration // age since the last entry after which a session goes; 0 means never
	SweepGrace  time.Duration // age from which unreferenced bytes go; 0 means 24 h
	ExposePaths bool          // show absolute paths of the server

	Scanner      scan.Scanner // looks at every content that comes in; nil for none
	ScanHold     bool         // nobody but its owner reads a content before it is clean
	ScanRequired bool         // nobody reads what cannot be scanned
	scanPause    time.Duration

	Log *slog.Logger
	Now func() time.Time
}

func (o *Options) defaults() {
	if o.InlineLimit == 0 {
		o.InlineLimit = 16 << 10
	}
	if o.SweepGrace == 0 {
		o.SweepGrace = 24 * time.Hour
	}
	if o.scanPause == 0 {
		o.scanPause = scanPause
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Depot is the use cases over one database, one bucket and one folder.
type Depot struct {
	db        *store.DB
	bucket    *blob.Bucket
	opt       Options
	tails     tails
	watch     *watcher
	manifest  *manifests
	scanning  *scanning
	sweeping  hold
	purging   purging
	followers followers
	imports   *semaphore.Weighted // archives that are unpacked

	wareHouse *os.File // the folder, open
	reflink   bool     // it can share bytes with the bucket

	// folders is held for writing while a session is deleted and its folder
	// moved away, for reading while one is made.
	folders sync.RWMutex

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// incoming is the folder of the WareHouse in which uploads are written before
// they are moved into their session.
const incoming = ".incoming"

// Open starts the use cases and the background work that goes with them.
func Open(ctx context.Context, db *store.DB, bucket *blob.Bucket, opt Options) (*Depot, error) {
	opt.defaults()
	// What a crash left in the middle of uploads was never acknowledged.
	if err := os.RemoveAll(filepath.Join(opt.WareHouse, incoming)); err != nil {
		return nil, fmt.Errorf("clear upload folder: %w", err)
	}
	for _, name := range []string{incoming, trash} {
		if err := os.MkdirAll(filepath.Join(opt.WareHouse, name), 0o700); err != nil {
			return nil, fmt.Errorf("make folder of the WareHouse: %w", err)
		}
	}
	wareHouse, err := os.Open(opt.WareHouse)
	if err != nil {
		return nil, fmt.Errorf("open WareHouse: %w", err)
	}
	d := &Depot{db: db, bucket: bucket, opt: opt, wareHouse: wareHouse, imports: semaphore.NewWeighted(maxImports)}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.tails.d = d
	d.watch = newWatcher(d)
	d.manifest = newManifests(d)
	d.scanning = newScanning(d)
	d.reflink = d.probeReflink(ctx)
	if err := d.resumeDeletions(ctx); err != nil {
		_ = d.Close()
		return nil, err
	}
	d.background(d.sweepLoop)
	if opt.Scanner != nil {
		d.background(d.scanning.run)
	}
	return d, nil
}

// Close stops the background work and waits for it. The database and the
// bucket stay open.
func (d *Depot) Close() error {
	d.cancel()
	d.wg.Wait()
	if err := d.manifest.flush(); err != nil { // it is a view, made again from rows
		d.opt.Log.Warn("manifests cannot be written", "err", err)
	}
	return d.wareHouse.Close()
}

// background runs f until Close, which ends its context and waits for it.
func (d *Depot) background(f func(ctx context.Context)) {
	d.wg.Go(func() { f(d.ctx) })
}

// Database returns the rows, for readiness and for tests.
func (d *Depot) Database() *store.DB { return d.db }

// MaxUpload is how many bytes one file may have; 0 is any.
func (d *Depot) MaxUpload() int64 { return d.opt.MaxUpload }

// LogID names the log (see [store.DB.LogID]).
func (d *Depot) LogID() string { return d.db.LogID() }

// dir returns the folder of a session. Tenants other than the first have a
// folder of their own around it (extensions §2).
func (d *Depot) dir(s *artifact.Session) string {
	return filepath.Join(d.opt.WareHouse, filepath.FromSlash(d.below(s)))
}

// below returns the same folder as a path below the WareHouse, with slashes.
// What makes or moves it there works on an os.Root: no name leads out.
func (d *Depot) below(s *artifact.Session) string {
	name := artifact.SessionPrefix + string(s.ID)
	if s.Tenant == d.db.FirstTenant() {
		return name
	}
	return s.Tenant + "/" + name
}

// workspace returns the folder in which a session's files lie.
func (d *Depot) workspace(s *artifact.Session) string {
	return filepath.Join(d.dir(s), artifact.WorkspaceDir)
}

// probeReflink finds out whether an upload can share its bytes with the
// workspace instead of being written twice.
func (d *Depot) probeReflink(ctx context.Context) bool {
	info, err := d.bucket.Put(ctx, bytes.NewReader(make([]byte, 4096)), 0)
	if err != nil {
		return false
	}
	defer func() { _ = d.bucket.Delete(ctx, info.Key) }() // else the sweeper does
	f, err := os.CreateTemp(filepath.Join(d.opt.WareHouse, incoming), "probe-")
	if err != nil {
		return false
	}
	defer func() { _ = os.Remove(f.Name()) }() // else the next start does
	defer f.Close()
	return d.bucket.Clone(info.Key, f) == nil
}

// noRoom turns a full disk into an error that the client understands.
func noRoom(err error) error {
	if artifact.KindOf(err) == artifact.Internal && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		return artifact.Wrap(artifact.Full, err, "No space left on the server's disk")
	}
	return err
}

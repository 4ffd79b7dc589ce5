package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// Report is what a check found.
type Report struct {
	Sessions    int64    `json:"sessions"`
	Entries     int64    `json:"entries"`
	Versions    int64    `json:"versions"` // entries that name bytes
	Bytes       int64    `json:"bytes"`
	Faults      []string `json:"faults"` // one sentence each; empty when all is well
	Omitted     int64    `json:"faults_omitted,omitempty"`
	Orphans     int64    `json:"orphans"` // blobs that no row names; the sweeper has them
	OrphanBytes int64    `json:"orphan_bytes"`
	Pending     int64    `json:"pending"` // deleted sessions whose rows are still to be purged
	Deep        bool     `json:"deep"`
}

// maxFaults bounds what a report tells of one by one.
const maxFaults = 1000

// Clean reports whether the check found no fault.
func (r *Report) Clean() bool { return len(r.Faults) == 0 }

// Progress is told how far a long operation has come. It may be called by any
// goroutine, one at a time.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// Check verifies that what the rows say is true: the bytes of every version are
// there and have its size, those of small contents and, if deep, of all have
// its hash, no log has a gap, every small content is named. It reads one
// snapshot while the server goes on; nothing that the snapshot names is deleted
// meanwhile. Blobs that no row names and deletions under way are counted and
// are no faults. An error means that the check could not be done.
func (d *Depot) Check(ctx context.Context, deep bool, progress Progress) (Report, error) {
	release, err := d.sweeping.keep(ctx) // before the snapshot
	if err != nil {
		return Report{}, err
	}
	defer release()
	c := &check{d: d, deep: deep, progress: progress, report: Report{Faults: []string{}, Deep: deep}}
	start := d.opt.Now()
	err = d.db.Snapshot(ctx, func(r *store.Reads) error {
		c.rows = r
		return c.run(ctx)
	})
	if err != nil {
		return Report{}, err
	}
	live := func(keys []string) (map[string]bool, error) { return d.db.LiveBlobs(ctx, keys) }
	for b, err := range d.bucket.Garbage(ctx, start, live) {
		if err != nil {
			return Report{}, err
		}
		c.report.Orphans++
		c.report.OrphanBytes += b.Size
	}
	return c.report, nil
}

// check is one run of Check over one snapshot.
type check struct {
	d        *Depot
	rows     *store.Reads
	deep     bool
	progress Progress

	mu     sync.Mutex
	report Report
}

func (c *check) run(ctx context.Context) error {
	t, err := c.rows.Totals(ctx)
	if err != nil {
		return err
	}
	c.report.Sessions, c.report.Entries, c.report.Versions = t.Sessions, t.Entries, t.Versions
	c.report.Bytes, c.report.Pending = t.Bytes, t.Pending
	if t.Lost > 0 {
		c.fault("%d versions of workspace files name no bytes", t.Lost)
	}
	logs, err := c.rows.LogFaults(ctx)
	if err != nil {
		return err
	}
	for _, f := range logs {
		c.fault("%s", f)
	}
	var last store.Stored
	var done int64
	for {
		list, err := c.rows.AllStored(ctx, last, pageSize)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := c.page(ctx, list); err != nil {
			return err
		}
		last = list[len(list)-1]
		done += int64(len(list))
		c.progress.tell(done, t.Versions)
	}
}

// readers is how many blobs are read at the same time.
const readers = 4

// page checks the bytes of some versions: blobs beside each other, small
// contents one by one because they come through the one snapshot.
func (c *check) page(ctx context.Context, list []store.Stored) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, row := range list {
		if !store.InRow(row.Key) {
			g.Go(func() error { return c.blob(gctx, row) })
		}
	}
	var err error
	for _, row := range list {
		if store.InRow(row.Key) && err == nil {
			err = c.content(ctx, row)
		}
	}
	return errors.Join(err, g.Wait())
}

func (c *check) content(ctx context.Context, row store.Stored) error {
	b, err := c.rows.Content(ctx, row.Key)
	switch {
	case artifact.KindOf(err) == artifact.NotFound:
		c.faultOf(ctx, row, "its content is missing")
	case err != nil:
		return err
	case int64(len(b)) != row.Size:
		c.faultOf(ctx, row, fmt.Sprintf("its content has %d bytes, not %d", len(b), row.Size))
	default:
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != row.SHA256 {
			c.faultOf(ctx, row, "its content has another hash")
		}
	}
	return nil
}

func (c *check) blob(ctx context.Context, row store.Stored) error {
	test := c.d.bucket.Check
	if c.deep {
		test = c.d.bucket.Verify
	}
	err := test(ctx, blob.Info(row.Blob))
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	// Another node knows nothing of our hold: what it has deleted with its row
	// is no fault.
	live, lerr := c.d.db.LiveBlobs(ctx, []string{row.Key})
	if lerr != nil {
		return lerr
	}
	if !live[row.Key] {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		c.faultOf(ctx, row, "its bytes are missing")
	} else {
		c.faultOf(ctx, row, err.Error())
	}
	return nil
}

// faultOf notes what is wrong with a version.
func (c *check) faultOf(ctx context.Context, row store.Stored, what string) {
	where := fmt.Sprintf("session with key %d", row.Session)
	if s, err := c.d.db.SessionByKey(ctx, row.Session); err == nil {
		where = fmt.Sprintf("session %s of %s", s.ID, s.Tenant)
	}
	c.fault("%s, entry %d: %s", where, row.Seq, what)
}

func (c *check) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.report.Faults) == maxFaults {
		c.report.Omitted++
		return
	}
	c.report.Faults = append(c.report.Faults, fmt.Sprintf(format, args...))
}

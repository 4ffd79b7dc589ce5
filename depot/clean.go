package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// CleanUploads deletes the bytes of a session's uploads for privacy
// (extensions §5): in rows, in blobs and in the workspace, together with the
// manifest there. What the session made stays, and so do the entries of the
// uploads, as "cleaned". One entry of the log tells of it. Uploads that come in
// while it runs are left alone. Where nothing is left to clean it does nothing.
//
// It works in steps; one that a crash cut off is taken up by the next call.
func (d *Depot) CleanUploads(ctx context.Context, tenant string, id artifact.SessionID) error {
	d.sweeping.cleaning.Lock() // so that one cleaning writes one entry
	defer d.sweeping.cleaning.Unlock()
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return err
	}
	c := &cleaning{d: d, s: &s}
	list, err := c.next(ctx)
	for err == nil && len(list) > 0 {
		var more []artifact.Entry
		if more, err = c.next(ctx); err == nil {
			err = c.step(ctx, list, len(more) == 0)
		}
		list = more
	}
	if err != nil {
		return err
	}
	if c.done.Count > 0 {
		d.forget()
	}
	if s.Attachments == 0 {
		return nil
	}
	return c.tidy(ctx)
}

// cleaning is one run of CleanUploads.
type cleaning struct {
	d     *Depot
	s     *artifact.Session
	after artifact.Seq
	done  cleaned
}

// cleaned is the data of the entry that tells of a cleaning.
type cleaned struct {
	Count int64        `json:"count"`
	Bytes int64        `json:"bytes"`
	UpTo  artifact.Seq `json:"up_to"` // later uploads were not cleaned
}

// cleanStep is how many uploads go in one transaction.
const cleanStep = 500

// next returns uploads that have bytes, up to the position at which the
// cleaning began.
func (c *cleaning) next(ctx context.Context) ([]artifact.Entry, error) {
	var kept []artifact.Entry
	for len(kept) == 0 {
		list, err := c.d.db.Uploads(ctx, c.s, c.after, cleanStep)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			c.after = e.Seq
			if e.Seq <= c.s.LastSeq && !e.Version.Cleaned() {
				kept = append(kept, e)
			}
		}
		if len(list) < cleanStep || c.after > c.s.LastSeq {
			break
		}
	}
	return kept, nil
}

// step forgets uploads, and when they are the last tells of all, in one
// transaction; then it deletes what nothing names any more.
func (c *cleaning) step(ctx context.Context, list []artifact.Entry, last bool) error {
	seqs := make([]artifact.Seq, len(list))
	for i, e := range list {
		seqs[i] = e.Seq
		c.done.Count++
		c.done.Bytes += e.Version.Size
	}
	c.done.UpTo = c.s.LastSeq
	err := c.d.db.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.Clean(c.s.Key, seqs); err != nil || !last {
			return err
		}
		data, err := json.Marshal(c.done)
		if err != nil {
			return fmt.Errorf("encode entry: %w", err)
		}
		tx.Audit(c.s.Tenant, onSession("session.clean", c.s.ID))
		return tx.Append(c.s.Key, &artifact.Entry{Type: artifact.TypeCleaned, Data: data})
	})
	if err != nil {
		return err
	}
	return c.delete(ctx, list)
}

// delete removes the bytes of uploads that were forgotten.
func (c *cleaning) delete(ctx context.Context, list []artifact.Entry) error {
	var keys []string
	for _, e := range list {
		if !store.InRow(e.Version.Key) {
			keys = append(keys, e.Version.Key)
		}
	}
	if err := c.d.dropBlobs(ctx, c.s.ID, keys); err != nil {
		return err
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Version.Attachment
	}
	return c.d.removeCopies(c.s, names...)
}

// removeCopies removes names from a session's folder of attachments.
func (d *Depot) removeCopies(s *artifact.Session, names ...string) error {
	root, err := d.openAttachments(s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, errNoFolder) {
		// What leads elsewhere is not followed: copies may lie there.
		d.opt.Log.Warn("the folder of attachments was replaced, copies of uploads cannot be removed", "session", s.ID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open folder of attachments: %w", err)
	}
	defer root.Close()
	var errs first
	for _, name := range names {
		if err := root.RemoveAll(name); err != nil {
			errs.add(fmt.Errorf("remove copy of an upload: %w", err))
		}
	}
	return errs.err
}

// tidy removes the manifest, which names what was cleaned, and the folder of
// attachments if it is empty. Where uploads have come in since, the manifest is
// written again for them.
func (c *cleaning) tidy(ctx context.Context) error {
	if err := c.d.manifest.forget(ctx, c.s.Key); err != nil {
		return err
	}
	if err := c.d.removeCopies(c.s, manifestName); err != nil {
		return err
	}
	if root, err := c.d.openWorkspace(c.s); err == nil {
		_ = root.Remove(artifact.AttachmentsDir) // fails while something is in it; an upload makes it again
		_ = root.Close()                         // only read
	}
	now, err := c.d.db.SessionByKey(ctx, c.s.Key)
	if err != nil {
		return err
	}
	if now.Attachments > c.s.Attachments {
		c.d.manifestChanged(&now)
	}
	return nil
}

// forget drops what is still to be written of a manifest. It waits for a write
// that is under way, which takes milliseconds.
func (m *manifests) forget(ctx context.Context, key int64) error {
	for {
		m.mu.Lock()
		x := m.m[key]
		if x != nil {
			x.pending = false
		}
		writing := x != nil && x.writing
		m.mu.Unlock()
		if !writing {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package depot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// manifestName is the name of the manifest, which lies among the uploads.
const manifestName = "attachments_manifest.json"

// ManifestRecord is one record of the manifest (contract, sessions §1): the
// keys of the reference, then ours.
type ManifestRecord struct {
	Ref           ManifestRef    `json:"ref"`
	Kind          string         `json:"kind"`
	Description   *string        `json:"description"`
	Extra         map[string]any `json:"extra"`
	Source        string         `json:"source"`
	WorkspacePath string         `json:"workspace_path"`
	Storage       string         `json:"storage"`
	CreatedAt     float64        `json:"created_at,omitzero"`
	UpdatedAt     float64        `json:"updated_at,omitzero"`
}

// ManifestRef is what the reference keeps of a file.
type ManifestRef struct {
	AttachmentID string `json:"attachment_id"`
	MIMEType     string `json:"mime_type"`
	Name         string `json:"name"`
	Size         int64  `json:"size"`
	SHA256       string `json:"sha256,omitempty"`
	LocalPath    string `json:"local_path,omitempty"`
}

// Record returns the manifest's record of a version.
func (d *Depot) Record(v *artifact.Version) ManifestRecord {
	updated := artifact.UnixSeconds(v.At)
	created := updated
	switch at := v.Extra[createdAt].(type) {
	case float64:
		created = at
	case json.Number: // as it was read from a row
		if t, err := at.Float64(); err == nil {
			created = t
		}
	}
	return ManifestRecord{
		Ref: ManifestRef{
			AttachmentID: v.Attachment, MIMEType: v.MIME, Name: v.Name, Size: v.Size, SHA256: v.SHA256, LocalPath: v.LocalPath(),
		},
		Kind: v.Kind(), Extra: v.ManifestExtra(), Source: v.Source, WorkspacePath: v.Path, Storage: v.Storage(),
		CreatedAt: created, UpdatedAt: updated,
	}
}

// leftOut adds why an archive does not hold the file, unless that is empty.
func (r ManifestRecord) leftOut(why string) ManifestRecord {
	if why != "" {
		r.Extra["skipped"], r.Extra["reason"] = true, why
	}
	return r
}

// skippedRecord tells of something that is not captured. The path of a folder
// ends with a slash.
func skippedRecord(path, reason string) (key string, r ManifestRecord) {
	kind := artifact.OctetStream
	if strings.HasSuffix(path, "/") {
		kind = "inode/directory"
	}
	path = strings.TrimSuffix(path, "/")
	key = "skipped:" + path
	return key, ManifestRecord{
		Ref:  ManifestRef{AttachmentID: key, MIMEType: kind, Name: path[strings.LastIndexByte(path, '/')+1:]},
		Kind: "file", Source: artifact.SourceWorkspace, WorkspacePath: path, Storage: "skipped",
		Extra: map[string]any{
			"skipped": true, "reason": reason, "relative_path": path,
			"source": artifact.SourceWorkspace, "workspace_path": path, "storage": "skipped",
		},
	}
}

// writeManifest writes the manifest of a position: the files in the order of
// their entries, those that are left out with the reason, then what is not
// captured now. Memory is constant.
func (d *Depot) writeManifest(ctx context.Context, s *artifact.Session, at artifact.Seq, w io.Writer, left map[artifact.Seq]string) error {
	m := manifestWriter{w: bufio.NewWriterSize(w, 64<<10)}
	for v, err := range d.Files(ctx, s, at) {
		if err != nil {
			return err
		}
		if err := m.add(v.Attachment, d.Record(v).leftOut(left[v.Seq])); err != nil {
			return err
		}
	}
	skipped, err := d.db.Skipped(ctx, s.Key)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(skipped)) {
		if err := m.add(skippedRecord(p, skipped[p])); err != nil {
			return err
		}
	}
	return m.close()
}

// manifestWriter writes an indented JSON object key by key.
type manifestWriter struct {
	w    *bufio.Writer
	some bool
	buf  bytes.Buffer
}

func (m *manifestWriter) add(key string, r ManifestRecord) error {
	sep := "{\n  "
	if m.some {
		sep = ",\n  "
	}
	m.some = true
	m.buf.Reset()
	m.buf.WriteString(sep)
	enc := json.NewEncoder(&m.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(key); err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	m.buf.Truncate(m.buf.Len() - 1) // the line end
	m.buf.WriteString(": ")
	enc.SetIndent("  ", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	m.buf.Truncate(m.buf.Len() - 1)
	_, err := m.w.Write(m.buf.Bytes())
	return err
}

func (m *manifestWriter) close() error {
	end := "\n}"
	if !m.some {
		end = "{}"
	}
	if _, err := m.w.WriteString(end); err != nil {
		return err
	}
	return m.w.Flush()
}

// manifests keeps the manifests on the disk after the rows. They are a view for
// people and for programs that read folders, so they are neither synced nor
// written for each change: a manifest is written again only after twenty times
// as long as writing it took.
type manifests struct {
	d      *Depot
	kick   chan struct{}
	writes atomic.Int64

	mu sync.Mutex
	m  map[int64]*stalled
}

// stalled is a session whose manifest was written a while ago or is to be.
type stalled struct {
	pending  bool      // it is behind
	due      time.Time // when it is written, or forgotten if nothing is pending
	writing  bool
	failures int
}

const (
	manifestPause   = 50 * time.Millisecond // at least, before a write
	manifestFactor  = 20
	manifestWriters = 4
	manifestFlush   = 30 * time.Second // for what is pending at Close
)

func newManifests(d *Depot) *manifests {
	m := &manifests{d: d, kick: make(chan struct{}, 1), m: map[int64]*stalled{}}
	d.background(m.run)
	return m
}

// manifestChanged says that the manifest of a session on the disk is behind.
func (d *Depot) manifestChanged(s *artifact.Session) {
	m := d.manifest
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.m[s.Key]
	if x == nil {
		x = &stalled{}
		m.m[s.Key] = x
	}
	if x.pending {
		return
	}
	x.pending = true
	if t := time.Now().Add(manifestPause); x.due.Before(t) {
		x.due = t
	}
	m.wake()
}

func (m *manifests) wake() {
	select {
	case m.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// run writes what is due until ctx ends.
func (m *manifests) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, manifestWriters)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.kick:
		case <-timer.C:
		}
		timer.Reset(m.dispatch(func(key int64) {
			wg.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				m.update(ctx, key)
			})
		}))
	}
}

// dispatch hands out what is due and returns how long it is until the next.
func (m *manifests) dispatch(start func(key int64)) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	wake := now.Add(time.Hour)
	for key, x := range m.m {
		switch {
		case x.writing: // update wakes the loop
		case x.due.After(now):
			if x.due.Before(wake) {
				wake = x.due
			}
		case x.pending:
			x.writing, x.pending = true, false
			start(key)
		default:
			delete(m.m, key)
		}
	}
	return max(wake.Sub(now), time.Millisecond)
}

// update writes one manifest and decides when it may be written again.
func (m *manifests) update(ctx context.Context, key int64) {
	start := time.Now()
	err := m.write(ctx, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.m[key]
	x.writing = false
	wait := max(manifestFactor*time.Since(start), manifestPause)
	switch {
	case err == nil:
		x.failures = 0
	case ctx.Err() != nil:
		x.pending = true // flush writes it
	default:
		x.pending = true
		x.failures = min(x.failures+1, 6)
		wait += time.Second << x.failures
		m.d.opt.Log.Warn("manifest cannot be written", "session_key", key, "again_in", wait, "err", err)
	}
	x.due = time.Now().Add(wait)
	m.wake()
}

// flush writes what is pending. It is called when run has ended.
func (m *manifests) flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.d.ctx), manifestFlush)
	defer cancel()
	var errs []error
	for key, x := range m.m {
		if x.pending {
			errs = append(errs, m.write(ctx, key))
		}
	}
	clear(m.m)
	return errors.Join(errs...)
}

// write replaces the manifest of a session that is there and has a workspace.
func (m *manifests) write(ctx context.Context, key int64) error {
	s, err := m.d.db.SessionByKey(ctx, key)
	if errors.Is(err, store.ErrNoSession) {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := m.d.openWorkspace(&s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()
	if err := root.MkdirAll(artifact.AttachmentsDir, 0o700); err != nil {
		return fmt.Errorf("make folder of uploads: %w", err)
	}
	tmp := artifact.AttachmentsDir + "/.manifest-" + rand.Text()
	err = m.d.writeManifestFile(ctx, &s, root, tmp)
	if err == nil {
		err = root.Rename(tmp, artifact.AttachmentsDir+"/"+manifestName)
	}
	if err == nil {
		m.writes.Add(1)
		return nil
	}
	_ = root.Remove(tmp)
	if _, gone := m.d.db.SessionByKey(ctx, key); errors.Is(gone, store.ErrNoSession) {
		return nil // the folder went away with the session
	}
	return fmt.Errorf("write manifest: %w", err)
}

func (d *Depot) writeManifestFile(ctx context.Context, s *artifact.Session, root *os.Root, name string) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = d.writeManifest(ctx, s, s.LastSeq, f, nil)
	return errors.Join(err, f.Close())
}

package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"time"
)

// Mem is a Driver that keeps its blobs in memory, for tests and trials. It is
// durable only in the sense that it lasts as long as the process.
type Mem struct {
	mu    sync.RWMutex
	blobs map[string]memBlob
}

type memBlob struct {
	data     []byte // never changed once stored
	modified time.Time
}

// NewMem returns an empty Mem.
func NewMem() *Mem { return &Mem{blobs: map[string]memBlob{}} }

// Put implements Driver.
func (m *Mem) Put(ctx context.Context, key string, r io.Reader) error {
	var data bytes.Buffer
	if _, err := Copy(ctx, &data, r); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[key] = memBlob{data.Bytes(), time.Now()}
	return nil
}

// Get implements Driver.
func (m *Mem) Get(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.blobs[key]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", key, fs.ErrNotExist)
	}
	rest := b.data[min(off, int64(len(b.data))):]
	if n >= 0 && n < int64(len(rest)) {
		rest = rest[:n]
	}
	return io.NopCloser(bytes.NewReader(rest)), nil
}

// Delete implements Driver.
func (m *Mem) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, key)
	return nil
}

// List implements Driver.
func (m *Mem) List(context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		m.mu.RLock()
		entries := make([]Entry, 0, len(m.blobs))
		for key, b := range m.blobs {
			entries = append(entries, Entry{Key: key, Size: int64(len(b.data)), Modified: b.modified})
		}
		m.mu.RUnlock() // before the loop's body runs: it may delete
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

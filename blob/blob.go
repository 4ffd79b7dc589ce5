// Package blob keeps bytes under random keys: written once, whole and durable
// or not at all, read by range, deleted by the sweeper only. It knows nothing
// of files, sessions or tenants; rows elsewhere say what a key means. Read
// this file first, then driver.go.
package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// ErrTooLarge is the error of a Put that was given more bytes than its limit.
var ErrTooLarge = errors.New("more bytes than the limit")

// Bucket makes keys, counts, hashes and limits, once for all drivers.
// Its methods may be called at the same time.
type Bucket struct{ drv Driver }

// New returns a Bucket that keeps its bytes in d.
func New(d Driver) *Bucket { return &Bucket{drv: d} }

// Info says where bytes lie and what they are.
type Info struct {
	Key    string
	SHA256 string // lower-case hex
	Size   int64
}

// Put stores what r gives until io.EOF, at most limit bytes where limit is
// positive. When it returns nil the bytes are durable; when it fails there is
// nothing. The error is ErrTooLarge, or r's own where r failed, or the driver's.
// Memory is constant whatever the size.
func (b *Bucket) Put(ctx context.Context, r io.Reader, limit int64) (Info, error) {
	key, m := newKey(), newMeter(r, limit)
	err := b.drv.Put(ctx, key, m)
	return finish(key, m, err)
}

// PutFile stores what f holds, from its beginning, wherever f's offset is.
// Where the file system can it shares the bytes instead of copying them; hash
// and size are always those of what was stored, also while somebody writes to f.
func (b *Bucket) PutFile(ctx context.Context, f *os.File, limit int64) (Info, error) {
	if c, ok := b.drv.(Cloner); ok {
		key, m := newKey(), newMeter(nil, limit)
		err := c.PutClone(ctx, key, f, func(captured io.Reader) error {
			m.r = captured
			_, err := Copy(ctx, io.Discard, m)
			return err
		})
		if !errors.Is(err, errors.ErrUnsupported) {
			return finish(key, m, err)
		}
	}
	return b.Put(ctx, io.NewSectionReader(f, 0, math.MaxInt64), limit)
}

func finish(key string, m *meter, err error) (Info, error) {
	if err != nil {
		if m.err != nil {
			err = m.err // a driver's client may have hidden the reader's error
		}
		return Info{}, fmt.Errorf("put blob: %w", err)
	}
	return Info{Key: key, SHA256: hex.EncodeToString(m.hash.Sum(nil)), Size: m.n}, nil
}

// Open returns the size bytes of a blob for reading. A missing blob is told
// by Open or, where the driver has no files, by the first Read. Reading that
// has begun survives Delete (without files: until the next Seek). The result is an *os.File where the driver has
// one, so that io.Copy to a connection costs no copy; ctx then has no effect.
func (b *Bucket) Open(ctx context.Context, key string, size int64) (io.ReadSeekCloser, error) {
	if o, ok := b.drv.(Opener); ok {
		f, err := o.OpenFile(key)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, fmt.Errorf("open blob: %w", err)
		}
	}
	return &reader{ctx: ctx, drv: b.drv, key: key, size: size}, nil
}

// Clone makes dst, which is empty, share the bytes of the blob, or answers
// errors.ErrUnsupported where the driver or the file system cannot.
func (b *Bucket) Clone(key string, dst *os.File) error {
	c, ok := b.drv.(Cloner)
	if !ok {
		return errors.ErrUnsupported
	}
	if err := c.Clone(key, dst); err != nil {
		return fmt.Errorf("clone blob: %w", err)
	}
	return nil
}

func newKey() string {
	var k [16]byte
	rand.Read(k[:]) // never fails
	return hex.EncodeToString(k[:])
}

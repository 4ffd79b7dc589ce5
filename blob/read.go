package blob

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// reader reads a blob through ranged Gets, the first of which waits for the
// first Read. Seek only moves.
type reader struct {
	ctx  context.Context // of the request that Open was called for; a Reader has no other way
	drv  Driver
	key  string
	size int64
	off  int64         // of the next Read
	body io.ReadCloser // stands at off; nil before the first Read and after a Seek
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.off >= r.size {
		return 0, io.EOF
	}
	if r.body == nil {
		body, err := r.drv.Get(r.ctx, r.key, r.off, -1)
		if err != nil {
			return 0, fmt.Errorf("read blob: %w", err)
		}
		r.body = body
	}
	if left := r.size - r.off; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := r.body.Read(p)
	r.off += int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.off < r.size:
		return n, fmt.Errorf("read blob %s: %w", r.key, io.ErrUnexpectedEOF)
	case errors.Is(err, io.EOF):
		return n, nil
	}
	return n, err
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek blob: before the beginning")
	}
	if offset == r.off {
		return offset, nil
	}
	r.off = offset
	return offset, r.Close()
}

func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}

// ErrDamaged is the error of a blob whose bytes are not those that were stored.
var ErrDamaged = errors.New("bytes differ from what was stored")

// Check returns nil if the blob is there with the size of i. The error is
// fs.ErrNotExist, ErrDamaged, or the driver's. It costs one small read.
func (b *Bucket) Check(ctx context.Context, i Info) error {
	last := max(i.Size-1, 0)
	body, err := b.drv.Get(ctx, i.Key, last, i.Size-last+1) // the last byte, and one too many
	if err != nil {
		return fmt.Errorf("check blob: %w", err)
	}
	defer body.Close() // only read
	n, err := Copy(ctx, io.Discard, body)
	switch {
	case err != nil:
		return fmt.Errorf("check blob: %w", err)
	case n < i.Size-last:
		return fmt.Errorf("check blob %s: shorter than %d: %w", i.Key, i.Size, ErrDamaged)
	case n > i.Size-last:
		return fmt.Errorf("check blob %s: longer than %d: %w", i.Key, i.Size, ErrDamaged)
	}
	return nil
}

// Verify is Check that reads everything and compares the hash too.
func (b *Bucket) Verify(ctx context.Context, i Info) error {
	body, err := b.drv.Get(ctx, i.Key, 0, -1)
	if err != nil {
		return fmt.Errorf("verify blob: %w", err)
	}
	defer body.Close() // only read
	m := newMeter(body, 0)
	if _, err := Copy(ctx, io.Discard, m); err != nil {
		return fmt.Errorf("verify blob: %w", err)
	}
	if m.n != i.Size {
		return fmt.Errorf("verify blob %s: size %d, not %d: %w", i.Key, m.n, i.Size, ErrDamaged)
	}
	if sum := hex.EncodeToString(m.hash.Sum(nil)); sum != i.SHA256 {
		return fmt.Errorf("verify blob %s: hash %s, not %s: %w", i.Key, sum, i.SHA256, ErrDamaged)
	}
	return nil
}

// Delete removes a blob at once. Only callers who know that no row can name
// its key may use it; the sweeper does the rest. A missing blob is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error { return b.drv.Delete(ctx, key) }

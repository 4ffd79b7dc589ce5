package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
)

const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Copy is io.Copy for drivers: it stops when ctx ends, and it fills a buffer
// of 256 KiB from a pool before it writes, so that a source of many small
// reads does not become many small writes.
func Copy(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	var copied int64
	for {
		n, err := fill(ctx, r, buf[:])
		if err != nil && err != io.EOF {
			return copied, err
		}
		if n > 0 {
			m, werr := w.Write(buf[:n])
			copied += int64(m)
			if werr == nil && m < n {
				werr = io.ErrShortWrite
			}
			if werr != nil {
				return copied, werr
			}
		}
		if err == io.EOF {
			return copied, nil
		}
	}
}

// fill reads until buf is full, r ends or fails, or ctx ends.
func fill(ctx context.Context, r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		if err = ctx.Err(); err != nil {
			return n, err
		}
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// meter counts, hashes and limits what is read through it.
type meter struct {
	r     io.Reader
	limit int64 // no limit unless positive
	n     int64
	hash  hash.Hash
	err   error // why reading ended, unless by io.EOF
}

func newMeter(r io.Reader, limit int64) *meter {
	return &meter{r: r, limit: limit, hash: sha256.New()}
}

func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.limit > 0 && m.n > m.limit {
		m.err = ErrTooLarge
		return 0, m.err
	}
	m.hash.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// sending is the body of an upload: files, and the text of a form between
// them. The transport reads it in a goroutine of its own, and may do so for a
// moment after the answer is there.
type sending struct {
	progress func(sent int64)
	length   int64 // of all, or -1
	parts    []*part
	next     int // the part being read

	mu    sync.Mutex
	sent  int64 // bytes of files
	whole bool  // everything was read
	err   error // of reading a file
}

// part is one file or a piece of text.
type part struct {
	name string // of the file
	r    io.Reader
	size int64 // -1 when unknown
	sent int64
	sum  hash.Hash // nil for text
}

func (b *sending) addText(text []byte) {
	text = bytes.Clone(text)
	b.parts = append(b.parts, &part{r: bytes.NewReader(text), size: int64(len(text))})
	if b.length >= 0 {
		b.length += int64(len(text))
	}
}

func (b *sending) add(f File) {
	p := &part{name: f.Name, r: f.Content, size: f.Size, sum: sha256.New()}
	if f.Size >= 0 {
		p.r = io.LimitReader(f.Content, f.Size) // what is appended meanwhile stays out
	}
	b.parts = append(b.parts, p)
}

// Read reads from the parts in order.
func (b *sending) Read(buf []byte) (int, error) {
	for b.next < len(b.parts) {
		p := b.parts[b.next]
		n, err := p.r.Read(buf)
		if err := b.account(p, buf[:n], err); err != nil {
			return n, err
		}
		if err == io.EOF {
			b.next++
		}
		if n > 0 {
			return n, nil
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = true
	return 0, io.EOF
}

// account notes what was read of p, and returns an error that ends the upload.
func (b *sending) account(p *part, text []byte, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.sent += int64(len(text))
	if p.sum != nil {
		p.sum.Write(text)
		b.sent += int64(len(text))
		if b.progress != nil && len(text) > 0 {
			b.progress(b.sent)
		}
	}
	switch {
	case err == io.EOF && p.size >= 0 && p.sent < p.size:
		b.err = fmt.Errorf("read %s: the file became shorter while it was sent", p.name)
	case err != nil && err != io.EOF:
		b.err = fmt.Errorf("read %s: %w", p.name, err)
	}
	if b.length >= 0 && p == b.parts[len(b.parts)-1] && p.sent == p.size {
		b.whole = true // the transport does not ask for the end that it knows
	}
	return b.err
}

// Close does nothing: the readers are the caller's.
func (b *sending) Close() error { return nil }

// explain returns why an upload failed. What the server answered counts most,
// then a file that could not be read, then the connection.
func (b *sending) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, answered := errors.AsType[*Error](err); answered {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return b.err
	case ctx.Err() != nil:
		return err
	}
	e := &Interrupted{Sent: b.sent, Whole: b.whole, Err: err}
	for _, p := range b.parts {
		if p.sum != nil && e.Whole {
			e.Sums = append(e.Sums, p.sha256())
		}
	}
	return e
}

// compare returns ErrCorrupt unless the server stored what was read.
func (b *sending) compare(stored []Artifact) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := 0
	for _, p := range b.parts {
		if p.sum == nil {
			continue
		}
		if i >= len(stored) {
			return fmt.Errorf("the server answered for %d files only", len(stored))
		}
		if !p.same(&stored[i]) {
			return fmt.Errorf("upload %s: %w", p.name, ErrCorrupt)
		}
		i++
	}
	return nil
}

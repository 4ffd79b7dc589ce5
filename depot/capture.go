package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"mime"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
)

// fileStat is what tells, without reading, that a file is as it was.
type fileStat struct {
	size, mtime, ctime int64 // times in nanoseconds since 1970
	inode, links       uint64
}

// signature is the form in which a row remembers it (artifact.Version.Stat).
func (s fileStat) signature() string {
	b := make([]byte, 0, 64)
	for _, n := range []int64{s.size, s.mtime, s.ctime} {
		b = append(strconv.AppendInt(b, n, 36), '.')
	}
	return string(strconv.AppendUint(b, s.inode, 36))
}

// racy is the age below which a file may change again without its times
// showing it, because clocks of file systems are coarse.
const racy = 2 * time.Second

// remember returns the signature, or "" if a change that follows at once could
// leave the signature as it is: then the next look reads the file again.
func (s fileStat) remember(start time.Time) string {
	limit := start.Add(-racy).UnixNano()
	if s.mtime > limit || s.ctime > limit {
		return ""
	}
	return s.signature()
}

// captured is what became of an attempt to capture a file.
type captured struct {
	same    bool   // the bytes are those of the row
	later   bool   // it vanished or would not hold still
	reason  string // why it is refused
	blob    artifact.Blob
	content []byte // of a small file
	mime    string
	stat    string
}

// attempts is how often a file that changes while it is read is read again.
const attempts = 3

// capture takes a copy of the file at path, unless its bytes are those of v.
// What it returns is one state of the file, also while somebody writes to it:
// one that holds still while it is read or, where it only grows, such as a log,
// as much of it as was there.
func (d *Depot) capture(ctx context.Context, root *os.Root, path string, v *artifact.Version) (captured, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|openFlags, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return captured{later: true}, nil
	case err != nil:
		return captured{reason: whyClosed}, nil
	}
	defer f.Close() // only read
	grew := true
	for try := 1; ; try++ {
		start := time.Now() // of the file system, not of the log
		info, err := f.Stat()
		if err != nil {
			return captured{reason: whyClosed}, nil
		}
		if reason := refuse(info); reason != "" {
			return captured{reason: reason}, nil
		}
		before := statOf(info)
		c, err := d.read(ctx, f, before.size, v)
		if err != nil {
			return failed(err, f)
		}
		if info, err = f.Stat(); err != nil {
			return captured{later: true}, nil
		}
		after := statOf(info)
		switch {
		case after == before && before.size == c.blob.Size:
			c.stat = before.remember(start)
			c.finish(f, path)
			return c, nil
		case after.links == 0:
			return captured{later: true}, nil // replaced by another file
		}
		grew = grew && after.size > before.size && c.blob.Size >= before.size
		if try == attempts && !grew {
			return captured{later: true}, nil
		}
		if try == attempts {
			c.finish(f, path)
			return c, nil // without a signature, so that the next look reads it again
		}
	}
}

// failed tells a file that cannot be read from a capture that cannot be kept.
func failed(err error, f *os.File) (captured, error) {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Op == "read" && e.Path == f.Name() {
		return captured{reason: whyClosed}, nil
	}
	return captured{}, err
}

// read stores the bytes of a file that had size bytes a moment ago, a small
// file in memory, unless they are those of v.
func (d *Depot) read(ctx context.Context, f *os.File, size int64, v *artifact.Version) (captured, error) {
	limit := d.opt.InlineLimit
	if size <= limit {
		var b bytes.Buffer
		b.Grow(int(size) + bytes.MinRead)
		if _, err := b.ReadFrom(io.NewSectionReader(f, 0, limit+1)); err != nil {
			return captured{}, err
		}
		if int64(b.Len()) <= limit {
			sum := sha256.Sum256(b.Bytes())
			c := captured{blob: artifact.Blob{SHA256: hex.EncodeToString(sum[:]), Size: int64(b.Len())}, content: b.Bytes()}
			if c.content == nil {
				c.content = []byte{}
			}
			c.same = c.is(v)
			return c, nil
		}
	}
	if v != nil && v.Size == size { // perhaps only touched: find out before storing it
		sum := sha256.New()
		n, err := blob.Copy(ctx, sum, io.NewSectionReader(f, 0, math.MaxInt64))
		if err != nil {
			return captured{}, err
		}
		c := captured{blob: artifact.Blob{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n}}
		if c.is(v) {
			c.same = true
			return c, nil
		}
	}
	info, err := d.bucket.PutFile(ctx, f, 0)
	if err != nil {
		return captured{}, fmt.Errorf("capture file: %w", err)
	}
	c := captured{blob: artifact.Blob(info)}
	c.same = c.is(v)
	return c, nil
}

func (c *captured) is(v *artifact.Version) bool {
	return v != nil && v.SHA256 == c.blob.SHA256 && v.Size == c.blob.Size
}

// finish finds out the media type.
func (c *captured) finish(f *os.File, path string) {
	if c.same {
		return
	}
	head := c.content
	if head == nil {
		head = make([]byte, sniffed)
		n, _ := f.ReadAt(head, 0) // a file that cannot be read now has the type of its name
		head = head[:n]
	}
	c.mime = detectType(path[strings.LastIndexByte(path, '/')+1:], head)
}

// sniffed is how much of a file its type is guessed from.
const sniffed = 3072

// chooseType returns the media type of a file: the one declared, unless that
// says nothing or is malformed, else what detectType finds.
func chooseType(declared, name string, head []byte) string {
	kind, params, err := mime.ParseMediaType(declared)
	if err != nil || !strings.Contains(kind, "/") || kind == artifact.OctetStream || len(declared) > maxType {
		return detectType(name, head)
	}
	if s := mime.FormatMediaType(kind, params); s != "" {
		return s
	}
	return detectType(name, head)
}

const maxType = 255 // bytes of a declared media type

// detectType returns the media type of a file from the one table of
// extensions, else from how its content begins, else "application/octet-stream".
func detectType(name string, head []byte) string {
	if t := artifact.TypeByName(name); t != "" {
		return t
	}
	if len(head) == 0 {
		return artifact.OctetStream
	}
	t, _, _ := strings.Cut(mimetype.Detect(head).String(), ";")
	return strings.TrimSpace(t)
}

package blob

import (
	"context"
	"io"
	"iter"
	"os"
	"time"
)

// Driver is what a backend supplies; [Bucket] is what callers use. The
// sentences here are the promise, and blobtest.Run checks them.
//
// A key is 16 to 128 lower-case hex digits. It is written once, so no two
// calls of Put share one. An operation on a key that is not there fails with
// an error that is fs.ErrNotExist.
type Driver interface {
	// Put stores what r gives until io.EOF. It is all or nothing: when it
	// fails, or ctx ends, nothing is visible; when it returns nil, the bytes
	// survive a power cut. An error of r stays recognisable by errors.Is.
	Put(ctx context.Context, key string, r io.Reader) error

	// Get returns the bytes [off, off+n) as far as they exist, or all from off
	// where n is negative; off is not negative. An off at or behind the end
	// gives an empty reader. A reader once returned survives Delete.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)

	// Delete removes the blob. That it is missing is not an error.
	Delete(ctx context.Context, key string) error

	// List yields every blob in any order. One that is there from the call to
	// the end is not left out; of the others nothing is promised. An error is
	// the last thing yielded. The loop may call Delete.
	List(ctx context.Context) iter.Seq2[Entry, error]
}

// Entry is a blob in a listing.
type Entry struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Opener is what a driver adds when its blobs are files of this machine, so
// that net/http can send them without copying. It may answer
// errors.ErrUnsupported.
type Opener interface {
	OpenFile(key string) (*os.File, error) // for reading
}

// Cloner is what a driver adds when its file system can share bytes between
// files (reflinks). Both methods answer errors.ErrUnsupported, and leave
// nothing behind, where it cannot.
type Cloner interface {
	// Clone makes dst, which is empty, share the bytes of the blob.
	Clone(key string, dst *os.File) error

	// PutClone is Put of what src holds now. The driver gives the captured
	// bytes to read before they become visible; an error of read ends it all.
	PutClone(ctx context.Context, key string, src *os.File, read func(io.Reader) error) error
}

// Unfinisher is what a driver adds when a crash can leave parts of a Put
// behind. It lists them with keys that only its own Delete understands.
type Unfinisher interface {
	Unfinished(ctx context.Context) iter.Seq2[Entry, error]
}

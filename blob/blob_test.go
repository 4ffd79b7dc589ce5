package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/blobtest"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

// eachDriver runs a test of Bucket on memory, on files, and on files that
// offer neither *os.File nor a way to share bytes.
func eachDriver(t *testing.T, test func(*testing.T, *blob.Bucket, blob.Driver)) {
	for name, open := range map[string]func(t testing.TB) blob.Driver{
		"memory":  func(testing.TB) blob.Driver { return blob.NewMem() },
		"files":   files,
		"unaided": func(t testing.TB) blob.Driver { return onlyDriver{files(t)} },
		"clones":  func(t testing.TB) blob.Driver { return onDisk(t) },
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			test(t, blob.New(d), d)
		})
	}
}

func files(t testing.TB) blob.Driver {
	t.Helper()
	d, err := fileblob.Open(t.TempDir(), fileblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// onDisk returns a driver on a file system that can clone everywhere.
func onDisk(t testing.TB) blob.Driver {
	t.Helper()
	d, err := fileblob.Open("/blobs", fileblob.Options{FS: fault.NewDisk()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type onlyDriver struct{ blob.Driver }

func tempFile(t *testing.T, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil { // its offset is now its end
		t.Fatal(err)
	}
	return f
}

// puts are the two ways to store bytes.
var puts = map[string]func(*testing.T, *blob.Bucket, []byte, int64) (blob.Info, error){
	"Put": func(t *testing.T, b *blob.Bucket, data []byte, limit int64) (blob.Info, error) {
		return b.Put(t.Context(), bytes.NewReader(data), limit)
	},
	"PutFile": func(t *testing.T, b *blob.Bucket, data []byte, limit int64) (blob.Info, error) {
		return b.PutFile(t.Context(), tempFile(t, data), limit)
	},
}

func TestPut(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		for name, put := range puts {
			for _, size := range []int{0, 1, 300 << 10} {
				data := blobtest.Bytes(size)
				got, err := put(t, b, data, 0)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				sum := sha256.Sum256(data)
				want := blob.Info{Key: got.Key, SHA256: hex.EncodeToString(sum[:]), Size: int64(size)}
				if diff := cmp.Diff(got, want); diff != "" {
					t.Errorf("%s (-got +want):\n%s", name, diff)
				}
				if len(got.Key) != 32 || strings.Trim(got.Key, "0123456789abcdef") != "" {
					t.Errorf("%s made the key %q, want 32 hex digits", name, got.Key)
				}
				if err := b.Verify(t.Context(), got); err != nil {
					t.Errorf("after %s: %v", name, err)
				}
			}
		}
		if n := len(blobtest.Keys(t, d)); n != 6 {
			t.Errorf("6 blobs have %d keys", n)
		}
	})
}

func TestLimit(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		for name, put := range puts {
			for _, size := range []int{1, 1000, 300 << 10} {
				_, err := put(t, b, blobtest.Bytes(size+1), int64(size))
				if !errors.Is(err, blob.ErrTooLarge) {
					t.Errorf("%s of %d bytes with limit %d = %v, want ErrTooLarge", name, size+1, size, err)
				}
			}
			if left := blobtest.Keys(t, d); len(left) > 0 {
				t.Errorf("%s over the limit left %v", name, left)
			}
		}
		for name, put := range puts {
			if _, err := put(t, b, blobtest.Bytes(1000), 1000); err != nil {
				t.Errorf("%s of as much as the limit = %v", name, err)
			}
			if _, err := put(t, b, blobtest.Bytes(1000), -1); err != nil {
				t.Errorf("%s without a limit = %v", name, err)
			}
		}
	})
}

// An endless body is given up at the limit.
func TestLimitStopsReading(t *testing.T) {
	var read int64
	r := reading(func(p []byte) (int, error) { read += int64(len(p)); return len(p), nil })
	if _, err := blob.New(blob.NewMem()).Put(t.Context(), r, 1<<20); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("Put = %v, want ErrTooLarge", err)
	}
	if read > 2<<20 {
		t.Errorf("Put read %d bytes with a limit of 1 MiB", read)
	}
}

type reading func([]byte) (int, error)

func (f reading) Read(p []byte) (int, error) { return f(p) }

// The caller must be able to tell a broken connection from a broken disk, even
// with a driver that hides causes.
func TestReaderError(t *testing.T) {
	broken := errors.New("connection lost")
	b := blob.New(hiding{blob.NewMem()})
	if _, err := b.Put(t.Context(), iotest.ErrReader(broken), 0); !errors.Is(err, broken) {
		t.Errorf("Put = %v, want the reader's error", err)
	}
	if _, err := b.Put(t.Context(), strings.NewReader("abc"), 2); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("Put = %v, want ErrTooLarge", err)
	}
}

type hiding struct{ blob.Driver }

func (h hiding) Put(ctx context.Context, key string, r io.Reader) error {
	if err := h.Driver.Put(ctx, key, r); err != nil {
		return errors.New("500 Internal Error")
	}
	return nil
}

func TestCancel(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Put(ctx, strings.NewReader("abc"), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("Put = %v, want context.Canceled", err)
		}
		if _, err := b.PutFile(ctx, tempFile(t, []byte("abc")), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("PutFile = %v, want context.Canceled", err)
		}
		if left := blobtest.Keys(t, d); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestOpen(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		for _, size := range []int{0, 1, 10_000} {
			data := blobtest.Bytes(size)
			info, err := b.Put(t.Context(), bytes.NewReader(data), 0)
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.Open(t.Context(), info.Key, info.Size)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			if err := iotest.TestReader(r, data); err != nil { // seeks, too
				t.Errorf("reading %d bytes: %v", size, err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

func TestOpenMissing(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		r, err := b.Open(t.Context(), blobtest.Key(), 10)
		if err == nil {
			_, err = r.Read(make([]byte, 10))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open and Read = %v, want fs.ErrNotExist", err)
		}
	})
}

// net/http sends an *os.File without copying it through the program.
func TestOpenGivesFile(t *testing.T) {
	b := blob.New(files(t))
	info, err := b.Put(t.Context(), strings.NewReader("abc"), 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Open(t.Context(), info.Key, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, ok := r.(*os.File); !ok {
		t.Errorf("Open gives a %T, want an *os.File", r)
	}
}

// A reader asks for what is read, once: ServeContent seeks to the end and back.
func TestOpenIsLazy(t *testing.T) {
	d := &counting{Driver: blob.NewMem()}
	b := blob.New(d)
	info, err := b.Put(t.Context(), bytes.NewReader(blobtest.Bytes(1000)), 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Open(t.Context(), info.Key, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, req := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	req.Header.Set("Range", "bytes=500-599")
	http.ServeContent(w, req, "x.bin", time.Time{}, r)
	if got := w.Body.Bytes(); w.Code != 206 || !bytes.Equal(got, blobtest.Bytes(1000)[500:600]) {
		t.Errorf("ServeContent answers %d with %d bytes, want 206 with 100", w.Code, len(got))
	}
	if d.gets != 1 {
		t.Errorf("a range took %d Gets, want 1", d.gets)
	}
}

type counting struct {
	blob.Driver
	gets int
}

func (c *counting) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c.gets++
	return c.Driver.Get(ctx, key, off, n)
}

// A blob that is shorter than its row says must not look like a whole one.
func TestOpenShort(t *testing.T) {
	b := blob.New(blob.NewMem())
	info, err := b.Put(t.Context(), strings.NewReader("abc"), 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Open(t.Context(), info.Key, 4)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading gives %q and %v, want io.ErrUnexpectedEOF", got, err)
	}
}

func TestCheck(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		for _, size := range []int{0, 1, 5000} {
			good, err := b.Put(t.Context(), bytes.NewReader(blobtest.Bytes(size)), 0)
			if err != nil {
				t.Fatal(err)
			}
			longer, shorter, other, gone := good, good, good, good
			longer.Size++
			shorter.Size = max(0, shorter.Size-1)
			other.SHA256 = strings.Repeat("0", 64)
			gone.Key = blobtest.Key()
			type want struct{ check, verify error }
			for info, want := range map[blob.Info]want{
				good:    {nil, nil},
				longer:  {blob.ErrDamaged, blob.ErrDamaged},
				shorter: {blob.ErrDamaged, blob.ErrDamaged},
				other:   {nil, blob.ErrDamaged},
				gone:    {fs.ErrNotExist, fs.ErrNotExist},
			} {
				if size == 0 && info == shorter {
					want.check, want.verify = nil, nil // it is good itself
				}
				if err := b.Check(t.Context(), info); !errors.Is(err, want.check) {
					t.Errorf("Check(%v) of %v = %v, want %v", info, good, err, want.check)
				}
				if err := b.Verify(t.Context(), info); !errors.Is(err, want.verify) {
					t.Errorf("Verify(%v) of %v = %v, want %v", info, good, err, want.verify)
				}
			}
		}
	})
}

func TestClone(t *testing.T) {
	want := blobtest.Bytes(10_000)
	b := blob.New(onDisk(t))
	info, err := b.Put(t.Context(), bytes.NewReader(want), 0)
	if err != nil {
		t.Fatal(err)
	}
	dst := tempFile(t, nil)
	if err := b.Clone(info.Key, dst); err != nil {
		t.Fatalf("Clone: %v", err)
	}
	if got, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the clone has %d bytes (%v), want %d", len(got), err, len(want))
	}
	if err := b.Clone(blobtest.Key(), dst); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Clone of a missing key = %v, want fs.ErrNotExist", err)
	}
	if err := blob.New(blob.NewMem()).Clone(info.Key, dst); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Clone from memory = %v, want errors.ErrUnsupported", err)
	}
}

// Memory must not grow with what is stored.
func TestPutAllocates(t *testing.T) {
	b := blob.New(files(t))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := b.Put(t.Context(), io.LimitReader(zeros{}, 32<<20), 0); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("Put of 32 MiB allocates %d KiB, want a buffer or so", got>>10)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func randomBytes(n int) ([]byte, string) {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(b)
	sum := sha256.Sum256(b)
	return b, hex.EncodeToString(sum[:])
}

// cut breaks the connection after n bytes of body.
type cut struct {
	http.ResponseWriter
	n int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) >= c.n {
		c.ResponseWriter.Write(p[:c.n])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.n -= len(p)
	return c.ResponseWriter.Write(p)
}

func TestDownloadGoesOnWhereItWas(t *testing.T) {
	content, sum := randomBytes(1 << 20)
	var requests atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", `"sha256:`+sum+`"`)
		http.ServeContent(&cut{w, 300_000}, r, "x.png", time.Time{}, bytes.NewReader(content))
	})
	var out bytes.Buffer
	var broken int
	var last int64
	got, err := c.Download(t.Context(), "s", "art_1", &out, Transfer{
		Broken: func(error, time.Duration) { broken++ },
		Progress: func(done, size int64) {
			if done < last || size != 1<<20 {
				t.Errorf("progress %d of %d after %d", done, size, last)
			}
			last = done
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), content) || got.SHA256 != sum || got.Size != 1<<20 || got.MIME != "image/png" {
		t.Errorf("got %+v and %d bytes", got, out.Len())
	}
	if broken != 4 || requests.Load() != 5 {
		t.Errorf("%d losses, %d requests; want 4 and 5", broken, requests.Load())
	}
}

func TestDownloadNoticesWrongBytes(t *testing.T) {
	content, sum := randomBytes(100)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+sum+`"`)
		w.Write(append([]byte("!"), content[1:]...))
	})
	if _, err := c.Download(t.Context(), "s", "art_1", io.Discard, Transfer{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("by ETag: got %v, want ErrCorrupt", err)
	}
	if _, err := c.Download(t.Context(), "s", "art_1", io.Discard, Transfer{SHA256: sum}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("by the caller: got %v, want ErrCorrupt", err)
	}
}

// A logical file may get a new version between two connections: bytes of two
// versions must never be joined.
func TestDownloadNoticesAChange(t *testing.T) {
	content, _ := randomBytes(100_000)
	var n atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v`+strconv.FormatInt(n.Add(1), 10)+`"`)
		http.ServeContent(&cut{w, 60_000}, r, "x", time.Time{}, bytes.NewReader(content))
	})
	if _, err := c.Download(t.Context(), "s", "att_1", io.Discard, Transfer{}); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}

func TestDownloadGivesUp(t *testing.T) {
	content, _ := randomBytes(1000)
	var n atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"v"`)
		http.ServeContent(&cut{w, 500}, r, "x", time.Time{}, bytes.NewReader(content))
	})
	if _, err := c.Download(t.Context(), "s", "att_1", io.Discard, Transfer{Tries: 3}); err == nil {
		t.Error("no error")
	}
	if n.Load() != 4 {
		t.Errorf("%d requests, want 1 and 3 more tries", n.Load())
	}
}

// An answer is not a loss: it ends the download at once.
func TestDownloadOfNothing(t *testing.T) {
	var n atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { n.Add(1); w.WriteHeader(http.StatusNotFound) })
	if _, err := c.Download(t.Context(), "s", "att_1", io.Discard, Transfer{}); !errors.Is(err, ErrNotFound) || n.Load() != 1 {
		t.Errorf("got %v after %d requests", err, n.Load())
	}
	full := errors.New("disk full")
	c = serve(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		w.Header().Set("ETag", `"v"`)
		fmt.Fprint(w, "abc")
	})
	if _, err := c.Download(t.Context(), "s", "att_1", refusing{full}, Transfer{}); !errors.Is(err, full) || n.Load() != 2 {
		t.Errorf("got %v after %d requests", err, n.Load())
	}
}

type refusing struct{ err error }

func (w refusing) Write([]byte) (int, error) { return 0, w.err }

func TestZip(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.RawQuery; got != "at=9&ids=a%2Cb" {
			t.Errorf("query %q", got)
		}
		fmt.Fprint(w, strings.Repeat("PK", 5000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	z, err := c.Zip(t.Context(), "s", ZipQuery{IDs: []string{"a", "b"}, At: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if _, err := io.Copy(io.Discard, z); err == nil {
		t.Error("a zip that broke off was read to its end without an error")
	}
}

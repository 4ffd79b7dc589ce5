// Package blobtest is the specification of blob.Driver in the form of a test:
// a driver is right when Run passes.
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob"
)

// Run tests the drivers that open returns. Each of them must be empty.
func Run(t *testing.T, open func(t *testing.T) blob.Driver) {
	for name, test := range map[string]func(*testing.T, blob.Driver){
		"RoundTrip":        roundTrip,
		"FailedReader":     failedReader,
		"Cancelled":        cancelled,
		"Ranges":           ranges,
		"Missing":          missing,
		"OpenReader":       openReader,
		"Delete":           deleteOne,
		"List":             list,
		"ListAndDelete":    listAndDelete,
		"ListWhileBusy":    listWhileBusy,
		"ManyAtOnce":       manyAtOnce,
		"CancelledAlready": cancelledBefore,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Key returns a random key.
func Key() string {
	var k [16]byte
	rand.Read(k[:])
	return hex.EncodeToString(k[:])
}

// Bytes returns n bytes, always the same for one n.
func Bytes(n int) []byte {
	b := make([]byte, n)
	mrand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

// Keys returns the sorted keys that d lists, and of what crashed Puts left.
func Keys(t testing.TB, d blob.Driver) []string {
	t.Helper()
	keys := slices.Collect(maps.Keys(sizes(t, d)))
	if u, ok := d.(blob.Unfinisher); ok {
		for e, err := range u.Unfinished(t.Context()) {
			if err != nil {
				t.Fatalf("Unfinished: %v", err)
			}
			keys = append(keys, e.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// sizes returns what d lists.
func sizes(t testing.TB, d blob.Driver) map[string]int64 {
	t.Helper()
	got := map[string]int64{}
	for e, err := range d.List(t.Context()) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if _, twice := got[e.Key]; twice {
			t.Errorf("List yields %s twice", e.Key)
		}
		if age := time.Since(e.Modified).Abs(); age > time.Hour {
			t.Errorf("List says %s was modified at %v, want about now", e.Key, e.Modified)
		}
		got[e.Key] = e.Size
	}
	return got
}

func put(t testing.TB, d blob.Driver, data []byte) string {
	t.Helper()
	key := Key()
	// Without the other methods of bytes.Reader, as a request's body.
	if err := d.Put(t.Context(), key, io.MultiReader(bytes.NewReader(data))); err != nil {
		t.Fatalf("Put of %d bytes: %v", len(data), err)
	}
	return key
}

func read(t testing.TB, d blob.Driver, key string, off, n int64) []byte {
	t.Helper()
	r, err := d.Get(t.Context(), key, off, n)
	if err != nil {
		t.Errorf("Get(%d, %d): %v", off, n, err)
		return nil
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Errorf("reading Get(%d, %d): %v", off, n, err)
	}
	return data
}

// isNowhere checks that a Put left nothing.
func isNowhere(t testing.TB, d blob.Driver, key string) {
	t.Helper()
	r, err := d.Get(t.Context(), key, 0, -1)
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get = %v, want fs.ErrNotExist", err)
	}
	if keys := Keys(t, d); len(keys) > 0 {
		t.Errorf("List yields %v, want nothing", keys)
	}
}

func roundTrip(t *testing.T, d blob.Driver) {
	for _, size := range []int{0, 1, 4 << 10, 256<<10 - 1, 256 << 10, 256<<10 + 1, 5 << 20} {
		want := Bytes(size)
		key := put(t, d, want)
		if got := read(t, d, key, 0, -1); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
		if got := sizes(t, d)[key]; got != int64(size) {
			t.Errorf("List says %d bytes, want %d", got, size)
		}
	}
}

func failedReader(t *testing.T, d blob.Driver) {
	broken := errors.New("connection lost")
	for _, size := range []int{0, 1, 300 << 10, 6 << 20} {
		key := Key()
		r := io.MultiReader(bytes.NewReader(Bytes(size)), failing{broken})
		if err := d.Put(t.Context(), key, r); !errors.Is(err, broken) {
			t.Errorf("Put of a reader failing after %d bytes = %v, want its error", size, err)
		}
		isNowhere(t, d, key)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func cancelledBefore(t *testing.T, d blob.Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	key := Key()
	if err := d.Put(ctx, key, bytes.NewReader(Bytes(10))); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
	isNowhere(t, d, key)
}

// cancelled ends the context in the middle of a reader without end, and at the
// very end of another.
func cancelled(t *testing.T, d blob.Driver) {
	for name, r := range map[string]io.Reader{"endless": zeros{}, "ending": bytes.NewReader(nil)} {
		ctx, cancel := context.WithCancel(t.Context())
		key := Key()
		first := io.LimitReader(zeros{}, 1<<20)
		err := d.Put(ctx, key, io.MultiReader(first, calling{cancel}, r))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Put = %v, want context.Canceled", name, err)
		}
		isNowhere(t, d, key)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// calling is a reader that calls f and ends.
type calling struct{ f func() }

func (c calling) Read([]byte) (int, error) { c.f(); return 0, io.EOF }

func ranges(t *testing.T, d blob.Driver) {
	data := Bytes(1000)
	key := put(t, d, data)
	for _, c := range []struct {
		off, n int64
		want   []byte
	}{
		{0, -1, data},
		{0, 1000, data},
		{0, 1001, data},
		{0, 1 << 40, data},
		{0, 0, nil},
		{0, 1, data[:1]},
		{1, 998, data[1:999]},
		{999, 1, data[999:]},
		{999, 2, data[999:]},
		{500, -1, data[500:]},
		{500, 0, nil},
		{1000, -1, nil},
		{1000, 0, nil},
		{1000, 10, nil},
		{1001, -1, nil},
		{5000, 10, nil},
	} {
		if got := read(t, d, key, c.off, c.n); !bytes.Equal(got, c.want) {
			t.Errorf("Get(%d, %d) gives %d bytes, want %d", c.off, c.n, len(got), len(c.want))
		}
	}
	empty := put(t, d, nil)
	for _, c := range [][2]int64{{0, -1}, {0, 0}, {0, 1}, {1, -1}} {
		if got := read(t, d, empty, c[0], c[1]); len(got) > 0 {
			t.Errorf("Get(%d, %d) of an empty blob gives %d bytes", c[0], c[1], len(got))
		}
	}
}

func missing(t *testing.T, d blob.Driver) {
	put(t, d, Bytes(10))
	for _, n := range []int64{-1, 0, 1} {
		if _, err := d.Get(t.Context(), Key(), 0, n); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(0, %d) of a missing key = %v, want fs.ErrNotExist", n, err)
		}
	}
	if err := d.Delete(t.Context(), Key()); err != nil {
		t.Errorf("Delete of a missing key = %v, want nil", err)
	}
}

func openReader(t *testing.T, d blob.Driver) {
	want := Bytes(1 << 20)
	key := put(t, d, want)
	r, err := d.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	defer r.Close()
	if err := d.Delete(t.Context(), key); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("after Delete an open reader gave %d bytes and %v, want all %d", len(got), err, len(want))
	}
}

func deleteOne(t *testing.T, d blob.Driver) {
	keep, gone := put(t, d, Bytes(10)), put(t, d, Bytes(20))
	for range 2 { // the second time it is missing
		if err := d.Delete(t.Context(), gone); err != nil {
			t.Errorf("Delete = %v", err)
		}
	}
	if _, err := d.Get(t.Context(), gone, 0, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get after Delete = %v, want fs.ErrNotExist", err)
	}
	if diff := cmp.Diff(Keys(t, d), []string{keep}); diff != "" {
		t.Errorf("keys after Delete (-got +want):\n%s", diff)
	}
}

func list(t *testing.T, d blob.Driver) {
	want := map[string]int64{}
	if diff := cmp.Diff(sizes(t, d), want); diff != "" {
		t.Errorf("an empty driver lists (-got +want):\n%s", diff)
	}
	for size := range 40 {
		want[put(t, d, Bytes(size))] = int64(size)
	}
	if diff := cmp.Diff(sizes(t, d), want); diff != "" {
		t.Errorf("List (-got +want):\n%s", diff)
	}
	for range d.List(t.Context()) { // leaving the loop early must be possible
		break
	}
}

func listAndDelete(t *testing.T, d blob.Driver) {
	for range 20 {
		put(t, d, Bytes(10))
	}
	seen := 0
	for e, err := range d.List(t.Context()) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		seen++
		if err := d.Delete(t.Context(), e.Key); err != nil {
			t.Errorf("Delete inside the loop: %v", err)
		}
	}
	if left := Keys(t, d); seen != 20 || len(left) > 0 {
		t.Errorf("the loop saw %d of 20 blobs and left %v", seen, left)
	}
}

// listWhileBusy lists while others write and delete: what was there before is
// in every listing, and nothing shows before it is whole.
func listWhileBusy(t *testing.T, d blob.Driver) {
	const size = 300 << 10
	data := Bytes(size)
	before := make([]string, 30)
	for i := range before {
		before[i] = put(t, d, data)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				key := Key()
				if err := d.Put(t.Context(), key, bytes.NewReader(data)); err != nil {
					t.Errorf("Put: %v", err)
				}
				if err := d.Delete(t.Context(), key); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	for range 10 {
		got := sizes(t, d)
		for _, key := range before {
			if _, ok := got[key]; !ok {
				t.Errorf("List leaves out a blob that was there all the time")
			}
		}
		for key, n := range got {
			if n != size {
				t.Errorf("List yields %s with %d bytes, want whole blobs only", key, n)
			}
		}
	}
	close(stop)
	writers.Wait()
}

func manyAtOnce(t *testing.T, d blob.Driver) {
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			want := Bytes(i * 20 << 10)
			for range 3 {
				key := Key()
				if err := d.Put(t.Context(), key, bytes.NewReader(want)); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				if got := read(t, d, key, 0, -1); !bytes.Equal(got, want) {
					t.Errorf("%d bytes came back as %d others", len(want), len(got))
				}
				if err := d.Delete(t.Context(), key); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	workers.Wait()
	if left := Keys(t, d); len(left) > 0 {
		t.Errorf("blobs left after all were deleted: %v", left)
	}
}

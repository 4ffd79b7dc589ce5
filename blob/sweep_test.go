package blob_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/blobtest"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
)

// putMany stores n small blobs and returns their sorted keys.
func putMany(t testing.TB, b *blob.Bucket, n int) []string {
	t.Helper()
	keys := make([]string, n)
	for i := range keys {
		info, err := b.Put(t.Context(), strings.NewReader("abc"), 0)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = info.Key
	}
	slices.Sort(keys)
	return keys
}

// naming returns a live function that names keys.
func naming(keys []string) func([]string) (map[string]bool, error) {
	return func(asked []string) (map[string]bool, error) {
		named := map[string]bool{}
		for _, key := range asked {
			if slices.Contains(keys, key) {
				named[key] = true
			}
		}
		return named, nil
	}
}

func garbage(t testing.TB, b *blob.Bucket, olderThan time.Time, live func([]string) (map[string]bool, error)) []string {
	t.Helper()
	var keys []string
	for e, err := range b.Garbage(t.Context(), olderThan, live) {
		if err != nil {
			t.Fatalf("Garbage: %v", err)
		}
		keys = append(keys, e.Key)
	}
	slices.Sort(keys)
	return keys
}

func TestSweep(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		keys := putMany(t, b, 10)
		named, unnamed := keys[:4], keys[4:]
		past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)

		if n, err := b.Sweep(t.Context(), past, naming(named)); n != 0 || err != nil {
			t.Errorf("Sweep of what is older than an hour = %d, %v, want nothing", n, err)
		}
		if diff := cmp.Diff(garbage(t, b, future, naming(named)), unnamed); diff != "" {
			t.Errorf("Garbage (-got +want):\n%s", diff)
		}
		if diff := cmp.Diff(blobtest.Keys(t, d), keys); diff != "" {
			t.Errorf("Garbage is not to delete (-got +want):\n%s", diff)
		}
		if n, err := b.Sweep(t.Context(), future, naming(named)); n != len(unnamed) || err != nil {
			t.Errorf("Sweep = %d, %v, want %d", n, err, len(unnamed))
		}
		if diff := cmp.Diff(blobtest.Keys(t, d), named); diff != "" {
			t.Errorf("after Sweep (-got +want):\n%s", diff)
		}
	})
}

func TestSweepGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := blob.NewMem()
		b := blob.New(m)
		putMany(t, b, 3)
		time.Sleep(24 * time.Hour)
		fresh := putMany(t, b, 3)
		time.Sleep(time.Hour)
		if n, err := b.Sweep(t.Context(), time.Now().Add(-24*time.Hour), naming(nil)); n != 3 || err != nil {
			t.Errorf("Sweep = %d, %v, want 3", n, err)
		}
		if diff := cmp.Diff(blobtest.Keys(t, m), fresh); diff != "" {
			t.Errorf("after Sweep (-got +want):\n%s", diff)
		}
	})
}

func TestSweepBatches(t *testing.T) {
	b := blob.New(blob.NewMem())
	want := putMany(t, b, 1201)
	var sizes []int
	asked := map[string]bool{}
	n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour), func(keys []string) (map[string]bool, error) {
		sizes = append(sizes, len(keys))
		for _, key := range keys {
			asked[key] = true
		}
		return nil, nil
	})
	if n != len(want) || err != nil {
		t.Errorf("Sweep = %d, %v, want %d", n, err, len(want))
	}
	if diff := cmp.Diff(sizes, []int{500, 500, 201}); diff != "" {
		t.Errorf("sizes of batches (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(asked)), want); diff != "" {
		t.Errorf("keys asked about (-got +want):\n%s", diff)
	}
}

// When nobody can say what is live, nothing is garbage.
func TestSweepWithoutAnswer(t *testing.T) {
	m := blob.NewMem()
	b := blob.New(m)
	keys := putMany(t, b, 3)
	down := errors.New("database is down")
	n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour), func([]string) (map[string]bool, error) { return nil, down })
	if n != 0 || !errors.Is(err, down) {
		t.Errorf("Sweep = %d, %v, want 0 and the error of live", n, err)
	}
	if diff := cmp.Diff(blobtest.Keys(t, m), keys); diff != "" {
		t.Errorf("after Sweep (-got +want):\n%s", diff)
	}
}

// One blob that cannot be deleted does not keep all the others for ever.
func TestSweepGoesOn(t *testing.T) {
	m := blob.NewMem()
	keys := putMany(t, blob.New(m), 5)
	stuck := errors.New("immutable")
	b := blob.New(sticky{m, keys[2], stuck})
	n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour), naming(nil))
	if n != 4 || !errors.Is(err, stuck) {
		t.Errorf("Sweep = %d, %v, want 4 and the error of Delete", n, err)
	}
	if diff := cmp.Diff(blobtest.Keys(t, m), keys[2:3]); diff != "" {
		t.Errorf("after Sweep (-got +want):\n%s", diff)
	}
}

type sticky struct {
	blob.Driver
	key string
	err error
}

func (s sticky) Delete(ctx context.Context, key string) error {
	if key == s.key {
		return s.err
	}
	return s.Driver.Delete(ctx, key)
}

func TestSweepCancelled(t *testing.T) {
	eachDriver(t, func(t *testing.T, b *blob.Bucket, d blob.Driver) {
		keys := putMany(t, b, 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n, err := b.Sweep(ctx, time.Now().Add(time.Hour), naming(nil)); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("Sweep = %d, %v, want 0 and context.Canceled", n, err)
		}
		if diff := cmp.Diff(blobtest.Keys(t, d), keys); diff != "" {
			t.Errorf("after Sweep (-got +want):\n%s", diff)
		}
	})
}

// What a crash left in the middle of a Put is garbage of the same grace, and
// live is not asked about it.
func TestSweepUnfinished(t *testing.T) {
	dir := t.TempDir()
	d, err := fileblob.Open(dir, fileblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := blobtest.Key()
	if err := os.WriteFile(filepath.Join(dir, "tmp", key), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	live := func(keys []string) (map[string]bool, error) {
		t.Errorf("live is asked about %v", keys)
		return nil, nil
	}
	b := blob.New(d)
	if got := garbage(t, b, time.Now().Add(-time.Hour), live); got != nil {
		t.Errorf("Garbage lists %v, which is being written", got)
	}
	if diff := cmp.Diff(garbage(t, b, time.Now().Add(time.Hour), live), []string{"tmp/" + key}); diff != "" {
		t.Errorf("Garbage (-got +want):\n%s", diff)
	}
	if n, err := b.Sweep(t.Context(), time.Now().Add(time.Hour), live); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v, want 1", n, err)
	}
	if left := blobtest.Keys(t, d); len(left) > 0 {
		t.Errorf("after Sweep: %v", left)
	}
}

package blob

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// sweepBatch is how many keys live is asked about at once.
const sweepBatch = 500

// Garbage lists what Sweep would delete: blobs last written before olderThan
// that live does not name, and what crashed Puts of that age left behind. live
// is given up to 500 keys and answers which of them are referred to.
//
// That is safe because a key that no row names is never named again, and
// because no upload takes as long as the grace that olderThan stands for.
func (b *Bucket) Garbage(ctx context.Context, olderThan time.Time, live func(keys []string) (map[string]bool, error)) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var batch []Entry
		judge := func() bool {
			garbage, err := dead(batch, live)
			batch = batch[:0]
			if err != nil {
				yield(Entry{}, err)
				return false
			}
			for _, e := range garbage {
				if !yield(e, nil) {
					return false
				}
			}
			return true
		}
		for e, err := range b.drv.List(ctx) {
			if err != nil {
				yield(Entry{}, fmt.Errorf("list blobs: %w", err))
				return
			}
			if !e.Modified.Before(olderThan) {
				continue
			}
			if batch = append(batch, e); len(batch) == sweepBatch && !judge() {
				return
			}
		}
		if !judge() {
			return
		}
		b.unfinished(ctx, olderThan, yield)
	}
}

// dead returns the entries of batch that live does not name.
func dead(batch []Entry, live func(keys []string) (map[string]bool, error)) ([]Entry, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	keys := make([]string, len(batch))
	for i, e := range batch {
		keys[i] = e.Key
	}
	named, err := live(keys)
	if err != nil {
		return nil, fmt.Errorf("ask for live blobs: %w", err)
	}
	var unnamed []Entry
	for _, e := range batch {
		if !named[e.Key] {
			unnamed = append(unnamed, e)
		}
	}
	return unnamed, nil
}

func (b *Bucket) unfinished(ctx context.Context, olderThan time.Time, yield func(Entry, error) bool) {
	u, ok := b.drv.(Unfinisher)
	if !ok {
		return
	}
	for e, err := range u.Unfinished(ctx) {
		if err != nil {
			yield(Entry{}, fmt.Errorf("list unfinished blobs: %w", err))
			return
		}
		if e.Modified.Before(olderThan) && !yield(e, nil) {
			return
		}
	}
}

// Sweep deletes what Garbage lists and returns how many that were. A blob that
// cannot be deleted does not keep the others; the first such error is returned.
func (b *Bucket) Sweep(ctx context.Context, olderThan time.Time, live func(keys []string) (map[string]bool, error)) (int, error) {
	var deleted int
	var first error
	for e, err := range b.Garbage(ctx, olderThan, live) {
		if err != nil {
			return deleted, err
		}
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		if err := b.drv.Delete(ctx, e.Key); err == nil {
			deleted++
		} else if first == nil {
			first = fmt.Errorf("delete blob: %w", err)
		}
	}
	return deleted, first
}

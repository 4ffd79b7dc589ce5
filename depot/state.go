package depot

import (
	"context"
	"iter"

	"github.com/vitrine-hq/vitrine/artifact"
)

// pageSize is how many rows are read at a time when there may be many.
const pageSize = 500

// Files yields the files that existed at a position of the log, in the order of
// their entries. It reads in pages that fit together whatever is written
// meanwhile; a session that is deleted meanwhile is an error, never a short
// list.
func (d *Depot) Files(ctx context.Context, s *artifact.Session, at artifact.Seq) iter.Seq2[*artifact.Version, error] {
	return func(yield func(*artifact.Version, error) bool) {
		for after := artifact.Seq(0); ; {
			list, err := d.db.State(ctx, s, at, after, pageSize)
			if err == nil && len(list) < pageSize {
				_, err = d.db.SessionByKey(ctx, s.Key) // it was still there after the last page
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range list {
				d.expose(s, e.Version)
				if after = e.Seq; !yield(e.Version, nil) {
					return
				}
			}
			if len(list) < pageSize {
				return
			}
		}
	}
}

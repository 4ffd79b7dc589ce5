package store

import (
	"context"
	"errors"

	"github.com/vitrine-hq/vitrine/artifact"
)

// PageBytes is how much JSON a page of entries may hold, see
// [artifact.Entry.Weight]. The entry that comes to it is the last one.
const PageBytes = 1 << 20

// Entries returns up to n entries after a position, in order: fewer where they
// come to [PageBytes] or the log ends. The caller knows that the session is there
// and where its log begins.
func (r *Reads) Entries(ctx context.Context, s *artifact.Session, after artifact.Seq, n int) ([]artifact.Entry, error) {
	return r.page(ctx, s.ID, "SELECT "+eventColumns+" FROM events e WHERE e.session = ? AND e.seq > ? ORDER BY e.seq LIMIT ?", s.Key, int64(after), n)
}

// page is entries up to PageBytes.
func (r *Reads) page(ctx context.Context, id artifact.SessionID, query string, args ...any) ([]artifact.Entry, error) {
	var list []artifact.Entry
	weight := 0
	err := r.q.rows(ctx, query, args, func(scan func(...any) error) error {
		if weight >= PageBytes {
			return errPageFull
		}
		e, err := scanEntry(scan, id)
		list, weight = append(list, e), weight+e.Weight()
		return err
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return list, r.d.explain(err)
}

var errPageFull = errors.New("a page is full")

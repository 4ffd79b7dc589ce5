package store

import (
	"context"
	"fmt"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Stored is one row that claims bytes.
type Stored struct {
	Session int64
	Seq     artifact.Seq
	artifact.Blob
}

// AllStored returns up to n rows that claim bytes, after the row last (its
// Session and Seq count). Rows of deleted sessions are left out.
func (r *Reads) AllStored(ctx context.Context, last Stored, n int) ([]Stored, error) {
	const query = "SELECT e.session, e.seq, e.size, e.sha256, e.blob FROM events e JOIN sessions s ON s.key = e.session" +
		" WHERE e.blob > '' AND (e.session, e.seq) > (?, ?) ORDER BY e.session, e.seq LIMIT ?"
	var list []Stored
	err := r.q.rows(ctx, query, []any{last.Session, int64(last.Seq), n}, func(scan func(...any) error) error {
		var s Stored
		err := scan(&s.Session, &s.Seq, &s.Size, &s.SHA256, &s.Key)
		list = append(list, s)
		return err
	})
	return list, r.d.explain(err)
}

// LogFaults returns a sentence for each log that has a gap or reaches beyond
// the position its session stands at, or whose bytes are counted wrongly, for
// each small content that no row names, and for each tenant whose usage is not
// what its logs say.
func (r *Reads) LogFaults(ctx context.Context) ([]string, error) {
	var faults []string
	const logs = "SELECT s.tenant, s.id, s.last_seq - s.first_seq + 1, COUNT(CASE WHEN e.seq >= s.first_seq THEN 1 END), COALESCE(MAX(e.seq), s.last_seq), s.last_seq, s.size, s.extra," +
		" COALESCE(SUM(CASE WHEN e.blob > '' THEN e.size ELSE 0 END), 0), COALESCE(SUM(CASE WHEN e.attachment IS NOT NULL THEN octet_length(e.data) ELSE 0 END), 0)" +
		" FROM sessions s LEFT JOIN events e ON e.session = s.key GROUP BY s.key, s.tenant, s.id, s.first_seq, s.last_seq, s.size, s.extra"
	err := r.q.rows(ctx, logs, nil, func(scan func(...any) error) error {
		var tenant, id string
		var want, got, highest, last int64
		var said, sum growth
		if err := scan(&tenant, &id, &want, &got, &highest, &last, &said.size, &said.extra, &sum.size, &sum.extra); err != nil {
			return err
		}
		if want != got || highest > last {
			faults = append(faults, fmt.Sprintf("session %s of %s: the log holds %d entries up to %d, it should hold %d up to %d", id, tenant, got, highest, want, last))
		}
		if said != sum {
			faults = append(faults, fmt.Sprintf("session %s of %s: its versions have %d bytes and %d of metadata, it counts %d and %d", id, tenant, sum.size, sum.extra, said.size, said.extra))
		}
		return nil
	})
	if err != nil {
		return nil, r.d.explain(err)
	}
	const contents = "SELECT c.owner, c.n FROM contents c JOIN sessions s ON s.key = c.owner" +
		" LEFT JOIN events e ON e.session = c.owner AND e.seq = c.n AND e.blob > '' WHERE e.seq IS NULL"
	err = r.q.rows(ctx, contents, nil, func(scan func(...any) error) error {
		var owner, n int64
		if err := scan(&owner, &n); err != nil {
			return err
		}
		faults = append(faults, fmt.Sprintf("content %s is named by no version", rowKey(owner, artifact.Seq(n))))
		return nil
	})
	if err != nil {
		return nil, r.d.explain(err)
	}
	usage, err := r.UsageFaults(ctx)
	return append(faults, usage...), err
}

package store

import (
	"context"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Looked is a version whose bytes are kept, with what a scanner said of it and
// the session or library that it is in: of that only Key, Tenant and ID are set.
type Looked struct {
	Session artifact.Session
	Version artifact.Version
}

// scanned are the rows of the index events_scan.
const scanned = "e.scan > '" + artifact.ScanClean + "' AND e.blob > ''"

const looked = " FROM events e JOIN sessions s ON s.key = e.session" +
	" WHERE " + scanned + " AND e.scan = ? AND (e.tenant, e.at, e.session, e.seq) > (?, ?, ?, ?) ORDER BY e.tenant, e.at, e.session, e.seq LIMIT ?"

// Looked returns up to n versions in a state other than clean, by tenant and
// then the oldest first, those behind after: one that it returned before, or one
// that has a tenant and nothing else to begin with that tenant, or nothing. They
// have no Extra. Those of deleted sessions are left out.
func (r *Reads) Looked(ctx context.Context, state string, after *Looked, n int) ([]Looked, error) {
	const query = "SELECT " + bareColumns + ", s.key, s.tenant, s.id" + looked
	at := int64(-1)
	if after.Session.Key != 0 {
		at = after.Version.At.UnixMicro()
	}
	var list []Looked
	err := r.q.rows(ctx, query, []any{state, after.Session.Tenant, at, after.Session.Key, int64(after.Version.Seq), n}, func(scan func(...any) error) error {
		var l Looked
		e, err := scanEntry(scan, "", &l.Session.Key, &l.Session.Tenant, &l.Session.ID)
		if err != nil {
			return err
		}
		l.Version, l.Version.Session = *e.Version, l.Session.ID
		list = append(list, l)
		return checkNames(l.Session.Tenant, l.Session.ID)
	})
	return list, r.d.explain(err)
}

const waiting = " FROM events e WHERE " + scanned + " AND e.scan = ? AND e.tenant > ? ORDER BY e.tenant LIMIT 1"

// Waiting returns the first tenant behind the given one that a scanner is still
// to look at something for, or "" where there is none. A tenant whose sessions
// are about to go may be among them.
func (r *Reads) Waiting(ctx context.Context, after string) (tenant string, err error) {
	err = r.q.row(ctx, "SELECT e.tenant"+waiting, []any{artifact.ScanPending, after}, &tenant)
	if errNoRows(err) {
		return "", nil
	}
	return tenant, r.d.explain(err)
}

// ScanQueue counts the versions that a scanner is still to look at.
func (r *Reads) ScanQueue(ctx context.Context) (n int64, err error) {
	err = r.q.row(ctx, "SELECT COUNT(*) FROM events e WHERE "+scanned+" AND e.scan = ?", []any{artifact.ScanPending}, &n)
	return n, r.d.explain(err)
}

// ScanState returns what a scanner said by now of the bytes with that key, or a
// NotFound error where no version has them any more.
func (r *Reads) ScanState(ctx context.Context, key string) (state string, err error) {
	const columns = "SELECT COALESCE(e.scan, '') FROM events e WHERE "
	if owner, n, small := parseRowKey(key); small {
		err = r.q.row(ctx, columns+"e.session = ? AND e.seq = ? AND e.blob = ?", []any{owner, n, key}, &state)
	} else {
		err = r.q.row(ctx, columns+"e.blob = ? AND e.blob > '' AND e.blob < 'row/'", []any{key}, &state)
	}
	if errNoRows(err) {
		return "", artifact.Errorf(artifact.NotFound, "Artifact file missing")
	}
	return state, r.d.explain(err)
}

// SetScan writes what a scanner said of a version. It reports false where
// somebody else has done so since, or the bytes are gone or have moved.
func (tx *Tx) SetScan(key int64, v *artifact.Version, state string) (bool, error) {
	n, err := tx.exec("UPDATE events SET scan = ? WHERE session = ? AND seq = ? AND scan = ? AND blob = ?",
		state, key, int64(v.Seq), artifact.ScanPending, v.Key)
	return n == 1, err
}

// ScanAgain makes up to 500 versions that could not be looked at pending again,
// and reports whether there may be more.
func (tx *Tx) ScanAgain() (more bool, err error) {
	list, err := tx.Reads().Looked(tx.ctx, artifact.ScanFailed, &Looked{}, 500)
	for i := range list {
		if err == nil {
			_, err = tx.exec("UPDATE events SET scan = ? WHERE session = ? AND seq = ?", artifact.ScanPending, list[i].Session.Key, int64(list[i].Version.Seq))
		}
	}
	return len(list) == 500, err
}

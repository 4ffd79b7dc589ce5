package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Reads are the queries, on whatever they are asked of: the pool of a [DB], or
// one snapshot ([DB.Snapshot]).
type Reads struct {
	d     *dialect
	q     *statements
	quota artifact.Quota // of tenants that have none of their own
}

// Snapshot runs f with queries that all see the same committed state.
func (db *DB) Snapshot(ctx context.Context, f func(*Reads) error) error {
	tx, err := db.read.BeginTx(ctx, db.d.snapshot)
	if err != nil {
		return fmt.Errorf("begin snapshot: %w", db.d.explain(err))
	}
	defer tx.Rollback()
	q := newStatements(db.d, tx)
	defer q.close()
	return f(&Reads{d: db.d, q: q, quota: db.opt.Quota})
}

const sessionColumns = "key, tenant, id, status, created, updated, first_seq, last_seq, attachments, artifacts, size, metadata"

func scanSession(scan func(...any) error) (artifact.Session, error) {
	var s artifact.Session
	var created, updated int64
	var metadata string
	err := scan(&s.Key, &s.Tenant, &s.ID, &s.Status, &created, &updated, &s.FirstSeq, &s.LastSeq,
		&s.Attachments, &s.Artifacts, &s.Bytes, &metadata)
	if err == nil {
		err = checkNames(s.Tenant, s.ID)
	}
	if err != nil {
		return s, err
	}
	s.Created, s.Updated = fromMicros(created), fromMicros(updated)
	s.Metadata = json.RawMessage(metadata)
	return s, nil
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// ErrNoSession is the NotFound error for a session that is not there.
var ErrNoSession = artifact.Errorf(artifact.NotFound, "Session not found")

// Session returns the session of that name, or [ErrNoSession].
func (r *Reads) Session(ctx context.Context, tenant string, id artifact.SessionID) (artifact.Session, error) {
	return r.oneSession(ctx, "SELECT "+sessionColumns+" FROM sessions WHERE tenant = ? AND id = ?", tenant, string(id))
}

// SessionByKey returns the session with that key, or [ErrNoSession].
func (r *Reads) SessionByKey(ctx context.Context, key int64) (artifact.Session, error) {
	return r.oneSession(ctx, "SELECT "+sessionColumns+" FROM sessions WHERE key = ?", key)
}

func (r *Reads) oneSession(ctx context.Context, query string, args ...any) (artifact.Session, error) {
	var s artifact.Session
	err := r.q.rows(ctx, query, args, func(scan func(...any) error) (err error) {
		s, err = scanSession(scan)
		return err
	})
	if err == nil && s.Key == 0 {
		return s, ErrNoSession
	}
	return s, r.d.explain(err)
}

// Skipped returns what is in a session's workspace but not captured, with the
// reason for each path.
func (r *Reads) Skipped(ctx context.Context, key int64) (map[string]string, error) {
	var text string
	err := r.q.row(ctx, "SELECT skipped FROM sessions WHERE key = ?", []any{key}, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoSession
	}
	if err != nil {
		return nil, r.d.explain(err)
	}
	var skipped map[string]string
	if err := json.Unmarshal([]byte(text), &skipped); err != nil {
		return nil, fmt.Errorf("skipped files of session: %w", err)
	}
	return skipped, nil
}

// SessionQuery selects a page of the sessions of a tenant, newest first.
type SessionQuery struct {
	Tenant string
	Status string    // empty takes all
	Text   string    // part of the id, in any case; empty takes all
	Before int64     // key of the last session of the page before; 0 starts
	Idle   time.Time // only sessions without an entry since then; zero takes all
	Limit  int
}

// Sessions returns at most q.Limit sessions. An empty tenant takes those of all.
func (r *Reads) Sessions(ctx context.Context, q SessionQuery) ([]artifact.Session, error) {
	where, args := []string{notALog}, []any{}
	add := func(cond string, arg any) {
		where, args = append(where, cond), append(args, arg)
	}
	if q.Tenant != "" {
		add("tenant = ?", q.Tenant)
	}
	if q.Status != "" {
		add("status = ?", q.Status)
	}
	if q.Text != "" {
		add("lower(id) LIKE ? ESCAPE '!'", "%"+likeEscape.Replace(strings.ToLower(q.Text))+"%")
	}
	if q.Before != 0 {
		add("key < ?", q.Before)
	}
	if !q.Idle.IsZero() {
		add("updated < ?", q.Idle.UnixMicro())
	}
	query := "SELECT " + sessionColumns + " FROM sessions WHERE " + strings.Join(where, " AND ") + " ORDER BY key DESC LIMIT ?"
	var list []artifact.Session
	err := r.q.rows(ctx, query, append(args, q.Limit), func(scan func(...any) error) error {
		s, err := scanSession(scan)
		list = append(list, s)
		return err
	})
	return list, r.d.explain(err)
}

// notALog leaves out the rows that are a tenant's library or its audit log.
const notALog = "id NOT IN ('" + string(artifact.LibraryLog) + "', '" + string(artifact.AuditLog) + "')"

var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// Tombstone is what remains of a deleted session.
type Tombstone struct {
	Key     int64
	Tenant  string
	ID      artifact.SessionID
	LastSeq artifact.Seq
	Deleted time.Time
}

const tombstoneColumns = "key, tenant, id, last_seq, deleted"

func (r *Reads) tombstones(ctx context.Context, query string, args ...any) ([]Tombstone, error) {
	var list []Tombstone
	err := r.q.rows(ctx, query, args, func(scan func(...any) error) error {
		var t Tombstone
		var deleted int64
		if err := scan(&t.Key, &t.Tenant, &t.ID, &t.LastSeq, &deleted); err != nil {
			return err
		}
		t.Deleted = fromMicros(deleted)
		list = append(list, t)
		return checkNames(t.Tenant, t.ID)
	})
	return list, r.d.explain(err)
}

// Tombstone returns what a follower of the deleted session with that key needs
// to end well, or [ErrNoSession].
func (r *Reads) Tombstone(ctx context.Context, key int64) (Tombstone, error) {
	list, err := r.tombstones(ctx, "SELECT "+tombstoneColumns+" FROM tombstones WHERE key = ?", key)
	if err == nil && len(list) == 0 {
		return Tombstone{}, ErrNoSession
	}
	if err != nil {
		return Tombstone{}, err
	}
	return list[0], nil
}

// Deleted reports whether a session of that name was deleted.
func (r *Reads) Deleted(ctx context.Context, tenant string, id artifact.SessionID) (bool, error) {
	list, err := r.tombstones(ctx, "SELECT "+tombstoneColumns+" FROM tombstones WHERE tenant = ? AND id = ? ORDER BY key DESC LIMIT 1", tenant, string(id))
	return len(list) > 0, err
}

// Pending returns deleted sessions whose rows are still to be purged.
func (r *Reads) Pending(ctx context.Context, limit int) ([]Tombstone, error) {
	return r.tombstones(ctx, "SELECT "+tombstoneColumns+" FROM tombstones WHERE purged = 0 ORDER BY key LIMIT ?", limit)
}

// newKey returns a key for a session: it grows with time, so that newer
// sessions have larger keys, and its low 12 bits are random where this process
// has not just given out a larger one. The transactions of a batch share a time.
func (tx *Tx) newKey() int64 {
	var b [2]byte
	rand.Read(b[:]) // never fails
	key := (tx.now.UnixMicro()-keyEpoch)<<12 | int64(binary.BigEndian.Uint16(b[:])&0xfff)
	tx.db.lastKey = max(key, tx.db.lastKey+1)
	return tx.db.lastKey
}

// keyEpoch is 2024-01-01; 63 bits last for 71 years from there.
const keyEpoch = 1704067200_000_000

// CreateSession makes a session. An Exists error says that there is one. Where
// one was deleted before, revive decides: a NotFound error, or a session whose
// log goes on from the old one's last entry.
func (tx *Tx) CreateSession(tenant string, id artifact.SessionID, metadata json.RawMessage, revive bool) (artifact.Session, error) {
	var none artifact.Session
	var last int64
	err := tx.s.row(tx.ctx, "SELECT last_seq FROM tombstones WHERE tenant = ? AND id = ? ORDER BY key DESC LIMIT 1", []any{tenant, string(id)}, &last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return none, err
	}
	if err == nil && !revive {
		return none, ErrNoSession
	}
	if metadata == nil {
		metadata = json.RawMessage(`{}`)
	}
	us := tx.now.UnixMicro()
	s := artifact.Session{
		Key: tx.newKey(), Tenant: tenant, ID: id, Status: artifact.StatusIdle, Created: tx.now.UTC(), Updated: tx.now.UTC(),
		FirstSeq: artifact.Seq(last + 1), LastSeq: artifact.Seq(last), Metadata: metadata,
	}
	n, err := tx.exec("INSERT INTO sessions (key, tenant, id, status, created, updated, first_seq, last_seq, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING",
		s.Key, tenant, string(id), s.Status, us, us, last+1, last, string(metadata))
	if err != nil {
		return none, err
	}
	if n == 0 {
		return none, artifact.Errorf(artifact.Exists, "Session already exists")
	}
	tx.use(tenant, Usage{Sessions: 1})
	return s, nil
}

// EnsureSession returns the key of the session, which it makes where there is
// none. A session that was deleted is not revived: NotFound.
func (tx *Tx) EnsureSession(tenant string, id artifact.SessionID) (int64, error) {
	var key int64
	err := tx.s.row(tx.ctx, "SELECT key FROM sessions WHERE tenant = ? AND id = ?", []any{tenant, string(id)}, &key)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return key, err
	}
	s, err := tx.CreateSession(tenant, id, nil, false)
	return s.Key, err
}

// SetMetadata replaces what the client keeps with a session.
func (tx *Tx) SetMetadata(key int64, metadata json.RawMessage) error {
	return tx.oneRow("UPDATE sessions SET metadata = ? WHERE key = ?", string(metadata), key)
}

// SetSkipped replaces the list of what is in the workspace but not captured.
func (tx *Tx) SetSkipped(key int64, skipped map[string]string) error {
	text, err := json.Marshal(skipped)
	if err != nil {
		return fmt.Errorf("encode skipped files: %w", err)
	}
	return tx.oneRow("UPDATE sessions SET skipped = ? WHERE key = ?", string(text), key)
}

// oneRow runs an update of one session, or returns ErrNoSession.
func (tx *Tx) oneRow(query string, args ...any) error {
	n, err := tx.exec(query, args...)
	if err == nil && n == 0 {
		return ErrNoSession
	}
	return err
}

// MustBeIdle returns ErrNoSession if the session has an entry from limit on.
func (tx *Tx) MustBeIdle(key int64, limit time.Time) error {
	var one int
	err := tx.s.row(tx.ctx, "SELECT 1 FROM sessions WHERE key = ? AND updated < ?", []any{key, limit.UnixMicro()}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoSession
	}
	return err
}

// DeleteSession ends a session: its last entry is written, a tombstone takes
// its place and nothing can reach it any more. The rows behind it are left to
// [Tx.Purge].
func (tx *Tx) DeleteSession(key int64) (Tombstone, error) {
	e := &artifact.Entry{Type: artifact.TypeDeleted, Data: []byte(`{}`)}
	if err := tx.Append(key, e); err != nil {
		return Tombstone{}, err
	}
	t := Tombstone{Key: key, LastSeq: e.Seq, Deleted: tx.now.UTC()}
	freed := Usage{Sessions: 1}
	err := tx.s.row(tx.ctx, "DELETE FROM sessions WHERE key = ? RETURNING tenant, id, attachments + artifacts, size + extra", []any{key}, &t.Tenant, &t.ID, &freed.Files, &freed.Bytes)
	if err != nil {
		return Tombstone{}, err
	}
	tx.use(t.Tenant, freed.negative())
	_, err = tx.exec("INSERT INTO tombstones (key, tenant, id, last_seq, deleted) VALUES (?, ?, ?, ?, ?)",
		key, t.Tenant, string(t.ID), int64(t.LastSeq), tx.now.UnixMicro())
	return t, err
}

// Purge removes up to 1,000 rows that a deleted session left behind. It returns
// the keys of the blobs that no row names any more by that, and whether these
// were the last rows.
func (tx *Tx) Purge(key int64) (blobs []string, done bool, err error) {
	n, err := tx.exec("DELETE FROM contents WHERE owner = ? AND n IN (SELECT n FROM contents WHERE owner = ? ORDER BY n LIMIT 500)", key, key)
	if err != nil {
		return nil, false, err
	}
	const oldest = " FROM events WHERE session = ? ORDER BY seq LIMIT 500"
	m := 0
	err = tx.s.rows(tx.ctx, "SELECT COALESCE(blob, '')"+oldest, []any{key}, func(scan func(...any) error) error {
		var blob string
		err := scan(&blob)
		if m++; blob != "" && !InRow(blob) {
			blobs = append(blobs, blob)
		}
		return err
	})
	if err == nil && m > 0 {
		_, err = tx.exec("DELETE FROM events WHERE session = ? AND seq IN (SELECT seq"+oldest+")", key, key)
	}
	if err != nil || n > 0 || m > 0 {
		return blobs, false, err
	}
	_, err = tx.exec("UPDATE tombstones SET purged = 1 WHERE key = ?", key)
	return nil, err == nil, err
}

package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

const eventColumns = "e.seq, e.type, e.at, e.data, " + fileColumns

// bareColumns are eventColumns without the metadata of a file, which can be
// long: a version that is read by them has no Extra.
const bareColumns = "e.seq, e.type, e.at, '', " + fileColumns

const fileColumns = "COALESCE(e.attachment, ''), COALESCE(e.event_id, ''), COALESCE(e.change, ''), COALESCE(e.until, 0), " +
	"COALESCE(e.path, ''), COALESCE(e.mime, ''), COALESCE(e.source, ''), COALESCE(e.node, ''), COALESCE(e.size, 0), COALESCE(e.sha256, ''), COALESCE(e.blob, ''), COALESCE(e.stat, ''), COALESCE(e.version, 0), COALESCE(e.scan, ''), COALESCE(e.owner, '')"

func scanEntry(scan func(...any) error, id artifact.SessionID, more ...any) (artifact.Entry, error) {
	e := artifact.Entry{Session: id}
	v := artifact.Version{Session: id}
	var at int64
	into := append([]any{&e.Seq, &e.Type, &at, &e.Data, &v.Attachment, &v.EventID, &v.Change, &v.Until,
		&v.Path, &v.MIME, &v.Source, &v.Node, &v.Size, &v.SHA256, &v.Key, &v.Stat, &v.Number, &v.Scan, &v.Owner}, more...)
	if err := scan(into...); err != nil {
		return e, err
	}
	e.At = fromMicros(at)
	if v.Attachment == "" {
		return e, nil
	}
	v.Seq, v.At = e.Seq, e.At
	v.Name = v.Path[strings.LastIndexByte(v.Path, '/')+1:]
	if len(e.Data) > 0 {
		numbers := json.NewDecoder(bytes.NewReader(e.Data))
		numbers.UseNumber() // keeps every digit
		if err := numbers.Decode(&v.Extra); err != nil {
			return e, fmt.Errorf("extra of entry %d: %w", e.Seq, err)
		}
		v.Stored = len(e.Data)
	}
	e.Version, e.Data = &v, nil
	return e, nil
}

// State returns up to n of the files that existed at a position, in the order
// of their entries, those with a sequence above after. Asked for the same
// position, pages fit together whatever is written in between.
func (r *Reads) State(ctx context.Context, s *artifact.Session, at, after artifact.Seq, n int) ([]artifact.Entry, error) {
	return r.entries(ctx, s.ID, "SELECT "+eventColumns+" FROM events e WHERE e.session = ? AND e.seq > ? AND e.seq <= ? AND e.until > ? ORDER BY e.seq LIMIT ?",
		s.Key, int64(after), int64(at), int64(at), n)
}

// Live returns the files of the workspace that stand now: all of them, or those
// at the given paths.
func (r *Reads) Live(ctx context.Context, s *artifact.Session, paths ...string) ([]artifact.Entry, error) {
	query := "SELECT " + eventColumns + " FROM events e WHERE e.session = ? AND e.until = " + current + " AND e.source = '" + artifact.SourceWorkspace + "'"
	args := []any{s.Key}
	if len(paths) > 0 {
		query += " AND e.path IN (?" + strings.Repeat(", ?", len(paths)-1) + ")"
		for _, p := range paths {
			args = append(args, p)
		}
	}
	return r.entries(ctx, s.ID, query, args...)
}

// Uploads returns the uploads of a session in the order in which they came.
func (r *Reads) Uploads(ctx context.Context, s *artifact.Session, after artifact.Seq, n int) ([]artifact.Entry, error) {
	return r.entries(ctx, s.ID, "SELECT "+eventColumns+" FROM events e WHERE e.session = ? AND e.seq > ? AND e.until = "+current+" AND e.source = '"+artifact.SourceUpload+"' ORDER BY e.seq LIMIT ?",
		s.Key, int64(after), n)
}

// current is artifact.Current in SQL; the literal lets the index on live files serve.
var current = strconv.FormatInt(int64(artifact.Current), 10)

func (r *Reads) entries(ctx context.Context, id artifact.SessionID, query string, args ...any) ([]artifact.Entry, error) {
	var list []artifact.Entry
	err := r.q.rows(ctx, query, args, func(scan func(...any) error) error {
		e, err := scanEntry(scan, id)
		list = append(list, e)
		return err
	})
	return list, r.d.explain(err)
}

// Version returns the version that id names: an artifact id or an event id
// names one version, an attachment id the latest of its file, which may be its
// deletion. Otherwise a NotFound error.
func (r *Reads) Version(ctx context.Context, s *artifact.Session, id string) (artifact.Version, error) {
	query := "SELECT " + eventColumns + " FROM events e WHERE e.session = ? AND e.attachment = ? ORDER BY e.seq DESC LIMIT 1"
	args := []any{s.Key, id}
	event := strings.TrimPrefix(id, "art_")
	if seq, ok := eventSeq(event); ok {
		query = "SELECT " + eventColumns + " FROM events e WHERE e.session = ? AND e.seq = ? AND e.event_id = ?"
		args = []any{s.Key, int64(seq), event}
	}
	list, err := r.entries(ctx, s.ID, query, args...)
	if err != nil {
		return artifact.Version{}, err
	}
	if len(list) == 0 || list[0].Version == nil {
		return artifact.Version{}, artifact.Errorf(artifact.NotFound, "Artifact not found")
	}
	return *list[0].Version, nil
}

// Content returns the bytes of a small content, or fs-like NotFound.
func (r *Reads) Content(ctx context.Context, key string) ([]byte, error) {
	owner, n, ok := parseRowKey(key)
	if !ok {
		return nil, fmt.Errorf("key %q is not one of a row", key)
	}
	var b []byte
	err := r.q.row(ctx, "SELECT bytes FROM contents WHERE owner = ? AND n = ?", []any{owner, n}, &b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, artifact.Errorf(artifact.NotFound, "Artifact file missing")
	}
	return b, r.d.explain(err)
}

// LiveBlobs returns which of the keys of the bucket are named by a row.
func (r *Reads) LiveBlobs(ctx context.Context, keys []string) (map[string]bool, error) {
	live := make(map[string]bool, len(keys))
	if len(keys) == 0 {
		return live, nil
	}
	args := make([]any, 0, 2*len(keys))
	for _, k := range keys {
		args = append(args, k)
	}
	for len(args)&(len(args)-1) != 0 { // to a power of two, so that few statements serve
		args = append(args, args[0])
	}
	query := "SELECT blob FROM events WHERE blob > '' AND blob < 'row/' AND blob IN (?" + strings.Repeat(", ?", len(args)-1) + ")"
	err := r.q.rows(ctx, query, args, func(scan func(...any) error) error {
		var k string
		err := scan(&k)
		live[k] = true
		return err
	})
	return live, r.d.explain(err)
}

// InRow reports whether a blob key names a small content in a table.
func InRow(key string) bool { return strings.HasPrefix(key, rowPrefix) }

const rowPrefix = "row/"

func rowKey(owner int64, n artifact.Seq) string {
	return rowPrefix + strconv.FormatInt(owner, 16) + "/" + strconv.FormatInt(int64(n), 16)
}

func parseRowKey(key string) (owner, n int64, ok bool) {
	a, b, found := strings.Cut(strings.TrimPrefix(key, rowPrefix), "/")
	owner, err := strconv.ParseInt(a, 16, 64)
	n, err2 := strconv.ParseInt(b, 16, 64)
	return owner, n, InRow(key) && found && err == nil && err2 == nil
}

// An event id is 32 hex digits. The first 12 are its sequence, so that finding
// a version by its id needs no index; the rest is random.
func newEventID(seq artifact.Seq) string {
	var b [10]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("%012x", int64(seq)) + hex.EncodeToString(b[:])
}

func eventSeq(id string) (artifact.Seq, bool) {
	if len(id) != 32 {
		return 0, false
	}
	n, err := strconv.ParseInt(id[:12], 16, 64)
	return artifact.Seq(n), err == nil && n > 0
}

// Append adds an entry that tells of no file. It sets e.Seq and e.At.
func (tx *Tx) Append(key int64, e *artifact.Entry) error {
	seq, _, err := tx.next(key, growth{})
	if err != nil {
		return err
	}
	e.Seq, e.At = seq, tx.now.UTC()
	_, err = tx.exec("INSERT INTO events (session, seq, type, at, data) VALUES (?, ?, ?, ?, ?)",
		key, int64(seq), e.Type, tx.now.UnixMicro(), string(e.Data))
	return err
}

// growth is what an entry adds to what its log holds. What counts against a
// quota is the sum of size and extra.
type growth struct {
	attachments, artifacts int64 // files
	size                   int64 // bytes of contents
	extra                  int64 // bytes of metadata, as they are stored
}

// next takes the next position of a log. The row lock it takes makes commits
// of one session serial, so positions become visible in order, without gaps.
// The tenant is whose log it is.
func (tx *Tx) next(key int64, g growth) (seq artifact.Seq, tenant string, err error) {
	err = tx.s.row(tx.ctx, "UPDATE sessions SET last_seq = last_seq + 1, updated = ?, attachments = attachments + ?, artifacts = artifacts + ?, size = size + ?, extra = extra + ? WHERE key = ? RETURNING last_seq, tenant",
		[]any{tx.now.UnixMicro(), g.attachments, g.artifacts, g.size, g.extra, key}, &seq, &tenant)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, "", ErrNoSession
	}
	tx.woken = append(tx.woken, key)
	tx.use(tenant, Usage{Bytes: g.size + g.extra, Files: g.attachments + g.artifacts})
	return seq, tenant, err
}

// AppendVersion adds the entry that tells of a version of a file. It sets
// v.EventID, v.Seq, v.At and v.Until and supersedes the version that stood,
// which must be the one at the v.Seq given, unless that is 0: otherwise the
// error is Exists.
// content, if not nil, is kept in the database and v.Key is set to say so.
func (tx *Tx) AppendVersion(key int64, v *artifact.Version, content []byte) error {
	extra, err := encodeExtra(v)
	if err != nil {
		return err
	}
	typ, g := artifact.TypeArtifact, growth{size: v.Size, extra: int64(len(extra))}
	switch {
	case v.Upload():
		typ, g.attachments = artifact.TypeUpload, 1
	case v.Change == artifact.Created:
		g.artifacts = 1
	case v.Change == artifact.Deleted:
		g.artifacts, g.size = -1, 0
	}
	follows := v.Seq
	seq, tenant, err := tx.next(key, g)
	if err != nil {
		return err
	}
	v.Seq, v.At, v.EventID, v.Until = seq, tx.now.UTC(), newEventID(seq), artifact.Current
	if v.Change == artifact.Deleted {
		v.Until = seq
	}
	if err := tx.insertContent(key, v, content); err != nil {
		return err
	}
	if v.Change != artifact.Created {
		if err := tx.supersede(key, v, follows); err != nil {
			return err
		}
	}
	return tx.insertVersion(key, tenant, typ, v, extra)
}

// insertContent keeps content, if not nil, in the database and sets v.Key to
// say so.
func (tx *Tx) insertContent(key int64, v *artifact.Version, content []byte) error {
	if content == nil {
		return nil
	}
	v.Key = rowKey(key, v.Seq)
	_, err := tx.exec("INSERT INTO contents (owner, n, bytes) VALUES (?, ?, ?)", key, int64(v.Seq), content)
	return err
}

// encodeExtra returns the metadata of a version as its row keeps it. Its length
// is what it uses of a quota.
func encodeExtra(v *artifact.Version) (string, error) {
	if len(v.Extra) == 0 {
		return "", nil
	}
	b, err := json.Marshal(v.Extra)
	if err != nil {
		return "", fmt.Errorf("encode extra: %w", err)
	}
	return string(b), nil
}

// insertVersion writes the row of an entry that tells of a file, and sets
// v.Stored. extra is what encodeExtra returned.
func (tx *Tx) insertVersion(key int64, tenant, typ string, v *artifact.Version, extra string) error {
	v.Stored = len(extra)
	if v.Scan == "" {
		tenant = "" // only the queue of the scanner asks
	}
	_, err := tx.exec("INSERT INTO events (session, seq, type, at, data, attachment, event_id, change, until, path, mime, source, node, size, sha256, blob, stat, version, scan, owner, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		key, int64(v.Seq), typ, tx.now.UnixMicro(), extra, v.Attachment, v.EventID, string(v.Change), int64(v.Until),
		v.Path, v.MIME, v.Source, v.Node, v.Size, v.SHA256, v.Key, v.Stat, null(v.Number), null(v.Scan), null(v.Owner), null(tenant))
	if err != nil && tx.db.d.verdict(err) == constraint {
		return ErrChanged // another version stands at the path
	}
	return err
}

// null returns nil for a zero value.
func null[T comparable](v T) any {
	if v == *new(T) {
		return nil
	}
	return v
}

// supersede ends the version that v follows, which must still stand: otherwise
// somebody else has told of this file since the caller looked.
func (tx *Tx) supersede(key int64, v *artifact.Version, follows artifact.Seq) error {
	if follows == 0 {
		follows = artifact.Current
	}
	n, err := tx.exec("UPDATE events SET until = ? WHERE session = ? AND attachment = ? AND seq <= ? AND until = "+current,
		int64(v.Seq), key, v.Attachment, int64(follows))
	if err == nil && n != 1 {
		return ErrChanged
	}
	return err
}

// ErrChanged is the Exists error for a file that is no longer what the caller
// began with.
var ErrChanged = artifact.Errorf(artifact.Exists, "The file was changed at the same time")

// SetStat remembers what the file of a version looks like on disk now, after
// it was touched without being changed.
func (tx *Tx) SetStat(key int64, seq artifact.Seq, stat string) error {
	_, err := tx.exec("UPDATE events SET stat = ? WHERE session = ? AND seq = ?", stat, key, int64(seq))
	return err
}

// Clean forgets the bytes of the uploads at the given positions (extensions
// §5), which must be at most 500.
func (tx *Tx) Clean(key int64, seqs []artifact.Seq) error {
	var freed int64
	for _, seq := range seqs {
		if _, err := tx.exec("DELETE FROM contents WHERE owner = ? AND n = ?", key, int64(seq)); err != nil {
			return err
		}
		var size int64
		err := tx.s.row(tx.ctx, "UPDATE events SET blob = '' WHERE session = ? AND seq = ? AND blob <> '' RETURNING size", []any{key, int64(seq)}, &size)
		if err != nil && !errors.Is(err, sql.ErrNoRows) { // no row: cleaned before
			return err
		}
		freed += size
	}
	var tenant string
	err := tx.s.row(tx.ctx, "UPDATE sessions SET size = size - ? WHERE key = ? RETURNING tenant", []any{freed, key}, &tenant)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoSession
	}
	tx.use(tenant, Usage{Bytes: -freed})
	return err
}

// Trim drops up to 500 of the oldest entries of a log so that keep remain. The
// versions of files stay reachable by their ids.
func (tx *Tx) Trim(key int64, keep int64) (trimmed bool, err error) {
	var first, last int64
	err = tx.s.row(tx.ctx, "SELECT first_seq, last_seq FROM sessions WHERE key = ?", []any{key}, &first, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return false, ErrNoSession
	}
	if err != nil || last-first+1 <= keep {
		return false, err
	}
	next := min(last-keep+1, first+500)
	if _, err := tx.exec("DELETE FROM events WHERE session = ? AND seq < ? AND seq >= ? AND attachment IS NULL", key, next, first); err != nil {
		return false, err
	}
	_, err = tx.exec("UPDATE sessions SET first_seq = ? WHERE key = ?", next, key)
	return err == nil, err
}

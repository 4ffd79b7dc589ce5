package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Share is a link for people without an account.
type Share struct {
	ID       string
	Tenant   string
	Session  int64 // key
	Kind     string
	Artifact string       // event id, or empty
	Position artifact.Seq // 0 shows what there is now
	Creator  string
	Key      string // API key that it was made with, or empty
	Owner    string // who that acts for, or empty
	Created  time.Time
	Expires  time.Time
	Revoked  time.Time
}

// ErrNoShare is the NotFound error for a share that is not there.
var ErrNoShare = artifact.Errorf(artifact.NotFound, "Share not found")

func (r *Reads) shares(ctx context.Context, where string, args ...any) ([]Share, error) {
	var list []Share
	err := r.q.rows(ctx, "SELECT id, tenant, session, kind, artifact, position, creator, key_id, owner, created, expires, revoked FROM shares WHERE "+where, args, func(scan func(...any) error) error {
		var s Share
		var created, expires, revoked int64
		err := scan(&s.ID, &s.Tenant, &s.Session, &s.Kind, &s.Artifact, &s.Position, &s.Creator, &s.Key, &s.Owner, &created, &expires, &revoked)
		s.Created, s.Expires, s.Revoked = fromMicros(created), fromMicros(expires), orNever(revoked)
		list = append(list, s)
		return err
	})
	return list, r.d.explain(err)
}

// Share returns a share, also one that was revoked or has expired, or
// [ErrNoShare].
func (r *Reads) Share(ctx context.Context, id string) (Share, error) {
	list, err := r.shares(ctx, "id = ?", id)
	if err == nil && len(list) == 0 {
		err = ErrNoShare
	}
	if err != nil {
		return Share{}, err
	}
	return list[0], nil
}

// Shares returns the shares of a session that are good at a time, oldest first.
func (r *Reads) Shares(ctx context.Context, tenant string, session int64, at time.Time) ([]Share, error) {
	return r.shares(ctx, "session = ? AND tenant = ? AND revoked = 0 AND expires > ? ORDER BY created, id", session, tenant, at.UnixMicro())
}

// OldestShare returns when the oldest share was made that is good at a time;
// zero where there is none.
func (r *Reads) OldestShare(ctx context.Context, at time.Time) (time.Time, error) {
	var oldest sql.NullInt64
	err := r.q.row(ctx, "SELECT MIN(created) FROM shares WHERE revoked = 0 AND expires > ?", []any{at.UnixMicro()}, &oldest)
	return orNever(oldest.Int64), r.d.explain(err)
}

// CreateShare adds a share.
func (tx *Tx) CreateShare(s Share) error {
	_, err := tx.exec("INSERT INTO shares (id, tenant, session, kind, artifact, position, creator, key_id, owner, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		s.ID, s.Tenant, s.Session, s.Kind, s.Artifact, int64(s.Position), s.Creator, s.Key, s.Owner, tx.now.UnixMicro(), micros(s.Expires))
	return err
}

// RevokeShare ends a share, or returns [ErrNoShare].
func (tx *Tx) RevokeShare(tenant string, session int64, id string) error {
	n, err := tx.exec("UPDATE shares SET revoked = ? WHERE id = ? AND tenant = ? AND session = ? AND revoked = 0", tx.now.UnixMicro(), id, tenant, session)
	if err == nil && n == 0 {
		return ErrNoShare
	}
	return err
}

// Whose shares a statement is about. That there is somebody is what their
// indexes ask for.
const (
	madeWith  = "key_id = ? AND key_id > ''"
	madeBy    = "owner = ? AND owner > ''"
	goodShare = " AND tenant = ? AND revoked = 0 AND expires > ?"
)

// RevokeSharesOfKey ends the shares that were made with an API key and returns
// how many were good.
func (tx *Tx) RevokeSharesOfKey(tenant, key string) (int64, error) {
	return tx.revokeShares(madeWith, tenant, key)
}

// RevokeSharesOf ends the shares that a user made, with whatever key or client,
// and returns how many were good.
func (tx *Tx) RevokeSharesOf(tenant, user string) (int64, error) {
	return tx.revokeShares(madeBy, tenant, user)
}

func (tx *Tx) revokeShares(whose, tenant, id string) (int64, error) {
	now := tx.now.UnixMicro()
	return tx.exec("UPDATE shares SET revoked = ? WHERE "+whose+goodShare, now, id, tenant, now)
}

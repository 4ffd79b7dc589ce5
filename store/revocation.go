package store

import (
	"context"
	"time"
)

// Revocation says that everything which names the target is no longer good.
type Revocation struct {
	Seq    int64
	Kind   string
	Target string
	At     time.Time
	Forget time.Time // after which nothing can be left that it would end
}

// Revocations returns up to n revocations after a position, in their order. One
// that is visible has all before it visible.
func (r *Reads) Revocations(ctx context.Context, after int64, n int) ([]Revocation, error) {
	var list []Revocation
	err := r.q.rows(ctx, "SELECT seq, kind, target, at, forget FROM revocations WHERE seq > ? ORDER BY seq LIMIT ?", []any{after, n}, func(scan func(...any) error) error {
		var v Revocation
		var at, forget int64
		err := scan(&v.Seq, &v.Kind, &v.Target, &at, &forget)
		v.At, v.Forget = fromMicros(at), fromMicros(forget)
		list = append(list, v)
		return err
	})
	return list, r.d.explain(err)
}

// Revoke adds a revocation, which nodes may forget after a time.
func (tx *Tx) Revoke(kind, target string, forgetAfter time.Time) error {
	var seq int64
	// The row is locked until the commit, so nobody sees a later one first.
	err := tx.s.row(tx.ctx, "UPDATE counters SET value = value + 1 WHERE name = 'revocations' RETURNING value", nil, &seq)
	if err != nil {
		return err
	}
	_, err = tx.exec("INSERT INTO revocations (seq, kind, target, at, forget) VALUES (?, ?, ?, ?, ?)",
		seq, kind, target, tx.now.UnixMicro(), micros(forgetAfter))
	return err
}

// Alone makes transactions of all nodes that call it, or [Tx.Revoke], run one
// after the other, from here to their commit. It writes a row as it was, so it
// takes as long as a small change.
func (tx *Tx) Alone() error {
	_, err := tx.exec("UPDATE counters SET value = value WHERE name = 'revocations'")
	return err
}

package store

import (
	"context"
	"time"
)

// SigningKey is a secret that tokens are signed with.
type SigningKey struct {
	ID      string
	Secret  []byte
	Created time.Time
}

// SigningKeys returns all signing keys, oldest first.
func (r *Reads) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	var list []SigningKey
	err := r.q.rows(ctx, "SELECT id, secret, created FROM signing_keys ORDER BY created, id", nil, func(scan func(...any) error) error {
		var k SigningKey
		var created int64
		err := scan(&k.ID, &k.Secret, &created)
		k.Created = fromMicros(created)
		list = append(list, k)
		return err
	})
	return list, r.d.explain(err)
}

// CreateSigningKey adds a signing key.
func (tx *Tx) CreateSigningKey(k SigningKey) error {
	_, err := tx.exec("INSERT INTO signing_keys (id, secret, created) VALUES (?, ?, ?)", k.ID, k.Secret, micros(k.Created))
	return err
}

// DeleteSigningKey removes a signing key. What it signed is worth nothing then.
func (tx *Tx) DeleteSigningKey(id string) error {
	_, err := tx.exec("DELETE FROM signing_keys WHERE id = ?", id)
	return err
}

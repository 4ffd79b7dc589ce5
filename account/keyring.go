package account

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// keyring has the signing keys as this node knows them.
type keyring struct {
	issuer string
	ring   atomic.Pointer[ring]

	mu    sync.Mutex // of read
	asked time.Time  // when a token last made us read, guarded by mu
}

// ring is a set of keys that does not change.
type ring struct {
	keys []store.SigningKey // oldest first
	made []*auth.Signer     // each signs with one key
	all  *auth.Signer       // knows again what any of them made
}

// ripening is how long a key is known before it signs. By then every node has
// read it, so all of them make the same token of one time, and know it again.
const ripening = 5 * time.Second

// at returns the issuer of what is made at a time.
func (k *keyring) at(t time.Time) *auth.Signer {
	r := k.ring.Load()
	for i := len(r.keys) - 1; i > 0; i-- {
		if !t.Before(r.keys[i].Created.Add(ripening)) {
			return r.made[i]
		}
	}
	return r.made[0]
}

// all returns the issuer that knows again whatever was made.
func (k *keyring) all() *auth.Signer { return k.ring.Load().all }

// read reads the keys.
func (k *keyring) read(ctx context.Context, db *store.DB) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys, err := db.SigningKeys(ctx)
	if err != nil {
		return err
	}
	same := func(a, b store.SigningKey) bool { return a.ID == b.ID }
	if r := k.ring.Load(); r != nil && slices.EqualFunc(r.keys, keys, same) {
		return nil
	}
	r := &ring{keys: keys, made: make([]*auth.Signer, len(keys))}
	list := make([]auth.SigningKey, len(keys))
	for i, key := range keys {
		list[i] = auth.SigningKey{ID: key.ID, Secret: key.Secret, Created: key.Created}
		if r.made[i], err = auth.NewSigner(k.issuer, list[i:i+1]); err != nil {
			return err
		}
	}
	if r.all, err = auth.NewSigner(k.issuer, list); err != nil {
		return err
	}
	k.ring.Store(r)
	return nil
}

// unknown reads the keys because a token names one that is not known, and
// reports whether it did: once a second, since anybody can invent a name.
func (k *keyring) unknown(ctx context.Context, db *store.DB, now time.Time) (bool, error) {
	k.mu.Lock()
	early := now.Sub(k.asked) < time.Second
	if !early {
		k.asked = now
	}
	k.mu.Unlock()
	if early {
		return false, nil
	}
	return true, k.read(ctx, db)
}

// firstSigningKey makes a key where there is none. Of several nodes that start
// at once, one makes it.
func (a *Accounts) firstSigningKey(ctx context.Context) error {
	keys, err := a.db.SigningKeys(ctx)
	if err != nil || len(keys) > 0 {
		return err
	}
	return a.db.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.Alone(); err != nil {
			return err
		}
		keys, err := tx.Reads().SigningKeys(ctx)
		if err != nil || len(keys) > 0 {
			return err
		}
		_, err = createSigningKey(tx, nil)
		return err
	})
}

// createSigningKey makes the newest of all keys, whatever the clocks of the
// nodes say. The transaction must be [store.Tx.Alone].
func createSigningKey(tx *store.Tx, after []store.SigningKey) (id string, err error) {
	now := tx.Now()
	if n := len(after); n > 0 && !now.After(after[n-1].Created) {
		now = after[n-1].Created.Add(time.Microsecond)
	}
	k := auth.NewSigningKey(now)
	return k.ID, tx.CreateSigningKey(store.SigningKey{ID: k.ID, Secret: k.Secret, Created: k.Created})
}

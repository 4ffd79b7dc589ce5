package account

import (
	"context"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Bootstrap makes the first API key, of the first tenant and with all scopes,
// while there never was a key: given, or where that is empty a new one, which it
// returns. An Invalid error says what is wrong with the given one. Of several
// nodes that start at once, one makes the key.
func (a *Accounts) Bootstrap(ctx context.Context, given string) (made string, err error) {
	if had, err := a.db.AnyKey(ctx); had || err != nil {
		return "", err
	}
	tenant, secret := a.db.FirstTenant(), given
	if given == "" {
		secret = auth.NewKey(tenant)
	} else if err := checkGiven(tenant, given); err != nil {
		return "", err
	}
	created := false
	err = a.db.Tx(ctx, func(tx *store.Tx) error {
		created = false
		if err := tx.Alone(); err != nil {
			return err
		}
		if had, err := tx.Reads().AnyKey(ctx); had || err != nil {
			return err
		}
		if err := openTenant(ctx, tx, tenant); artifact.KindOf(err) == artifact.NotFound {
			return invalid("", "The bootstrap key is of a tenant that is not there")
		} else if err != nil {
			return err
		}
		owner, err := oldestMember(ctx, tx, tenant)
		if err != nil {
			return err
		}
		k := store.Key{ID: auth.NewID("key_"), Tenant: tenant, Owner: owner, Name: "first", Hash: auth.HashKey(secret), Scopes: everything}
		tx.Audit(tenant, keyMade(&k))
		created = true
		return tx.CreateKey(k)
	})
	if err != nil || !created || given != "" {
		return "", err
	}
	return secret, nil
}

// checkGiven returns an Invalid error, which does not repeat the key.
func checkGiven(tenant, given string) error {
	k, ok := auth.ParseKey(given)
	switch {
	case !ok:
		return invalid("", "The bootstrap key does not have the form tm_pf_<tenant>_ak_<at least 32 letters, digits, - or _>")
	case k.Tenant != tenant:
		return invalid("", "The bootstrap key is not of the first tenant, which is "+tenant)
	}
	return nil
}

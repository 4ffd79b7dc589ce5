package account

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// grant makes a grant of a key.
func (h *house) grant(a *Accounts, k store.Key, client string, scopes ...artifact.Scope) (store.Grant, Tokens) {
	h.Helper()
	g := store.Grant{Tenant: k.Tenant, Owner: k.Owner, Key: k.ID, Client: client, Scopes: scopes}
	if err := h.db.Tx(h.Context(), func(tx *store.Tx) error { return a.newGrant(tx, &g) }); err != nil {
		h.Fatal(err)
	}
	t, err := a.tokens(g, g.Rotated)
	if err != nil {
		h.Fatal(err)
	}
	return g, t
}

// turned is a rotation with its tokens.
func turned(h *house, a *Accounts, refresh string) (Tokens, error) {
	g, err := a.rotate(h.Context(), refresh, func(store.Grant) error { return nil })
	if err != nil {
		return Tokens{}, err
	}
	return a.tokens(g, g.Rotated)
}

// TestRefreshRace uses one refresh token a hundred times at once, on two nodes.
func TestRefreshRace(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		_, k := h.member(home, artifact.Read, artifact.Write)
		g, first := h.grant(a, k, "", artifact.Read, artifact.Write)
		h.pass(time.Hour)
		const n = 100
		var got [n]Tokens
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				node := a
				if i%2 > 0 {
					node = b
				}
				var err error
				if got[i], err = turned(h, node, first.Refresh); err != nil {
					h.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range got {
			if d := cmp.Diff(got[0], got[i]); d != "" {
				h.Fatalf("request %d got another pair (-first +this):\n%s", i, d)
			}
		}
		if got[0].Refresh == first.Refresh || got[0].Access == first.Access {
			h.Error("the pair is the old one")
		}
		h.pass(time.Minute)
		if again, err := turned(h, b, first.Refresh); err != nil || cmp.Diff(again, got[0]) != "" {
			h.Errorf("at the end of the grace: %v, %v; want the same pair", again, err)
		}
		h.pass(time.Microsecond)
		if _, err := turned(h, b, first.Refresh); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("after the grace: %v, want ErrTokenInvalid", err)
		}
		if _, err := turned(h, a, got[0].Refresh); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("the family goes on: %v, want ErrTokenInvalid", err)
		}
		c := holder(&g)
		if err := b.revoked.check(&c); err == nil {
			h.Error("the tokens of the family are still good where it was ended")
		}
		h.eventually("the other node hears of it", func() bool { return a.revoked.check(&c) != nil })
		want := []string{"token.refresh ok by key:" + k.ID, "token.reuse denied by key:" + k.ID}
		if d := cmp.Diff(want, h.told(home)); d != "" {
			h.Errorf("audit log (-want +got):\n%s", d)
		}
	})
}

func TestRotateRefuses(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		no := errors.New("not here")
		_, k := h.member(home, artifact.Read)
		_, first := h.grant(a, k, "", artifact.Read)
		if _, err := a.rotate(h.Context(), first.Refresh, func(store.Grant) error { return no }); !errors.Is(err, no) {
			h.Errorf("rotate where it is not wanted: %v", err)
		}
		for _, bad := range []string{"", "x", first.Access, first.Refresh[:len(first.Refresh)-1], a.keys.at(h.Now()).Refresh("nosuchgrant", 0), a.keys.at(h.Now()).Refresh("nosuchgrant", 9)} {
			if _, err := turned(h, a, bad); !errors.Is(err, auth.ErrTokenInvalid) {
				h.Errorf("rotate(%q): %v, want ErrTokenInvalid", bad, err)
			}
		}
		next, err := turned(h, a, first.Refresh)
		if err != nil {
			h.Fatal(err)
		}
		h.pass(30 * 24 * time.Hour)
		if _, err := turned(h, a, next.Refresh); !errors.Is(err, auth.ErrTokenExpired) {
			h.Errorf("after 30 days: %v, want ErrTokenExpired", err)
		}
	})
}

// TestGrantFollowsItsKey checks that a grant has no more than its key has now.
func TestGrantFollowsItsKey(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read, artifact.Delete)
		g, first := h.grant(a, k, "dyn_1", artifact.Read, artifact.Write, artifact.Offline)
		if want := (artifact.Scopes{artifact.Read, artifact.Offline}); !slices.Equal(first.Scopes, want) {
			h.Errorf("scopes %v, want %v", first.Scopes, want)
		}
		if _, online := h.grant(a, k, "dyn_1", artifact.Read); online.Refresh != "" {
			h.Error("a client that did not ask for it got a refresh token")
		}
		c, err := a.keys.all().Verify(first.Access, h.Now())
		if err != nil || c.Kind != artifact.CallerOAuth || c.Grant != g.ID || c.Key != k.ID || c.User != k.Owner || c.Tenant != home {
			h.Errorf("the token makes %+v, %v", c, err)
		}
		if err := h.db.Tx(h.Context(), func(tx *store.Tx) error { return tx.RevokeKey(home, k.ID) }); err != nil {
			h.Fatal(err)
		}
		if _, err := turned(h, a, first.Refresh); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("refresh for a key that was revoked: %v, want ErrTokenInvalid", err)
		}
		err = h.db.Tx(h.Context(), func(tx *store.Tx) error { return a.newGrant(tx, &store.Grant{Tenant: home, Owner: k.Owner, Key: k.ID}) })
		if !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("grant for a key that was revoked: %v, want ErrTokenInvalid", err)
		}
	})
}

// TestFirstSigningKey starts many nodes at once.
func TestFirstSigningKey(t *testing.T) {
	each(t, func(h *house) {
		var wg sync.WaitGroup
		for range 4 {
			db := h.more()
			wg.Go(func() {
				a, err := Open(h.Context(), db, Options{Issuer: "http://vitrine.test"})
				if err != nil {
					h.Error(err)
					return
				}
				h.Cleanup(func() { a.Close() })
			})
		}
		wg.Wait()
		if keys, err := h.db.SigningKeys(h.Context()); err != nil || len(keys) != 1 {
			h.Errorf("%d signing keys, %v; want one", len(keys), err)
		}
	})
}

package account

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

func TestAuthenticateRefuses(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret, _ := h.member(home, artifact.Read)
		tokens, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		foreign, err := auth.NewSigner("http://elsewhere.test", []auth.SigningKey{auth.NewSigningKey(h.Now())})
		if err != nil {
			h.Fatal(err)
		}
		other, err := foreign.Sign(&artifact.Caller{Kind: artifact.CallerKey, Tenant: home, Key: "key_1", Token: "1"}, h.Now(), h.Now().Add(time.Hour))
		if err != nil {
			h.Fatal(err)
		}
		for token, want := range map[string]error{
			"": auth.ErrTokenInvalid, "x": auth.ErrTokenInvalid, tokens.Refresh: auth.ErrTokenInvalid, other: auth.ErrTokenInvalid,
			tokens.Access + "x": auth.ErrTokenInvalid, secret: auth.ErrBadCredentials, "tm_pf_demo_ak_xxx": auth.ErrBadCredentials,
		} {
			if _, err := a.Authenticate(h.Context(), token); !errors.Is(err, want) {
				h.Errorf("Authenticate(%.20q): %v, want %v", token, err, want)
			}
		}
		for range 2 { // from the signature, and from memory
			if _, err := a.Authenticate(h.Context(), tokens.Access); err != nil {
				h.Error(err)
			}
		}
		h.pass(72*time.Hour - time.Second)
		if _, err := a.Authenticate(h.Context(), tokens.Access); err != nil {
			h.Errorf("before its end: %v", err)
		}
		h.pass(time.Second)
		if _, err := a.Authenticate(h.Context(), tokens.Access); !errors.Is(err, auth.ErrTokenExpired) {
			h.Errorf("at its end: %v, want ErrTokenExpired", err)
		}
	})
}

// TestRevocationsReach revokes everything that a token can name, on one node,
// and looks at another one that has seen the token.
func TestRevocationsReach(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		for name, revoke := range map[string]func(ctx context.Context, c *artifact.Caller) error{
			"key":    func(ctx context.Context, c *artifact.Caller) error { return a.RevokeKey(ctx, c.Tenant, c.Key) },
			"member": func(ctx context.Context, c *artifact.Caller) error { return a.RemoveMember(ctx, c.Tenant, c.User) },
			"grant":  a.Logout,
			"client": func(ctx context.Context, c *artifact.Caller) error {
				return a.revoke(ctx, func(tx *store.Tx) error { return a.end(tx, ofClient, c.Client) })
			},
			"suspension": func(ctx context.Context, c *artifact.Caller) error { return a.SuspendTenant(ctx, c.Tenant) },
			"deletion":   func(ctx context.Context, c *artifact.Caller) error { return a.MarkTenantDeleted(ctx, c.Tenant) },
		} {
			tenant := "pf_" + name
			if _, err := a.CreateTenant(h.Context(), tenant, ""); err != nil {
				h.Fatal(err)
			}
			_, k := h.member(tenant, artifact.Read)
			_, tokens := h.grant(a, k, "dyn_"+name, artifact.Read)
			c, err := b.Authenticate(h.Context(), tokens.Access)
			if err != nil {
				h.Fatal(err)
			}
			stream, cancel := b.Watch(h.Context(), c)
			defer cancel()
			if err := revoke(h.Context(), c); err != nil {
				h.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := a.Authenticate(h.Context(), tokens.Access); !errors.Is(err, auth.ErrTokenInvalid) {
				h.Errorf("%s: %v at once, want ErrTokenInvalid", name, err)
			}
			h.eventually(name+" reaches the other node's streams", func() bool { return stream.Err() != nil })
			if err := context.Cause(stream); !errors.Is(err, auth.ErrTokenInvalid) {
				h.Errorf("%s: the stream ended for %v, want ErrTokenInvalid", name, err)
			}
			if _, err := b.Authenticate(h.Context(), tokens.Access); !errors.Is(err, auth.ErrTokenInvalid) {
				h.Errorf("%s: %v on the other node, want ErrTokenInvalid", name, err)
			}
			late, cancelLate := b.Watch(h.Context(), c)
			if late.Err() == nil {
				h.Errorf("%s: a stream begins after it", name)
			}
			cancelLate()
		}
		// A node that starts later knows all of it.
		if got, want := len(h.node(h.more()).revoked.ended), 6; got != want {
			h.Errorf("a new node knows %d revocations, want %d", got, want)
		}
	})
}

func TestSuspendAndResume(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		if _, err := a.CreateTenant(h.Context(), "pf_a", "A"); err != nil {
			h.Fatal(err)
		}
		secret, _ := h.member("pf_a", artifact.Read)
		tokens, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		if err := a.SuspendTenant(h.Context(), "pf_a"); err != nil {
			h.Fatal(err)
		}
		// b never saw the token, so it asks for the tenant.
		if _, err := b.Authenticate(h.Context(), tokens.Access); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("suspended: %v, want ErrTokenInvalid", err)
		}
		if _, err := a.Refresh(h.Context(), tokens.Refresh); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("refresh while suspended: %v, want ErrTokenInvalid", err)
		}
		if got, err := a.Tenant(h.Context(), "pf_a"); err != nil || got.Suspended.IsZero() {
			h.Errorf("Tenant = %+v, %v; want it suspended", got, err)
		}
		if err := a.ResumeTenant(h.Context(), "pf_a"); err != nil {
			h.Fatal(err)
		}
		for _, node := range []*Accounts{a, b} {
			h.eventually("it is let in again", func() bool {
				_, err := node.Authenticate(h.Context(), tokens.Access)
				return err == nil
			})
		}
		if _, err := a.Refresh(h.Context(), tokens.Refresh); err != nil {
			h.Errorf("refresh after it: %v", err)
		}
	})
}

func TestWatch(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		expired, cancel := a.Expiring(h.Context(), &artifact.Caller{Tenant: home, Expires: h.Now().Add(10 * time.Millisecond)})
		defer cancel()
		<-expired.Done()
		if err := context.Cause(expired); !errors.Is(err, auth.ErrTokenExpired) {
			h.Errorf("cause %v, want ErrTokenExpired", err)
		}
		const many = 10_000
		for range many {
			_, cancel := a.Watch(h.Context(), &artifact.Caller{Tenant: home, Expires: h.Now().Add(time.Hour)})
			defer cancel()
		}
		left, leave := a.Watch(h.Context(), &artifact.Caller{Tenant: home, Key: "key_1"})
		leave()
		if err := context.Cause(left); !errors.Is(err, context.Canceled) {
			h.Errorf("cause %v after leaving, want Canceled", err)
		}
		one, cancel := a.Watch(h.Context(), &artifact.Caller{Tenant: home, Key: "key_2"})
		defer cancel()
		err := a.revoke(h.Context(), func(tx *store.Tx) error { return a.end(tx, ofKey, "key_2") })
		if err != nil || one.Err() == nil {
			h.Errorf("revoked: %v, and the stream goes on", err)
		}
		a.revoked.mu.RLock()
		defer a.revoked.mu.RUnlock()
		if n := len(a.revoked.watchers); n != many {
			h.Errorf("%d watchers are left, want those that nobody ended", n)
		}
	})
}

// TestSightingsAreBounded shows more tokens than are remembered.
func TestSightingsAreBounded(t *testing.T) {
	var s sightings
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sum := func(i int) [sha256.Size]byte { return sha256.Sum256(binary.AppendVarint(nil, int64(i))) }
	kept := sum(-1)
	s.put(kept, artifact.Caller{Key: "kept"}, now.Add(time.Minute))
	for i := range 3 * maxSightings {
		s.put(sum(i), artifact.Caller{}, now.Add(time.Minute))
		if c, ok := s.get(kept, now); !ok || c.Key != "kept" {
			t.Fatalf("a token in use was dropped after %d others", i)
		}
		if n := len(s.fresh) + len(s.stale); n > maxSightings {
			t.Fatalf("%d tokens are remembered, more than %d", n, maxSightings)
		}
	}
	if _, ok := s.get(sum(0), now); ok {
		t.Error("the first token is still remembered")
	}
	if _, ok := s.get(kept, now.Add(sightingLife)); ok {
		t.Error("a token is remembered for too long")
	}
	s.put(kept, artifact.Caller{Expires: now.Add(time.Second)}, now)
	if _, ok := s.get(kept, now.Add(time.Second)); ok {
		t.Error("a token is remembered after its end")
	}
}

// TestSigningKeysRotate checks that nobody is logged out, anywhere.
func TestSigningKeysRotate(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		secret, _ := h.member(home, artifact.Read)
		old, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		if err := a.RotateSigningKey(h.Context()); err != nil {
			h.Fatal(err)
		}
		// Made on two nodes before the new key signs: the same.
		first, err := a.Refresh(h.Context(), old.Refresh)
		if err != nil {
			h.Fatal(err)
		}
		if second, err := b.Refresh(h.Context(), old.Refresh); err != nil || second.Access != first.Access || second.Refresh != first.Refresh {
			h.Errorf("the other node's pair differs, %v", err)
		}
		h.pass(ripening + time.Second)
		if second, err := a.Refresh(h.Context(), old.Refresh); err != nil || second.Access != first.Access || second.Refresh != first.Refresh {
			h.Errorf("the pair of the new key differs, %v", err)
		}
		next, err := a.Refresh(h.Context(), first.Refresh)
		if err != nil {
			h.Fatal(err)
		}
		if k, _ := h.db.SigningKeys(h.Context()); len(k) != 2 || a.keys.at(h.Now()) != a.keys.ring.Load().made[1] {
			h.Errorf("%d keys; want the second one in use", len(k))
		}
		for _, node := range []*Accounts{a, b, h.node(h.more())} {
			for _, token := range []string{old.Access, first.Access, next.Access} {
				if _, err := node.Authenticate(h.Context(), token); err != nil {
					h.Errorf("Authenticate after the rotation: %v", err)
				}
			}
		}
	})
}

// TestUnknownKeyIsLookedFor shows a token that was signed with a key which this
// node has not read yet.
func TestUnknownKeyIsLookedFor(t *testing.T) {
	each(t, func(h *house) {
		secret, _ := h.member(home, artifact.Read)
		slow, err := Open(h.Context(), h.db, Options{Issuer: "http://vitrine.test", Now: h.Now, Recheck: time.Hour})
		if err != nil {
			h.Fatal(err)
		}
		h.Cleanup(func() { slow.Close() })
		a := h.node(h.more())
		if err := a.RotateSigningKey(h.Context()); err != nil {
			h.Fatal(err)
		}
		h.pass(ripening + time.Second)
		tokens, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		if _, err := slow.Authenticate(h.Context(), tokens.Access); err != nil {
			h.Errorf("the new key was not looked for: %v", err)
		}
		if read, err := slow.keys.unknown(h.Context(), h.db, h.Now().Add(999*time.Millisecond)); read || err != nil {
			h.Errorf("looked again within a second: %v, %v", read, err)
		}
		if read, err := slow.keys.unknown(h.Context(), h.db, h.Now().Add(time.Second)); !read || err != nil {
			h.Errorf("did not look after a second: %v, %v", read, err)
		}
	})
}

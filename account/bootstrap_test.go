package account

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

func TestBootstrap(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		made, err := a.Bootstrap(h.Context(), "")
		if err != nil || made == "" {
			h.Fatalf("Bootstrap = %q, %v; want a key", made, err)
		}
		tokens, err := a.Exchange(h.Context(), made)
		if err != nil || tokens.Tenant != home || tokens.Scopes.String() != "read write delete run admin" {
			h.Errorf("the first key gives %+v, %v", tokens, err)
		}
		members, err := a.Members(h.Context(), home)
		if err != nil || len(members) != 1 || members[0].Name != "owner" {
			h.Errorf("Members = %v, %v; want the owner", members, err)
		}
		keys, err := a.Keys(h.Context(), home)
		if err != nil || len(keys) != 1 || keys[0].Owner != members[0].ID {
			h.Fatalf("Keys = %v, %v; want the owner's", keys, err)
		}
		if err := a.RevokeKey(h.Context(), home, keys[0].ID); err != nil {
			h.Fatal(err)
		}
		// Once there was a key, nothing is read of another one, and none is made.
		for _, given := range []string{"", "rubbish", auth.NewKey(home)} {
			if made, err := a.Bootstrap(h.Context(), given); made != "" || err != nil {
				h.Errorf("Bootstrap again = %q, %v; want nothing", made, err)
			}
		}
		want := []string{"member.add ok by system", "key.create ok by system", "login ok by key:" + keys[0].ID, "key.revoke ok by system"}
		if d := cmp.Diff(want, h.told(home)); d != "" {
			h.Errorf("audit log (-want +got):\n%s", d)
		}
	})
}

func TestBootstrapGiven(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret := strings.Repeat("s", 32)
		for _, bad := range []string{
			"rubbish", secret, "tm_pf_default_ak_", "tm_pf_default_ak_" + secret[1:], "tm_pf_default_ak_" + secret + "!",
			"tm_default_ak_" + secret, "tm_pf_Default_ak_" + secret, "tm_pf_other_ak_" + secret, " tm_pf_default_ak_" + secret,
		} {
			made, err := a.Bootstrap(h.Context(), bad)
			if artifact.KindOf(err) != artifact.Invalid || made != "" {
				h.Errorf("Bootstrap(%q) = %q, %v; want Invalid", bad, made, err)
			} else if strings.Contains(err.Error(), secret[1:]) {
				h.Errorf("Bootstrap(%q): the error shows it: %v", bad, err)
			}
		}
		given := "tm_pf_default_ak_" + secret
		if made, err := a.Bootstrap(h.Context(), given); made != "" || err != nil {
			h.Errorf("Bootstrap = %q, %v; want nothing, it is known", made, err)
		}
		if tokens, err := a.Exchange(h.Context(), given); err != nil || !tokens.Scopes.Has(everything...) {
			h.Errorf("the given key gives %+v, %v", tokens, err)
		}
	})
}

// TestBootstrapRace starts many nodes at once.
func TestBootstrapRace(t *testing.T) {
	each(t, func(h *house) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var made []string
		for range 4 {
			a := h.node(h.more())
			wg.Go(func() {
				key, err := a.Bootstrap(h.Context(), "")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					h.Error(err)
				}
				if key != "" {
					made = append(made, key)
				}
			})
		}
		wg.Wait()
		keys, err := h.db.Keys(h.Context(), home)
		if err != nil || len(keys) != 1 || len(made) != 1 {
			h.Errorf("%d keys were made, %d told, %v; want one", len(keys), len(made), err)
		}
		if users, err := h.db.Users(h.Context(), home); err != nil || len(users) != 1 {
			h.Errorf("%d owners, %v; want one", len(users), err)
		}
	})
}

package account

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// TestLoginsOfOneMoment goes through a list of logins that only their ids tell
// apart: none is missed, and none comes twice.
func TestLoginsOfOneMoment(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		want := map[string]int{}
		for range 7 {
			g, _ := h.grant(a, k, "", artifact.Read)
			want[g.ID] = 1
		}
		got := map[string]int{}
		ctx := artifact.WithCaller(h.Context(), h.person(k))
		for after := (&LoginCursor{}); after != nil; {
			page, err := a.Logins(ctx, *after, 2)
			if err != nil {
				h.Fatal(err)
			}
			for _, l := range page.Logins {
				got[l.ID]++
			}
			after = page.Next
		}
		if d := cmp.Diff(want, got); d != "" {
			h.Errorf("seen how often (-want +got):\n%s", d)
		}
	})
}

// TestLoginsAreGood: what is over for any reason is in no list.
func TestLoginsAreGood(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, stays := h.member(home, artifact.Read)
		_, removed := h.member(home, artifact.Read)
		_, revoked := h.member(home, artifact.Read)
		var ids []string
		for _, k := range []string{removed.ID, revoked.ID, stays.ID} {
			key, err := h.db.Key(h.Context(), home, k)
			if err != nil {
				h.Fatal(err)
			}
			g, _ := h.grant(a, key, "", artifact.Read)
			ids = append(ids, g.ID)
		}
		seen := func(c *artifact.Caller) string {
			h.Helper()
			page, err := a.Logins(artifact.WithCaller(h.Context(), c), LoginCursor{}, 100)
			if err != nil {
				h.Fatal(err)
			}
			var list []string
			for _, l := range page.Logins {
				list = append(list, l.ID)
			}
			return fmt.Sprint(list)
		}
		if err := a.RemoveMember(h.Context(), home, removed.Owner); err != nil {
			h.Fatal(err)
		}
		if err := a.RevokeKey(h.Context(), home, revoked.ID); err != nil {
			h.Fatal(err)
		}
		admin := h.person(stays)
		admin.Scopes = everything
		if got, want := seen(admin), fmt.Sprint(ids[2:]); got != want {
			h.Errorf("an admin sees %s, want %s", got, want)
		}
		for _, kind := range []artifact.CallerKind{artifact.CallerProxy, artifact.CallerExternal, artifact.CallerOAuth} {
			// Of the member's name, as somebody else's word has it.
			if got := seen(&artifact.Caller{Kind: kind, Tenant: home, User: stays.Owner, Key: stays.ID}); got != "[]" {
				h.Errorf("%s sees %s", kind, got)
			}
		}
		h.pass(a.opt.RefreshLife)
		if got := seen(admin); got != "[]" {
			h.Errorf("after their end: %s", got)
		}
	})
}

package account

import (
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
)

func TestCounts(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret, k := h.member(home, artifact.Read)
		for _, key := range []string{secret, secret, secret[:len(secret)-1], "no key"} {
			_, _ = a.Exchange(h.Context(), key) // what comes of it is counted
		}
		_, err := a.CookieLogin(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		_, end := a.Watch(h.Context(), &artifact.Caller{Tenant: home})
		defer end()
		if got, want := a.Counts(), (Counts{Logins: 3, Refused: 2, Watched: 1}); got != want {
			h.Errorf("got %+v, want %+v", got, want)
		}
		if err := a.RevokeKey(h.Context(), home, k.ID); err != nil {
			h.Fatal(err)
		}
		if n := a.Counts().Revocations; n != 1 {
			h.Errorf("heard of %d revocations, want 1", n)
		}
		// A node that starts later has not heard of it since.
		later := h.node(h.more())
		if n := later.Counts().Revocations; n != 0 {
			h.Errorf("a later node heard of %d", n)
		}
	})
}

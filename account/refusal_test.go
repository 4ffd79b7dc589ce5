package account

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// tries shows a key that is not good some times.
func (h *house) tries(a *Accounts, key, remote string, times int) {
	h.Helper()
	ctx := artifact.WithCaller(h.Context(), &artifact.Caller{Kind: artifact.CallerNobody, Remote: remote, Agent: "x"})
	for range times {
		if _, err := a.Exchange(ctx, key); !errors.Is(err, auth.ErrBadCredentials) {
			h.Fatalf("a wrong key: %v, want ErrBadCredentials", err)
		}
	}
}

// failures returns what a tenant was told of keys that are not good, as "object
// from count".
func (h *house) failures(tenant string) (told []string) {
	h.Helper()
	for _, a := range h.audit(tenant) {
		if a.Action == "login.failed" {
			told = append(told, fmt.Sprintf("%s %s %v", a.Object, a.Remote, a.Details["count"]))
		}
	}
	return told
}

// heard waits until everybody was heard who tried before: they are, in turn.
func (h *house) heard(a *Accounts) {
	h.Helper()
	from := fmt.Sprintf("198.51.100.%d", len(h.failures("pf_last"))+1)
	before := len(h.failures("pf_last"))
	h.tries(a, auth.NewKey("pf_last"), from, 1)
	h.eventually("the last one is heard", func() bool { return len(h.failures("pf_last")) > before })
}

// TestRefusalsAreFolded: of one address a tenant is told at once, and then once a
// minute how often.
func TestRefusalsAreFolded(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		for _, id := range []string{"pf_a", "pf_b", "pf_last"} {
			if _, err := a.CreateTenant(h.Context(), id, ""); err != nil {
				h.Fatal(err)
			}
		}
		revoked, gone := h.member("pf_a", artifact.Read)
		if err := a.RevokeKey(h.Context(), "pf_a", gone.ID); err != nil {
			h.Fatal(err)
		}
		wrong := auth.NewKey("pf_a")
		is := func(when, tenant string, want ...string) {
			h.Helper()
			h.heard(a)
			if d := cmp.Diff(want, h.failures(tenant)); d != "" {
				h.Errorf("%s, %s (-want +got):\n%s", when, tenant, d)
			}
		}
		h.tries(a, wrong, "192.0.2.1", 5)
		h.tries(a, revoked, "192.0.2.2", 3)
		h.tries(a, auth.NewKey("pf_b"), "192.0.2.1", 1)
		h.tries(a, auth.NewKey("pf_none"), "192.0.2.1", 9)
		h.tries(a, wrong, "2001:db8::1", 1)
		h.tries(a, wrong, "2001:db8::2", 1)
		first := []string{"key 192.0.2.1 <nil>", "key:" + gone.ID + " 192.0.2.2 <nil>", "key 2001:db8::1 <nil>"}
		is("at once", "pf_a", first...)
		is("at once", "pf_b", "key 192.0.2.1 <nil>")
		h.pass(foldLife - time.Second)
		h.tries(a, wrong, "192.0.2.2", 1)
		is("within the minute", "pf_a", first...)
		h.pass(time.Second)
		h.eventually("the rest is told", func() bool { return len(h.failures("pf_a")) == 6 })
		got := h.failures("pf_a")[3:]
		slices.Sort(got)
		rest := []string{"key 192.0.2.1 4", "key 192.0.2.2 3", "key 2001:db8::2 <nil>"}
		if d := cmp.Diff(rest, got); d != "" {
			h.Errorf("a minute later (-want +got):\n%s", d)
		}
		// What is told then begins a minute too. What is left is told at the end.
		h.tries(a, revoked, "192.0.2.2", 2)
		h.heard(a)
		if n := len(h.failures("pf_a")); n != 6 {
			h.Errorf("%d entries after a minute, want 6", n)
		}
		if err := a.Close(); err != nil {
			h.Fatal(err)
		}
		if got := h.failures("pf_a")[6:]; !slices.Equal(got, []string{"key:" + gone.ID + " 192.0.2.2 2"}) {
			h.Errorf("at the end: %v", got)
		}
		if got := h.failures("pf_b"); len(got) != 1 {
			h.Errorf("pf_b at the end: %v", got)
		}
	})
}

// TestRefusalsFromEverywhere: who has many addresses makes no more entries than
// there are places for.
func TestRefusalsFromEverywhere(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, _ = h.member(home, artifact.Read)
		wrong := auth.NewKey(home)
		for i := range maxFolds + 40 {
			h.tries(a, wrong, fmt.Sprintf("192.0.2.%d", i), 1)
		}
		if err := a.Close(); err != nil {
			h.Fatal(err)
		}
		told := h.failures(home)
		if len(told) != maxFolds+2 {
			h.Fatalf("%d entries of %d addresses, want %d", len(told), maxFolds+40, maxFolds+2)
		}
		if rest := told[maxFolds:]; !slices.Equal(rest, []string{"key  <nil>", "key  39"}) {
			h.Errorf("the others are %q", rest)
		}
	})
}

// TestQuietAddressesAreForgotten: what is kept in memory is what is told of.
func TestQuietAddressesAreForgotten(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		if err := a.Close(); err != nil { // nobody else tells
			h.Fatal(err)
		}
		told := make(folds)
		from := artifact.Caller{Kind: artifact.CallerNobody, Remote: "192.0.2.1"}
		a.hear(h.Context(), told, refusal{from, "pf_none", ""})
		if len(told) != 0 {
			h.Errorf("a tenant that is not there is remembered: %v", told)
		}
		a.hear(h.Context(), told, refusal{from, home, ""})
		a.hear(h.Context(), told, refusal{from, home, ""})
		for minute, want := range []int{1, 1, 0} {
			a.tellCounts(h.Context(), told, h.Now())
			if len(told) != want {
				h.Errorf("after %d minutes %d tenants are remembered, want %d", minute, len(told), want)
			}
			h.pass(foldLife)
		}
	})
}

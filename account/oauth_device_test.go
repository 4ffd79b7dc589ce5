package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// client registers a client that may do everything.
func (h *house) client(a *Accounts) Client {
	h.Helper()
	c, err := a.RegisterClient(h.Context(), Metadata{Name: "Robot", RedirectURIs: []string{redirect}})
	if err != nil {
		h.Fatal(err)
	}
	return c
}

const redirect = "http://localhost:0/cb"

// person is who comes with a key.
func (h *house) person(k store.Key) *artifact.Caller {
	return &artifact.Caller{Kind: artifact.CallerKey, Tenant: k.Tenant, User: k.Owner, Key: k.ID, Scopes: k.Scopes}
}

func (h *house) device(a *Accounts, client, scope string) Device {
	h.Helper()
	d, err := a.StartDevice(h.Context(), client, scope)
	if err != nil {
		h.Fatal(err)
	}
	return d
}

// approved takes a device flow to its end.
func (h *house) approved(a *Accounts, client, scope string, by *artifact.Caller, run bool) (Tokens, error) {
	h.Helper()
	d := h.device(a, client, scope)
	if _, err := a.DecideDevice(h.Context(), by, d.UserCode, Decision{Approve: true, Run: run}); err != nil {
		return Tokens{}, err
	}
	return a.PollDevice(h.Context(), client, d.Code)
}

func TestDeviceFlow(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		_, k := h.member(home, artifact.Read, artifact.Write, artifact.Delete)
		c, other := h.client(a), h.client(a)
		if _, err := b.PollDevice(t.Context(), c.ID, "of nobody"); codeOf(err) != "invalid_grant" {
			t.Errorf("a code that nobody has: %v, want invalid_grant", err)
		}
		d := h.device(a, c.ID, "read write offline_access")
		if d.Life != 15*time.Minute || d.Interval != 5*time.Second || len(d.UserCode) != 9 {
			t.Errorf("the device is %+v", d)
		}
		for i, step := range []struct {
			after time.Duration
			want  string
		}{
			{0, "authorization_pending"}, {time.Second, "slow_down"}, {5 * time.Second, "authorization_pending"},
			{4900 * time.Millisecond, "authorization_pending"}, {4899 * time.Millisecond, "slow_down"}, {0, "slow_down"}, {5 * time.Second, "authorization_pending"},
		} {
			h.pass(step.after)
			if _, err := b.PollDevice(t.Context(), c.ID, d.Code); codeOf(err) != step.want {
				t.Errorf("poll %d: %v, want %s", i, err, step.want)
			}
		}
		if _, err := a.PollDevice(t.Context(), other.ID, d.Code); codeOf(err) != "invalid_grant" {
			t.Errorf("another client's code: %v, want invalid_grant", err)
		}
		typed := strings.ToLower(strings.ReplaceAll(d.UserCode, "-", " "))
		view, err := a.DeviceView(t.Context(), typed)
		want := DeviceView{UserCode: d.UserCode, Client: c, Scopes: artifact.Scopes{artifact.Read, artifact.Write, artifact.Offline}}
		if diff := cmp.Diff(want, view); diff != "" || err != nil {
			t.Errorf("DeviceView, %v (-want +got):\n%s", err, diff)
		}
		got, err := b.DecideDevice(t.Context(), h.person(k), typed, Decision{Approve: true})
		if err != nil || !slices.Equal(got, want.Scopes) {
			t.Errorf("granted %v, %v; want %v", got, err, want.Scopes)
		}
		if _, err := a.DecideDevice(t.Context(), h.person(k), typed, Decision{}); !errors.Is(err, ErrNoDevice) {
			t.Errorf("an answer taken back: %v, want ErrNoDevice", err)
		}
		tokens, err := a.PollDevice(t.Context(), c.ID, d.Code) // at once: nobody has to wait for what is there
		if err != nil {
			t.Fatal(err)
		}
		if tokens.Refresh == "" || tokens.Tenant != home || tokens.Life != 72*time.Hour || !slices.Equal(tokens.Scopes, want.Scopes) {
			t.Errorf("tokens %+v", tokens)
		}
		who, err := b.Authenticate(t.Context(), tokens.Access)
		if err != nil || who.Kind != artifact.CallerOAuth || who.Client != c.ID || who.User != k.Owner || who.Key != k.ID {
			t.Errorf("the token is of %+v, %v", who, err)
		}
		if _, err := b.PollDevice(t.Context(), c.ID, d.Code); codeOf(err) != "invalid_grant" {
			t.Errorf("the code again: %v, want invalid_grant", err)
		}
		if used, err := h.db.Key(t.Context(), home, k.ID); err != nil || !used.LastUsed.Equal(h.Now()) {
			t.Errorf("the key was used %v, %v; want now", used.LastUsed, err)
		}
		told := []string{"client.approve ok by key:" + k.ID, "login ok by client:" + c.ID}
		if diff := cmp.Diff(told, h.told(home)); diff != "" {
			t.Errorf("audit log (-want +got):\n%s", diff)
		}
	})
}

func TestDeviceDeniedAndExpired(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		c := h.client(a)
		d := h.device(a, c.ID, "read")
		if _, err := a.DecideDevice(t.Context(), h.person(k), d.UserCode, Decision{}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := a.PollDevice(t.Context(), c.ID, d.Code); codeOf(err) != "access_denied" {
				t.Errorf("denied: %v", err)
			}
		}
		if told := h.told(home); !slices.Equal(told, []string{"client.deny ok by key:" + k.ID}) {
			t.Errorf("audit log %v", told)
		}
		waits, approved := h.device(a, c.ID, "read"), h.device(a, c.ID, "read")
		if _, err := a.DecideDevice(t.Context(), h.person(k), approved.UserCode, Decision{Approve: true}); err != nil {
			t.Fatal(err)
		}
		h.pass(15 * time.Minute)
		for _, d := range []Device{waits, approved} {
			if _, err := a.PollDevice(t.Context(), c.ID, d.Code); codeOf(err) != "expired_token" {
				t.Errorf("expired: %v", err)
			}
			if _, err := a.DecideDevice(t.Context(), h.person(k), d.UserCode, Decision{Approve: true}); !errors.Is(err, ErrNoDevice) {
				t.Errorf("approved too late: %v, want ErrNoDevice", err)
			}
		}
		// The key is revoked between the answer and the poll.
		d = h.device(a, c.ID, "read")
		if _, err := a.DecideDevice(t.Context(), h.person(k), d.UserCode, Decision{Approve: true}); err != nil {
			t.Fatal(err)
		}
		if err := h.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.RevokeKey(home, k.ID) }); err != nil {
			t.Fatal(err)
		}
		if _, err := a.PollDevice(t.Context(), c.ID, d.Code); codeOf(err) != "invalid_grant" {
			t.Errorf("approved with a key that was revoked: %v, want invalid_grant", err)
		}
		d = h.device(a, c.ID, "read")
		if _, err := a.DecideDevice(t.Context(), h.person(k), d.UserCode, Decision{Approve: true}); artifact.KindOf(err) != artifact.Denied {
			t.Errorf("approve with a key that was revoked: %v, want Denied", err)
		}
	})
}

// TestGrantedScopes: what is asked and what the person has, never what only
// keys have, and run only where the person said so.
func TestGrantedScopes(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		c := h.client(a)
		all := []artifact.Scope{artifact.Read, artifact.Write, artifact.Delete, artifact.Run, artifact.Admin}
		for _, row := range []struct {
			asked string
			has   []artifact.Scope
			run   bool
			want  string // or the kind of error
		}{
			{"read write offline_access", all, false, "read write offline_access"},
			{"read write offline_access", all[:1], false, "read offline_access"},
			{"write read", all, false, "write read"},
			{"", all, false, "read write"},
			{"read run", all, false, "read"},
			{"read run", all, true, "read run"},
			{"read run", all[:3], true, "read"},
			{"read", all, true, "read"},
			{"run", all, true, "run"},
			{"run", all, false, "denied"},
			{"write", all[:1], false, "denied"},
			{"write offline_access", all[:1], false, "denied"},
			{"read delete admin", all, true, "read"},
			{"profile", all, false, "profile"},
			{"read read openid email", all, false, "read"},
			{"delete admin", all, true, "invalid_scope"},
			{"offline_access", all, true, "invalid_scope"},
			{"openid", all, true, "invalid_scope"},
		} {
			_, k := h.member(home, row.has...)
			tokens, err := func() (Tokens, error) {
				if _, err := a.StartDevice(t.Context(), c.ID, row.asked); err != nil {
					return Tokens{}, err
				}
				return h.approved(a, c.ID, row.asked, h.person(k), row.run)
			}()
			got := tokens.Scopes.String()
			if err != nil {
				if got = codeOf(err); artifact.KindOf(err) == artifact.Denied {
					got = "denied"
				}
			}
			if got != row.want {
				t.Errorf("%q of %v, run %v: %q, want %q", row.asked, row.has, row.run, got, row.want)
			}
			if (tokens.Refresh != "") != tokens.Scopes.Has(artifact.Offline) {
				t.Errorf("%q has the refresh token %q", got, tokens.Refresh)
			}
		}
	})
}

// TestWhoDecides: no client lets another one in.
func TestWhoDecides(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		c := h.client(a)
		d := h.device(a, c.ID, "read")
		for _, kind := range []artifact.CallerKind{artifact.CallerOAuth, artifact.CallerShare, artifact.CallerNobody, artifact.CallerSystem, artifact.CallerLocal, ""} {
			by := h.person(k)
			by.Kind = kind
			if _, err := a.DecideDevice(t.Context(), by, d.UserCode, Decision{Approve: true}); artifact.KindOf(err) != artifact.Denied {
				t.Errorf("%q approves: %v, want Denied", kind, err)
			}
		}
		if _, err := a.DeviceView(t.Context(), d.UserCode); err != nil {
			t.Errorf("after all of them: %v, want it to wait", err)
		}
	})
}

// TestDeviceCodesAreGuessed tries codes until no more can be tried.
func TestDeviceCodesAreGuessed(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		d := h.device(a, h.client(a).ID, "read")
		from := func(addr string) error {
			ctx := artifact.WithCaller(t.Context(), &artifact.Caller{Kind: artifact.CallerNobody, Remote: addr})
			_, err := a.DeviceView(ctx, auth.NewUserCode())
			return err
		}
		// Many at once are no more than one after the other.
		var wg sync.WaitGroup
		var mu sync.Mutex
		tried := 0
		for range 100 {
			wg.Go(func() {
				err := from("192.0.2.1")
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrNoDevice) {
					tried++
				} else if artifact.KindOf(err) != artifact.Limited {
					t.Errorf("a guess: %v", err)
				}
			})
		}
		wg.Wait()
		if tried != guessesAtOnce {
			t.Errorf("%d guesses of 100 were looked at, want %d", tried, guessesAtOnce)
		}
		limited := artifact.WithCaller(t.Context(), &artifact.Caller{Kind: artifact.CallerNobody, Remote: "192.0.2.1:99"})
		_, err := a.DeviceView(limited, d.UserCode)
		if e, _ := errors.AsType[*artifact.Error](err); e == nil || e.Kind != artifact.Limited || e.Facts["retry_after"] != 60 {
			t.Errorf("the right code after them: %v, want Limited for 60 s", err)
		}
		h.pass(time.Minute)
		if _, err := a.DeviceView(limited, d.UserCode); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		if err := from("192.0.2.1"); !errors.Is(err, ErrNoDevice) {
			t.Errorf("the right one was counted: %v", err)
		}
		for i := 1; artifact.KindOf(err) != artifact.Limited || i < guessesAtOnce; i++ {
			if err = from(fmt.Sprintf("198.51.%d.%d", i/200, i%200)); i > 2*crowdAtOnce {
				t.Fatalf("%d addresses may guess", i)
			}
			if artifact.KindOf(err) == artifact.Limited && i < crowdAtOnce-guessesAtOnce-1 {
				t.Fatalf("limited after %d", i)
			}
		}
		// Strangers do not lock out who is known.
		if _, err := a.DecideDevice(t.Context(), h.person(k), d.UserCode, Decision{Approve: true}); err != nil {
			t.Errorf("a member while strangers guess: %v", err)
		}
	})
}

// TestMembersGuessApart: who guesses slows nobody else of the tenant, until very
// many do, and nobody of another tenant ever.
func TestMembersGuessApart(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		if _, err := a.CreateTenant(h.Context(), "pf_b", ""); err != nil {
			h.Fatal(err)
		}
		_, k := h.member(home, artifact.Read)
		_, foreign := h.member("pf_b", artifact.Read)
		other := k
		other.ID = "key_other" // of the same owner
		c := h.client(a)
		guesses := func(by *artifact.Caller) (n int) {
			h.Helper()
			for n = 0; ; n++ {
				_, err := a.DecideDevice(h.Context(), by, auth.NewUserCode(), Decision{Approve: true})
				if artifact.KindOf(err) == artifact.Limited {
					return n
				}
				if !errors.Is(err, ErrNoDevice) || n > guessesAtOnce {
					h.Fatalf("guess %d of %s: %v", n, by.Key, err)
				}
			}
		}
		approves := func(k store.Key) error {
			d := h.device(a, c.ID, "read")
			_, err := a.DecideDevice(h.Context(), h.person(k), d.UserCode, Decision{Approve: true})
			return err
		}
		proxied := &artifact.Caller{Kind: artifact.CallerProxy, Tenant: home, User: k.Owner}
		for _, by := range []*artifact.Caller{h.person(k), h.person(other), proxied} {
			if n := guesses(by); n != guessesAtOnce {
				h.Errorf("%s has %d guesses, want %d", by.Key, n, guessesAtOnce)
			}
		}
		_, third := h.member(home, artifact.Read)
		if err := approves(k); artifact.KindOf(err) != artifact.Limited {
			h.Errorf("who guessed approves: %v, want Limited", err)
		}
		if err := approves(third); err != nil {
			h.Errorf("another one of the tenant: %v", err)
		}
		sum := 3 * guessesAtOnce
		for i := 0; sum < crowdAtOnce; i++ {
			other.ID = fmt.Sprint("key_", i)
			sum += guesses(h.person(other))
		}
		if err := approves(third); artifact.KindOf(err) != artifact.Limited || sum != crowdAtOnce {
			h.Errorf("after %d guesses of the tenant: %v, want Limited after %d", sum, err, crowdAtOnce)
		}
		if err := approves(foreign); err != nil {
			h.Errorf("another tenant: %v", err)
		}
		h.pass(crowdRefill)
		if err := approves(third); err != nil {
			h.Errorf("a moment later: %v", err)
		}
	})
}

func TestStranger(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:80": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3::4": "2001:db8:1:2::", "[2001:db8:1:2::9]:80": "2001:db8:1:2::", "fe80::1%eth0": "fe80::", "": "", "@": "@",
	} {
		if got := stranger(remote); got != want {
			t.Errorf("stranger(%q) = %q, want %q", remote, got, want)
		}
	}
}

// TestGuessersAreForgotten keeps the memory of many addresses, keys and tenants
// bounded.
func TestGuessersAreForgotten(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, by := range map[string]func(i int) *artifact.Caller{
		"addresses": func(i int) *artifact.Caller {
			return &artifact.Caller{Remote: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}
		},
		"keys": func(i int) *artifact.Caller {
			return &artifact.Caller{Kind: artifact.CallerKey, Tenant: home, Key: fmt.Sprint(i)}
		},
		"tenants": func(i int) *artifact.Caller {
			return &artifact.Caller{Kind: artifact.CallerKey, Tenant: fmt.Sprint(i), Key: "k"}
		},
	} {
		var g guesses
		for i := range 3 * maxGuessers {
			now = now.Add(crowdRefill)
			if _, err := g.begin(by(i), now); err != nil {
				t.Fatalf("%s: guess %d: %v", name, i, err)
			}
			n := max(len(g.strangers.by), len(g.tenants))
			if c := g.tenants[home]; c != nil {
				n = max(n, len(c.by))
			}
			if n > maxGuessers {
				t.Fatalf("%s: %d are remembered", name, n)
			}
		}
	}
	// While no stranger may guess, none is remembered.
	var g guesses
	for i := range 2 * crowdAtOnce {
		_, err := g.begin(&artifact.Caller{Remote: fmt.Sprint(i)}, now)
		if want := i >= crowdAtOnce; (err != nil) != want {
			t.Errorf("guess %d: %v", i, err)
		}
	}
	if n := len(g.strangers.by); n != crowdAtOnce {
		t.Errorf("%d are remembered, want %d", n, crowdAtOnce)
	}
}

package account

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

func scopes(text string) artifact.Scopes { return artifact.ParseScopes(text) }

// TestCreateKeyGivesNoMore holds what a caller may give against what it holds.
func TestCreateKeyGivesNoMore(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		for _, c := range []struct {
			kind             artifact.CallerKind
			holds, ask, want string // want is "" for Denied and "!" for Invalid
		}{
			{artifact.CallerSystem, "", "", "read write delete run"},
			{"", "", "admin", "admin"},
			{artifact.CallerSystem, "", "run admin read read", "read run admin"},
			{artifact.CallerSystem, "", "profile", "!"},
			{artifact.CallerSystem, "", "read offline_access", "!"},
			{artifact.CallerSystem, "", "everything", "!"},
			{artifact.CallerKey, "read write admin", "", "read write"},
			{artifact.CallerKey, "read write admin", "read", "read"},
			{artifact.CallerKey, "read write admin", "read delete", ""},
			{artifact.CallerKey, "read write", "admin", ""},
			{artifact.CallerKey, "admin", "", ""},
			{artifact.CallerOAuth, "read offline_access admin", "read", "read"},
			{artifact.CallerOAuth, "read offline_access admin", "offline_access", "!"},
			{artifact.CallerLocal, "read", "read write", ""},
			{artifact.CallerShare, "read", "write", ""},
		} {
			ctx := artifact.WithCaller(h.Context(), &artifact.Caller{Kind: c.kind, Tenant: home, User: k.Owner, Scopes: scopes(c.holds)})
			secret, info, err := a.CreateKey(ctx, home, KeyRequest{Name: " ci ", Scopes: scopes(c.ask)})
			switch {
			case c.want == "":
				if artifact.KindOf(err) != artifact.Denied || secret != "" {
					h.Errorf("%+v: %v, want Denied", c, err)
				}
			case c.want == "!":
				if artifact.KindOf(err) != artifact.Invalid || secret != "" {
					h.Errorf("%+v: %v, want Invalid", c, err)
				}
			case err != nil || info.Scopes.String() != c.want || info.Name != "ci" || info.Owner != k.Owner:
				h.Errorf("%+v: %+v, %v", c, info, err)
			default:
				if tokens, err := a.Exchange(h.Context(), secret); err != nil || tokens.Scopes.String() != c.want {
					h.Errorf("%+v: the key gives %v, %v", c, tokens.Scopes, err)
				}
			}
		}
	})
}

func TestCreateKeyRefuses(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		if _, err := a.CreateTenant(h.Context(), "pf_b", ""); err != nil {
			h.Fatal(err)
		}
		theirs, err := a.Members(h.Context(), "pf_b")
		if err != nil {
			h.Fatal(err)
		}
		gone, err := a.AddMember(h.Context(), "pf_b", "gone")
		if err != nil {
			h.Fatal(err)
		}
		if err := a.RemoveMember(h.Context(), "pf_b", gone.ID); err != nil {
			h.Fatal(err)
		}
		external := artifact.WithCaller(h.Context(), &artifact.Caller{Kind: artifact.CallerExternal, Tenant: home, User: "ada", Scopes: everything})
		for name, try := range map[string]func() error{
			"no scopes":      func() error { return makeKey(h, a, home, KeyRequest{Scopes: artifact.Scopes{}}) },
			"past":           func() error { return makeKey(h, a, home, KeyRequest{Expires: h.Now()}) },
			"long name":      func() error { return makeKey(h, a, home, KeyRequest{Name: strings.Repeat("ö", 101)}) },
			"line in name":   func() error { return makeKey(h, a, home, KeyRequest{Name: "a\nb"}) },
			"not text":       func() error { return makeKey(h, a, home, KeyRequest{Name: "\xff"}) },
			"foreign owner":  func() error { return makeKey(h, a, home, KeyRequest{Owner: theirs[0].ID}) },
			"removed owner":  func() error { return makeKey(h, a, "pf_b", KeyRequest{Owner: gone.ID}) },
			"no such member": func() error { return makeKey(h, a, home, KeyRequest{Owner: "usr_none"}) },
			"no member asks": func() error { _, _, err := a.CreateKey(external, home, KeyRequest{}); return err },
		} {
			if err := try(); artifact.KindOf(err) != artifact.Invalid {
				h.Errorf("%s: %v, want Invalid", name, err)
			}
		}
		if err := makeKey(h, a, "pf_none", KeyRequest{}); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("no tenant: %v, want NotFound", err)
		}
		if list, err := a.Keys(h.Context(), home); err != nil || len(list) != 0 {
			h.Errorf("what was refused left keys: %v, %v", list, err)
		}
		if told := h.told(home); len(told) != 0 {
			h.Errorf("what was refused is told of as done: %q", told)
		}
	})
}

func makeKey(h *house, a *Accounts, tenant string, ask KeyRequest) error {
	_, _, err := a.CreateKey(h.Context(), tenant, ask)
	return err
}

// TestKeysOfATenant checks that a tenant sees and revokes its own keys only.
func TestKeysOfATenant(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		if _, err := a.CreateTenant(h.Context(), "pf_b", ""); err != nil {
			h.Fatal(err)
		}
		expires := h.Now().Add(time.Hour)
		secret, made, err := a.CreateKey(h.Context(), "pf_b", KeyRequest{Name: "one", Scopes: scopes("read"), Expires: expires})
		if err != nil {
			h.Fatal(err)
		}
		if k, ok := auth.ParseKey(secret); !ok || k.Tenant != "pf_b" {
			h.Errorf("the key has the form of %+v", k)
		}
		want := KeyInfo{ID: made.ID, Name: "one", Owner: made.Owner, Scopes: scopes("read"), Created: h.Now(), Expires: expires}
		list, err := a.Keys(h.Context(), "pf_b")
		if d := cmp.Diff([]KeyInfo{want}, list); d != "" || err != nil {
			h.Errorf("Keys, %v (-want +got):\n%s", err, d)
		}
		if list, err := a.Keys(h.Context(), home); err != nil || len(list) != 0 {
			h.Errorf("Keys of another tenant = %v, %v", list, err)
		}
		if err := a.RevokeKey(h.Context(), home, made.ID); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("revoke by another tenant: %v, want NotFound", err)
		}
		if _, err := a.Exchange(h.Context(), secret); err != nil {
			h.Errorf("the key after that: %v", err)
		}
		if err := a.RevokeKey(h.Context(), "pf_b", made.ID); err != nil {
			h.Fatal(err)
		}
		if err := a.RevokeKey(h.Context(), "pf_b", made.ID); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("revoke again: %v, want NotFound", err)
		}
		told := []string{
			"tenant.create ok by system", "member.add ok by system", "key.create ok by system",
			"login ok by key:" + made.ID, "key.revoke ok by system",
		}
		if d := cmp.Diff(told, h.told("pf_b")); d != "" {
			h.Errorf("audit log (-want +got):\n%s", d)
		}
		if told := h.told(home); len(told) != 0 {
			h.Errorf("the other tenant's audit log: %q", told)
		}
	})
}

func TestMembers(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		if _, err := a.AddMember(h.Context(), home, " "); artifact.KindOf(err) != artifact.Invalid {
			h.Errorf("member without a name: %v, want Invalid", err)
		}
		ada, err := a.AddMember(h.Context(), home, "Ada")
		if err != nil {
			h.Fatal(err)
		}
		if err := a.RemoveMember(h.Context(), home, ada.ID); artifact.KindOf(err) != artifact.Invalid {
			h.Errorf("remove the last member: %v, want Invalid", err)
		}
		bob, err := a.AddMember(h.Context(), home, "Bob")
		if err != nil {
			h.Fatal(err)
		}
		list, err := a.Members(h.Context(), home)
		slices.SortFunc(list, func(x, y Member) int { return strings.Compare(x.Name, y.Name) }) // of one time
		if d := cmp.Diff([]Member{{ada.ID, "Ada", h.Now()}, {bob.ID, "Bob", h.Now()}}, list); d != "" || err != nil {
			h.Errorf("Members, %v (-want +got):\n%s", err, d)
		}
		secret, _, err := a.CreateKey(h.Context(), home, KeyRequest{Owner: bob.ID})
		if err != nil {
			h.Fatal(err)
		}
		if _, err := a.CreateTenant(h.Context(), "pf_b", ""); err != nil {
			h.Fatal(err)
		}
		if err := a.RemoveMember(h.Context(), "pf_b", bob.ID); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("remove by another tenant: %v, want NotFound", err)
		}
		tokens, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		if err := a.RemoveMember(h.Context(), home, bob.ID); err != nil {
			h.Fatal(err)
		}
		for name, err := range map[string]error{
			"token":   second(a.Authenticate(h.Context(), tokens.Access)),
			"refresh": second(a.Refresh(h.Context(), tokens.Refresh)),
			"key":     second(a.Exchange(h.Context(), secret)),
		} {
			if artifact.KindOf(err) != artifact.Unauthorized {
				h.Errorf("the %s of who was removed: %v, want Unauthorized", name, err)
			}
		}
		if list, err := a.Keys(h.Context(), home); err != nil || len(list) != 0 {
			h.Errorf("keys of who was removed: %v, %v", list, err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestTenants(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		for _, id := range []string{"", "b", "pf_", "pf_B", "pf_" + strings.Repeat("a", 33)} {
			if _, err := a.CreateTenant(h.Context(), id, ""); artifact.KindOf(err) != artifact.Invalid {
				h.Errorf("tenant %q: %v, want Invalid", id, err)
			}
		}
		made, err := a.CreateTenant(h.Context(), "pf_b", "Bee")
		want := Tenant{ID: "pf_b", Name: "Bee", Created: h.Now()}
		if d := cmp.Diff(want, made); d != "" || err != nil {
			h.Errorf("CreateTenant, %v (-want +got):\n%s", err, d)
		}
		if _, err := a.CreateTenant(h.Context(), "pf_b", ""); artifact.KindOf(err) != artifact.Exists {
			h.Errorf("create again: %v, want Exists", err)
		}
		if members, err := a.Members(h.Context(), "pf_b"); err != nil || len(members) != 1 || members[0].Name != "owner" {
			h.Errorf("Members = %v, %v; want the owner", members, err)
		}
		five, none := int64(5), int64(-1)
		if err := a.SetQuota(h.Context(), "pf_b", Limits{Files: &none}); artifact.KindOf(err) != artifact.Invalid {
			h.Errorf("negative quota: %v, want Invalid", err)
		}
		if err := a.SetQuota(h.Context(), "pf_none", Limits{}); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("quota of nobody: %v, want NotFound", err)
		}
		if err := a.SetQuota(h.Context(), "pf_b", Limits{Files: &five}); err != nil {
			h.Fatal(err)
		}
		want.Quota.Files, want.Limits.Files = 5, &five
		list, err := a.Tenants(h.Context())
		if err != nil || len(list) != 2 {
			h.Fatalf("Tenants = %v, %v; want two", list, err)
		}
		if d := cmp.Diff(want, list[0]); d != "" {
			h.Errorf("Tenants (-want +got):\n%s", d)
		}
		if err := a.MarkTenantDeleted(h.Context(), "pf_b"); err != nil {
			h.Fatal(err)
		}
		for name, err := range map[string]error{
			"Tenant": second(a.Tenant(h.Context(), "pf_b")), "suspend": a.SuspendTenant(h.Context(), "pf_b"),
			"resume": a.ResumeTenant(h.Context(), "pf_b"), "delete": a.MarkTenantDeleted(h.Context(), "pf_b"),
			"member": second(a.AddMember(h.Context(), "pf_b", "x")), "key": makeKey(h, a, "pf_b", KeyRequest{}),
		} {
			if artifact.KindOf(err) != artifact.NotFound {
				h.Errorf("%s of a tenant that was deleted: %v, want NotFound", name, err)
			}
		}
		if _, err := a.CreateTenant(h.Context(), "pf_b", ""); artifact.KindOf(err) != artifact.Exists {
			h.Errorf("make it again: %v, want Exists", err)
		}
	})
}

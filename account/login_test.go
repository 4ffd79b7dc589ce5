package account

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

func TestExchange(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret, k := h.member(home, artifact.Read, artifact.Write, artifact.Delete)
		ctx := artifact.WithCaller(h.Context(), &artifact.Caller{Kind: artifact.CallerNobody, Remote: "192.0.2.7"})
		got, err := a.Exchange(ctx, secret)
		if err != nil {
			h.Fatal(err)
		}
		if !strings.HasPrefix(got.Access, "eyJ") || got.Refresh == "" || got.Tenant != home || got.Life != 72*time.Hour || got.Scopes.String() != "read write delete" {
			h.Errorf("Exchange = %+v", got)
		}
		c, err := a.Authenticate(h.Context(), got.Access)
		if err != nil {
			h.Fatal(err)
		}
		want := &artifact.Caller{
			Kind: artifact.CallerKey, Tenant: home, User: k.Owner, Key: k.ID, Grant: c.Grant, Token: c.Grant + ".0",
			Scopes: k.Scopes, Expires: h.Now().Add(72 * time.Hour).Truncate(time.Second),
		}
		if d := cmp.Diff(want, c); d != "" || c.Grant == "" {
			h.Errorf("caller (-want +got):\n%s", d)
		}
		next, err := a.Refresh(h.Context(), got.Refresh)
		if err != nil || next.Tenant != home || next.Scopes.String() != "read write delete" || next.Life != 72*time.Hour {
			h.Errorf("Refresh = %+v, %v", next, err)
		}
		if d := cmp.Diff([]string{"login ok by key:" + k.ID, "token.refresh ok by key:" + k.ID}, h.told(home)); d != "" {
			h.Errorf("audit log (-want +got):\n%s", d)
		}
		// The first use is noted, those within a minute are not, the next one is.
		for _, pass := range []time.Duration{0, 30 * time.Second, 31 * time.Second} {
			h.pass(pass)
			if _, err := a.Exchange(ctx, secret); err != nil {
				h.Fatal(err)
			}
			list, err := a.Keys(h.Context(), home)
			if err != nil || len(list) != 1 {
				h.Fatalf("Keys = %v, %v", list, err)
			}
			if since := h.Now().Sub(list[0].LastUsed); since != pass%(31*time.Second) {
				h.Errorf("used %v ago after %v", since, pass)
			}
		}
	})
}

func TestExchangeRefuses(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		good, k := h.member(home, artifact.Read)
		tokens, err := a.Exchange(h.Context(), good)
		if err != nil {
			h.Fatal(err)
		}
		if _, err := a.CreateTenant(h.Context(), "pf_shut", ""); err != nil {
			h.Fatal(err)
		}
		shut, _ := h.member("pf_shut", artifact.Read)
		if err := a.SuspendTenant(h.Context(), "pf_shut"); err != nil {
			h.Fatal(err)
		}
		expired, old, err := a.CreateKey(h.Context(), home, KeyRequest{Name: "old", Expires: h.Now().Add(time.Hour)})
		if err != nil {
			h.Fatal(err)
		}
		revoked, gone := h.member(home, artifact.Read)
		if err := a.RevokeKey(h.Context(), home, gone.ID); err != nil {
			h.Fatal(err)
		}
		h.pass(time.Hour)
		before := len(h.told(home))
		for name, key := range map[string]string{
			"empty": "", "short": "tm_pf_demo_ak_xxx", "token": tokens.Access, "refresh token": tokens.Refresh,
			"unknown": auth.NewKey(home), "no tenant": auth.NewKey("pf_none"), "changed": good[:len(good)-1] + "_",
			"suspended": shut, "expired": expired, "revoked": revoked, "spaces": " " + good,
		} {
			_, err := a.Exchange(h.Context(), key)
			e, ok := errors.AsType[*artifact.Error](err)
			if !ok || e != auth.ErrBadCredentials {
				h.Errorf("%s: %v, want ErrBadCredentials", name, err)
			}
			if len(key) > 30 && strings.Contains(err.Error(), key) {
				h.Errorf("%s: the error shows the key: %v", name, err)
			}
			if _, err := a.CookieLogin(h.Context(), key); !errors.Is(err, auth.ErrBadCredentials) {
				h.Errorf("%s: cookie login: %v, want ErrBadCredentials", name, err)
			}
		}
		h.eventually("the first of eight is told of", func() bool { return len(h.told(home)) > before })
		h.pass(time.Minute)
		want := slices.Repeat([]string{"login.failed denied by nobody"}, 2)
		h.eventually("and the others a minute later", func() bool { return slices.Equal(h.told(home)[before:], want) })
		if _, err := a.Authenticate(h.Context(), tokens.Access); err != nil {
			h.Errorf("the token of key %s: %v", k.ID, err)
		}
		if list, err := a.Keys(h.Context(), home); err != nil || !slices.ContainsFunc(list, func(i KeyInfo) bool { return i.ID == old.ID && i.LastUsed.IsZero() }) {
			h.Errorf("Keys = %+v, %v; want the expired key, never used", list, err)
		}
	})
}

// TestRefusalsTakeAsLong compares a wrong key of a tenant with one of no tenant.
// The bound is wide, for machines that do other things as well; if an answer
// waited for the audit log, it would be missed by far.
func TestRefusalsTakeAsLong(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		took := map[string][]time.Duration{}
		for range 40 {
			for _, tenant := range []string{home, "pf_none"} {
				start := time.Now()
				if _, err := a.Exchange(h.Context(), auth.NewKey(tenant)); !errors.Is(err, auth.ErrBadCredentials) {
					h.Fatal(err)
				}
				took[tenant] = append(took[tenant], time.Since(start))
			}
		}
		median := func(tenant string) time.Duration {
			slices.Sort(took[tenant])
			return took[tenant][len(took[tenant])/2]
		}
		known, unknown := median(home), median("pf_none")
		if known > 3*unknown || unknown > 3*known {
			h.Errorf("a wrong key takes %v where there is the tenant, %v where not", known, unknown)
		}
	})
}

// TestKeyEnds checks that no token outlives a key.
func TestKeyEnds(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret, _, err := a.CreateKey(h.Context(), home, KeyRequest{Name: "short", Expires: h.Now().Add(10 * time.Hour)})
		if err != nil {
			h.Fatal(err)
		}
		first, err := a.Exchange(h.Context(), secret)
		if err != nil || first.Life != 10*time.Hour {
			h.Fatalf("life %v, %v; want that of the key", first.Life, err)
		}
		h.pass(9 * time.Hour)
		next, err := a.Refresh(h.Context(), first.Refresh)
		if err != nil || next.Life != time.Hour {
			h.Errorf("life after a refresh %v, %v; want that of the key", next.Life, err)
		}
		h.pass(time.Hour)
		if _, err := a.Refresh(h.Context(), next.Refresh); artifact.KindOf(err) != artifact.Unauthorized {
			h.Errorf("refresh after the key's end: %v, want Unauthorized", err)
		}
		if _, err := a.Authenticate(h.Context(), next.Access); !errors.Is(err, auth.ErrTokenExpired) {
			h.Errorf("token after the key's end: %v, want ErrTokenExpired", err)
		}
	})
}

func TestLogout(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		secret, k := h.member(home, artifact.Read)
		cookie, err := a.CookieLogin(h.Context(), secret)
		if err != nil || cookie.Refresh != "" {
			h.Fatalf("CookieLogin = %+v, %v; want no refresh token", cookie, err)
		}
		other, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		c, err := b.Authenticate(h.Context(), cookie.Access)
		if err != nil {
			h.Fatal(err)
		}
		if err := a.Logout(artifact.WithCaller(h.Context(), c), c); err != nil {
			h.Fatal(err)
		}
		if _, err := a.Authenticate(h.Context(), cookie.Access); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("after logging out: %v, want ErrTokenInvalid", err)
		}
		h.eventually("the other node hears of it", func() bool {
			_, err := b.Authenticate(h.Context(), cookie.Access)
			return errors.Is(err, auth.ErrTokenInvalid)
		})
		if _, err := a.Authenticate(h.Context(), other.Access); err != nil {
			h.Errorf("another login of the key: %v", err)
		}
		// A token of another issuer ends by its id.
		ext := &artifact.Caller{Kind: artifact.CallerExternal, Tenant: home, User: "ada", Token: "jti-1", Expires: h.Now().Add(time.Hour)}
		if err := a.Logout(artifact.WithCaller(h.Context(), ext), ext); err != nil {
			h.Fatal(err)
		}
		if err := a.Admit(h.Context(), ext); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("Admit after logging out: %v, want ErrTokenInvalid", err)
		}
		if err := a.Logout(h.Context(), &artifact.Caller{Kind: artifact.CallerProxy, Tenant: home, User: "ada"}); artifact.KindOf(err) != artifact.Denied {
			h.Errorf("logout of who has no login: %v, want Denied", err)
		}
		want := []string{"login ok by key:" + k.ID, "login ok by key:" + k.ID, "logout ok by key:" + k.ID, "logout ok by external:ada"}
		if d := cmp.Diff(want, h.told(home)); d != "" {
			h.Errorf("audit log (-want +got):\n%s", d)
		}
	})
}

// TestOAuthRefresh checks that a refresh token works at one of the two doors.
func TestOAuthRefresh(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		_, tokens := h.grant(a, k, "dyn_1", artifact.Read, artifact.Offline)
		if _, err := a.Refresh(h.Context(), tokens.Refresh); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("Refresh of OAuth's: %v, want ErrTokenInvalid", err)
		}
		if _, err := turned(h, a, tokens.Refresh); err != nil {
			h.Errorf("the token was used up: %v", err)
		}
	})
}

// TestNoSecretIsTold looks for keys and tokens in the audit log and the log.
func TestNoSecretIsTold(t *testing.T) {
	each(t, func(h *house) {
		var text strings.Builder
		a, err := Open(h.Context(), h.db, Options{Issuer: "http://vitrine.test", Now: h.Now, Log: slog.New(slog.NewJSONHandler(&text, nil))})
		if err != nil {
			h.Fatal(err)
		}
		secret, err := a.Bootstrap(h.Context(), "")
		if err != nil {
			h.Fatal(err)
		}
		tokens, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		wrong := auth.NewKey(home)
		if _, err := a.Exchange(h.Context(), wrong); err == nil {
			h.Error("a key that nobody made is good")
		}
		if _, err := a.Refresh(h.Context(), tokens.Refresh); err != nil {
			h.Fatal(err)
		}
		h.pass(2 * time.Minute)
		if _, err := a.Refresh(h.Context(), tokens.Refresh); err == nil {
			h.Error("the refresh token is good twice")
		}
		if err := a.RotateSigningKey(h.Context()); err != nil {
			h.Fatal(err)
		}
		if err := a.Close(); err != nil {
			h.Fatal(err)
		}
		log, err := h.db.Log(h.Context(), home, artifact.AuditLog)
		if err != nil {
			h.Fatal(err)
		}
		list, err := h.db.Entries(h.Context(), &log, 0, 1000)
		if err != nil || len(list) < 5 {
			h.Fatalf("%d entries, %v", len(list), err)
		}
		for _, e := range list {
			text.Write(e.Data)
		}
		keys, err := h.db.SigningKeys(h.Context())
		if err != nil {
			h.Fatal(err)
		}
		secrets := []string{secret, wrong, tokens.Access, tokens.Refresh, auth.HashKey(secret)}
		for _, k := range keys {
			secrets = append(secrets, string(k.Secret))
		}
		for _, s := range secrets {
			if strings.Contains(text.String(), s) {
				h.Errorf("%.12q… is told", s)
			}
		}
	})
}

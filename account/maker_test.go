package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// by returns who comes with an access token.
func (h *house) by(a *Accounts, t Tokens, err error) *artifact.Caller {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
	c, err := a.Authenticate(h.Context(), t.Access)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// shareBy makes a share of a session as c, that lasts for an hour.
func (h *house) shareBy(a *Accounts, s artifact.Session, c *artifact.Caller) (token string) {
	h.Helper()
	_, token, err := a.CreateShare(artifact.WithCaller(h.Context(), c), Share{Tenant: home, Session: s.Key, Kind: ShareSession, Expires: h.Now().Add(time.Hour)})
	if err != nil {
		h.Fatal(err)
	}
	return token
}

// TestSharesEndWithTheirMaker makes shares in every way that there is, and ends
// what they were made with: tokens, a key, a member.
func TestSharesEndWithTheirMaker(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		s := h.session(home, "demo")
		secret, k := h.member(home, artifact.Read, artifact.Write)
		second, _, err := a.CreateKey(artifact.WithCaller(h.Context(), h.person(k)), home, KeyRequest{})
		if err != nil {
			h.Fatal(err)
		}
		h.member(home, artifact.Read) // somebody else, who stays
		client := h.client(a)
		login := func(key string) *artifact.Caller {
			t, err := a.Exchange(h.Context(), key)
			return h.by(a, t, err)
		}
		cookieTokens, err := a.CookieLogin(h.Context(), secret)
		cookie := h.by(a, cookieTokens, err)
		clientTokens, err := h.approved(a, client.ID, "read write", h.person(k), false)
		shares := map[string]string{
			"token": h.shareBy(a, s, login(secret)), "cookie": h.shareBy(a, s, cookie), "client": h.shareBy(a, s, h.by(a, clientTokens, err)),
			"second key": h.shareBy(a, s, login(second)),
			"external":   h.shareBy(a, s, &artifact.Caller{Kind: artifact.CallerExternal, Tenant: home, User: "ada"}),
			"local":      h.shareBy(a, s, &artifact.Caller{Kind: artifact.CallerLocal, Tenant: home}),
			"system":     h.shareBy(a, s, &artifact.Caller{Kind: artifact.CallerSystem}),
		}
		streams := map[string]context.Context{}
		for name, token := range shares {
			share, err := b.Share(h.Context(), token)
			if err != nil {
				h.Fatal(err)
			}
			stream, cancel := b.Watch(h.Context(), share.Caller())
			defer cancel()
			streams[name] = stream
		}
		ended := func(when string, names ...string) {
			h.Helper()
			for _, name := range names {
				h.eventually(when+": the stream of the share by "+name+" ends on the other node", func() bool { return streams[name].Err() != nil })
				delete(streams, name)
				for _, node := range []*Accounts{a, b} {
					if _, err := node.Share(h.Context(), shares[name]); !errors.Is(err, store.ErrNoShare) {
						h.Errorf("%s: the share by %s: %v, want ErrNoShare", when, name, err)
					}
				}
			}
			for name, stream := range streams {
				if _, err := b.Share(h.Context(), shares[name]); err != nil || stream.Err() != nil {
					h.Errorf("%s: the share by %s: %v, its stream: %v; want them to stay", when, name, err, stream.Err())
				}
			}
			if list, err := a.Shares(h.Context(), home, s.Key); err != nil || len(list) != len(streams) {
				h.Errorf("%s: %d shares are listed, %v; want %d", when, len(list), err, len(streams))
			}
		}
		if err := errors.Join(a.Logout(h.Context(), cookie), a.RevokeToken(h.Context(), client.ID, clientTokens.Access)); err != nil {
			h.Fatal(err)
		}
		ended("logged out")
		if err := a.RevokeKey(h.Context(), home, k.ID); err != nil {
			h.Fatal(err)
		}
		ended("key revoked", "token", "cookie", "client")
		if err := a.RemoveMember(h.Context(), home, k.Owner); err != nil {
			h.Fatal(err)
		}
		ended("member removed", "second key")
		if got, want := h.details(home, "key.revoke", "member.remove"), `[{"shares":3} {"keys":1,"shares":1}]`; got != want {
			h.Errorf("audit log tells %s, want %s", got, want)
		}
	})
}

// details returns what a tenant's audit log tells more of some actions.
func (h *house) details(tenant string, actions ...string) string {
	h.Helper()
	var told []string
	for _, e := range h.audit(tenant) {
		if slices.Contains(actions, e.Action) {
			text, err := json.Marshal(e.Details) // which orders the members
			if err != nil {
				h.Fatal(err)
			}
			told = append(told, string(text))
		}
	}
	return fmt.Sprint(told)
}

// TestShareMeetsRevocation makes shares on one node while another revokes their
// key: whichever comes first, none is left that is good.
func TestShareMeetsRevocation(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		s := h.session(home, "demo")
		for range 4 {
			_, k := h.member(home, artifact.Read, artifact.Write)
			ctx := artifact.WithCaller(h.Context(), h.person(k))
			ask := Share{Tenant: home, Session: s.Key, Kind: ShareSession, Expires: h.Now().Add(time.Hour)}
			var makers sync.WaitGroup
			made := make(chan struct{}, 1)
			for range 4 {
				makers.Go(func() { // until it is refused
					var err error
					for err == nil {
						_, _, err = a.CreateShare(ctx, ask)
						select {
						case made <- struct{}{}:
						default:
						}
					}
					if !errors.Is(err, auth.ErrTokenInvalid) {
						h.Errorf("CreateShare: %v, want ErrTokenInvalid", err)
					}
				})
			}
			<-made
			if err := b.RevokeKey(h.Context(), home, k.ID); err != nil {
				h.Error(err)
			}
			makers.Wait()
			if list, err := a.Shares(h.Context(), home, s.Key); err != nil || len(list) != 0 {
				h.Fatalf("%d shares outlive their key, %v", len(list), err)
			}
			if _, _, err := a.CreateKey(ctx, home, KeyRequest{}); !errors.Is(err, auth.ErrTokenInvalid) {
				h.Fatalf("CreateKey with a key that was revoked: %v, want ErrTokenInvalid", err)
			}
		}
	})
}

// TestNothingOutlastsItsKey asks for more time than the key has that asks.
func TestNothingOutlastsItsKey(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		s := h.session(home, "demo")
		client := h.client(a)
		end := h.Now().Add(10 * time.Hour)
		secret, _, err := a.CreateKey(h.Context(), home, KeyRequest{Scopes: everything, Expires: end})
		if err != nil {
			h.Fatal(err)
		}
		h.pass(time.Hour)
		cookie, err := a.CookieLogin(h.Context(), secret)
		c := h.by(a, cookie, err)
		ctx := artifact.WithCaller(h.Context(), c)
		for name, try := range map[string]struct {
			ask, want time.Time // a zero want is Denied
		}{"none": {time.Time{}, end}, "earlier": {end.Add(-time.Hour), end.Add(-time.Hour)}, "same": {end, end}, "later": {end.Add(time.Microsecond), time.Time{}}} {
			key, info, err := a.CreateKey(ctx, home, KeyRequest{Expires: try.ask})
			if try.want.IsZero() != (artifact.KindOf(err) == artifact.Denied) || !info.Expires.Equal(try.want) {
				h.Errorf("a key with %s: it ends %v, %v; want %v", name, info.Expires, err, try.want)
			}
			if key != "" { // and so on
				t, err := a.Exchange(h.Context(), key)
				child := h.by(a, t, err)
				_, info, err := a.CreateKey(artifact.WithCaller(h.Context(), child), home, KeyRequest{Scopes: scopes("read")})
				if err != nil || !info.Expires.Equal(try.want) {
					h.Errorf("a key by a key with %s: it ends %v, %v; want %v", name, info.Expires, err, try.want)
				}
			}
			if try.ask.IsZero() {
				continue
			}
			_, _, err = a.CreateShare(ctx, Share{Tenant: home, Session: s.Key, Kind: ShareZip, Expires: try.ask})
			if try.want.IsZero() != (artifact.KindOf(err) == artifact.Denied) || err != nil && !try.want.IsZero() {
				h.Errorf("a share with %s: %v", name, err)
			}
		}
		if life := cookie.Life; life > 9*time.Hour {
			h.Errorf("a cookie lives %v, longer than its key", life)
		}
		person, err := a.ByKey(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		tokens, err := h.approved(a, client.ID, "read offline_access", person, false)
		if err != nil || tokens.Life > 9*time.Hour {
			h.Errorf("a client's token lives %v, %v; longer than the key that approved it", tokens.Life, err)
		}
		h.pass(8 * time.Hour)
		next, err := a.RefreshClient(h.Context(), client.ID, tokens.Refresh, "", "")
		if err != nil || next.Life > time.Hour {
			h.Errorf("a client's next token lives %v, %v; longer than the key", next.Life, err)
		}
		h.pass(time.Hour)
		if _, err := a.RefreshClient(h.Context(), client.ID, next.Refresh, "", ""); codeOf(err) != "invalid_grant" {
			h.Errorf("refresh after the key's end: %v, want invalid_grant", err)
		}
		if _, _, err := a.CreateKey(ctx, home, KeyRequest{}); !errors.Is(err, auth.ErrTokenInvalid) {
			h.Errorf("a key by one that has expired: %v, want ErrTokenInvalid", err)
		}
	})
}

package account

import (
	"errors"
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

const verifier = "abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQ"

// ask is a request for a code that is in order.
func ask(client string) CodeRequest {
	return CodeRequest{
		ResponseType: "code", ClientID: client, RedirectURI: "http://localhost:5001/cb", Scope: "read write offline_access", State: "s",
		Challenge: auth.S256(verifier), ChallengeMethod: "S256",
	}
}

// code has a person consent and returns the code.
func (h *house) code(a *Accounts, c Client, by *artifact.Caller) string {
	h.Helper()
	r := ask(c.ID)
	consent, err := a.CheckCode(c, &r)
	if err != nil {
		h.Fatal(err)
	}
	code, err := a.DecideCode(h.Context(), by, &r, consent, Decision{Approve: true})
	if err != nil {
		h.Fatal(err)
	}
	return code
}

func exchange(client, code string) CodeExchange {
	return CodeExchange{Client: client, Code: code, RedirectURI: "http://localhost:5001/cb", Verifier: verifier}
}

func TestCheckCode(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		c := h.client(a)
		good := ask(c.ID)
		if got, err := a.CodeClient(t.Context(), &good); err != nil || got.ID != c.ID {
			t.Errorf("CodeClient = %v, %v", got.ID, err)
		}
		for want, change := range map[string]func(*CodeRequest){
			"invalid_client":       func(r *CodeRequest) { r.ClientID = "dyn_x" },
			"invalid_redirect_uri": func(r *CodeRequest) { r.RedirectURI = "https://evil.example/cb" },
		} {
			r := good
			change(&r)
			if _, err := a.CodeClient(t.Context(), &r); codeOf(err) != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		onlyDevice := c
		onlyDevice.GrantTypes = []string{GrantDevice}
		for name, row := range map[string]struct {
			client Client
			change func(*CodeRequest)
			want   string
		}{
			"good":                    {c, func(*CodeRequest) {}, ""},
			"response_mode query":     {c, func(r *CodeRequest) { r.ResponseMode = "query" }, ""},
			"this server":             {c, func(r *CodeRequest) { r.Resource = "http://vitrine.test" }, ""},
			"this server, with slash": {c, func(r *CodeRequest) { r.Resource = "http://vitrine.test/" }, ""},
			"its MCP endpoint":        {c, func(r *CodeRequest) { r.Resource = "http://vitrine.test/mcp" }, ""},
			"no state":                {c, func(r *CodeRequest) { r.State = "" }, ""},
			"no response type":        {c, func(r *CodeRequest) { r.ResponseType = "" }, "invalid_request"},
			"a token at once":         {c, func(r *CodeRequest) { r.ResponseType = "token" }, "unsupported_response_type"},
			"in a fragment":           {c, func(r *CodeRequest) { r.ResponseMode = "fragment" }, "invalid_request"},
			"not registered for it":   {onlyDevice, func(*CodeRequest) {}, "unauthorized_client"},
			"no challenge":            {c, func(r *CodeRequest) { r.Challenge = "" }, "invalid_request"},
			"no challenge, no method": {c, func(r *CodeRequest) { r.Challenge, r.ChallengeMethod = "", "" }, "invalid_request"},
			"no method is plain":      {c, func(r *CodeRequest) { r.ChallengeMethod = "" }, "invalid_request"},
			"plain":                   {c, func(r *CodeRequest) { r.ChallengeMethod = "plain" }, "invalid_request"},
			"a short challenge":       {c, func(r *CodeRequest) { r.Challenge = r.Challenge[1:] }, "invalid_request"},
			"a challenge with dots":   {c, func(r *CodeRequest) { r.Challenge = "..." + r.Challenge[3:] }, "invalid_request"},
			"a long state":            {c, func(r *CodeRequest) { r.State = strings.Repeat("s", 4097) }, "invalid_request"},
			"another resource":        {c, func(r *CodeRequest) { r.Resource = "https://other.example" }, "invalid_target"},
			"a resource below":        {c, func(r *CodeRequest) { r.Resource = "http://vitrine.test/api" }, "invalid_target"},
			"the resource /":          {c, func(r *CodeRequest) { r.Resource = "/" }, "invalid_target"},
			"scopes of keys":          {c, func(r *CodeRequest) { r.Scope = "admin" }, "invalid_scope"},
		} {
			r := good
			row.change(&r)
			if _, err := a.CheckCode(row.client, &r); codeOf(err) != row.want || (err == nil) != (row.want == "") {
				t.Errorf("%s: %v, want %q", name, err, row.want)
			}
		}
	})
}

func TestCodeFlow(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		_, k := h.member(home, artifact.Read, artifact.Write, artifact.Admin)
		c := h.client(a)
		code := h.code(a, c, h.person(k))
		h.pass(time.Minute - time.Microsecond)
		tokens, err := b.ExchangeCode(t.Context(), exchange(c.ID, code))
		if err != nil {
			t.Fatal(err)
		}
		who, err := a.Authenticate(t.Context(), tokens.Access)
		if err != nil || who.Client != c.ID || who.Scopes.String() != "read write offline_access" || tokens.Refresh == "" {
			t.Errorf("the token is of %+v, %v", who, err)
		}
		// A second time ends what the first one gave, on every node.
		if _, err := b.ExchangeCode(t.Context(), exchange(c.ID, code)); codeOf(err) != "invalid_grant" {
			t.Errorf("the code again: %v, want invalid_grant", err)
		}
		if _, err := b.Authenticate(t.Context(), tokens.Access); !errors.Is(err, auth.ErrTokenInvalid) {
			t.Errorf("its access token: %v, want ErrTokenInvalid", err)
		}
		if _, err := a.RefreshClient(t.Context(), c.ID, tokens.Refresh, "", ""); codeOf(err) != "invalid_grant" {
			t.Errorf("its refresh token: %v, want invalid_grant", err)
		}
		h.eventually("the other node hears of it", func() bool {
			_, err := a.Authenticate(t.Context(), tokens.Access)
			return errors.Is(err, auth.ErrTokenInvalid)
		})
		told := []string{"client.approve ok by key:" + k.ID, "login ok by client:" + c.ID, "code.reuse denied by client:" + c.ID}
		if diff := cmp.Diff(told, h.told(home)); diff != "" {
			t.Errorf("audit log (-want +got):\n%s", diff)
		}
		r := ask(c.ID)
		consent, err := a.CheckCode(c, &r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.DecideCode(t.Context(), h.person(k), &r, consent, Decision{}); !errors.Is(err, ErrAccessDenied) {
			t.Errorf("denied: %v, want ErrAccessDenied", err)
		}
		client := artifact.Caller{Kind: artifact.CallerOAuth, Tenant: home, User: k.Owner, Key: k.ID, Client: c.ID, Scopes: k.Scopes}
		if _, err := a.DecideCode(t.Context(), &client, &r, consent, Decision{Approve: true}); artifact.KindOf(err) != artifact.Denied {
			t.Errorf("a client lets itself in: %v, want Denied", err)
		}
		if told := h.told(home); told[len(told)-1] != "client.deny ok by key:"+k.ID {
			t.Errorf("audit log %v", told)
		}
	})
}

// TestExchangeCodeRefuses: whatever is wrong, the code stays good for who has
// everything right.
func TestExchangeCodeRefuses(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		c, other := h.client(a), h.client(a)
		code := h.code(a, c, h.person(k))
		good := exchange(c.ID, code)
		wrong := func(f func(*CodeExchange)) CodeExchange {
			x := good
			f(&x)
			return x
		}
		rows := map[string]struct {
			x    CodeExchange
			want string
		}{
			"another client":         {wrong(func(x *CodeExchange) { x.Client = other.ID }), "invalid_grant"},
			"no client":              {wrong(func(x *CodeExchange) { x.Client = "" }), "invalid_client"},
			"an unknown client":      {wrong(func(x *CodeExchange) { x.Client = "dyn_x" }), "invalid_client"},
			"another port":           {wrong(func(x *CodeExchange) { x.RedirectURI = "http://localhost:5002/cb" }), "invalid_grant"},
			"no redirect URI":        {wrong(func(x *CodeExchange) { x.RedirectURI = "" }), "invalid_grant"},
			"another verifier":       {wrong(func(x *CodeExchange) { x.Verifier += "x" }), "invalid_grant"},
			"the challenge":          {wrong(func(x *CodeExchange) { x.Verifier = auth.S256(verifier) }), "invalid_grant"},
			"no verifier":            {wrong(func(x *CodeExchange) { x.Verifier = "" }), "invalid_grant"},
			"another code":           {wrong(func(x *CodeExchange) { x.Code = auth.NewSecret() }), "invalid_grant"},
			"no code":                {wrong(func(x *CodeExchange) { x.Code = "" }), "invalid_grant"},
			"the hash of the code":   {wrong(func(x *CodeExchange) { x.Code = hashCode(code) }), "invalid_grant"},
			"for another server":     {wrong(func(x *CodeExchange) { x.Resource = "https://other.example" }), "invalid_target"},
			"the code of the device": {wrong(func(x *CodeExchange) { x.Code = h.device(a, c.ID, "read").Code }), "invalid_grant"},
		}
		refuses := func(when string) {
			t.Helper()
			for name, row := range rows {
				if _, err := a.ExchangeCode(t.Context(), row.x); codeOf(err) != row.want {
					t.Errorf("%s, %s: %v, want %s", name, when, err, row.want)
				}
			}
		}
		refuses("before")
		tokens, err := a.ExchangeCode(t.Context(), good)
		if err != nil {
			t.Fatal(err)
		}
		refuses("after")
		if _, err := a.Authenticate(t.Context(), tokens.Access); err != nil {
			t.Errorf("who knows only the code ended the grant: %v", err)
		}
		late := h.code(a, c, h.person(k))
		h.pass(time.Minute)
		if _, err := a.ExchangeCode(t.Context(), exchange(c.ID, late)); codeOf(err) != "invalid_grant" {
			t.Errorf("after a minute: %v, want invalid_grant", err)
		}
		// The key is revoked between consent and exchange.
		code = h.code(a, c, h.person(k))
		if err := h.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.RevokeKey(home, k.ID) }); err != nil {
			t.Fatal(err)
		}
		if _, err := a.ExchangeCode(t.Context(), exchange(c.ID, code)); codeOf(err) != "invalid_grant" {
			t.Errorf("with a key that was revoked: %v, want invalid_grant", err)
		}
	})
}

// TestCodeRace exchanges one code a hundred times at once, on two nodes. At most
// one gets tokens, and they are worth nothing afterwards (RFC 9700 §4.5).
func TestCodeRace(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		_, k := h.member(home, artifact.Read)
		c := h.client(a)
		code := h.code(a, c, h.person(k))
		var mu sync.Mutex
		var got []Tokens
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				tokens, err := []*Accounts{a, b}[i%2].ExchangeCode(t.Context(), exchange(c.ID, code))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					got = append(got, tokens)
				} else if codeOf(err) != "invalid_grant" {
					t.Errorf("%v, want invalid_grant", err)
				}
			})
		}
		wg.Wait()
		if len(got) > 1 {
			t.Fatalf("%d got tokens", len(got))
		}
		row, err := h.db.AuthCode(t.Context(), hashCode(code))
		if err != nil {
			t.Fatal(err)
		}
		if g, err := h.db.Grant(t.Context(), row.Grant); err != nil || g.Revoked.IsZero() {
			t.Errorf("the grant %+v, %v; want it revoked", g, err)
		}
		for _, tokens := range got {
			h.eventually("both nodes hear of it", func() bool {
				_, errA := a.Authenticate(t.Context(), tokens.Access)
				_, errB := b.Authenticate(t.Context(), tokens.Access)
				return errors.Is(errA, auth.ErrTokenInvalid) && errors.Is(errB, auth.ErrTokenInvalid)
			})
		}
	})
}

func TestRefreshClient(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret, k := h.member(home, artifact.Read, artifact.Write)
		c, other := h.client(a), h.client(a)
		tokens, err := a.ExchangeCode(t.Context(), exchange(c.ID, h.code(a, c, h.person(k))))
		if err != nil {
			t.Fatal(err)
		}
		ofKey, err := a.Exchange(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		for name, row := range map[string]struct{ client, refresh, scope, resource, want string }{
			"another client":     {other.ID, tokens.Refresh, "", "", "invalid_grant"},
			"an unknown client":  {"dyn_x", tokens.Refresh, "", "", "invalid_client"},
			"that of a key":      {c.ID, ofKey.Refresh, "", "", "invalid_grant"},
			"an access token":    {c.ID, tokens.Access, "", "", "invalid_grant"},
			"nothing":            {c.ID, "", "", "", "invalid_grant"},
			"tampered":           {c.ID, tokens.Refresh + "x", "", "", "invalid_grant"},
			"wider":              {c.ID, tokens.Refresh, "read write run", "", "invalid_scope"},
			"delete":             {c.ID, tokens.Refresh, "delete", "", "invalid_scope"},
			"for another server": {c.ID, tokens.Refresh, "", "https://other.example", "invalid_target"},
		} {
			if _, err := a.RefreshClient(t.Context(), row.client, row.refresh, row.scope, row.resource); codeOf(err) != row.want {
				t.Errorf("%s: %v, want %s", name, err, row.want)
			}
		}
		if _, err := a.Refresh(t.Context(), tokens.Refresh); !errors.Is(err, auth.ErrTokenInvalid) {
			t.Errorf("at the door of keys: %v, want ErrTokenInvalid", err)
		}
		h.pass(time.Hour)
		less, err := a.RefreshClient(t.Context(), c.ID, tokens.Refresh, "read", "http://vitrine.test/mcp")
		if err != nil || !slices.Equal(less.Scopes, artifact.Scopes{artifact.Read}) || less.Refresh == "" || less.Refresh == tokens.Refresh {
			t.Fatalf("narrowed %+v, %v", less, err)
		}
		if who, err := a.Authenticate(t.Context(), less.Access); err != nil || who.Scopes.String() != "read" {
			t.Errorf("the narrowed token is of %+v, %v", who, err)
		}
		again, err := a.RefreshClient(t.Context(), c.ID, tokens.Refresh, "read", "")
		if d := cmp.Diff(less, again); d != "" || err != nil {
			t.Errorf("within the grace, %v (-want +got):\n%s", err, d)
		}
		full, err := a.RefreshClient(t.Context(), c.ID, less.Refresh, "", "")
		if err != nil || full.Scopes.String() != "read write offline_access" {
			t.Errorf("the grant is narrowed for ever: %v, %v", full.Scopes, err)
		}
	})
}

func TestRevokeToken(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		secret, k := h.member(home, artifact.Read, artifact.Write)
		c, other := h.client(a), h.client(a)
		fresh := func() Tokens {
			t.Helper()
			tokens, err := h.approved(a, c.ID, "read offline_access", h.person(k), false)
			if err != nil {
				t.Fatal(err)
			}
			return tokens
		}
		revoke := func(client, token string) {
			t.Helper()
			if err := a.RevokeToken(t.Context(), client, token); err != nil {
				t.Errorf("revoke as %q: %v", client, err)
			}
		}
		dead := func(tokens Tokens) bool {
			_, err := a.Authenticate(t.Context(), tokens.Access)
			return errors.Is(err, auth.ErrTokenInvalid)
		}
		stays := fresh()
		for _, token := range []string{"", "x", "a.b.c", secret, stays.Access + "x", stays.Refresh[:len(stays.Refresh)-1], a.keys.all().Refresh("nosuchgrant", 0)} {
			revoke("", token)
			revoke(c.ID, token)
		}
		revoke(other.ID, stays.Refresh)
		revoke(other.ID, stays.Access)
		revoke("dyn_x", stays.Access)
		if dead(stays) {
			t.Error("somebody else revoked it")
		}
		byRefresh, byAccess, byNobody := fresh(), fresh(), fresh()
		revoke(c.ID, byRefresh.Refresh)
		revoke(c.ID, byAccess.Access)
		revoke("", byNobody.Access)
		for _, tokens := range []Tokens{byRefresh, byAccess, byNobody} {
			if !dead(tokens) {
				t.Error("an access token outlived its grant")
			}
			if _, err := a.RefreshClient(t.Context(), c.ID, tokens.Refresh, "", ""); codeOf(err) != "invalid_grant" {
				t.Errorf("a refresh token outlived its grant: %v", err)
			}
		}
		revoke(c.ID, byRefresh.Refresh) // again
		if n := len(slices.DeleteFunc(h.told(home), func(s string) bool { return s != "token.revoke ok by client:"+c.ID })); n != 3 {
			t.Errorf("the audit log tells of %d revocations, want 3", n)
		}
		if dead(stays) {
			t.Error("it ended with the others")
		}
	})
}

func TestCSRF(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		mine := artifact.Caller{Kind: artifact.CallerKey, Tenant: home, User: "usr_1", Grant: "g", Token: "g.0", Cookie: true}
		good := a.CSRF(&mine)
		if !b.CheckCSRF(&mine, good) {
			t.Error("another node does not know it")
		}
		for _, f := range []func(*artifact.Caller){
			func(c *artifact.Caller) { c.Tenant = "pf_other" }, func(c *artifact.Caller) { c.User = "usr_2" },
			func(c *artifact.Caller) { c.Token = "g.1" }, func(c *artifact.Caller) { c.Grant = "h" },
			func(c *artifact.Caller) { c.Kind = artifact.CallerProxy },
		} {
			other := mine
			f(&other)
			if a.CheckCSRF(&other, good) {
				t.Errorf("it is good for %+v", other)
			}
		}
		for _, text := range []string{"", ".", good + "x", good[1:], strings.ToUpper(good)} {
			if a.CheckCSRF(&mine, text) {
				t.Errorf("%q is good", text)
			}
		}
	})
}

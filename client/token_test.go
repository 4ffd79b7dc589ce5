package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// gate is a server that lets in the newest token of a key, "k", and counts how
// tokens are got.
type gate struct {
	mu        sync.Mutex
	n         int  // of the token that is good
	spent     bool // refresh tokens are refused
	closed    bool // keys too
	asked     []string
	limited   int // how often logins are told to come later
	forwarded func(w http.ResponseWriter, r *http.Request)
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	how, bearer := r.URL.Path, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch how {
	case "/api/v2/auth/token", "/api/v2/auth/refresh", "/oauth/token":
		defer g.mu.Unlock()
		g.asked = append(g.asked, how)
		g.login(w, r, bearer)
		return
	}
	good := bearer == fmt.Sprint("t", g.n)
	g.mu.Unlock()
	if !good {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"code":"AUTH_TOKEN_EXPIRED","message":"Token expired"}}`)
		return
	}
	if g.forwarded != nil {
		g.forwarded(w, r)
		return
	}
	fmt.Fprint(w, `{}`)
}

func (g *gate) login(w http.ResponseWriter, r *http.Request, bearer string) {
	if g.limited > 0 {
		g.limited--
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	text, _ := io.ReadAll(r.Body)
	refused := g.closed
	answer := map[string]any{"access_token": fmt.Sprint("t", g.n+1), "refresh_token": fmt.Sprint("r", g.n+1), "expires_in": 259200, "tenant_id": "pf_x"}
	var body any = map[string]any{"status": "success", "data": answer}
	switch r.URL.Path {
	case "/api/v2/auth/token":
		refused = refused || bearer != "k" || len(text) > 0
	case "/api/v2/auth/refresh":
		refused = refused || g.spent || string(text) != fmt.Sprintf("{\"refresh_token\":\"r%d\"}\n", g.n) || bearer != ""
	case "/oauth/token":
		body = answer
		refused = refused || g.spent || string(text) != fmt.Sprintf("client_id=dyn&grant_type=refresh_token&refresh_token=r%d", g.n)
	}
	if refused {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	g.n++
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

// expire makes the token that is out no longer good.
func (g *gate) expire() { g.set(func() { g.n += 10 }) }

func (g *gate) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// taken returns how tokens were got since it was last called.
func (g *gate) taken() (list []string) {
	g.set(func() { list, g.asked = g.asked, nil })
	return list
}

// through returns a client of the gate.
func (g *gate) through(t *testing.T, opt Options) *Client {
	t.Helper()
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	opt.Backoff = func(int) time.Duration { return time.Millisecond }
	c, err := New(s.URL, opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const byKey, byRefresh, byOAuth = "/api/v2/auth/token", "/api/v2/auth/refresh", "/oauth/token"

func (g *gate) expect(t *testing.T, c *Client, want ...string) {
	t.Helper()
	if _, err := c.Session(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, g.taken()); diff != "" {
		t.Errorf("tokens were got like this:\n%s", diff)
	}
}

func TestKeyIsExchangedAndRenewed(t *testing.T) {
	g := &gate{limited: 2}
	c := g.through(t, Options{Key: "k"})
	g.expect(t, c, byKey, byKey, byKey) // twice it was told to come later
	g.expect(t, c)
	if got := c.cred.current(); got.Tenant != "pf_x" || time.Until(got.Expires).Round(time.Minute) != 72*time.Hour {
		t.Errorf("tokens: %+v", got)
	}
	// The gate's number is ahead of ours: the refresh token is refused, the key is not.
	g.expire()
	g.expect(t, c, byRefresh, byKey)
	g.set(func() { g.spent = true })
	g.set(func() { g.n++ })
	g.expect(t, c, byRefresh, byKey)
}

func TestTokensAreRenewedByTheirOwnEndpoint(t *testing.T) {
	for how, used := range map[string]Tokens{
		byRefresh: {Access: "old", Refresh: "r7"},
		byOAuth:   {Access: "old", Refresh: "r7", Client: "dyn", Scope: "read"},
	} {
		g := &gate{n: 7}
		c := g.through(t, Options{Tokens: used})
		g.expect(t, c, how)
		if got := c.cred.current(); got.Access != "t8" || got.Client != used.Client || got.Scope != used.Scope {
			t.Errorf("%s: %+v", how, got)
		}
	}
}

// A token that is known to end soon is renewed before it is sent.
func TestTokensAreRenewedEarly(t *testing.T) {
	g := &gate{n: 7}
	c := g.through(t, Options{Tokens: Tokens{Access: "t7", Refresh: "r7", Expires: time.Now().Add(early / 2)}})
	g.expect(t, c, byRefresh)
	// Where that does not work, the server decides whether it is still good.
	c = g.through(t, Options{Tokens: Tokens{Access: "t8", Refresh: "no", Expires: time.Now().Add(-time.Hour)}})
	g.expect(t, c, byRefresh)
}

func TestParallelRequestsShareOneRenewal(t *testing.T) {
	g := &gate{n: 7}
	c := g.through(t, Options{Tokens: Tokens{Access: "old", Refresh: "r7"}})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := c.Session(t.Context(), "s"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := g.taken(); len(got) != 1 {
		t.Errorf("got tokens %d times", len(got))
	}
}

// What one request hears of a renewal that failed, all hear that waited for it.
// One that gave up says nothing to the others.
func TestRenewalThatFails(t *testing.T) {
	g := &gate{closed: true}
	c := g.through(t, Options{Key: "k", Tokens: Tokens{Access: "old", Refresh: "r"}})
	_, err := c.Session(t.Context(), "s")
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != "AUTH_TOKEN_EXPIRED" || !errors.Is(err, ErrUnauthorized) {
		t.Errorf("got %v, want what was said of the request", err)
	}
	if diff := cmp.Diff([]string{byRefresh, byKey}, g.taken()); diff != "" {
		t.Error(diff)
	}

	g.set(func() { g.closed = false })
	began, gaveUp := make(chan bool), make(chan bool)
	first := true
	c = g.through(t, Options{Key: "k", Tokens: Tokens{Access: "old"}, Renew: func(ctx context.Context, used Tokens, next func(context.Context, Tokens) (Tokens, error)) (Tokens, error) {
		if first {
			first = false
			close(began)
			<-ctx.Done()
			<-gaveUp
			return Tokens{}, ctx.Err()
		}
		return next(ctx, used)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := c.Session(ctx, "s"); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
	})
	<-began
	both.Go(func() {
		if _, err := c.Session(t.Context(), "s"); err != nil {
			t.Errorf("who waited got %v", err)
		}
	})
	cancel()
	close(gaveUp)
	both.Wait()
}

// Tokens without anything to renew them with are used as they are.
func TestTokenAlone(t *testing.T) {
	g := &gate{n: 7}
	c := g.through(t, Options{Tokens: Tokens{Access: "t7", Expires: time.Now().Add(-time.Hour)}})
	g.expect(t, c)
	g.expire()
	if _, err := c.Session(t.Context(), "s"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
	if err := (&gate{}).through(t, Options{}).DeleteSession(t.Context(), "s"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("without anything: %v", err)
	}
}

// What was kept elsewhere comes first, and a renewal is told what it gets.
func TestRenewStandsAroundRenewals(t *testing.T) {
	g := &gate{n: 9}
	kept := Tokens{Access: "t8", Refresh: "r9"}
	c := g.through(t, Options{Tokens: Tokens{Access: "t1", Refresh: "r1"}, Renew: func(ctx context.Context, used Tokens, next func(context.Context, Tokens) (Tokens, error)) (Tokens, error) {
		if used.Access != kept.Access {
			return kept, nil
		}
		var err error
		kept, err = next(ctx, kept)
		return kept, err
	}})
	if _, err := c.Session(t.Context(), "s"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("with what was kept: %v", err) // a request renews once
	}
	g.expect(t, c, byRefresh)
	if kept.Access != "t10" || c.cred.current() != kept {
		t.Errorf("kept %+v, has %+v", kept, c.cred.current())
	}
}

// An upload goes out twice only if it can be read twice.
func TestUploadIsNotRepeatedBlindly(t *testing.T) {
	var got []string
	g := &gate{n: 7, forwarded: func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got = append(got, string(text))
		fmt.Fprintf(w, `{"size":%d}`, len(text))
	}}
	c := g.through(t, Options{Tokens: Tokens{Access: "old", Refresh: "r7"}})
	put := func() error {
		_, err := c.PutFile(t.Context(), "s", File{Name: "a", Size: -1, Content: strings.NewReader("abc")}, nil)
		return err
	}
	if err := put(); !errors.Is(err, ErrRenewed) || !errors.Is(err, ErrUnauthorized) {
		t.Errorf("with a token that ended: %v", err)
	}
	if err := put(); err != nil {
		t.Errorf("again: %v", err)
	}
	g.expire()
	g.set(func() { g.n = 8 }) // so that the refresh token is good
	c.cred.set(Tokens{Access: "old", Refresh: "r8"})
	if _, err := c.CreateSession(t.Context(), "x", nil); err != nil {
		t.Errorf("a body that can be read twice: %v", err)
	}
	if diff := cmp.Diff([]string{"abc", "{\"session_id\":\"x\"}\n"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFollowComesBackWithAnotherToken(t *testing.T) {
	var starts []string
	g := &gate{n: 7}
	g.forwarded = func(w http.ResponseWriter, r *http.Request) {
		starts = append(starts, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		if len(starts) == 1 {
			fmt.Fprint(w, entryText(1, "x"))
			g.set(func() { g.n = 8 })
			return
		}
		fmt.Fprint(w, entryText(2, "session_deleted"))
	}
	c := g.through(t, Options{Tokens: Tokens{Access: "t7", Refresh: "r8"}})
	for _, err := range c.Follow(t.Context(), "s", Following{}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"", "1@L"}, starts); diff != "" || !slices.Equal(g.taken(), []string{byRefresh}) {
		t.Error(diff)
	}
}

func TestHealthShowsNothing(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s with %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		fmt.Fprint(w, `{"status":"healthy"}`)
	})
	c.opt.Key = "k"
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

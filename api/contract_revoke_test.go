package api_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vitrine-hq/vitrine/artifact"
)

// listening are open streams of one caller, of every transport.
type listening struct {
	*house
	ends map[string]chan string // what each ended with
}

// listen opens every kind of stream that a token opens, and waits until they are open.
func (h *house) listen() *listening {
	h.Helper()
	l := &listening{house: h, ends: map[string]chan string{}}
	before := h.depot.FollowersOf(h.tenantID())
	for _, path := range []string{"/api/sessions/s/events", "/api/sessions/s/state?follow=1", library + "/events", "/api/v2/audit"} {
		s := h.streamAt(path)
		l.await(path, func() string {
			_, err := io.Copy(io.Discard, s.r)
			return fmt.Sprint(err)
		})
	}
	for _, path := range []string{library + "/events?wait_seconds=60&types=none", "/api/v2/audit?wait_seconds=60&types=none", "/api/sessions/s/artifact-events?wait_seconds=60&include_ext=none"} {
		l.await(path, func() string { return fmt.Sprint(h.get(path).StatusCode) })
	}
	c := h.dial("/ws?session_id=s")
	c.await("connection")
	l.await("/ws", func() string {
		_, _, err := c.Read(c.ctx)
		return fmt.Sprint(websocket.CloseStatus(err))
	})
	eventually(h, "all are open", func() bool { return h.depot.FollowersOf(h.tenantID()) == before+int64(len(l.ends)) })
	return l
}

// await has the end of a stream waited for.
func (l *listening) await(name string, end func() string) {
	ended := make(chan string, 1)
	l.ends[name] = ended
	go func() { ended <- end() }()
}

// over fails the test unless all streams end within a second of when, each in
// the way of its transport.
func (l *listening) over(why string, when time.Time) {
	l.Helper()
	late := time.After(time.Until(when.Add(time.Second)))
	for name, ended := range l.ends {
		want := "<nil>" // an end, not a break
		switch {
		case name == "/ws":
			want = fmt.Sprint(websocket.StatusCode(4401))
		case len(name) > 20 && name[len(name)-4:] == "none":
			want = "401"
		}
		select {
		case got := <-ended:
			if got != want {
				l.Errorf("%s: %s ends with %s, want %s", why, name, got, want)
			}
		case <-late:
			l.Fatalf("%s: %s is still open after a second", why, name)
		}
	}
}

// tenantID returns whose the house's token is.
func (h *house) tenantID() string {
	h.Helper()
	c, err := h.accounts.Authenticate(context.Background(), h.bearer)
	if err != nil {
		h.Fatal(err)
	}
	return c.Tenant
}

// Whatever is revoked, the streams that it opened end within a second, and no others.
func TestRevocationEndsStreams(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	h.data(h.save("/a.md", "x"))
	stays := h.streamAt("/api/sessions/s/events?after=1")
	const all = `"permissions":["read","write","admin"]`

	key, id := h.newKey(all)
	l := h.with(h.tokenOf(key)).listen()
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	l.over("key", time.Now())

	key, _ = h.newKey(all)
	l = h.with(h.tokenOf(key)).listen()
	same := h.with(h.tokenOf(key))
	l.ok(l.do("POST", "/api/v2/auth/logout", nil))
	l.over("token", time.Now())
	same.list("") // another login of the same key goes on

	member := fmt.Sprint(h.made("/api/v2/members", `{"name":"m"}`)["id"])
	key, _ = h.newKey(all + `,"member_id":"` + member + `"`)
	l = h.with(h.tokenOf(key)).listen()
	h.ok(h.do("DELETE", "/api/v2/members/"+member, nil))
	l.over("member", time.Now())

	other := h.tenant("pf_other")
	other.up("s", "a.txt", "a")
	l = other.listen()
	if err := h.accounts.SuspendTenant(t.Context(), "pf_other"); err != nil {
		t.Fatal(err)
	}
	l.over("tenant", time.Now())
	other.want(other.get(library+"/list"), 401, "AUTH_TOKEN_INVALID")

	client := h.client()
	code, user := h.device(client, "read write")
	h.fields("/device", "user_code", user, "action", "approve", "api_key", h.key)
	token := fmt.Sprint(h.oauthOK(h.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client), 200).json["access_token"])
	oauth := h.with(token)
	s := oauth.streamAt(library + "/events?after=1")
	h.ok(h.fields("/oauth/revoke", "token", token))
	s.ended("a client's token", time.Now())

	share := h.share("s", ``)
	shared := []*stream{h.streamAt("/s/" + tokenIn(share) + "/events?after=1"), h.streamAt("/s/" + tokenIn(share) + "/state?follow=1&at=1")}
	h.ok(h.do("DELETE", fmt.Sprint("/api/sessions/s/shares/", share["id"]), nil))
	for _, s := range shared {
		s.ended("share", time.Now())
	}

	h.up("s", "b.txt", "b")
	if e := stays.next(); e.seq() != 2 {
		t.Errorf("another caller's stream: %+v", e)
	}
}

// ended fails the test unless the stream ends within a second of when.
func (s *stream) ended(why string, when time.Time) {
	s.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, s.r)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			s.Errorf("%s: the stream breaks off: %v", why, err)
		}
	case <-time.After(time.Until(when.Add(time.Second))):
		s.Fatalf("%s: the stream is still open after a second", why)
	}
}

// Streams end when their token does.
func TestExpiryEndsStreams(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	now := time.Now()
	expires := now.Add(3 * time.Second).Truncate(time.Second)
	caller := artifact.Caller{Tenant: "pf_default", Scopes: artifact.Scopes{artifact.Read, artifact.Write, artifact.Admin}}
	l := h.with(h.signed(caller, now, expires)).listen()
	for name, ended := range l.ends {
		select {
		case got := <-ended:
			t.Errorf("%s ends with %s before its time", name, got)
		default:
		}
	}
	l.over("expiry", expires)
}

// Other nodes hear of it in time too.
func TestRevocationReachesOtherNodes(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	node := h.node()
	key, id := h.newKey(`"permissions":["read","write","admin"]`)
	share := h.share("s", ``)
	l := node.with(h.tokenOf(key)).listen()
	s := node.streamAt("/s/" + tokenIn(share) + "/events?after=1")
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	l.over("key on another node", time.Now())
	h.ok(h.do("DELETE", fmt.Sprint("/api/sessions/s/shares/", share["id"]), nil))
	s.ended("share on another node", time.Now())
	node.want(l.get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
}

// Who came to an open server without a token is told that it is the tenant.
func TestSuspendedOpenServer(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	without := func() answer { return h.get("/api/sessions", "Authorization", "") }
	h.want(without(), 200, "")
	if err := h.accounts.SuspendTenant(ctx, artifact.DefaultTenant); err != nil {
		t.Fatal(err)
	}
	h.want(without(), 401, "The tenant is suspended")
	h.want(h.get("/api/sessions", "Authorization", "Bearer "+h.bearer), 401, "The token is not valid")
	h.want(h.get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
	if err := h.accounts.ResumeTenant(ctx, artifact.DefaultTenant); err != nil {
		t.Fatal(err)
	}
	h.want(without(), 200, "")
}

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// issuer is an OAuth server whose token endpoint answers from a list, once for
// each poll.
type issuer struct {
	t       *testing.T
	life    int
	answers []string
	polls   []time.Duration // since the one before, or the beginning
	last    time.Time
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(text))
	switch r.URL.Path {
	case "/oauth/register":
		want := `{"client_name":"test","grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"],"scope":"read write offline_access","token_endpoint_auth_method":"none"}` + "\n"
		if diff := cmp.Diff(want, string(text)); diff != "" {
			i.t.Error(diff)
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"client_id":"dyn_1"}`)
	case "/oauth/device_authorization":
		if want := (url.Values{"client_id": {"dyn_1"}, "scope": {"read write offline_access"}}); !cmp.Equal(want, form) {
			i.t.Error(cmp.Diff(want, form))
		}
		i.last = time.Now()
		fmt.Fprintf(w, `{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"http://x/device","verification_uri_complete":"http://x/device?user_code=WDJB-MJHT","expires_in":%d,"interval":2}`, i.life)
	case "/oauth/token":
		if want := (url.Values{"grant_type": {deviceGrant}, "device_code": {"d"}, "client_id": {"dyn_1"}}); !cmp.Equal(want, form) {
			i.t.Error(cmp.Diff(want, form))
		}
		i.polls = append(i.polls, time.Since(i.last))
		i.last = time.Now()
		answer := "authorization_pending"
		if n := len(i.polls); n <= len(i.answers) {
			answer = i.answers[n-1]
		}
		switch answer {
		case "lost":
			panic(http.ErrAbortHandler)
		case "down":
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "good":
			fmt.Fprint(w, `{"access_token":"a","token_type":"Bearer","expires_in":100,"refresh_token":"r","scope":"read"}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":%q,"error_description":"x"}`, answer)
		}
	case "/oauth/revoke":
		if want := (url.Values{"token": {"r"}, "client_id": {"dyn_1"}}); !cmp.Equal(want, form) {
			i.t.Error(cmp.Diff(want, form))
		}
		i.answers = append(i.answers, "revoked")
	default:
		i.t.Errorf("unexpected request for %s", r.URL)
	}
}

// inBubble runs f with a client of h, in a network and a time of their own.
func inBubble(t *testing.T, h http.Handler, f func(t *testing.T, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := make(pipes)
		server := &http.Server{Handler: h}
		done := make(chan error)
		go func() { done <- server.Serve(network) }()
		c, err := New("http://vitrine.test", Options{HTTP: &http.Client{Transport: &http.Transport{DialContext: network.dial, DisableKeepAlives: true}}})
		if err != nil {
			t.Fatal(err)
		}
		f(t, c)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

func TestLoginByDevice(t *testing.T) {
	const sec = time.Second
	tests := map[string]struct {
		life    int
		answers []string
		polls   []time.Duration
		want    error
		code    string // of the server's own error
	}{
		"approved":      {life: 900, answers: []string{"authorization_pending", "good"}, polls: []time.Duration{2 * sec, 2 * sec}},
		"too fast":      {life: 900, answers: []string{"slow_down", "authorization_pending", "slow_down", "good"}, polls: []time.Duration{2 * sec, 7 * sec, 7 * sec, 12 * sec}},
		"lost and down": {life: 900, answers: []string{"lost", "down", "good"}, polls: []time.Duration{2 * sec, 4 * sec, 9 * sec}},
		"denied":        {life: 900, answers: []string{"access_denied"}, polls: []time.Duration{2 * sec}, want: ErrLoginDenied},
		"too late":      {life: 900, answers: []string{"expired_token"}, polls: []time.Duration{2 * sec}, want: ErrLoginExpired},
		"nobody":        {life: 5, polls: []time.Duration{2 * sec, 2 * sec}, want: ErrLoginExpired},
		"refused":       {life: 900, answers: []string{"invalid_client"}, polls: []time.Duration{2 * sec}, code: "invalid_client"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			i := &issuer{t: t, life: tt.life, answers: tt.answers}
			inBubble(t, i, func(t *testing.T, c *Client) {
				var shown Device
				began := time.Now()
				got, err := c.LoginByDevice(t.Context(), DeviceLogin{Name: "test", Show: func(d Device) { shown = d }})
				if e, ok := errors.AsType[*Error](err); tt.code != "" && (!ok || e.Code != tt.code) || tt.code == "" && !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v or the code %q", err, tt.want, tt.code)
				}
				if diff := cmp.Diff(tt.polls, i.polls); diff != "" {
					t.Errorf("polls: %s", diff)
				}
				if d := (Device{"WDJB-MJHT", "http://x/device", "http://x/device?user_code=WDJB-MJHT", began.Add(time.Duration(tt.life) * sec)}); shown != d {
					t.Errorf("shown %+v, want %+v", shown, d)
				}
				if want := (Tokens{Access: "a", Refresh: "r", Client: "dyn_1", Scope: "read", Expires: i.last.Add(100 * sec).Round(sec)}); err == nil && (got != want || c.cred.current() != want) {
					t.Errorf("got %+v, uses %+v, want %+v", got, c.cred.current(), want)
				}
			})
		})
	}
}

func TestLogout(t *testing.T) {
	i := &issuer{t: t}
	inBubble(t, i, func(t *testing.T, c *Client) {
		if err := c.Logout(t.Context()); err != nil || len(i.answers) > 0 {
			t.Errorf("who is not logged in: %v", err)
		}
		c.cred.set(Tokens{Access: "a", Refresh: "r", Client: "dyn_1"})
		if err := c.Logout(t.Context()); err != nil || len(i.answers) != 1 || c.cred.current() != (Tokens{}) {
			t.Errorf("%v; uses %+v", err, c.cred.current())
		}
	})
	// Where a key was exchanged, the token itself says what ends. It may have.
	for _, status := range []int{http.StatusOK, http.StatusUnauthorized} {
		var got string
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
			w.WriteHeader(status)
			fmt.Fprint(w, `{}`)
		})
		c.cred.set(Tokens{Access: "a"})
		if err := c.Logout(t.Context()); err != nil || got != "POST /api/v2/auth/logout Bearer a" || c.cred.current() != (Tokens{}) {
			t.Errorf("%d: %v after %q", status, err, got)
		}
	}
}

// A server that does not answer is not waited for without end.
func TestTokensNoticeSilence(t *testing.T) {
	silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	inBubble(t, silent, func(t *testing.T, c *Client) {
		c.opt.Key = "k"
		began := time.Now()
		_, err := c.Session(t.Context(), "s")
		if took := time.Since(began); err == nil || err.Error() != "no answer came for 45s" || took != Silence {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Session(ctx, "s"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gave up before got %v", err)
		}
	})
}

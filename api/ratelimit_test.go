package api

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// What was taken comes back evenly, and a refusal says when the next is there.
func TestLimitsRefill(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newLimits(RateLimits{Tenant: 6, Login: 60}, func() time.Time { return now })
	ask := func(rt route, c artifact.Caller) (h map[string]string, err error) {
		w := httptest.NewRecorder()
		err = l.allow(rt, w, &c)
		h = map[string]string{}
		for _, name := range []string{"Limit", "Remaining", "Reset"} {
			h[name] = w.Header().Get("X-RateLimit-" + name)
		}
		return h, err
	}
	library, one := route{pattern: libraryPattern}, artifact.Caller{Tenant: "pf_one"}
	for i := range 6 {
		h, err := ask(library, one)
		want := map[string]string{"Limit": "6", "Remaining": fmt.Sprint(5 - i), "Reset": fmt.Sprint(now.Unix() + 10*int64(i+1) + 1)}
		if err != nil || fmt.Sprint(h) != fmt.Sprint(want) {
			t.Errorf("request %d: %v, %v, want %v", i, err, h, want)
		}
	}
	refused := func(wait int) {
		t.Helper()
		h, err := ask(library, one)
		if e, ok := errors.AsType[*artifact.Error](err); !ok || e.Kind != artifact.Limited || e.Facts["retry_after"] != wait || h["Remaining"] != "0" {
			t.Errorf("%v, %v, want a wait of %d s", err, h, wait)
		}
	}
	refused(10)
	now = now.Add(3 * time.Second)
	refused(7)
	now = now.Add(7*time.Second - time.Millisecond)
	refused(1) // never less than a second, and never too early
	now = now.Add(time.Millisecond)
	if _, err := ask(library, one); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	if h, err := ask(route{pattern: sessionPattern}, artifact.Caller{Tenant: "pf_two"}); err != nil || h["Limit"] != "" {
		t.Errorf("of sessions: %v, %v", err, h)
	}
	for range 100 {
		if _, err := ask(library, artifact.Caller{Remote: "10.0.0.1"}); err != nil {
			t.Fatalf("who is not known: %v", err)
		}
	}
}

// Where keys are tried, a network of IPv6 is one address.
func TestLimitsOfAddresses(t *testing.T) {
	l := newLimits(RateLimits{Login: 1}, time.Now)
	login := route{pattern: "/oauth/token", login: true}
	for _, row := range []struct {
		remote string
		ok     bool
	}{
		{"10.0.0.1", true}, {"10.0.0.1", false}, {"10.0.0.2", true},
		{"2001:db8:1:2::1", true}, {"2001:db8:1:2:ffff::9", false}, {"2001:db8:1:3::1", true}, {"fe80::1%eth0", true}, {"fe80::2%eth1", false},
		{"pipe", true}, {"pipe", false},
	} {
		err := l.allow(login, httptest.NewRecorder(), &artifact.Caller{Tenant: "pf_one", Remote: row.remote})
		if (err == nil) != row.ok {
			t.Errorf("%s: %v, want ok %v", row.remote, err, row.ok)
		}
	}
}

// However many addresses there are, memory is bounded.
func TestLimitsForget(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := buckets{perMinute: 1}
	for i := range maxBuckets + 10 {
		b.get(fmt.Sprint(i), now).AllowN(now, 1)
		if len(b.m) > maxBuckets {
			t.Fatalf("%d buckets", len(b.m))
		}
	}
	if len(b.m) > 10 {
		t.Errorf("%d buckets after all were spent", len(b.m))
	}
	b.get("spent", now).AllowN(now, 1)
	for i := range maxBuckets - len(b.m) {
		b.get(fmt.Sprint("full ", i), now)
	}
	b.get("one more", now)
	if _, known := b.m["spent"]; !known || len(b.m) > 20 {
		t.Errorf("%d buckets, the spent one known: %v", len(b.m), known)
	}
}

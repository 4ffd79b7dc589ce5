package api_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
)

// requestsIn returns the lines of requests in a log of JSON, in their order.
func requestsIn(t *testing.T, text string) []map[string]any {
	t.Helper()
	var list []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m["msg"] == "request" {
			list = append(list, m)
		}
	}
	return list
}

// The line of a request says where it came from and whose it was, also where it
// was refused: by them an operator finds who asks too often.
func TestRequestsAreLoggedByTheirCaller(t *testing.T) {
	l := &logged{}
	h := open(t, func(s *setup) {
		s.api.Log = slog.New(slog.NewJSONHandler(l, nil))
		s.api.Access = api.Access{Required: true, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
		s.api.Rates = api.RateLimits{Tenant: 6}
	})
	h.limit(1, 0, 0)
	keys, err := h.accounts.Keys(t.Context(), artifact.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	actor, from := "key:"+keys[0].ID, []string{"X-Forwarded-For", "6.6.6.6, 9.9.9.9"}
	h.do("GET", library+"/list", nil, from...)
	h.want(h.do("GET", library+"/list", nil, append(from, "Authorization", "Bearer x")...), 401, "")
	h.do("GET", "/a//b", nil, from...)
	h.want(h.save("/a.md", "too much"), 507, "BIZ_QUOTA_EXCEEDED")
	h.want(h.get("/health", "Authorization", ""), 200, "")
	h.spend(library + "/list")
	h.stop()
	lines := requestsIn(t, l.text())
	for i, want := range []struct {
		status         float64
		remote         string
		tenant, caller any
	}{
		{200, "9.9.9.9", "pf_default", actor},
		{401, "9.9.9.9", nil, nil},
		{400, "9.9.9.9", nil, nil},
		{507, "127.0.0.1", "pf_default", actor},
		{200, "127.0.0.1", nil, nil},
	} {
		got := lines[i]
		if got["status"] != want.status || got["remote"] != want.remote || got["tenant"] != want.tenant || got["actor"] != want.caller {
			t.Errorf("line %d: %v, want %+v", i, got, want)
		}
	}
	if last := lines[len(lines)-1]; last["status"] != 429.0 || last["tenant"] != "pf_default" || last["actor"] != actor {
		t.Errorf("who asked too often: %v", last)
	}
}

// A caller without a scope is named too, and the holder of a share by its id.
func TestRefusedAndSharedRequestsAreLogged(t *testing.T) {
	l := &logged{}
	s := sharing(t, func(set *setup) { set.api.Log = slog.New(slog.NewJSONHandler(l, nil)) })
	share := s.share("s", ``)
	key, id := s.newKey(`"name":"reader","permissions":["read"]`)
	s.ok(s.visit("/s/" + tokenIn(share)))
	s.want(s.with(s.tokenOf(key)).save("/a.md", ""), 403, "")
	s.stop()
	lines := requestsIn(t, l.text())
	visit, refused := lines[len(lines)-2], lines[len(lines)-1]
	if visit["actor"] != fmt.Sprint("share:", share["id"]) || visit["tenant"] != "pf_default" || visit["path"] != "/s/{share}" {
		t.Errorf("of a share: %v", visit)
	}
	if refused["status"] != 403.0 || refused["actor"] != "key:"+id {
		t.Errorf("without the scope: %v", refused)
	}
}

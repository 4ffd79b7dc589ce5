package api_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/vitrine-hq/vitrine/account"
)

// Holders of shares came to bytes that had been deleted or replaced: they named
// an earlier position, or the id of a version.
func TestSharesShowWhatStands(t *testing.T) {
	h := open(t)
	h.up("s", "up.txt", "up")
	secret := h.change("s", "secret.txt", "secret") // at 2
	old := h.change("s", "a.txt", "old")
	h.remove("s", "secret.txt")
	now := h.change("s", "a.txt", "new") // at 5
	h.change("s", "later.txt", "later")
	id := func(v map[string]any) string { return fmt.Sprint("art_", v["event_id"]) }
	for name, more := range map[string]string{"now": "", "at 5": `,"at":5`} {
		base := "/s/" + tokenIn(h.share("s", more))
		for _, gone := range []map[string]any{secret, old} {
			h.want(h.get(base+"/artifacts/"+id(gone)+"?mode=stream"), 404, "Artifact not found")
			h.want(h.get(base+"/artifacts/"+id(gone)+"?at=3"), 404, "Artifact not found")
			h.want(h.get(base+"/download?ids="+id(gone)), 404, "Artifact not found")
			h.want(h.get(base+"/download?at=3&ids="+id(gone)), 404, "Artifact not found")
		}
		h.want(h.get(base+"/artifacts/"+fmt.Sprint(secret["attachment_id"])), 404, "Artifact not found")
		for _, good := range []string{id(now), fmt.Sprint(now["attachment_id"])} {
			if got := h.ok(h.get(base + "/artifacts/" + good + "?mode=stream&at=3")).body; string(got) != "new" {
				t.Errorf("%s: %s is %q, want the version that stands", name, good, got)
			}
			_, files := unzip(t, h.ok(h.get(base+"/download?at=3&ids="+good)).body)
			if files["session_s/code_workspace/a.txt"] != "new" {
				t.Errorf("%s: a zip of %s: %v", name, good, files)
			}
		}
		state := h.ok(h.get(base + "?at=1"))
		if names := texts(objects(state.json["files"]), "name"); slices.Contains(names, "secret.txt") || !slices.Contains(names, "a.txt") {
			t.Errorf("%s: the state has %v", name, names)
		}
	}
	for name, more := range map[string]string{"now": "", "at 5": `,"at":5`} {
		base := "/s/" + tokenIn(h.share("s", `,"kind":"zip"`+more))
		for _, query := range []string{"", "?at=1", "?ids=" + id(secret), "?at=3&ids=" + id(old)} {
			_, files := unzip(t, h.ok(h.get(base+query)).body)
			_, log := files["session_s/events.jsonl"]
			_, later := files["session_s/code_workspace/later.txt"]
			if files["session_s/code_workspace/a.txt"] != "new" || files["session_s/code_workspace/secret.txt"] != "" || log || later == (more != "") {
				t.Errorf("zip of %s%s: %v", name, query, files)
			}
		}
	}
	e, _ := h.streamAt("/s/" + tokenIn(h.share("s", "")) + "/events?after=5").next().entry()
	if e["seq"] != 6.0 {
		t.Errorf("after a cursor comes %v", e)
	}
}

// Holders of one share took all of the tenant's places for followers.
func TestSharesLeavePlacesToMembers(t *testing.T) {
	var refused atomic.Int64
	h := open(t, func(s *setup) { s.api.Hooks.OverQuota = func(string) { refused.Add(1) } })
	h.up("s", "a.txt", "a")
	quota := int64(1)
	if err := h.accounts.SetQuota(context.Background(), "pf_default", account.Limits{Followers: &quota}); err != nil {
		t.Fatal(err)
	}
	base := "/s/" + tokenIn(h.share("s", ""))
	shared := h.streamAt(base + "/events")
	h.want(h.get(base+"/events"), 507, "")
	h.stream("s", "/events").next()
	h.want(h.get("/api/sessions/s/events"), 507, "")
	// What does not wait needs no place.
	h.ok(h.get(base + "/state"))
	h.ok(h.get("/api/sessions/s/state"))
	h.ok(h.get("/api/sessions/s/artifact-events?wait_seconds=0"))
	h.want(h.get("/api/sessions/s/artifact-events?wait_seconds=1"), 507, "")
	h.dial("/ws?session_id=s").await("error")
	if n := refused.Load(); n != 4 {
		t.Errorf("counted %d refusals by the quota, want 4", n)
	}
	// Without a cursor a share tells of what comes.
	h.up("s", "b.txt", "b")
	if e, _ := shared.next().entry(); e["seq"] != 2.0 {
		t.Errorf("the share tells of %v first", e)
	}
}

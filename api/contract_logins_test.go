package api_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const loginsPath = "/api/v2/auth/logins"

// letIn lets an OAuth client in by a key, and returns its tokens.
func (h *house) letIn(client, key, scope string) map[string]any {
	h.Helper()
	code, user := h.device(client, scope)
	h.want(h.fields("/device", "user_code", user, "action", "approve", "api_key", key), 200, "")
	return h.oauthOK(h.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client), 200).json
}

// logins returns the logins that the house's token sees, newest first.
func (h *house) logins(query string) []map[string]any {
	h.Helper()
	return objects(h.data(h.get(loginsPath + query))["logins"])
}

// What a consent page promises: a program that was let in is listed, and can be
// put out, by who let it in.
func TestLoginsCanBeEnded(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ada := fmt.Sprint(h.made("/api/v2/members", `{"name":"Ada"}`)["id"])
		key, id := h.newKey(`"permissions":["read"],"member_id":"` + ada + `"`)
		me := h.with(h.tokenOf(key))
		client := h.client()
		got := h.letIn(client, key, "read offline_access")
		robot := h.with(got["access_token"])
		list := me.logins("")
		if len(list) != 2 {
			t.Fatalf("logins %v", list)
		}
		of := list[0]
		for name, want := range map[string]any{
			"client_id": client, "client_name": "Robot", "key_id": id, "member_id": ada, "scopes": []any{"read", "offline_access"}, "current": false, "refreshed_at": nil,
		} {
			if fmt.Sprint(of[name]) != fmt.Sprint(want) {
				t.Errorf("%s %v, want %v", name, of[name], want)
			}
		}
		if list[1]["client_id"] != nil || list[1]["client_name"] != nil || list[1]["current"] != true {
			t.Errorf("the login that asks: %v", list[1])
		}
		fresh := h.oauthOK(h.fields("/oauth/token", "grant_type", "refresh_token", "refresh_token", fmt.Sprint(got["refresh_token"]), "client_id", client), 200).json
		if seen := me.logins("")[0]["refreshed_at"]; seen == nil {
			t.Error("it was refreshed")
		}
		if own := robot.logins(""); len(own) != 1 || own[0]["id"] != of["id"] || own[0]["current"] != true {
			t.Errorf("the program sees %v", own)
		}
		robot.want(robot.do("DELETE", fmt.Sprint(loginsPath, "/", list[1]["id"]), nil), 404, "RES_NOT_FOUND")
		me.ok(me.do("DELETE", fmt.Sprint(loginsPath, "/", of["id"]), nil))
		robot.want(robot.get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
		h.wantOAuth(h.fields("/oauth/token", "grant_type", "refresh_token", "refresh_token", fmt.Sprint(fresh["refresh_token"]), "client_id", client), 400, "invalid_grant")
		me.want(me.do("DELETE", fmt.Sprint(loginsPath, "/", of["id"]), nil), 404, "RES_NOT_FOUND")
		if list := me.logins(""); len(list) != 1 {
			t.Errorf("left: %v", list)
		}
		e := asMap(objects(h.data(h.get("/api/v2/audit?types=login.revoke"))["events"])[0]["data"])
		if e["object"] != "grant:"+fmt.Sprint(of["id"]) || e["actor"] != "key:"+id || asMap(e["details"])["client"] != client {
			t.Errorf("audit log: %v", e)
		}
	})
}

// The streams of a login end with it, within a second.
func TestEndedLoginEndsStreams(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	key, _ := h.newKey(`"permissions":["read","write","admin"]`)
	l := h.with(h.tokenOf(key)).listen()
	of := h.with(h.tokenOf(key)).logins("")
	l.ok(l.do("DELETE", fmt.Sprint(loginsPath, "/", of[1]["id"]), nil))
	l.over("login", time.Now())
}

// Everybody sees and ends what is their own: with admin that of the tenant, and
// of a member's other keys nothing that holds more.
func TestLoginsOfOthers(t *testing.T) {
	h := open(t)
	member := fmt.Sprint(h.made("/api/v2/members", `{"name":"Ada"}`)["id"])
	lesser, _ := h.newKey(`"permissions":["read"],"member_id":"` + member + `"`)
	greater, greaterID := h.newKey(`"permissions":["read","write"],"member_id":"` + member + `"`)
	small, big := h.with(h.tokenOf(lesser)), h.with(h.tokenOf(greater))
	foreign := h.tenant("pf_other")
	var ofBig, ofAdmin string
	for _, l := range h.logins("") {
		switch {
		case l["key_id"] == greaterID:
			ofBig = fmt.Sprint(loginsPath, "/", l["id"])
		case l["current"] == true:
			ofAdmin = fmt.Sprint(loginsPath, "/", l["id"])
		}
	}
	if n := len(small.logins("")); n != 2 {
		t.Errorf("a key sees %d logins of its member, want 2", n)
	}
	for _, l := range foreign.logins("") {
		if l["key_id"] == greaterID {
			t.Errorf("another tenant sees %v", l)
		}
	}
	foreign.want(foreign.do("DELETE", ofBig, nil), 404, "RES_NOT_FOUND")
	small.want(small.do("DELETE", ofAdmin, nil), 404, "RES_NOT_FOUND")
	small.want(small.do("DELETE", ofBig, nil), 403, "AUTH_INSUFFICIENT_PERMISSIONS")
	big.list("")
	// A key that is revoked takes its logins with it, also out of the list.
	_, id := h.newKey(`"permissions":["read"]`)
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	for _, l := range h.logins("") {
		if l["key_id"] == id {
			t.Errorf("of a revoked key: %v", l)
		}
	}
	h.ok(h.do("DELETE", ofBig, nil))
	big.want(big.get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
	h.list("")
	small.ok(small.do("DELETE", fmt.Sprint(loginsPath, "/", small.logins("")[0]["id"]), nil))
	small.want(small.get(loginsPath), 401, "AUTH_TOKEN_INVALID")
}

// Pages follow one another without a gap.
func TestLoginsInPages(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		for range 6 {
			h.tokenOf(h.key)
		}
		var want, got []string
		for _, l := range h.logins("") {
			want = append(want, fmt.Sprint(l["id"]))
		}
		cursor := ""
		for range 10 {
			page := h.data(h.get(loginsPath + "?limit=2" + cursor))
			for _, l := range objects(page["logins"]) {
				got = append(got, fmt.Sprint(l["id"]))
			}
			if page["next_cursor"] == nil {
				break
			}
			cursor = "&cursor=" + fmt.Sprint(page["next_cursor"])
		}
		if len(want) < 7 || !slices.Equal(want, got) {
			t.Errorf("in pages %v, at once %v", got, want)
		}
		for _, bad := range []string{"limit=0", "limit=1001", "cursor=x", "cursor=1.", "cursor=.x", "cursor=1.%00"} {
			h.want(h.get(loginsPath+"?"+bad), 422, "VAL_FIELD_INVALID")
		}
	})
}

// A program without a refresh token is over with its access token, and is not
// shown as if it went on.
func TestLoginWithoutRefreshEnds(t *testing.T) {
	c := &clock{}
	h := open(t, c.rules)
	h.letIn(h.client(), h.key, "read")
	expires, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(h.logins("")[0]["expires_at"]))
	if left := time.Until(expires); err != nil || left > 72*time.Hour || left < 71*time.Hour {
		t.Errorf("it ends at %v", expires)
	}
}

package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listed returns the API keys of the tenant by id.
func (h *house) listed() map[string]map[string]any {
	h.Helper()
	byID := map[string]map[string]any{}
	for _, k := range objects(h.data(h.get("/api/v2/keys"))["keys"]) {
		byID[fmt.Sprint(k["id"])] = k
	}
	return byID
}

// A key is told once, is worth what it was given, and can be taken back.
func TestKeys(t *testing.T) {
	h := open(t)
	a := h.want(h.ask("POST", "/api/v2/keys", `{"name":" ci ","permissions":["write","read"],"expires_in":3600}`), 201, "")
	made := asMap(a.json["data"])
	key, id := fmt.Sprint(made["key"]), fmt.Sprint(made["id"])
	if made["name"] != "ci" || fmt.Sprint(made["permissions"]) != "[read write]" || !strings.HasPrefix(key, "tm_pf_default_ak_") || made["last_used_at"] != nil {
		t.Errorf("made: %v", made)
	}
	expires, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(made["expires_at"]))
	if left := time.Until(expires); err != nil || left < 59*time.Minute || left > time.Hour {
		t.Errorf("expires_at %v", made["expires_at"])
	}
	delete(made, "key")
	if diff := cmp.Diff(made, h.listed()[id]); diff != "" {
		t.Errorf("listed: %s", diff)
	}
	tokens := h.data(h.exchange(key))
	if life := tokens["expires_in"].(float64); life > 3600 || life < 3500 {
		t.Errorf("a token of a key with an hour to live lives %v s", life)
	}
	if h.listed()[id]["last_used_at"] == nil {
		t.Error("it was used")
	}
	if list := string(h.get("/api/v2/keys").body); strings.Contains(list, key[len(key)-20:]) || strings.Contains(list, `"key":`) {
		t.Errorf("the list tells the key: %s", list)
	}
	h.data(h.do("DELETE", "/api/v2/keys/"+id, nil))
	h.want(h.exchange(key), 401, "AUTH_INVALID_CREDENTIALS")
	h.want(h.with(tokens["access_token"]).get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
	h.want(h.refresh(tokens["refresh_token"]), 401, "AUTH_TOKEN_INVALID")
	if _, there := h.listed()[id]; there {
		t.Error("a revoked key is listed")
	}
}

// Nobody gives what they do not hold, and what is wrong is named as it was sent.
func TestKeysAreBounded(t *testing.T) {
	h := open(t)
	key, _ := h.newKey(`"permissions":["read","admin"]`)
	limited := h.with(h.tokenOf(key))
	limited.want(limited.ask("POST", "/api/v2/keys", `{"permissions":["write"]}`), 403, "AUTH_INSUFFICIENT_PERMISSIONS")
	if got := limited.made("/api/v2/keys", `{}`); fmt.Sprint(got["permissions"]) != "[read]" {
		t.Errorf("without a word: %v", got["permissions"])
	}
	if got := h.made("/api/v2/keys", `{}`); fmt.Sprint(got["permissions"]) != "[read write delete run]" || got["expires_at"] != nil || got["name"] != "" {
		t.Errorf("without a word: %v", got)
	}
	key, _ = h.newKey(`"permissions":["write","admin"],"expires_in":3600`)
	brief := h.with(h.tokenOf(key))
	brief.up("s", "a.txt", "a")
	brief.want(brief.ask("POST", "/api/v2/keys", `{"expires_in":3601}`), 403, "AUTH_FORBIDDEN")
	brief.want(brief.do("POST", "/api/sessions/s/shares", strings.NewReader(`{"expires_in":3601}`), "Content-Type", "application/json", "Authorization", "Bearer "+brief.bearer), 403, "")
	if got := brief.made("/api/v2/keys", `{}`); got["expires_at"] == nil {
		t.Errorf("a key that never ends, by one that does: %v", got)
	}
	for _, body := range []string{`{"permissions":null}`, `{"permissions":["read","admin","read"]}`} {
		limited.want(limited.ask("POST", "/api/v2/keys", body), 201, "")
	}
	before := len(h.listed())
	foreign := h.tenant("pf_other")
	theirs := objects(foreign.data(foreign.get("/api/v2/members"))["members"])[0]["id"]
	for body, want := range map[string]string{
		`{"permissions":["fly"]}`: "400 permissions", `{"name":"` + strings.Repeat("x", 101) + `"}`: "400 name", `{"name":"a\u0007"}`: "400 name",
		`{"member_id":"usr_nobody"}`: "400 member_id", fmt.Sprintf(`{"member_id":"%v"}`, theirs): "400 member_id",
		`{"permissions":[]}`: "422 permissions", `{"permissions":"read"}`: "422 permissions", `{"permissions":[""]}`: "400 permissions", `{"permissions":[7]}`: "422 permissions.0", `{"expires_in":0}`: "422 expires_in", `{"expires_in":1.5}`: "422 expires_in", `{"name":7}`: "422 name",
	} {
		a := h.ask("POST", "/api/v2/keys", body)
		e := asMap(a.json["error"])
		field := asMap(e["details"])["field"]
		if field == nil {
			field = strings.Join(keys(asMap(e["field_errors"])), " ")
		}
		if got := fmt.Sprint(a.StatusCode, " ", field); got != want {
			t.Errorf("%s: %s, want %s: %s", body, got, want, a.body)
		}
	}
	if after := len(h.listed()); after != before {
		t.Errorf("what was refused made %d keys", after-before)
	}
}

// A member acts by its keys, which go with it.
func TestMembers(t *testing.T) {
	h := open(t)
	owner := objects(h.data(h.get("/api/v2/members"))["members"])[0]
	member := h.made("/api/v2/members", `{"name":"Ada"}`)
	if list := objects(h.data(h.get("/api/v2/members"))["members"]); len(list) != 2 || fmt.Sprint(list[1]) != fmt.Sprint(member) {
		t.Errorf("members %v", list)
	}
	made := h.made("/api/v2/keys", fmt.Sprintf(`{"member_id":"%v"}`, member["id"]))
	token := h.tokenOf(fmt.Sprint(made["key"]))
	if got := h.verify(token)["user_id"]; got != member["id"] || made["member_id"] != member["id"] {
		t.Errorf("it acts for %v", got)
	}
	if got := h.data(h.do("DELETE", fmt.Sprint("/api/v2/members/", member["id"]), nil)); got["removed"] != true || got["id"] != member["id"] {
		t.Errorf("removed: %v", got)
	}
	h.want(h.exchange(fmt.Sprint(made["key"])), 401, "AUTH_INVALID_CREDENTIALS")
	h.want(h.with(token).get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
	h.want(h.do("DELETE", fmt.Sprint("/api/v2/members/", member["id"]), nil), 404, "RES_NOT_FOUND")
	e := asMap(h.want(h.do("DELETE", fmt.Sprint("/api/v2/members/", owner["id"]), nil), 400, "VAL_FIELD_INVALID").json["error"])
	if asMap(e["details"])["field"] != "member_id" {
		t.Errorf("the last one: %v", e)
	}
	h.list("")
}

// What a tenant uses and may use; what goes beyond is refused and keeps nothing.
func TestTenantUsage(t *testing.T) {
	h := open(t)
	h.up("s", "a.txt", "12345")
	h.data(h.save("/a.md", "123"))
	h.data(h.save("/a.md", "1234", `,"overwrite":true`))
	got := h.data(h.get("/api/v2/tenant"))
	usage := map[string]any{"bytes": 12.0, "files": 2.0, "sessions": 1.0, "followers": 0.0}
	none := map[string]any{"bytes": nil, "files": nil, "sessions": nil, "followers": nil}
	if diff := cmp.Diff(usage, got["usage"]); diff != "" || !cmp.Equal(none, got["quota"]) || got["tenant_id"] != "pf_default" || got["rate_limit"] != nil {
		t.Errorf("%v%s", got, diff)
	}
	h.limit(13, 3, 1)
	quota := map[string]any{"bytes": 13.0, "files": 3.0, "sessions": 1.0, "followers": nil}
	if got := h.data(h.get("/api/v2/tenant")); !cmp.Equal(quota, got["quota"]) {
		t.Errorf("quota %v", got["quota"])
	}
	for what, a := range map[string]answer{
		"bytes": h.save("/b.md", "12"), "sessions": h.ask("POST", "/api/sessions", `{"session_id":"t"}`),
	} {
		if a.StatusCode != 507 || !strings.Contains(string(a.body), what) {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
	h.data(h.save("/b.md", "1"))
	e := asMap(h.want(h.save("/c.md", ""), 507, "BIZ_QUOTA_EXCEEDED").json["error"])
	want := map[string]any{"quota": "files", "limit": 3.0, "used": 3.0}
	if diff := cmp.Diff(want, e["details"]); diff != "" {
		t.Errorf("details %s", diff)
	}
	h.want(h.artifactAt("/c.md"), 404, "RES_NOT_FOUND")
	h.data(h.do("DELETE", at("/a.md"), nil))
	h.data(h.save("/c.md", "1234"))
}

// Metadata of artifacts is used too, but no part of their size.
func TestUsageOfMetadata(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		used := func(want float64) {
			t.Helper()
			if got := asMap(h.data(h.get("/api/v2/tenant"))["usage"]); got["bytes"] != want {
				t.Errorf("used %v, want %v", got["bytes"], want)
			}
		}
		h.data(h.save("/a.md", "123", `,"metadata":{"k": 1}`))
		used(3 + 7)
		if files := objects(h.data(h.get(library + "/list"))["files"]); len(files) != 1 || files[0]["size"] != 3.0 {
			t.Errorf("listed %v", files)
		}
		h.limit(10+3+8, 0, 0)
		h.want(h.ask("PATCH", at("/a.md"), `{"metadata":{"k":"<"}}`), 507, "BIZ_QUOTA_EXCEEDED") // stored as \u003c
		used(10)
		h.data(h.ask("PATCH", at("/a.md"), `{"metadata":{"k":12}}`))
		used(10 + 3 + 8)
		h.data(h.do("DELETE", at("/a.md"), nil))
		used(0)
	})
}

package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// clock is a time that a test moves on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// rules makes a server go by the clock where tokens are concerned.
func (c *clock) rules(s *setup) { s.account.Now = c.now }

// exchange sends an API key where one is due.
func (h *house) exchange(key string, headers ...string) answer {
	h.Helper()
	return h.do("POST", "/api/v2/auth/token", nil, append(headers, "Authorization", "Bearer "+key)...)
}

func (h *house) refresh(token any) answer {
	h.Helper()
	return h.ask("POST", "/api/v2/auth/refresh", `{"refresh_token":"`+fmt.Sprint(token)+`"}`)
}

// newKey makes an API key of the house's tenant, and returns it and its id.
func (h *house) newKey(fields string) (key, id string) {
	h.Helper()
	made := h.made("/api/v2/keys", `{`+fields+`}`)
	return fmt.Sprint(made["key"]), fmt.Sprint(made["id"])
}

// with returns the house for requests with another token.
func (h *house) with(bearer any) *house {
	c := *h
	c.bearer = fmt.Sprint(bearer)
	return &c
}

// verify returns what the server says of a token.
func (h *house) verify(token any) map[string]any {
	h.Helper()
	return h.data(h.with(token).get("/api/v2/auth/verify"))
}

// The exchange of an API key (contract, auth §2), field by field.
func TestExchangeGolden(t *testing.T) {
	h := open(t)
	for name, headers := range map[string][]string{"no body": nil, "an empty one of JSON": {"Content-Type", "application/json"}} {
		got := h.data(h.exchange(h.key, headers...))
		access, refresh := fmt.Sprint(got["access_token"]), fmt.Sprint(got["refresh_token"])
		if !strings.HasPrefix(access, "eyJ") || len(refresh) < 20 || refresh == access {
			t.Errorf("%s: tokens %s and %s", name, access, refresh)
		}
		delete(got, "access_token")
		delete(got, "refresh_token")
		want := map[string]any{"token_type": "Bearer", "expires_in": 259200.0, "tenant_id": "pf_default"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		h.with(access).list("")
	}
	// A body that is no JSON is none of the exchange's business.
	h.data(h.do("POST", "/api/v2/auth/token", strings.NewReader("{"), "Authorization", "bEARER "+h.key, "Content-Type", "text/html"))
}

// Whatever is wrong with a key is 401 with the same words (contract, auth §2).
func TestExchangeRefuses(t *testing.T) {
	c := &clock{}
	h := open(t, c.rules)
	revoked, id := h.newKey(`"name":"revoked"`)
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	short, _ := h.newKey(`"expires_in":60`)
	bearer, refresh := h.bearer, h.data(h.exchange(h.key))["refresh_token"]
	c.pass(2 * time.Minute)
	said := map[string]bool{}
	for name, key := range map[string]any{
		"unknown": "tm_pf_default_ak_" + strings.Repeat("x", 43), "of no tenant": "tm_pf_nobody_ak_" + strings.Repeat("x", 43),
		"malformed": "tm_pf_default_ak_short", "no key": "x", "revoked": revoked, "expired": short, "cut off": h.key[:len(h.key)-1],
		"a JWT": bearer, "a refresh token": refresh,
	} {
		a := h.want(h.exchange(fmt.Sprint(key)), 401, "AUTH_INVALID_CREDENTIALS")
		e := asMap(a.json["error"])
		said[fmt.Sprint(e["message"], e["details"])] = true
		if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer error="invalid_token"`) {
			t.Errorf("%s: WWW-Authenticate %q", name, got)
		}
	}
	if len(said) != 1 {
		t.Errorf("the answers differ: %v", said)
	}
	for name, header := range map[string]string{"none": "", "no scheme": h.key, "another scheme": "Basic " + h.key, "no key": "Bearer "} {
		a := h.do("POST", "/api/v2/auth/token", nil, "Authorization", header)
		if h.want(a, 401, "AUTH_UNAUTHORIZED"); a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
		if got := asMap(a.json["error"])["message"]; got != "Authorization: Bearer <API key> is required" {
			t.Errorf("%s: %v", name, got)
		}
	}
	h.want(h.do("POST", "/api/v2/auth/token?api_key="+h.key, nil), 401, "AUTH_UNAUTHORIZED")
}

// A refresh gives a new pair and ends the old token, after a grace in which it
// gives the same pair again (contract, auth §3).
func TestRefreshRotates(t *testing.T) {
	c := &clock{}
	h := open(t, c.rules)
	key, _ := h.newKey(`"permissions":["read","delete"]`)
	first := h.data(h.exchange(key))
	c.pass(time.Hour)
	second := h.data(h.refresh(first["refresh_token"]))
	if diff := cmp.Diff(keys(first), keys(second)); diff != "" || second["refresh_token"] == first["refresh_token"] || second["access_token"] == first["access_token"] {
		t.Errorf("refreshed: %v%s", second, diff)
	}
	c.pass(30 * time.Second)
	again := h.data(h.refresh(first["refresh_token"]))
	if diff := cmp.Diff(second, again); diff != "" {
		t.Errorf("within the grace (-first +second answer):\n%s", diff)
	}
	if got := h.verify(second["access_token"]); fmt.Sprint(got["scopes"]) != "[read delete]" || got["tenant_id"] != "pf_default" {
		t.Errorf("carried over: %v", got)
	}
	c.pass(time.Minute)
	h.want(h.refresh(first["refresh_token"]), 401, "AUTH_TOKEN_INVALID") // reuse: the family ends
	h.want(h.refresh(second["refresh_token"]), 401, "AUTH_TOKEN_INVALID")
	h.want(h.with(second["access_token"]).get(library+"/list"), 401, "AUTH_TOKEN_INVALID")
	other := h.data(h.exchange(key))
	c.pass(31 * 24 * time.Hour)
	h.want(h.refresh(other["refresh_token"]), 401, "AUTH_TOKEN_EXPIRED")
}

// What is no refresh token of an API key's exchange.
func TestRefreshRefuses(t *testing.T) {
	h := open(t)
	tokens := h.data(h.exchange(h.key))
	client := h.client()
	code, user := h.device(client, "read offline_access")
	h.fields("/device", "user_code", user, "action", "approve", "api_key", h.key)
	ofOAuth := h.oauthOK(h.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client), 200).json["refresh_token"]
	for name, token := range map[string]any{
		"garbage": "x", "an access token": tokens["access_token"], "an API key": h.key, "of OAuth": ofOAuth, "empty": "",
		"tampered": fmt.Sprint(tokens["refresh_token"]) + "x",
	} {
		if a := h.refresh(token); a.StatusCode != 401 {
			t.Errorf("%s: status %d", name, a.StatusCode)
		} else {
			h.want(a, 401, "AUTH_TOKEN_INVALID")
		}
	}
	h.wantOAuth(h.fields("/oauth/token", "grant_type", "refresh_token", "refresh_token", fmt.Sprint(tokens["refresh_token"]), "client_id", client), 400, "invalid_grant")
	for body, code := range map[string]string{`{}`: "VAL_FIELD_REQUIRED", `{"refresh_token":7}`: "VAL_VALIDATION_FAILED", `[]`: "VAL_VALIDATION_FAILED", ``: "VAL_VALIDATION_FAILED"} {
		h.want(h.do("POST", "/api/v2/auth/refresh", strings.NewReader(body), "Content-Type", "application/json", "Authorization", ""), 422, code)
	}
	h.data(h.do("POST", "/api/v2/auth/refresh", strings.NewReader(`{"refresh_token":"`+fmt.Sprint(tokens["refresh_token"])+`"}`), "Authorization", ""))
}

// What is told of a token that is good (contract, auth §4).
func TestVerifyGolden(t *testing.T) {
	h := open(t)
	key, _ := h.newKey(`"permissions":["read","write"]`)
	tokens := h.data(h.exchange(key))
	got := h.verify(tokens["access_token"])
	expires, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(got["expires_at"]))
	if left := time.Until(expires); err != nil || left < 71*time.Hour || left > 72*time.Hour {
		t.Errorf("expires_at %v: %v", got["expires_at"], err)
	}
	if !strings.HasPrefix(fmt.Sprint(got["user_id"]), "usr_") {
		t.Errorf("user_id %v", got["user_id"])
	}
	delete(got, "expires_at")
	delete(got, "user_id")
	want := map[string]any{"valid": true, "tenant_id": "pf_default", "scopes": []any{"read", "write"}, "token_type": "access"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// signed returns an access token of this server's, whatever it says.
func (h *house) signed(c artifact.Caller, issued, expires time.Time) string {
	h.Helper()
	rows, err := h.db.SigningKeys(context.Background())
	if err != nil || len(rows) == 0 {
		h.Fatalf("signing keys: %v, %v", rows, err)
	}
	newest := rows[len(rows)-1]
	signer, err := auth.NewSigner(testIssuer, []auth.SigningKey{{ID: newest.ID, Secret: newest.Secret, Created: newest.Created}})
	if err != nil {
		h.Fatal(err)
	}
	if c.Kind == "" {
		c.Kind, c.Key = artifact.CallerKey, "key_of_old"
	}
	if c.Token == "" {
		c.Token = "token-of-old"
	}
	token, err := signer.Sign(&c, issued, expires)
	if err != nil {
		h.Fatal(err)
	}
	return token
}

// unsigned returns a token with the payload of another one that wants no signature.
func unsigned(payload string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + payload + "."
}

// The status and code of each failure (contract, auth §7).
func TestStatusPerFailure(t *testing.T) {
	h := open(t, behindAccounts)
	key, id := h.newKey(``)
	revoked := h.data(h.exchange(key))["access_token"]
	h.ok(h.do("DELETE", "/api/v2/keys/"+id, nil))
	head, rest, _ := strings.Cut(h.bearer, ".")
	payload, _, _ := strings.Cut(rest, ".")
	everything := artifact.Caller{Tenant: "pf_default", Scopes: artifact.Scopes{artifact.Read, artifact.Write}}
	now := time.Now()
	h.with(h.signed(everything, now, now.Add(time.Hour))).list("") // the tokens below fail for their reason alone
	other := open(t, behindAccounts)
	for name, row := range map[string]struct{ header, code string }{
		"no header":               {"", "AUTH_UNAUTHORIZED"},
		"another scheme":          {"Basic cGY6eA==", "AUTH_UNAUTHORIZED"},
		"no token":                {"Bearer", "AUTH_UNAUTHORIZED"},
		"an API key":              {"Bearer " + h.key, "AUTH_INVALID_CREDENTIALS"},
		"a made up API key":       {"Bearer tm_pf_x_ak_y", "AUTH_INVALID_CREDENTIALS"},
		"garbage":                 {"Bearer x", "AUTH_TOKEN_INVALID"},
		"two tokens":              {"Bearer " + h.bearer + " " + h.bearer, "AUTH_TOKEN_INVALID"},
		"tampered":                {"Bearer " + head + "." + payload + "x." + rest[len(payload)+1:], "AUTH_TOKEN_INVALID"},
		"no signature":            {"Bearer " + head + "." + payload + ".", "AUTH_TOKEN_INVALID"},
		"alg none":                {"Bearer " + unsigned(payload), "AUTH_TOKEN_INVALID"},
		"a refresh token":         {"Bearer " + fmt.Sprint(h.data(h.exchange(h.key))["refresh_token"]), "AUTH_TOKEN_INVALID"},
		"expired":                 {"Bearer " + h.signed(everything, now.Add(-time.Hour), now), "AUTH_TOKEN_EXPIRED"},
		"of the future":           {"Bearer " + h.signed(everything, now.Add(time.Hour), now.Add(2*time.Hour)), "AUTH_TOKEN_INVALID"},
		"revoked":                 {"Bearer " + fmt.Sprint(revoked), "AUTH_TOKEN_INVALID"},
		"of a tenant there isn't": {"Bearer " + h.signed(artifact.Caller{Tenant: "pf_nobody", Scopes: everything.Scopes}, now, now.Add(time.Hour)), "AUTH_TOKEN_INVALID"},
		"of another server":       {"Bearer " + other.bearer, "AUTH_TOKEN_INVALID"},
	} {
		for _, path := range []string{library + "/list", "/api/v2/auth/verify", "/api/sessions"} {
			a := h.get(path, "Authorization", row.header)
			if a.StatusCode != 401 {
				t.Errorf("%s: %s: status %d, want 401: %s", name, path, a.StatusCode, a.body)
				continue
			}
			if strings.HasPrefix(path, "/api/v2") {
				h.wantEnveloped(a, row.code)
			}
			challenge := a.Header.Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, "Bearer") || !strings.Contains(challenge, `resource_metadata="`+testIssuer+`/.well-known/oauth-protected-resource"`) ||
				strings.Contains(challenge, `error="invalid_token"`) != (row.code != "AUTH_UNAUTHORIZED") {
				t.Errorf("%s: WWW-Authenticate %q", name, challenge)
			}
		}
	}
	for _, name := range []string{"access_token", "token", "authorization", "bearer"} {
		h.want(h.get(library+"/list?"+name+"="+url.QueryEscape(h.bearer), "Authorization", ""), 401, "AUTH_UNAUTHORIZED")
	}
	h.ok(h.get(library+"/list", "Authorization", "bEaReR "+h.bearer))
}

// A scope that is missing is named in the words that clients look for (contract,
// auth §6).
func TestMissingScope(t *testing.T) {
	h := open(t)
	key, _ := h.newKey(`"permissions":["read"]`)
	reader := h.with(h.tokenOf(key))
	a := reader.want(reader.save("/a.md", "x"), 403, "AUTH_INSUFFICIENT_PERMISSIONS")
	e := asMap(a.json["error"])
	want := map[string]any{"required_scopes": []any{"write"}}
	if diff := cmp.Diff(want, e["details"]); diff != "" || e["message"] != "Insufficient permissions. Required scope(s): write" {
		t.Errorf("%s%s", a.body, diff)
	}
	if got := a.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="insufficient_scope"`) || !strings.Contains(got, `scope="write"`) {
		t.Errorf("WWW-Authenticate %q", got)
	}
	// Deleting an artifact needs to write and no more; a memory record, to delete.
	key, _ = h.newKey(`"permissions":["read","write"]`)
	writer := h.with(h.tokenOf(key))
	id := writer.data(writer.save("/a.md", "x"))["artifact_id"]
	a = writer.want(writer.do("DELETE", fmt.Sprint("/api/v2/memories/", id), nil), 403, "AUTH_INSUFFICIENT_PERMISSIONS")
	if !strings.Contains(fmt.Sprint(asMap(a.json["error"])["message"]), "delete") {
		t.Errorf("%s", a.body)
	}
	writer.data(writer.do("DELETE", library+"?path=/a.md", nil))
}

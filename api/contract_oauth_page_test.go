package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

var (
	styleText = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	active    = regexp.MustCompile(`(?i)<(script|img|iframe|object|svg|link|base)|<[^>]*\s(on\w+|style|src)\s*=`) // what no page needs
)

// wantPage fails the test unless the answer is a page for people, with the
// headers that keep it whole, and text in it.
func (h *house) wantPage(a answer, status int, text ...string) string {
	h.Helper()
	if a.StatusCode != status {
		h.Fatalf("%s %s: status %d, want %d: %.300s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
	}
	body := string(a.body)
	sum := sha256.Sum256([]byte(styleText.FindStringSubmatch(body)[1]))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	if got := a.Header.Get("Content-Security-Policy"); got != policy && !strings.HasPrefix(got, policy+" ") || strings.Contains(got, ";;") {
		h.Errorf("%s: policy %q, want %q", a.Request.URL.Path, got, policy)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
	} {
		if got := a.Header.Get(name); got != want {
			h.Errorf("%s: %s %q, want %q", a.Request.URL.Path, name, got, want)
		}
	}
	if status >= 400 && !strings.Contains(body, `role="alert"`) {
		h.Errorf("%s: nothing tells what is wrong: %s", a.Request.URL.Path, body)
	}
	if bad := active.FindString(body); bad != "" {
		h.Errorf("%s has %q", a.Request.URL.Path, bad)
	}
	for _, want := range text {
		if !strings.Contains(body, want) {
			h.Errorf("%s has no %q:\n%s", a.Request.URL.Path, want, body)
		}
	}
	return body
}

func TestDevicePage(t *testing.T) {
	h := open(t)
	h.wantPage(h.get("/device"), 200, `<label for="user_code">`, `id="user_code"`, `lang="en"`, `name="viewport"`)
	client := h.client()
	_, user := h.device(client, "read write run profile offline_access")
	body := h.wantPage(h.get("/device?user_code="+strings.ToLower(user)), 200, user, "Robot", client, "calls itself", "see your sessions", "while you are away",
		`type="password"`, `autocomplete="off"`, `<label for="api_key">`, `<label for="run">`, `value="approve"`, `value="deny"`)
	if regexp.MustCompile(`<input[^>]*\schecked`).MatchString(body) || strings.Contains(body, h.key) {
		t.Errorf("the page decides, or knows the key: %s", body)
	}
	_, other := h.device(client, "read")
	if body := h.wantPage(h.get("/device?user_code="+other), 200); strings.Contains(body, `name="run"`) {
		t.Error("run is offered though nobody asks for it")
	}
	h.wantPage(h.get("/device?user_code=BBBB-BBBB"), 404, `value="BBBB-BBBB"`, `action="/device"`)
	h.wantPage(h.get("/device?user_code="+url.QueryEscape(`"><b>`+strings.Repeat("x", 500))), 404, `value="&#34;&gt;&lt;b&gt;x`)
	for _, row := range []struct {
		pairs  []string
		status int
	}{
		{[]string{"user_code", user, "action", "approve"}, 401},
		{[]string{"user_code", user, "action", "approve", "api_key", "tm_pf_default_ak_x"}, 401},
		{[]string{"user_code", user, "action", "approve", "api_key", auth.NewKey("pf_default")}, 401},
		{[]string{"user_code", user, "action", "approve", "api_key", h.key + "x"}, 401},
		{[]string{"user_code", user, "action", "approve", "csrf", "x.y"}, 401},
		{[]string{"user_code", user, "api_key", h.key}, 400},
		{[]string{"user_code", user, "action", "Approve", "api_key", h.key}, 400},
		{[]string{"user_code", user, "action", "approve", "action", "deny", "api_key", h.key}, 400},
		{[]string{"user_code", user, "action", "approve", "api_key", h.key, "api_key", h.key}, 400},
		{[]string{"user_code", "CCCC-CCCC", "action", "approve", "api_key", h.key}, 404},
		{[]string{"user_code", "x", "action", "approve", "api_key", h.key}, 404},
		{[]string{"action", "approve", "api_key", h.key}, 404},
	} {
		body := h.wantPage(h.fields("/device", row.pairs...), row.status)
		if strings.Contains(body, h.key) {
			t.Errorf("%v: the key is in the page", row.pairs)
		}
		if row.status == 401 && !strings.Contains(body, `name="api_key"`) {
			t.Errorf("%v: one cannot try again: %s", row.pairs, body)
		}
	}
	h.wantPage(h.fields("/device", "user_code", user, "action", "approve", "run", "yes", "api_key", " "+h.key+"\n"), 200, "Approved", "read write run profile offline_access")
	h.wantPage(h.fields("/device", "user_code", other, "action", "deny", "api_key", h.key), 200, "Denied")
}

// TestConsentOfLoggedIn: a browser that is logged in types no key, and no page of
// somebody else's acts for it.
func TestConsentOfLoggedIn(t *testing.T) {
	h := open(t)
	a := h.ask("POST", "/api/v2/auth/login", `{"api_key":"`+h.key+`"}`)
	if len(a.Cookies()) != 1 {
		t.Fatalf("login: %d %s", a.StatusCode, a.body)
	}
	cookie := a.Cookies()[0].Name + "=" + a.Cookies()[0].Value
	client := h.client()
	code, user := h.device(client, "read offline_access")
	path := "/device?user_code=" + user
	if body := h.wantPage(h.get(path, "Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), 200); !strings.Contains(body, "api_key") {
		t.Error("a link from elsewhere finds a browser logged in")
	}
	body := h.wantPage(h.get(path, "Cookie", cookie, "Sec-Fetch-Site", "none"), 200, "to the account of", "pf_default")
	if strings.Contains(body, "api_key") {
		t.Error("the page asks for a key")
	}
	post := func(form []string, headers ...string) answer {
		values := url.Values{}
		for i := 0; i < len(form); i += 2 {
			values.Set(form[i], form[i+1])
		}
		return h.do("POST", "/device", strings.NewReader(values.Encode()), append(headers, "Content-Type", "application/x-www-form-urlencoded", "Cookie", cookie)...)
	}
	good := append(hidden(body), "action", "approve")
	own := []string{"Origin", h.web.URL, "Sec-Fetch-Site", "same-origin"}
	h.wantPage(post([]string{"user_code", user, "action", "approve"}, own...), 403)
	if a := post(good, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); a.StatusCode != 403 {
		t.Errorf("from elsewhere: %d", a.StatusCode)
	}
	h.wantPage(post(good), 401) // no browser sends a form without a word where it is from
	h.wantPage(post(good, own...), 200, "Approved")
	h.oauthOK(h.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client), 200)
}

// A name is whatever a client says.
func TestHostileNames(t *testing.T) {
	h := open(t)
	for _, name := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.Style}}`, `</bdi></strong><h1>Vitrine`, `&lt;b&gt;`, strings.Repeat("ünnützlich lang ", 9), "a\u0301\u0301\u0301", "",
	} {
		a := h.oauthOK(h.ask("POST", "/oauth/register", `{"client_name":`+strconv.Quote(name)+`}`), 201)
		_, user := h.device(fmt.Sprint(a.json["client_id"]), "read")
		body := h.wantPage(h.get("/device?user_code="+user), 200)
		found := regexp.MustCompile(`<bdi>(.*?)</bdi>`).FindStringSubmatch(body)
		if found == nil {
			t.Fatalf("%q is not shown: %s", name, body)
		}
		shown := html.UnescapeString(found[1])
		switch {
		case name == "" && shown != "(nothing)":
			t.Errorf("no name is shown as %q", shown)
		case len([]rune(name)) > 60 && (!strings.HasSuffix(shown, "…") || len([]rune(shown)) != 61):
			t.Errorf("a long name is shown as %q", shown)
		case name != "" && len([]rune(name)) <= 60 && shown != name:
			t.Errorf("%q is shown as %q", name, shown)
		}
		if n := strings.Count(body, "<h1>"); n != 1 {
			t.Errorf("%q makes %d headings", name, n)
		}
	}
}

// A page of somebody else's cannot press the buttons.
func TestForeignForms(t *testing.T) {
	h := open(t)
	client := h.client()
	_, user := h.device(client, "read")
	form := url.Values{"user_code": {user}, "action": {"approve"}, "api_key": {h.key}}.Encode()
	send := func(headers ...string) answer {
		return h.do("POST", "/device", strings.NewReader(form), append(headers, "Content-Type", "application/x-www-form-urlencoded")...)
	}
	host := strings.TrimPrefix(h.web.URL, "http://")
	for _, headers := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "http://localhost:1"}, {"Origin", "http://" + host + ".evil.example"},
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", h.web.URL, "Sec-Fetch-Site", "cross-site"},
		{"Origin", "https://" + strings.TrimPrefix(testIssuer, "http://")},
	} {
		if a := send(headers...); a.StatusCode != 403 {
			t.Errorf("%v: %d, want 403", headers, a.StatusCode)
		}
	}
	for _, headers := range [][]string{{"Origin", h.web.URL, "Sec-Fetch-Site", "same-origin"}, {}} {
		_, user := h.device(client, "read")
		form = url.Values{"user_code": {user}, "action": {"approve"}, "api_key": {h.key}}.Encode()
		h.wantPage(send(headers...), 200)
	}
}

// Guessing user codes ends soon, whatever is sent along.
func TestGuessedUserCodes(t *testing.T) {
	h := open(t)
	limited := func(try func(code string) answer) {
		t.Helper()
		for i := range 20 {
			a := try(auth.NewUserCode())
			if a.StatusCode == 429 {
				h.wantPage(a, 429)
				if wait, _ := strconv.Atoi(a.Header.Get("Retry-After")); wait < 1 || wait > 60 {
					t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
				}
				return
			}
			if h.wantPage(a, 404); i > 10 {
				t.Fatalf("%d codes were tried", i)
			}
		}
	}
	limited(func(code string) answer { return h.get("/device?user_code=" + code) })
	limited(func(code string) answer {
		return h.fields("/device", "user_code", code, "action", "approve", "api_key", h.key)
	})
	_, user := h.device(h.client(), "read")
	h.wantPage(h.get("/device?user_code="+user), 429)
	h.wantPage(h.get("/device?user_code=nonsense"), 404) // nobody guesses that
}

// authorize returns the address of a request that is in order but for pairs.
func authorize(client string, pairs ...string) string {
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {callback}, "scope": {"read offline_access"}, "state": {"a b&c"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	for i := 0; i < len(pairs); i += 2 {
		if q.Del(pairs[i]); pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return "/oauth/authorize?" + q.Encode()
}

// hidden returns the fields of the form in a page.
func hidden(body string) (pairs []string) {
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(body, -1) {
		pairs = append(pairs, html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return pairs
}

// sentBack returns what a redirect tells the client.
func (h *house) sentBack(a answer, to string) url.Values {
	h.Helper()
	at := a.Header.Get("Location")
	if a.StatusCode != 302 || !strings.HasPrefix(at, to+"?") || len(a.body) > 0 || a.Header.Get("Referrer-Policy") != "no-referrer" || a.Header.Get("Cache-Control") != "no-store" {
		h.Fatalf("%s: %d to %q, %v %.200s; want %s", a.Request.URL, a.StatusCode, at, a.Header, a.body, to)
	}
	u, err := url.Parse(at)
	if err != nil {
		h.Fatal(err)
	}
	if u.Query().Get("iss") != testIssuer {
		h.Errorf("%s does not say who sends it", at)
	}
	return u.Query()
}

func TestAuthorize(t *testing.T) {
	h := open(t)
	client := h.client()
	a := h.get(authorize(client))
	body := h.wantPage(a, 200, "Robot", "localhost:5001", `type="password"`)
	if policy := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, " http://localhost:5001") {
		t.Errorf("the policy does not let the form lead to the client: %s", policy)
	}
	form := hidden(body)
	h.wantPage(h.fields("/oauth/authorize", append(form, "action", "approve")...), 401, "Robot")
	h.wantPage(h.fields("/oauth/authorize", append(form, "action", "approve", "api_key", h.key+"x")...), 401, "Robot")
	h.wantPage(h.fields("/oauth/authorize", append(form, "api_key", h.key)...), 400, "Robot")
	h.wantPage(h.fields("/oauth/authorize", append(form, "action", "approve", "api_key", h.key, "state", "other")...), 400)
	got := h.sentBack(h.fields("/oauth/authorize", append(form, "action", "deny", "api_key", h.key)...), callback)
	if got.Get("error") != "access_denied" || got.Get("state") != "a b&c" || got.Has("code") {
		t.Errorf("denied: %v", got)
	}
	got = h.sentBack(h.fields("/oauth/authorize", append(form, "action", "approve", "api_key", h.key)...), callback)
	if got.Get("code") == "" || got.Get("state") != "a b&c" || got.Has("error") {
		t.Errorf("approved: %v", got)
	}
	exchange := []string{"grant_type", "authorization_code", "code", got.Get("code"), "client_id", client, "redirect_uri", callback, "code_verifier", verifier}
	tokens := h.oauthOK(h.fields("/oauth/token", exchange...), 200)
	if tokens.json["scope"] != "read offline_access" || tokens.json["refresh_token"] == nil {
		t.Errorf("tokens %s", tokens.body)
	}
	h.wantOAuth(h.fields("/oauth/token", exchange...), 400, "invalid_grant")
	if _, err := h.accounts.Authenticate(t.Context(), fmt.Sprint(tokens.json["access_token"])); artifact.KindOf(err) != artifact.Unauthorized {
		t.Errorf("the code came again, and its token is %v", err)
	}
	if a := h.fields("/device", "user_code", "x", "action", "approve", "api_key", h.key, "csrf", "x"); a.StatusCode != 404 {
		t.Errorf("a key with a wrong csrf: %d", a.StatusCode)
	}
}

// Nobody is sent to where no client registered to be sent (RFC 9700 §4.11).
func TestOpenRedirects(t *testing.T) {
	h := open(t)
	a := h.oauthOK(h.ask("POST", "/oauth/register", `{"redirect_uris":["`+callback+`?x=1","https://a.example/cb","com.example.app:/done","http://[::1]/cb"]}`), 201)
	client := fmt.Sprint(a.json["client_id"])
	for _, pairs := range [][]string{
		{"client_id", "dyn_x"}, {"client_id", ""}, {"redirect_uri", ""}, {"redirect_uri", "https://evil.example/cb"}, {"redirect_uri", "https://a.example/cb/../x"},
		{"redirect_uri", "https://a.example/cb?x"}, {"redirect_uri", "https://a.example@evil.example/cb"}, {"redirect_uri", "https://a.example.evil.example/cb"},
		{"redirect_uri", "//evil.example"}, {"redirect_uri", "javascript:alert(1)"}, {"redirect_uri", "https://a.example/cb#x"}, {"redirect_uri", callback},
		{"redirect_uri", "http://localhost:5001@evil.example/cb?x=1"}, {"redirect_uri", "https://a.example/cb\r\nX: y"}, {"redirect_uri", "com.example.app:/other"},
		{"redirect_uri", "https://evil.example/cb", "response_type", "token"},
	} {
		a := h.get(authorize(client, pairs...))
		h.wantPage(a, 400)
		if a.Header.Get("Location") != "" {
			t.Errorf("%v: sent to %s", pairs, a.Header.Get("Location"))
		}
		q, _ := url.ParseQuery(strings.TrimPrefix(authorize(client, pairs...), "/oauth/authorize?"))
		form := []string{"action", "approve", "api_key", h.key}
		for name := range q {
			form = append(form, name, q.Get(name))
		}
		if a := h.fields("/oauth/authorize", form...); a.StatusCode != 400 || a.Header.Get("Location") != "" {
			t.Errorf("POST %v: %d to %s", pairs, a.StatusCode, a.Header.Get("Location"))
		}
	}
	h.wantPage(h.get(authorize(client)+"&client_id="+client), 400)
	h.wantPage(h.get("/oauth/authorize?%zz"), 400)
	// What is wrong otherwise, the client is told; scripts of its page get no state
	// of another.
	for _, row := range []struct{ uri, name, value, code string }{
		{"http://[::1]/cb", "response_type", "token", "unsupported_response_type"},
		{"http://[::1]/cb", "response_type", "", "invalid_request"},
		{"com.example.app:/done", "code_challenge", "", "invalid_request"},
		{"http://[::1]:77/cb", "code_challenge_method", "plain", "invalid_request"},
		{"com.example.app:/done", "code_challenge_method", "", "invalid_request"},
		{"http://[::1]/cb", "scope", "admin", "invalid_scope"},
		{"http://[::1]/cb", "resource", "https://other.example", "invalid_target"},
		{"http://[::1]/cb", "response_mode", "fragment", "invalid_request"},
	} {
		got := h.sentBack(h.get(authorize(client, "redirect_uri", row.uri, row.name, row.value)), row.uri)
		if got.Get("error") != row.code || got.Get("state") != "a b&c" || got.Get("error_description") == "" {
			t.Errorf("%v: %v", row, got)
		}
	}
	a = h.get(authorize(client, "redirect_uri", callback+"?x=1", "response_type", "token", "state", ""))
	if at := a.Header.Get("Location"); !strings.HasPrefix(at, callback+"?x=1&error=") || strings.Contains(at, "state") {
		t.Errorf("sent to %s", at)
	}
	for _, row := range []struct{ uri, source, shown string }{
		{"com.example.app:/done", "com.example.app:", "com.example.app"}, {"http://[::1]:77/cb", "http:", "[::1]:77"}, {"https://a.example/cb", "https://a.example", "a.example"},
	} {
		a := h.get(authorize(client, "redirect_uri", row.uri))
		h.wantPage(a, 200, "sent to <strong class=\"name\">"+row.shown+"<")
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "'self' "+row.source) {
			t.Errorf("%s: %s", row.uri, policy)
		}
	}
}

// endpoint is the server to a client of another make.
func (h *house) endpoint(client string) *oauth2.Config {
	return &oauth2.Config{ClientID: client, RedirectURL: callback, Scopes: []string{"read", "write", "offline_access"}, Endpoint: oauth2.Endpoint{
		AuthURL: h.web.URL + "/oauth/authorize", TokenURL: h.web.URL + "/oauth/token", DeviceAuthURL: h.web.URL + "/oauth/device_authorization",
	}}
}

// A client that was not written for this server logs in both ways, and renews
// its tokens.
func TestForeignClient(t *testing.T) {
	h := open(t, func(s *setup) { s.account.DeviceInterval = time.Second })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conf := h.endpoint(h.client())
	device, err := conf.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(device.VerificationURIComplete, testIssuer+"/device?user_code=") || device.Interval != 1 {
		t.Errorf("device %+v", device)
	}
	h.wantPage(h.fields("/device", "user_code", device.UserCode, "api_key", h.key, "action", "approve"), 200)
	byDevice, err := conf.DeviceAccessToken(ctx, device)
	if err != nil {
		t.Fatal(err)
	}
	verifier := oauth2.GenerateVerifier()
	at := conf.AuthCodeURL("xyz", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", testIssuer+"/mcp"))
	form := hidden(h.wantPage(h.get(strings.TrimPrefix(at, h.web.URL)), 200))
	got := h.sentBack(h.fields("/oauth/authorize", append(form, "api_key", h.key, "action", "approve")...), callback)
	byCode, err := conf.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier), oauth2.SetAuthURLParam("resource", testIssuer+"/mcp"))
	if err != nil || got.Get("state") != "xyz" {
		t.Fatal(got, err)
	}
	for name, token := range map[string]*oauth2.Token{"device": byDevice, "code": byCode} {
		if who, err := h.accounts.Authenticate(ctx, token.AccessToken); err != nil || who.Scopes.String() != "read write offline_access" || token.Type() != "Bearer" {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
		token.Expiry = time.Now().Add(-time.Hour)
		renewed, err := conf.TokenSource(ctx, token).Token()
		if err != nil || renewed.AccessToken == token.AccessToken || renewed.RefreshToken == token.RefreshToken {
			t.Errorf("%s: renewed %+v, %v", name, renewed, err)
		}
	}
	_, err = conf.Exchange(ctx, got.Get("code"), oauth2.VerifierOption(verifier))
	if e, _ := errors.AsType[*oauth2.RetrieveError](err); e == nil || e.ErrorCode != "invalid_grant" || e.Response.StatusCode != http.StatusBadRequest {
		t.Errorf("the code again: %v", err)
	}
}

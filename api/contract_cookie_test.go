package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vitrine-hq/vitrine/api"
)

// browser is a house whose requests bring a cookie instead of a token.
type browser struct {
	*house
	cookie *http.Cookie
}

// logIn logs in by an API key.
func (h *house) logIn(key string) *browser {
	h.Helper()
	a := h.ok(h.do("POST", "/api/v2/auth/login", strings.NewReader(`{"api_key":"`+key+`"}`), "Content-Type", "application/json", "Authorization", ""))
	cookies := a.Cookies()
	if len(cookies) != 1 {
		h.Fatalf("cookies %v", cookies)
	}
	return &browser{h, cookies[0]}
}

// asks sends a request with the cookie and no token.
func (b *browser) asks(method, path, body string, headers ...string) answer {
	b.Helper()
	return b.do(method, path, strings.NewReader(body), append([]string{"Authorization", "", "Cookie", b.cookie.Name + "=" + b.cookie.Value, "Content-Type", "application/json"}, headers...)...)
}

func TestCookieLogin(t *testing.T) {
	h := open(t, behindAccounts)
	b := h.logIn(h.key)
	if c := b.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 72*3600 || c.Name != "vitrine" || c.Secure {
		t.Errorf("cookie %+v", c)
	}
	a := h.ok(h.do("POST", "/api/v2/auth/login", strings.NewReader(`{"api_key":"`+h.key+`"}`), "Authorization", ""))
	if got := asMap(a.json["data"]); got["tenant_id"] != "pf_default" || got["expires_in"] != 259200.0 || strings.Contains(string(a.body), "eyJ") {
		t.Errorf("the answer tells %s", a.body)
	}
	for _, key := range []string{"x", h.key + "x", h.bearer} {
		h.want(h.do("POST", "/api/v2/auth/login", strings.NewReader(`{"api_key":"`+key+`"}`), "Authorization", ""), 401, "AUTH_INVALID_CREDENTIALS")
	}
	h.want(h.do("POST", "/api/v2/auth/login?api_key="+h.key, nil, "Authorization", ""), 422, "")
	// Behind https it is bound to the host and to TLS.
	h.setup.api.PublicURL = "https://vitrine.example"
	server, err := api.New(h.setup.api)
	if err != nil {
		t.Fatal(err)
	}
	h.web.Config.Handler = server.Handler()
	if c := h.logIn(h.key).cookie; c.Name != "__Host-vitrine" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
		t.Errorf("behind https: %+v", c)
	}
}

// A cookie counts where the page that sends it is this server's own.
func TestCookieIsOfThisOrigin(t *testing.T) {
	for name, change := range map[string]func(*setup){"open": func(*setup) {}, "with accounts": behindAccounts} {
		t.Run(name, func(t *testing.T) {
			h := open(t, change)
			b := h.logIn(h.key)
			h.data(h.save("/a.md", "secret"))
			own, otherPort := h.web.URL, "http://127.0.0.1:1"
			for _, headers := range [][]string{nil, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", own}, {"Origin", own, "Sec-Fetch-Site", "same-origin"}} {
				b.ok(b.asks("GET", library+"?path=/a.md", "", headers...))
			}
			b.ok(b.asks("POST", library, `{"path":"/b.md","content":"x"}`, "Origin", own))
			b.ok(b.asks("POST", library, `{"path":"/c.md","content":"x"}`, "Origin", own, "Sec-Fetch-Site", "same-origin"))
			for _, headers := range [][]string{
				{"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "x"}, {"Origin", otherPort}, {"Origin", "null"}, {"Origin", "https://evil.example"},
				{"Origin", otherPort, "Sec-Fetch-Site", "same-site"}, {"Origin", own, "Sec-Fetch-Site", "same-site"}, {"Origin", own, "Origin", own},
				{"Origin", "http://localhost:" + own[strings.LastIndexByte(own, ':')+1:]},
			} {
				for _, ask := range [][3]string{{"GET", library + "?path=/a.md", ""}, {"POST", library, `{"path":"/evil.md","content":"x"}`}, {"DELETE", library + "?path=/a.md", ""}} {
					if a := b.asks(ask[0], ask[1], ask[2], headers...); a.StatusCode != 401 && a.StatusCode != 403 {
						t.Errorf("%s with %v: %d %s", ask[0], headers, a.StatusCode, a.body)
					}
				}
			}
			// What changes something needs a word of the browser.
			b.want(b.asks("POST", library, `{"path":"/evil.md","content":"x"}`), 401, "AUTH_UNAUTHORIZED")
			b.want(b.asks("GET", library+"/list", "", "Cookie", "vitrine="+b.cookie.Value), 401, "AUTH_UNAUTHORIZED") // twice
			h.want(h.get(library+"/list?vitrine="+b.cookie.Value, "Authorization", ""), 401, "AUTH_UNAUTHORIZED")
			h.want(h.get(library+"/list", "Authorization", "", "Cookie", "vitrine="+b.cookie.Value+"x"), 401, "AUTH_UNAUTHORIZED")
			if a := h.do("POST", "/api/v2/auth/login", strings.NewReader(`{"api_key":"`+h.key+`"}`), "Authorization", "", "Origin", otherPort); a.StatusCode != 403 {
				t.Errorf("another port logs in: %d", a.StatusCode)
			}
			for _, path := range []string{"/evil.md"} {
				h.want(h.artifactAt(path), 404, "RES_NOT_FOUND")
			}
			h.holds("/a.md", "secret")
		})
	}
}

// Logging out ends the login and takes the cookie away, and nothing else.
func TestCookieLogout(t *testing.T) {
	h := open(t, behindAccounts)
	b, other := h.logIn(h.key), h.logIn(h.key)
	a := b.ok(b.asks("POST", "/api/v2/auth/logout", "", "Origin", h.web.URL))
	if c := a.Cookies(); len(c) != 1 || c[0].Value != "" || c[0].MaxAge != -1 || c[0].Name != "vitrine" {
		t.Errorf("cookies %v", c)
	}
	b.want(b.asks("GET", library+"/list", ""), 401, "AUTH_UNAUTHORIZED")
	other.ok(other.asks("GET", library+"/list", ""))
	h.ok(h.get(library + "/list"))
	// No other page can log anybody out, one on another port of an open server included.
	neighbour := open(t)
	c := neighbour.logIn(neighbour.key)
	if a := c.asks("POST", "/api/v2/auth/logout", "", "Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"); len(a.Cookies()) != 0 {
		t.Errorf("cookies %v", a.Cookies())
	}
	c.ok(c.asks("GET", library+"/list", ""))
	other.want(other.asks("POST", "/api/v2/auth/logout", "", "Origin", "http://127.0.0.1:1"), 403, "AUTH_FORBIDDEN")
	other.ok(other.asks("GET", library+"/list", ""))
}

// Who logs out is told the truth: what was not taken is 401, and goes on.
func TestLogoutIsTrue(t *testing.T) {
	const logout = "/api/v2/auth/logout"
	each(t, func(t *testing.T, h *house) {
		b := h.logIn(h.key)
		h.want(h.do("POST", logout, nil, "Authorization", ""), 401, "AUTH_UNAUTHORIZED")
		a := b.want(b.asks("POST", logout, ""), 401, "AUTH_UNAUTHORIZED") // no page of this server says so
		if len(a.Cookies()) != 0 {
			t.Errorf("cookies %v", a.Cookies())
		}
		b.ok(b.asks("GET", library+"/list", ""))
		h.want(h.with(h.bearer+"x").do("POST", logout, nil), 401, "AUTH_TOKEN_INVALID")
		h.want(h.with(h.key).do("POST", logout, nil), 401, "AUTH_INVALID_CREDENTIALS")
		h.list("")
		b.ok(b.asks("POST", logout, "", "Origin", h.web.URL))
		a = b.want(b.asks("POST", logout, "", "Origin", h.web.URL), 401, "AUTH_UNAUTHORIZED")
		if c := a.Cookies(); len(c) != 1 || c[0].MaxAge != -1 {
			t.Errorf("a cookie that is worth nothing stays: %v", c)
		}
	})
}

// An access token that has expired ends its login, which would go on by its
// refresh token, and nothing else.
func TestLogoutByAnExpiredToken(t *testing.T) {
	const logout = "/api/v2/auth/logout"
	c := &clock{}
	h := open(t, c.rules)
	first, second := h.data(h.exchange(h.key)), h.data(h.exchange(h.key))
	c.pass(73 * time.Hour)
	late := h.with(first["access_token"])
	late.want(late.get(library+"/list"), 401, "AUTH_TOKEN_EXPIRED")
	h.want(h.with(fmt.Sprint(first["access_token"])+"x").do("POST", logout, nil), 401, "AUTH_TOKEN_INVALID")
	late.ok(late.do("POST", logout, nil))
	h.want(h.refresh(first["refresh_token"]), 401, "AUTH_TOKEN_INVALID")
	late.want(late.do("POST", logout, nil), 401, "AUTH_TOKEN_EXPIRED") // which is over
	late.want(late.get(library+"/list"), 401, "AUTH_TOKEN_EXPIRED")
	third := h.data(h.exchange(h.key))
	h.data(h.refresh(second["refresh_token"]))
	c.pass(73 * time.Hour)
	h.fields("/oauth/revoke", "token", fmt.Sprint(third["access_token"]))
	h.want(h.refresh(third["refresh_token"]), 401, "AUTH_TOKEN_INVALID")
	c.pass(31 * 24 * time.Hour)
	h.want(h.with(second["access_token"]).do("POST", logout, nil), 401, "AUTH_TOKEN_EXPIRED")
}

// A WebSocket is opened by a token in a header or among its protocols, or by the
// cookie of a page of this server, never by the address (extensions §7).
func TestSocketIsLetIn(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	b := h.logIn(h.key)
	cookie, own := "vitrine="+b.cookie.Value, h.web.URL
	for name, headers := range map[string][]string{
		"a header": {"Authorization", "Bearer " + h.bearer}, "a cookie": {"Cookie", cookie}, "a page's cookie": {"Cookie", cookie, "Origin", own, "Sec-Fetch-Site", "same-origin"},
	} {
		c := h.dial("/ws?session_id=s", headers...)
		if c.await("connection").Data["session_id"] != "s" {
			t.Errorf("%s: another session", name)
		}
	}
	for offered, chosen := range map[string]string{"vitrine, bearer." + h.bearer: "vitrine", "bearer, " + h.bearer: "bearer", "bearer." + h.bearer + ", vitrine": "vitrine"} {
		c, resp, err := h.tryDial("/ws?session_id=s", "Sec-WebSocket-Protocol", offered)
		if err != nil {
			t.Fatalf("offered %.20q: %v", offered, err)
		}
		c.await("connection")
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != chosen {
			t.Errorf("offered %.20q, chosen %q", offered, got)
		}
	}
	none := []string{"Sec-WebSocket-Protocol", "vitrine"}
	for name, row := range map[string][]string{
		"nothing":            append([]string{"/ws?session_id=s"}, none...),
		"the address":        append([]string{"/ws?session_id=s&token=" + h.bearer + "&access_token=" + h.bearer + "&authorization=Bearer%20" + h.bearer}, none...),
		"a page elsewhere":   {"/ws?session_id=s", "Cookie", cookie, "Origin", "https://evil.example"},
		"a page next door":   {"/ws?session_id=s", "Cookie", cookie, "Origin", "http://127.0.0.1:1"},
		"the same site":      {"/ws?session_id=s", "Cookie", cookie, "Sec-Fetch-Site", "same-site"},
		"two tokens":         {"/ws?session_id=s", "Sec-WebSocket-Protocol", "bearer." + h.bearer + ", bearer." + h.bearer},
		"a tampered token":   {"/ws?session_id=s", "Sec-WebSocket-Protocol", "vitrine, bearer." + h.bearer + "x"},
		"an API key":         {"/ws?session_id=s", "Sec-WebSocket-Protocol", "vitrine, bearer." + h.key},
		"a bad header":       {"/ws?session_id=s", "Authorization", "Bearer x", "Cookie", cookie},
		"another cookie":     {"/ws?session_id=s", "Cookie", "vitrine=" + h.bearer + "x"},
		"a foreign protocol": {"/ws?session_id=s", "Sec-WebSocket-Protocol", h.bearer},
	} {
		_, resp, err := h.tryDial(row[0], row[1:]...)
		if err == nil || resp == nil || resp.StatusCode != 401 && resp.StatusCode != 403 {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
}

// Who may only read joins what is there, hears what happens and changes nothing.
func TestSocketOfAReader(t *testing.T) {
	h := open(t, behindAccounts)
	h.up("s", "a.txt", "a")
	key, _ := h.newKey(`"permissions":["read"]`)
	reader := h.with(h.tokenOf(key))
	for path, status := range map[string]int{"/ws": 403, "/ws?session_id=fresh": 404} {
		_, resp, err := reader.tryDial(path)
		if err == nil || resp == nil || resp.StatusCode != status {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
	c := reader.dial("/ws?session_id=s&after=0")
	c.await("connection")
	c.await("attachment_uploaded")
	h.up("s", "b.txt", "b")
	c.await("attachment_uploaded")
	for typ, scope := range map[string]string{"human_input": "write", "cancel": "run"} {
		c.say(`{"type":"` + typ + `","data":{"input":"x"}}`)
		if got := fmt.Sprint(c.await("error").Data["message"]); got != "Insufficient permissions. Required scope(s): "+scope {
			t.Errorf("%s: %s", typ, got)
		}
	}
	c.say(`{"type":"attach","data":{"session_id":"fresh"}}`)
	c.await("error")
	c.say(`{"type":"get_status"}`)
	c.await("status")
	c.say(`{"type":"ping"}`)
	c.await("pong")
	if a := h.get("/api/sessions/fresh"); a.StatusCode != 404 {
		t.Errorf("a reader made a session: %d", a.StatusCode)
	}
	other := h.tenant("pf_other")
	theirs := other.dial("/ws")
	mine := fmt.Sprint(theirs.await("connection").Data["session_id"])
	theirs.say(`{"type":"attach","data":{"session_id":"s","after":0}}`)
	if got := theirs.await("error").Data["message"]; got != "Session not found" {
		t.Errorf("another tenant attaches: %v", got)
	}
	if got := theirs.get("/api/sessions/" + mine).StatusCode; got != 200 {
		t.Errorf("its own session: %d", got)
	}
	if err := theirs.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}

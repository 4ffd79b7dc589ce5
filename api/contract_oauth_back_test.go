package api_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// backLink returns the address and the text of the link to the client in a page.
func (h *house) backLink(body string) (href, text string) {
	h.Helper()
	links := regexp.MustCompile(`<a href="([^"]*)" rel="noreferrer">([^<]*)</a>`).FindAllStringSubmatch(body, -1)
	if len(links) != 1 || strings.Count(body, "<a ") != 1 {
		h.Fatalf("the page has %d links, want one: %s", len(links), body)
	}
	return html.UnescapeString(links[0][1]), html.UnescapeString(links[0][2])
}

// TestNoRedirectUnasked: anybody can register a site and ask in a wrong way. Who
// follows such a link stays here (RFC 9700 §4.11.2).
func TestNoRedirectUnasked(t *testing.T) {
	h := open(t)
	wrong := map[string][]string{
		"unsupported_response_type": {"response_type", "token"}, "invalid_request": {"code_challenge_method", "plain"},
		"invalid_scope": {"scope", "admin"}, "invalid_target": {"resource", "https://other.example"},
	}
	for _, uri := range []string{
		"https://evil.example/cb", "HTTPS://Evil.example/cb", "hTTps://evil.example", "https://localhost/cb", "https://127.0.0.1/cb", "https://[::1]/cb",
		"https://localhost.evil.example/cb", "https://com.example.app/cb?x=1", "https://evil.example//localhost:5001/cb", "https://evil.example/?u=http://localhost/'&amp;",
	} {
		client := fmt.Sprint(h.oauthOK(h.ask("POST", "/oauth/register", `{"client_name":"<b>E</b>","redirect_uris":[`+strconv.Quote(uri)+`]}`), 201).json["client_id"])
		for code, pairs := range wrong {
			at := authorize(client, append(pairs, "redirect_uri", uri, "state", `"><i>&`)...)
			q, err := url.ParseQuery(strings.TrimPrefix(at, "/oauth/authorize?"))
			if err != nil {
				t.Fatal(err)
			}
			form := []string{"action", "approve"}
			for name := range q {
				form = append(form, name, q.Get(name))
			}
			for _, a := range []answer{h.get(at), h.fields("/oauth/authorize", form...), h.fields("/oauth/authorize", append(form, "api_key", h.key)...)} {
				body := h.wantPage(a, 400)
				if a.Header.Get("Location") != "" || a.Header.Get("Refresh") != "" || strings.Contains(body, "http-equiv") || strings.Contains(body, "<i>") {
					t.Errorf("%s, %s: %v %s", uri, code, a.Header, body)
				}
				href, text := h.backLink(body)
				got, err := url.Parse(href)
				if err != nil || !strings.HasPrefix(text, uri) || !strings.EqualFold(got.Scheme, "https") || got.User != nil {
					t.Fatalf("%s: the link %q says %q, %v", uri, href, text, err)
				}
				if q := got.Query(); q.Get("error") != code || q.Get("state") != `"><i>&` || q.Get("iss") != testIssuer || q.Get("error_description") == "" {
					t.Errorf("%s: the client is told %v, want %s", uri, q, code)
				}
			}
		}
		// A person who says no has decided.
		form := hidden(h.wantPage(h.get(authorize(client, "redirect_uri", uri)), 200))
		h.wantPage(h.fields("/oauth/authorize", append(form, "action", "deny")...), 401)
		a := h.fields("/oauth/authorize", append(form, "action", "deny", "api_key", h.key)...)
		if at := a.Header.Get("Location"); a.StatusCode != 302 || !strings.HasPrefix(at, uri) || !strings.Contains(at, "error=access_denied") {
			t.Errorf("%s denied: %d to %q", uri, a.StatusCode, at)
		}
	}
	// None of these is ever a redirect URI.
	for _, uri := range []string{
		"javascript:alert(1)", "JAVASCRIPT://localhost/%0aalert(1)", "java\tscript:alert(1)", "data:text/html,x", "DATA:text/html;base64,eA==", "vbscript:x",
		"http://localhost@evil.example/cb", "http://localhost:5001@evil.example/cb", "https://localhost@evil.example/cb", "com.example.app://localhost@evil.example/",
		"http://evil.example\\@localhost/cb", "http://localhost\\.evil.example/cb", "HTTP://localhost.evil.example/cb", "http://127.0.0.1.evil.example/cb", "//localhost/cb",
	} {
		h.wantOAuth(h.ask("POST", "/oauth/register", `{"redirect_uris":[`+strconv.Quote(uri)+`]}`), 400, "invalid_redirect_uri")
	}
}

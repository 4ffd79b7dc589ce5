package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func testGuard(t *testing.T, accounts bool) http.Handler {
	t.Helper()
	d, _ := testDialect()
	g, err := newGuard(d, "https://vitrine.example/base", "http://localhost:6401", []string{"https://app.example", "http://dev.example:3000/"}, accounts)
	if err != nil {
		t.Fatal(err)
	}
	return g.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }))
}

// sent is a request by its headers, "Name: value" each.
func sent(method string, headers ...string) *http.Request {
	r := localRequest(method, "/x")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Add(name, value)
		}
	}
	return r
}

func TestWhoIsLetIn(t *testing.T) {
	for _, c := range []struct {
		method         string
		headers        []string
		open, accounts int
	}{
		{"GET", nil, 204, 204},
		{"GET", []string{"Host: localhost"}, 204, 204},
		{"GET", []string{"Host: LOCALHOST:1"}, 204, 204},
		{"GET", []string{"Host: 127.9.9.9:6400"}, 204, 204},
		{"GET", []string{"Host: [::1]:6400"}, 204, 204},
		{"GET", []string{"Host: [::1]"}, 204, 204},
		{"GET", []string{"Host: vitrine.example"}, 204, 204},
		{"GET", []string{"Host: Vitrine.Example:443"}, 204, 204},
		{"GET", []string{"Host: evil.example"}, 403, 204},
		{"GET", []string{"Host: localhost.evil.example"}, 403, 204},
		{"GET", []string{"Host: 127.0.0.1.evil.example:6400"}, 403, 204},
		{"GET", []string{"Host: 192.168.1.2:6400"}, 403, 204},
		{"GET", []string{"Host: 0.0.0.0:6400"}, 403, 204},
		{"GET", []string{"Host: [::1%25eth0]"}, 403, 204},
		{"GET", []string{"Host: "}, 403, 204},

		{"GET", []string{"Forwarded: for=1.2.3.4"}, 403, 204},
		{"GET", []string{"X-Forwarded-For: 127.0.0.1"}, 403, 204},
		{"GET", []string{"x-forwarded-anything: "}, 403, 204},
		{"GET", []string{"X-Real-IP: 127.0.0.1"}, 403, 204},
		{"GET", []string{"Via: 1.1 proxy"}, 403, 204},

		{"POST", []string{"Origin: http://127.0.0.1:6400"}, 204, 204},
		{"POST", []string{"Origin: http://localhost:5173"}, 204, 403},
		{"POST", []string{"Origin: https://[::1]:1"}, 204, 403},
		{"POST", []string{"Origin: https://app.example"}, 204, 204},
		{"POST", []string{"Origin: https://app.example:443"}, 204, 204},
		{"POST", []string{"Origin: http://app.example"}, 403, 403},
		{"POST", []string{"Origin: https://app.example:8443"}, 403, 403},
		{"POST", []string{"Origin: http://dev.example:3000"}, 204, 204},
		{"POST", []string{"Origin: https://vitrine.example"}, 204, 204},
		{"POST", []string{"Host: vitrine.example", "Origin: https://vitrine.example"}, 204, 204},
		{"POST", []string{"Host: vitrine.example", "Origin: http://vitrine.example"}, 403, 403},
		{"POST", []string{"Origin: https://evil.example"}, 403, 403},
		{"POST", []string{"Origin: https://app.example.evil.example"}, 403, 403},
		{"POST", []string{"Origin: null"}, 403, 403},
		{"POST", []string{"Origin: "}, 403, 403},
		{"POST", []string{"Origin: file://"}, 403, 403},
		{"POST", []string{"Origin: chrome-extension://abc"}, 403, 403},
		{"POST", []string{"Origin: http://localhost:6401"}, 403, 403},
		{"POST", []string{"Origin: http://127.0.0.1:6401"}, 403, 403},
		{"POST", []string{"Origin: https://app.example", "Origin: https://evil.example"}, 403, 403},
		{"POST", []string{"Host: evil.example", "Origin: http://evil.example"}, 403, 204},
		{"GET", []string{"Upgrade: websocket", "Connection: Upgrade", "Origin: https://evil.example"}, 403, 403},
		{"GET", []string{"Upgrade: websocket", "Connection: Upgrade", "Origin: http://127.0.0.1:6400"}, 204, 204},

		{"GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, 403, 403},
		{"GET", []string{"Sec-Fetch-Site: cross-site"}, 403, 403},
		{"GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 204, 204},
		{"POST", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 403, 403},
		{"GET", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors"}, 204, 204},
		{"GET", []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"}, 204, 204},
		{"GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Origin: https://app.example"}, 204, 204},
		{"GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Origin: https://evil.example"}, 403, 403},
	} {
		for accounts, want := range map[bool]int{false: c.open, true: c.accounts} {
			w := do(testGuard(t, accounts), sent(c.method, c.headers...))
			if w.Code != want {
				t.Errorf("%s %v, accounts %v: status %d, want %d", c.method, c.headers, accounts, w.Code, want)
			}
			if w.Header().Get("Vary") != "Origin" {
				t.Errorf("%v: Vary = %q", c.headers, w.Header().Values("Vary"))
			}
			if w.Code == 403 {
				if e, _ := decodeBody(t, w)["error"].(map[string]any); e["code"] != "SECURITY_ERROR" {
					t.Errorf("%v: error %v", c.headers, e)
				}
				if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("%v: refused, but allows %q to read it", c.headers, got)
				}
			}
		}
	}
}

func TestCORSOfSimpleRequests(t *testing.T) {
	for _, c := range []struct {
		origin, credentials string
	}{
		{"http://127.0.0.1:6400", "true"},
		{"https://app.example", "true"},
		{"http://localhost:5173", ""},
	} {
		h := do(testGuard(t, false), sent("GET", "Origin: "+c.origin)).Header()
		if h.Get("Access-Control-Allow-Origin") != c.origin || h.Get("Access-Control-Allow-Credentials") != c.credentials {
			t.Errorf("%s: headers %v, want credentials %q", c.origin, h, c.credentials)
		}
		if !strings.Contains(h.Get("Access-Control-Expose-Headers"), "X-Correlation-ID") {
			t.Errorf("%s: exposes %q", c.origin, h.Get("Access-Control-Expose-Headers"))
		}
	}
	if h := do(testGuard(t, false), sent("GET")).Header(); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without Origin: headers %v", h)
	}
}

func TestPreflight(t *testing.T) {
	for _, c := range []struct {
		origin      string
		status      int
		credentials string
	}{
		{"http://localhost:5173", 200, ""},
		{"https://app.example", 200, "true"},
		{"https://evil.example", 400, ""},
		{"null", 400, ""},
		{"http://localhost:6401", 400, ""},
	} {
		w := do(testGuard(t, false), sent("OPTIONS", "Origin: "+c.origin, "Access-Control-Request-Method: PUT",
			"Access-Control-Request-Headers: content-type, x-correlation-id", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"))
		h := w.Header()
		text, allowed := "OK", c.origin
		if c.status == 400 {
			text, allowed = "Disallowed CORS origin", ""
		}
		if w.Code != c.status || w.Body.String() != text || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %q %s", c.origin, w.Code, w.Body, h.Get("Content-Type"))
		}
		if h.Get("Access-Control-Allow-Origin") != allowed || h.Get("Access-Control-Allow-Credentials") != c.credentials {
			t.Errorf("%s: headers %v", c.origin, h)
		}
		if c.status == 200 && (h.Get("Access-Control-Max-Age") != "600" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PUT") ||
			h.Get("Access-Control-Allow-Headers") != "content-type, x-correlation-id") {
			t.Errorf("%s: headers %v", c.origin, h)
		}
	}
	if w := do(testGuard(t, false), sent("OPTIONS")); w.Code != 204 {
		t.Errorf("OPTIONS without Origin: %d, want it passed on", w.Code)
	}
	if w := do(testGuard(t, false), sent("OPTIONS", "Host: evil.example", "Origin: https://app.example", "Access-Control-Request-Method: PUT")); w.Code != 403 {
		t.Errorf("preflight to a foreign host: %d, want 403", w.Code)
	}
}

func TestNewGuardRefusesWhatIsNoOrigin(t *testing.T) {
	d, _ := testDialect()
	for _, bad := range []string{"*", "null", "", "app.example", "ftp://a", "https://a/path", "https://u@a", "https://*.example", "http://", "http://a:"} {
		if _, err := newGuard(d, "", "", []string{bad}, false); err == nil {
			t.Errorf("newGuard took %q for an origin", bad)
		}
		if bad != "" && bad != "https://a/path" && bad != "https://u@a" {
			if _, err := newGuard(d, bad, "", nil, false); err == nil {
				t.Errorf("newGuard took %q for a public URL", bad)
			}
		}
	}
}

func TestErrorsOfAllowedOriginsCanBeRead(t *testing.T) {
	d, _ := testDialect()
	all := surround(table{}.mux(d), d, &guard{d: d}, nil)
	r := sent("GET", "Origin: http://localhost:5173")
	w := httptest.NewRecorder()
	all.ServeHTTP(w, r)
	if w.Code != 404 || w.Header().Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("%d %v, want a 404 that the page may read", w.Code, w.Header())
	}
}

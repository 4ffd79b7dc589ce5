package api

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// A proxy's word counts under the names of this server only.
func TestProxyUserUnderAForeignHost(t *testing.T) {
	g, err := newGuard(nil, "https://vitrine.example", "", nil, true)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{guard: g, Config: Config{Access: Access{UserHeader: "X-User", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}}
	for host, want := range map[string]bool{"localhost:6400": true, "vitrine.example": true, "evil.example": false, "": false} {
		r := httptest.NewRequest("GET", "/api/sessions", nil)
		r.RemoteAddr, r.Host = "127.0.0.1:9", host
		r.Header.Set("X-User", "ann")
		if got := s.byProxy(r) != nil; got != want {
			t.Errorf("Host %q: known %v, want %v", host, got, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:9", "localhost"
	r.Header.Set("X-User", "\xff")
	if s.byProxy(r) != nil {
		t.Error("a user whose name is no text is known")
	}
}

// The same name without TLS is another origin, and logs nobody out.
func TestSchemeOfThePublicURL(t *testing.T) {
	g, err := newGuard(nil, "https://vitrine.example", "", nil, true)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{guard: g, dialect: &dialect{base: "https://vitrine.example"}}
	for from, want := range map[string]bool{"https://vitrine.example": true, "http://vitrine.example": false, "http://localhost:5173": false, "https://evil.example": false} {
		r := httptest.NewRequest("POST", "/api/v2/auth/logout", nil)
		r.Host = "vitrine.example"
		r.Header.Set("Origin", from)
		if s.sameOrigin(r) != want || s.ownForm(r) != want {
			t.Errorf("%s: same origin %v, own form %v; want %v", from, s.sameOrigin(r), s.ownForm(r), want)
		}
		w := httptest.NewRecorder()
		s.dropCookie(w, r)
		if got := w.Header().Get("Set-Cookie") != ""; got != want {
			t.Errorf("%s: the cookie goes: %v, want %v", from, got, want)
		}
	}
}

// A share's address that was mistyped keeps its secret.
func TestSlipsOfSharesAreMasked(t *testing.T) {
	for _, path := range []string{"/api/shr_abc.kid.mac", "/shr_abc.kid.mac/zip", "/api/sessions/x SHR_abc.kid.mac"} {
		if got := loggedPath(&recorder{pattern: "/"}, path); strings.Contains(got, "mac") || !strings.Contains(got, "shr_…") {
			t.Errorf("%s is logged as %s", path, got)
		}
	}
	if got := loggedPath(&recorder{pattern: "/"}, "/shares/shr_abc"); got != "/shares/shr_abc" {
		t.Errorf("the id of a share is logged as %s", got)
	}
}

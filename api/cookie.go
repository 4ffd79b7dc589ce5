package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// cookieName names the cookie that a browser is logged in by. Behind https it is
// bound to the host and never sent without TLS (RFC 6265bis §4.1.3).
func (s *Server) cookieName() string {
	if s.secure() {
		return "__Host-vitrine"
	}
	return "vitrine"
}

func (s *Server) secure() bool { return strings.HasPrefix(s.dialect.base, "https://") }

// setCookie gives a browser a token that no script can read and no other site
// can make it send. A life of 0 takes it away.
func (s *Server) setCookie(w http.ResponseWriter, token string, life time.Duration) {
	c := &http.Cookie{
		Name: s.cookieName(), Value: token, Path: "/", MaxAge: int(life / time.Second), HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteStrictMode,
	}
	if life <= 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// dropCookie takes the cookie away if it is a page of this server that asks.
func (s *Server) dropCookie(w http.ResponseWriter, r *http.Request) {
	if s.sameOrigin(r) {
		s.setCookie(w, "", 0)
	}
}

// byCookie returns who is logged in by a cookie, or nil. A cookie counts only
// where the page that sends it is this server's own: other ports of a host are
// the same site to browsers, and hostile content may live there.
func (s *Server) byCookie(rt route, r *http.Request) (*artifact.Caller, error) {
	cookies := r.CookiesNamed(s.cookieName())
	if len(cookies) != 1 || !s.sameOrigin(r) {
		return nil, nil
	}
	caller, err := s.byToken(rt, r, cookies[0].Value)
	if err != nil {
		if artifact.KindOf(err) == artifact.Unauthorized {
			err = nil // as if there were none: on an open server that is no obstacle
		}
		return nil, err
	}
	known := *caller
	known.Cookie = true
	return &known, nil
}

// sameOrigin reports whether a request was made by a page of this server, by a
// person, or by no browser. What changes something needs a word of the browser.
func (s *Server) sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
	default:
		return false
	}
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		given, ok := parseOrigin(origins[0])
		return ok && len(origins) == 1 && s.guard.isOwn(given, r)
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

package api

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// guard decides from its headers alone whether a request is let in. Without
// accounts a server on loopback trusts everybody who reaches it, so it must see
// to it that no web page and no proxy reaches it for somebody else
// (architecture §12.9), and it answers CORS (contract, sessions §0).
type guard struct {
	d        *dialect
	accounts bool            // tokens say who asks: any Host, and proxies
	public   origin          // of --public-url; may be zero
	content  origin          // where hostile content is shown: never let in; may be zero
	named    map[origin]bool // --cors-origins
}

// origin is a web origin with its port always given.
type origin struct{ scheme, host, port string }

// standing is what an Origin is to this server.
type standing uint8

const (
	foreign   standing = iota
	neighbour          // a page on this machine: let in, without credentials
	trusted            // this server's own pages, and the origins named in the configuration
)

// newGuard returns the guard of a server, open or with accounts. publicURL and contentURL may be
// empty. The error says which URL or origin is none.
func newGuard(d *dialect, publicURL, contentURL string, corsOrigins []string, accounts bool) (*guard, error) {
	g := &guard{d: d, accounts: accounts, named: make(map[origin]bool)}
	for _, u := range []struct {
		text string
		to   *origin
	}{{publicURL, &g.public}, {contentURL, &g.content}} {
		if u.text == "" {
			continue
		}
		parsed, err := url.Parse(u.text)
		if err != nil {
			return nil, fmt.Errorf("parse URL: %w", err)
		}
		o, ok := parseOrigin(parsed.Scheme + "://" + parsed.Host)
		if !ok {
			return nil, fmt.Errorf("%q is not the URL of a server", u.text)
		}
		*u.to = o
	}
	for _, text := range corsOrigins {
		o, ok := parseOrigin(strings.TrimSuffix(strings.TrimSpace(text), "/"))
		if !ok {
			return nil, fmt.Errorf("%q is not an origin such as https://app.example.com", text)
		}
		g.named[o] = true
	}
	return g, nil
}

// wrap returns next for those who are let in.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		if err := g.checkHost(r); err != nil {
			g.d.fail(w, r, err)
			return
		}
		origins := r.Header.Values("Origin")
		who := g.rank(r, origins)
		if r.Method == http.MethodOptions && len(origins) > 0 && r.Header.Get("Access-Control-Request-Method") != "" {
			preflight(w, r, who)
			return
		}
		if err := checkOrigin(r, origins, who); err != nil {
			g.d.fail(w, r, err)
			return
		}
		if len(origins) > 0 {
			allowOrigin(w.Header(), origins[0], who)
			w.Header().Set("Access-Control-Expose-Headers", exposed)
		}
		next.ServeHTTP(w, r)
	})
}

const exposed = CorrelationHeader + ", Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, " +
	"Last-Modified, Location, Repr-Digest, Retry-After, WWW-Authenticate, " + RequestHeader

// checkHost refuses what came under a foreign name, as a rebound DNS name
// would, or through a proxy, behind which everybody looks local. With accounts
// neither gets anywhere: tokens say who asks, and cookies are bound to a name.
func (g *guard) checkHost(r *http.Request) error {
	if g.accounts {
		return nil
	}
	host := hostname(r.Host)
	if !g.serves(host) {
		return artifact.Errorf(artifact.Denied, "Host is not served here; name it with --public-url")
	}
	for name := range r.Header {
		switch {
		case name == "Forwarded", name == "Via", name == "X-Real-Ip", strings.HasPrefix(name, "X-Forwarded-"):
			return artifact.Errorf(artifact.Denied, "Requests through a proxy are refused while there are no accounts")
		}
	}
	return nil
}

// serves reports whether host is a name of this server.
func (g *guard) serves(host string) bool {
	return local(host) || g.public.host != "" && host == g.public.host
}

// isOwn reports whether o is the origin of this server, by the name that r has for
// it. A request does not tell the scheme; where --public-url does, it counts.
func (g *guard) isOwn(o origin, r *http.Request) bool {
	if g.public.host != "" && o.host == g.public.host && o.scheme != g.public.scheme {
		return false
	}
	own, ok := parseOrigin(o.scheme + "://" + r.Host)
	return ok && o == own || g.public.host != "" && o == g.public
}

// rank says what the Origin of r is to this server.
func (g *guard) rank(r *http.Request, origins []string) standing {
	if len(origins) != 1 {
		return foreign
	}
	o, ok := parseOrigin(origins[0])
	if !ok || g.showsContent(o) {
		return foreign
	}
	switch {
	case g.isOwn(o, r), g.named[o]:
		return trusted
	case !g.accounts && local(o.host):
		return neighbour
	}
	return foreign
}

// showsContent reports whether o is where hostile content runs, by any local name.
func (g *guard) showsContent(o origin) bool {
	return g.content.host != "" &&
		(o == g.content || o.port == g.content.port && local(o.host) && local(g.content.host))
}

// checkOrigin refuses what a page of a foreign site sends, save for following a
// link. Browsers do not send Origin with every request, hence Sec-Fetch-Site.
func checkOrigin(r *http.Request, origins []string, who standing) error {
	link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	switch {
	case who != foreign:
		return nil
	case len(origins) > 0:
		return artifact.Errorf(artifact.Denied, "Origin is not allowed; name it with --cors-origins")
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && !link:
		return artifact.Errorf(artifact.Denied, "Requests of foreign web pages are refused")
	}
	return nil
}

// preflight answers for every path alike, in plain text as the reference does.
func preflight(w http.ResponseWriter, r *http.Request, who standing) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Add("Vary", "Access-Control-Request-Method")
	h.Add("Vary", "Access-Control-Request-Headers")
	if who == foreign {
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte("Disallowed CORS origin"))
		return
	}
	allowOrigin(h, r.Header.Get("Origin"), who)
	h.Set("Access-Control-Allow-Methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
	if asked := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", "); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusOK)
	w.Write([]byte("OK"))
}

func allowOrigin(h http.Header, text string, who standing) {
	h.Set("Access-Control-Allow-Origin", text)
	if who == trusted {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// parseOrigin reads scheme://host[:port]; "null" and anything longer is none.
func parseOrigin(text string) (origin, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "" {
		return origin{}, false
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https", strings.HasSuffix(u.Host, ":"), strings.ContainsAny(text, "?#*"):
		return origin{}, false
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	return origin{u.Scheme, strings.ToLower(u.Hostname()), port}, true
}

// hostname returns a Host header without its port, in lower case.
func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
		if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
			host = host[1 : len(host)-1]
		}
	}
	return strings.ToLower(host)
}

// local reports whether host names this machine and can name nothing else.
func local(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.IsLoopback()
}

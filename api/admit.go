package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// Access says who is let in and how callers are known. The zero Access is an
// open server: whoever reaches it is its first tenant.
type Access struct {
	Required   bool           // everybody needs a token, also for the session half
	Tenant     string         // of an open server, and of who a proxy names; empty is the default
	Proxies    []netip.Prefix // networks of proxies whose word counts
	UserHeader string         // in which they name the user; empty where they do not
}

// The scopes of callers that no token speaks for.
var localScopes = artifact.Scopes{artifact.Read, artifact.Write, artifact.Run}

// admit finds out who asks, whether the route lets them in, and whether they
// have asked too often (contract, artifacts §2: 401, then 403, then 429).
func (s *Server) admit(rt route, w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	c, err := s.identify(rt, r)
	if rt.public && (err != nil || c == nil) {
		c, err = &artifact.Caller{Kind: artifact.CallerNobody}, nil
	}
	if err == nil && c == nil {
		err = auth.ErrNoCredentials
	}
	known := artifact.Caller{}
	if c != nil {
		known = *c
	}
	known.Remote, known.Agent, known.Request = s.remote(r), cut(r.UserAgent(), 256), requestID(r.Context())
	if err == nil && rt.scope != "" && !known.Scopes.Has(rt.scope) {
		err = lacks(rt.scope)
	}
	// Who is refused has asked all the same, and is told what is left.
	limited := s.limits.allow(rt, w, &known)
	if err == nil {
		err = limited
	}
	if err != nil {
		recorderOf(w).caller = &known
		if rt.leaving && artifact.KindOf(err) == artifact.Unauthorized {
			s.dropCookie(w, r) // what it holds is good for nothing
		}
		return nil, err
	}
	return s.letIn(w, r, &known), nil
}

// lacks is the error of a caller without a scope. Its words are those that
// clients look for (contract, auth §6).
func lacks(scopes ...artifact.Scope) error {
	e := artifact.Errorf(artifact.Denied, "Insufficient permissions. Required scope(s): %s", artifact.Scopes(scopes))
	e.Code, e.Facts = "AUTH_INSUFFICIENT_PERMISSIONS", map[string]any{"required_scopes": artifact.Scopes(scopes)}
	return e
}

// identify returns the caller that a request shows itself to be from, or nil
// where it shows nothing and nothing is needed.
func (s *Server) identify(rt route, r *http.Request) (*artifact.Caller, error) {
	token, given, err := auth.Bearer(r.Header)
	if err != nil {
		return nil, err
	}
	if !given && rt.pattern == socketPattern {
		token, _ = auth.SocketBearer(r.Header)
		given = token != ""
	}
	switch {
	case given && rt.login && auth.LooksLikeKey(token):
		return nil, nil // it is what the route is about
	case given:
		return s.byToken(rt, r, token)
	}
	if c, err := s.byCookie(rt, r); c != nil || err != nil {
		return c, err
	}
	c := s.byProxy(r)
	if c == nil && !s.Access.Required && rt.ofSessions() {
		c = &artifact.Caller{Kind: artifact.CallerLocal, Tenant: s.firstTenant(), Scopes: localScopes}
	}
	if c == nil {
		return nil, nil
	}
	err = s.Accounts.Admit(r.Context(), c)
	if errors.Is(err, auth.ErrTokenInvalid) { // they have none, so it is their tenant
		err = fmt.Errorf("%w: %w", auth.ErrSuspended, err)
	}
	return c, err
}

// byToken returns who comes with an access token. Why one is refused the caller
// is not told; the log says it to who sets another issuer up.
func (s *Server) byToken(rt route, r *http.Request, token string) (c *artifact.Caller, err error) {
	if rt.leaving {
		c, err = s.Accounts.Leaving(r.Context(), token)
	} else {
		c, err = s.Accounts.Authenticate(r.Context(), token)
	}
	if err != nil {
		s.dialect.log.DebugContext(r.Context(), "token refused", "id", correlationID(r.Context()), "error", err)
	}
	return c, err
}

func (s *Server) firstTenant() string {
	if s.Access.Tenant == "" {
		return artifact.DefaultTenant
	}
	return s.Access.Tenant
}

// byProxy returns the user that a trusted proxy names, or nil. The Host must be
// a name of this server: the page of a rebound name would speak for the user.
func (s *Server) byProxy(r *http.Request) *artifact.Caller {
	if s.Access.UserHeader == "" || !s.proxied(r) || !s.guard.serves(hostname(r.Host)) {
		return nil
	}
	names := r.Header.Values(s.Access.UserHeader)
	if len(names) != 1 || names[0] == "" || len(names[0]) > 256 || !utf8.ValidString(names[0]) {
		return nil
	}
	return &artifact.Caller{Kind: artifact.CallerProxy, Tenant: s.firstTenant(), User: names[0], Scopes: localScopes}
}

// proxied reports whether the connection comes from a trusted proxy.
func (s *Server) proxied(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, network := range s.Access.Proxies {
		if network.Contains(addr.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// remote returns the address that a request comes from: that of the
// connection, or the last one that a trusted proxy tells and that is none of
// them.
func (s *Server) remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if !s.proxied(r) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		host = addr.Unmap().String()
		if !s.trusts(addr.Unmap()) {
			break
		}
	}
	return host
}

func (s *Server) trusts(addr netip.Addr) bool {
	for _, network := range s.Access.Proxies {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// tenant returns whose data a request is about.
func (s *Server) tenant(r *http.Request) string { return artifact.CallerOf(r.Context()).Tenant }

// ParseProxies reads networks such as 10.0.0.0/8 and single addresses.
func ParseProxies(list []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil {
			networks = append(networks, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8", text)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

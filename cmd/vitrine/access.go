package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// accessSettings say who is let in, how callers are known, and how much they
// may do.
type accessSettings struct {
	Auth           string        `default:"auto" enum:"auto,required,none" placeholder:"MODE" help:"Who needs a token for sessions: auto (nobody on loopback, everybody elsewhere and behind a --trusted-proxy), required, or none, which only loopback allows. The library always needs one (default: auto)."`
	PublicURL      string        `name:"public-url" placeholder:"URL" help:"Address under which others reach the server. It is the issuer of its tokens and begins its links (default: from --listen)."`
	DeviceInterval time.Duration `default:"5s" placeholder:"TIME" help:"How long programs wait between two questions whether their login was approved (default: 5s)."`

	RateLimit      rate `placeholder:"N" help:"Requests a minute of each tenant, as N or N/min; 0 is any number (default: 0 on loopback, 600 elsewhere)."`
	LoginRateLimit rate `placeholder:"N" help:"Tries a minute of each address where keys and codes are taken, as N or N/min; 0 is any number (default: 0 on loopback, 60 elsewhere)."`

	TrustedProxy    []string `placeholder:"NETWORK" help:"Networks of proxies, such as 10.0.0.0/8, whose word on the caller's address is taken."`
	ProxyUserHeader string   `placeholder:"HEADER" help:"Header in which a trusted proxy names the user, who then acts in the first tenant."`

	OIDCIssuer      string `name:"oidc-issuer" placeholder:"URL" help:"Another issuer whose tokens are taken (OpenID Connect Discovery)."`
	OIDCAudience    string `name:"oidc-audience" placeholder:"TEXT" help:"What that issuer calls this server (default: --public-url)."`
	OIDCTenantClaim string `name:"oidc-tenant-claim" default:"tenant_id" placeholder:"CLAIM" help:"Claim with the tenant's id (default: ${default})."`
	OIDCScopeClaim  string `name:"oidc-scope-claim" default:"scope" placeholder:"CLAIM" help:"Claim with the permissions (default: ${default})."`

	QuotaBytes     size `default:"none" placeholder:"SIZE" help:"Bytes that each tenant may keep, versions included, such as 10GiB (default: none)."`
	QuotaFiles     size `default:"none" placeholder:"N" help:"Files that each tenant may have (default: none)."`
	QuotaSessions  size `default:"none" placeholder:"N" help:"Sessions that each tenant may have (default: none)."`
	QuotaFollowers size `default:"none" placeholder:"N" help:"Streams that each tenant may have open (default: none)."`
}

// rate is a number of requests in a minute. Unless it is given the address
// decides.
type rate struct {
	given     bool
	perMinute int
}

// UnmarshalText reads 600, 600/min, or 0 and off for any number.
func (r *rate) UnmarshalText(b []byte) error {
	text, _ := strings.CutSuffix(strings.ToLower(strings.TrimSpace(string(b))), "/min")
	if text == "off" || text == "none" {
		text = "0"
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return fmt.Errorf("%q is no rate; write one like 600/min, or 0", b)
	}
	*r = rate{true, n}
	return nil
}

// or returns the rate, or n where none was given.
func (r rate) or(n int) int {
	if r.given {
		return r.perMinute
	}
	return n
}

// access is what the settings come to for a server that listens somewhere.
type access struct {
	api   api.Access
	rates api.RateLimits
	quota artifact.Quota
}

// resolve works the settings out. An error says which cannot be meant.
func (c *accessSettings) resolve(listen string) (access, error) {
	var a access
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return a, usage("--listen %s: want host:port", listen)
	}
	ip := net.ParseIP(host)
	reached := host != "localhost" && (ip == nil || !ip.IsLoopback()) // by others
	if c.Auth == "none" && reached {
		return a, withHint(usage("%s is not a loopback address: everybody who reaches it could read and write everything", listen),
			"listen on 127.0.0.1, or leave out --auth none")
	}
	if a.api.Proxies, err = api.ParseProxies(c.TrustedProxy); err != nil {
		return a, usage("--trusted-proxy: %v", err)
	}
	switch proxied := len(a.api.Proxies) > 0; {
	case proxied && c.Auth == "none":
		return a, usage("--auth none and --trusted-proxy do not go together: who comes through the proxy would be anybody")
	case !proxied && c.ProxyUserHeader != "":
		return a, withHint(usage("--proxy-user-header needs --trusted-proxy"), "otherwise anybody could be anybody by a header")
	default:
		reached = reached || proxied
	}
	a.api.UserHeader, a.api.Required = c.ProxyUserHeader, c.Auth == "required" || c.Auth == "auto" && reached
	a.rates = api.RateLimits{Tenant: c.RateLimit.or(0), Login: c.LoginRateLimit.or(0)}
	if reached {
		a.rates = api.RateLimits{Tenant: c.RateLimit.or(600), Login: c.LoginRateLimit.or(60)}
	}
	a.quota = artifact.Quota{Bytes: int64(c.QuotaBytes), Files: int64(c.QuotaFiles), Sessions: int64(c.QuotaSessions), Followers: int64(c.QuotaFollowers)}
	if c.DeviceInterval < time.Second {
		return a, usage("--device-interval must be a second or more")
	}
	return a, nil
}

// issuer returns the address by which a server calls itself that listens at an
// address.
func (c *accessSettings) issuer(address string, log *slog.Logger) string {
	if c.PublicURL != "" {
		return strings.TrimRight(c.PublicURL, "/")
	}
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().IsUnspecified() {
		log.Warn("links and logins name an address that nobody can open; say --public-url", "address", address)
	}
	return "http://" + address
}

// nearest returns an address that a person at this machine can open.
func (c *accessSettings) nearest(address string) string {
	at, err := netip.ParseAddrPort(address)
	switch {
	case c.PublicURL != "":
		return strings.TrimRight(c.PublicURL, "/")
	case err == nil && at.Addr().IsUnspecified():
		return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(at.Port())))
	}
	return "http://" + address
}

// external returns the other issuer, or nil where none is named.
func (c *accessSettings) external(ctx context.Context, issuer string) (*auth.External, error) {
	if c.OIDCIssuer == "" {
		return nil, nil
	}
	if strings.TrimRight(c.OIDCIssuer, "/") == issuer {
		return nil, usage("--oidc-issuer is this server itself")
	}
	audience := c.OIDCAudience
	if audience == "" {
		audience = issuer
	}
	e, err := auth.NewExternal(ctx, auth.ExternalConfig{Issuer: c.OIDCIssuer, Audience: audience, TenantClaim: c.OIDCTenantClaim, ScopeClaim: c.OIDCScopeClaim})
	if err != nil {
		return nil, usage("--oidc-issuer: %v", err)
	}
	return e, nil
}

// bootstrapVariable has the first API key. It is no flag: command lines can be
// seen by others.
const bootstrapVariable = "VITRINE_BOOTSTRAP_KEY"

// bootstrapKey returns what the variable says, which is hidden from programs
// that the server starts; and the tenant that it names, or "". What is no key is
// an error before anything is made: the first tenant would have the wrong name.
// A database that is there has no use for it.
func (c *serveCmd) bootstrapKey() (key, tenant string, err error) {
	key = strings.TrimSpace(os.Getenv(bootstrapVariable))
	if err := os.Unsetenv(bootstrapVariable); err != nil {
		return "", "", fmt.Errorf("hide %s: %w", bootstrapVariable, err)
	}
	parsed, ok := auth.ParseKey(key)
	if key == "" || ok || c.DB != "" {
		return key, parsed.Tenant, nil
	}
	if _, err := os.Stat((&dataDir{path: c.Data}).database()); err != nil {
		return "", "", usage("%s is no API key: one has the form tm_pf_<tenant>_ak_<at least 32 letters, digits, - or _>", bootstrapVariable)
	}
	return key, "", nil
}

// openAccounts opens the accounts and, where there never was an API key, makes
// the first.
func (s *server) openAccounts(ctx context.Context, issuer string) error {
	external, err := s.c.external(ctx, issuer)
	if err != nil {
		return err
	}
	if external != nil && external.Cold() != nil {
		s.log.Warn("the issuer of --oidc-issuer does not answer; until it does its tokens cannot be taken", "issuer", external.Issuer(), "error", external.Cold())
	}
	s.accounts, err = account.Open(ctx, s.db, account.Options{
		Issuer: issuer, Log: s.log, External: external, DeviceInterval: s.c.DeviceInterval,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.accounts.Close)
	if s.firstKey, err = s.accounts.Bootstrap(ctx, s.bootstrap); err != nil {
		return fmt.Errorf("%s: %w", bootstrapVariable, err)
	}
	return nil
}

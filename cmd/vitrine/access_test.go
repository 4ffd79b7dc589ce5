package main

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/api"
)

// Who needs a token, and how often may be asked, where nobody says so.
func TestAccess(t *testing.T) {
	open, guarded, none := api.Access{}, api.Access{Required: true}, api.RateLimits{}
	usual := api.RateLimits{Tenant: 600, Login: 60}
	behind := api.Access{Required: true, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}}
	for line, want := range map[string]access{
		"":                         {api: open, rates: none},
		"--listen localhost:1":     {api: open, rates: none},
		"--listen [::1]:1":         {api: open, rates: none},
		"--listen 127.9.9.9:1":     {api: open, rates: none},
		"--listen 0.0.0.0:1":       {api: guarded, rates: usual},
		"--listen :1":              {api: guarded, rates: usual},
		"--listen [::]:1":          {api: guarded, rates: usual},
		"--listen vitrine.test:1":  {api: guarded, rates: usual},
		"--listen 192.168.1.2:1":   {api: guarded, rates: usual},
		"--auth required":          {api: guarded, rates: none},
		"--rate-limit 9":           {api: open, rates: api.RateLimits{Tenant: 9}},
		"--login-rate-limit 8/min": {api: open, rates: api.RateLimits{Login: 8}},
		"--listen :1 --rate-limit 0 --login-rate-limit off":    {api: guarded, rates: none},
		"--trusted-proxy 10.0.0.0/8,127.0.0.1":                 {api: behind, rates: usual},
		"--trusted-proxy 10.0.0.0/8 --trusted-proxy=127.0.0.1": {api: behind, rates: usual},
	} {
		c, err := parse(t, nil, append([]string{"serve"}, strings.Fields(line)...)...)
		if err != nil {
			t.Errorf("serve %s: %v", line, err)
			continue
		}
		got, err := c.Serve.resolve(c.Serve.Listen)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(access{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("serve %s: %v\n%s", line, err, diff)
		}
	}
}

func TestAccessRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"--listen 0.0.0.0:1 --auth none":         "not a loopback address",
		"--listen nowhere":                       "want host:port",
		"--auth none --trusted-proxy 10.0.0.0/8": "do not go together",
		"--proxy-user-header X-User":             "needs --trusted-proxy",
		"--trusted-proxy here":                   "no network",
		"--device-interval 10ms":                 "a second or more",
		"--rate-limit=-1":                        "no rate",
		"--rate-limit 5/h":                       "no rate",
		"--quota-bytes many":                     "no size",
		"--auth perhaps":                         "must be one of",
	} {
		c, err := parse(t, nil, append([]string{"serve"}, strings.Fields(line)...)...)
		if err == nil {
			_, err = c.Serve.resolve(c.Serve.Listen)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("serve %s: got %v, want %q", line, err, want)
		}
	}
}

func TestIssuer(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:6400": "http://127.0.0.1:6400", "[::1]:1": "http://[::1]:1", "0.0.0.0:6400": "http://0.0.0.0:6400"} {
		var told strings.Builder
		c := &accessSettings{}
		if got := c.issuer(address, slog.New(slog.NewTextHandler(&told, nil))); got != want || (told.Len() > 0) != strings.HasPrefix(address, "0") {
			t.Errorf("at %s: %q, and says %q", address, got, &told)
		}
	}
	c := &accessSettings{PublicURL: "https://vitrine.test//"}
	if got := c.issuer("0.0.0.0:1", slog.New(slog.DiscardHandler)); got != "https://vitrine.test" {
		t.Errorf("with --public-url: %q", got)
	}
	if got := c.nearest("0.0.0.0:1"); got != "https://vitrine.test" {
		t.Errorf("nearest with --public-url: %q", got)
	}
	for address, want := range map[string]string{"[::]:7": "http://127.0.0.1:7", "0.0.0.0:7": "http://127.0.0.1:7", "127.0.0.1:7": "http://127.0.0.1:7", "10.0.0.1:7": "http://10.0.0.1:7"} {
		if got := new(accessSettings).nearest(address); got != want {
			t.Errorf("nearest to %s: %q, want %q", address, got, want)
		}
	}
	for issuer, want := range map[string]string{"https://vitrine.test/": "this server itself", "ftp://x": "not the URL of an issuer"} {
		c := &accessSettings{OIDCIssuer: issuer}
		if _, err := c.external(t.Context(), "https://vitrine.test"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--oidc-issuer %s: got %v, want %q", issuer, err, want)
		}
	}
}

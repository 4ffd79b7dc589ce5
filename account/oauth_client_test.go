package account

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// codeOf returns the word that clients know an error by.
func codeOf(err error) string {
	e, ok := errors.AsType[*artifact.Error](err)
	if !ok {
		return ""
	}
	return e.Code
}

// Two clients that exist, and what they left out.
func TestRegisterClient(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		for name, row := range map[string]struct{ given, want Metadata }{
			"the TypeScript one": {
				Metadata{Name: "Plugin", RedirectURIs: []string{"http://localhost:8080/callback"}, GrantTypes: []string{GrantDevice, GrantRefresh},
					ResponseTypes: []string{"code"}, AuthMethod: "none", Scope: "read write offline_access"},
				Metadata{Name: "Plugin", RedirectURIs: []string{"http://localhost:8080/callback"}, GrantTypes: []string{GrantDevice, GrantRefresh},
					ResponseTypes: []string{"code"}, AuthMethod: "none", Scope: "read write offline_access"},
			},
			"the Python one": {
				Metadata{Name: "Agent", RedirectURIs: []string{"http://localhost:0/callback"}, GrantTypes: []string{GrantDevice, GrantRefresh}, AuthMethod: "none"},
				Metadata{Name: "Agent", RedirectURIs: []string{"http://localhost:0/callback"}, GrantTypes: []string{GrantDevice, GrantRefresh}, AuthMethod: "none"},
			},
			"one that says nothing": {
				Metadata{},
				Metadata{GrantTypes: []string{GrantDevice, GrantRefresh}, AuthMethod: "none"},
			},
			"one with a redirect URI only": {
				Metadata{RedirectURIs: []string{"https://a.example/cb"}, Scope: "read delete nonsense admin run"},
				Metadata{RedirectURIs: []string{"https://a.example/cb"}, GrantTypes: GrantTypes, ResponseTypes: []string{"code"}, AuthMethod: "none", Scope: "read run"},
			},
		} {
			c, err := a.RegisterClient(t.Context(), row.given)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if d := cmp.Diff(row.want, c.Metadata); d != "" || !strings.HasPrefix(c.ID, "dyn_") || !c.Created.Equal(h.Now()) {
				t.Errorf("%s is %q of %v (-want +got):\n%s", name, c.ID, c.Created, d)
			}
			kept, err := a.Client(t.Context(), c.ID)
			if d := cmp.Diff(c, kept); d != "" || err != nil {
				t.Errorf("%s was kept as, %v (-want +got):\n%s", name, err, d)
			}
		}
		if _, err := a.Client(t.Context(), "dyn_x"); !errors.Is(err, ErrUnknownClient) {
			t.Errorf("a client that is not there: %v, want ErrUnknownClient", err)
		}
	})
}

func TestRegisterClientRefuses(t *testing.T) {
	const uri, data = "invalid_redirect_uri", "invalid_client_metadata"
	good := []string{"https://a.example/cb"}
	for name, row := range map[string]struct {
		m    Metadata
		want string
	}{
		"no redirect URI for codes": {Metadata{GrantTypes: []string{GrantCode}}, uri},
		"too many redirect URIs":    {Metadata{RedirectURIs: slices.Repeat(good, 11)}, uri},
		"a long redirect URI":       {Metadata{RedirectURIs: []string{good[0] + "?" + strings.Repeat("x", 512-len(good[0]))}}, uri},
		"an unknown grant type":     {Metadata{RedirectURIs: good, GrantTypes: []string{"client_credentials"}}, data},
		"a grant type twice":        {Metadata{RedirectURIs: good, GrantTypes: []string{GrantCode, GrantCode}}, data},
		"implicit":                  {Metadata{RedirectURIs: good, ResponseTypes: []string{"token"}}, data},
		"a secret":                  {Metadata{RedirectURIs: good, AuthMethod: "client_secret_basic"}, data},
		"scopes of keys":            {Metadata{RedirectURIs: good, Scope: "delete admin"}, data},
		"a long name":               {Metadata{RedirectURIs: good, Name: strings.Repeat("n", 201)}, data},
		"a name of two lines":       {Metadata{RedirectURIs: good, Name: "a\nb"}, data},
		"a name read backwards":     {Metadata{RedirectURIs: good, Name: "a\u202eb"}, data},
		"a name that is not seen":   {Metadata{RedirectURIs: good, Name: "a\u200bb"}, data},
		"a name that is no text":    {Metadata{RedirectURIs: good, Name: "a\xff"}, data},
		"a script for a page":       {Metadata{RedirectURIs: good, ClientURI: "javascript:alert(1)"}, data},
		"data for a logo":           {Metadata{RedirectURIs: good, LogoURI: "data:image/png;base64,AAAA"}, data},
		"many contacts":             {Metadata{RedirectURIs: good, Contacts: make([]string, 11)}, data},
		"a contact of two lines":    {Metadata{RedirectURIs: good, Contacts: []string{"a\rb"}}, data},
		"a long software version":   {Metadata{RedirectURIs: good, Software: strings.Repeat("1", 201)}, data},
	} {
		if err := row.m.complete(); codeOf(err) != row.want {
			t.Errorf("%s: %v, want %s", name, err, row.want)
		}
	}
	most := Metadata{RedirectURIs: slices.Repeat([]string{good[0] + "?" + strings.Repeat("x", 511-len(good[0]))}, 10), Name: strings.Repeat("n", 200)}
	if err := most.complete(); err != nil {
		t.Errorf("as much as there may be: %v", err)
	}
}

func TestRedirectURIs(t *testing.T) {
	for uri, want := range map[string]bool{
		"https://a.example/cb":                           true,
		"https://a.example":                              true,
		"https://a.example:8443/cb?x=1&y=%20":            true,
		"https://[2001:db8::1]/cb":                       true,
		"http://localhost/cb":                            true,
		"http://localhost:0/cb":                          true,
		"http://127.0.0.1:5000/":                         true,
		"http://127.8.9.10/":                             true,
		"http://[::1]:80/cb":                             true,
		"com.example.app:/oauth":                         true,
		"com.example.app://oauth/cb":                     true,
		"":                                               false,
		"cb":                                             false,
		"/cb":                                            false,
		"//a.example/cb":                                 false,
		"https:":                                         false,
		"https:///cb":                                    false,
		"https://:443/cb":                                false,
		"https:a.example":                                false,
		"http://a.example/cb":                            false,
		"http://localhost.a.example/cb":                  false,
		"http://localhost@a.example/cb":                  false,
		"http://user@localhost/cb":                       false,
		"http://0.0.0.0/cb":                              false,
		"http://[::]/cb":                                 false,
		"http://[fe80::1%25lo]/cb":                       false,
		"http://127.1/cb":                                false,
		"http://LOCALHOST/cb":                            false,
		"https://user:pw@a.example/cb":                   false,
		"https://a.example/cb#":                          false,
		"https://a.example/cb#x":                         false,
		"https://a.example/\\@b.example":                 false,
		"https://a.example\\@b.example":                  false,
		"https://*.a.example/cb":                         false,
		"https://a.example;script-src/":                  false,
		"https://a.example,b.example/":                   false,
		"https://a'b/":                                   false,
		"https://ä.example/":                             false,
		"https://a.example/a b":                          false,
		"https://a.example/\x00":                         false,
		"https://a.example/\r\nX: y":                     false,
		"https://a.example/%zz":                          false,
		"javascript:alert(1)":                            false,
		"JavaScript://a.example/%0aalert(1)":             false,
		"data:text/html,x":                               false,
		"vbscript:x":                                     false,
		"file:///etc/passwd":                             false,
		"blob:https://a.example/x":                       false,
		"app:/cb":                                        false,
		"ftp://a.example/":                               false,
		"urn:ietf:wg:oauth:2.0:oob":                      false,
		"https://a.example/" + strings.Repeat("a", 2000): false,
	} {
		if got := validRedirect(uri); got != want {
			t.Errorf("validRedirect(%q) = %v, want %v", uri, got, want)
		}
	}
}

// TestOnMachine: what is not a redirect URI at all leads nowhere.
func TestOnMachine(t *testing.T) {
	for uri, want := range map[string]bool{
		"http://localhost/cb": true, "http://localhost:5001/cb": true, "HTTP://localhost/cb": true, "http://127.8.9.10/": true, "http://[::1]:80/cb": true,
		"com.example.app:/done": true, "COM.example.App:/done": true,
		"https://a.example/cb": false, "https://localhost/cb": false, "HTTPS://localhost/cb": false, "https://127.0.0.1/": false, "https://com.example.app/": false,
		"http://a.example/": false, "http://LOCALHOST/": false, "http://localhost.a.example/": false, "http://localhost@a.example/": false,
		"javascript:alert(1)": false, "JavaScript:alert(1)": false, "data:text/html,a.b": false, "app:/cb": false, "//localhost/cb": false, "": false,
	} {
		if got := OnMachine(uri); got != want {
			t.Errorf("OnMachine(%q) = %v, want %v", uri, got, want)
		}
	}
}

func TestRedirectsMatch(t *testing.T) {
	c := Client{Metadata: Metadata{RedirectURIs: []string{
		"https://a.example/cb?x=1", "http://localhost:0/cb", "http://127.0.0.1/cb?x=1", "http://[::1]:9/cb", "com.example.app:/oauth",
	}}}
	for uri, want := range map[string]bool{
		"https://a.example/cb?x=1":         true,
		"http://localhost/cb":              true,
		"http://localhost:0/cb":            true,
		"http://localhost:51234/cb":        true,
		"http://127.0.0.1:51234/cb?x=1":    true,
		"http://[::1]/cb":                  true,
		"com.example.app:/oauth":           true,
		"":                                 false,
		"https://a.example/cb":             false,
		"https://a.example:443/cb?x=1":     false,
		"https://a.example/cb?x=1&y=2":     false,
		"https://a.example/cb/?x=1":        false,
		"https://A.example/cb?x=1":         false,
		"https://a.example.b.example/cb":   false,
		"https://a.example/cb?x=1#f":       false,
		"http://a.example/cb?x=1":          false,
		"https://localhost/cb":             false,
		"http://localhost/cb/":             false,
		"http://localhost/c%62":            false,
		"http://localhost/cb?x=1":          false,
		"http://localhost:1@b.example/cb":  false,
		"http://localhost:1.b.example/cb":  false,
		"http://127.0.0.2:51234/cb?x=1":    false,
		"http://127.0.0.1:51234/cb?x=2":    false,
		"com.example.app:/oauth2":          false,
		"com.example.app:/oauth/../oauth2": false,
	} {
		if got := c.redirects(uri); got != want {
			t.Errorf("%q matches = %v, want %v", uri, got, want)
		}
	}
}

// TestUnusedClientsExpire keeps the one that somebody let in.
func TestUnusedClientsExpire(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		used, unused := h.client(a), h.client(a)
		if _, err := h.approved(a, used.ID, "read", h.person(k), false); err != nil {
			t.Fatal(err)
		}
		h.pass(24*time.Hour + time.Second)
		if err := a.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Client(t.Context(), used.ID); err != nil {
			t.Errorf("the client that was let in: %v", err)
		}
		if _, err := a.Client(t.Context(), unused.ID); !errors.Is(err, ErrUnknownClient) {
			t.Errorf("the client that nobody let in: %v, want ErrUnknownClient", err)
		}
	})
}

package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Metadata is what a client says of itself when it registers (RFC 7591 §2), as
// far as it is known here. Nobody has checked any of it.
type Metadata struct {
	Name          string   `json:"client_name,omitempty"`
	RedirectURIs  []string `json:"redirect_uris,omitempty"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types,omitempty"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	Scope         string   `json:"scope,omitempty"`
	ClientURI     string   `json:"client_uri,omitempty"`
	LogoURI       string   `json:"logo_uri,omitempty"`
	TermsURI      string   `json:"tos_uri,omitempty"`
	PolicyURI     string   `json:"policy_uri,omitempty"`
	Contacts      []string `json:"contacts,omitempty"`
	SoftwareID    string   `json:"software_id,omitempty"`
	Software      string   `json:"software_version,omitempty"`
}

// Client is an OAuth client.
type Client struct {
	ID      string
	Created time.Time
	Metadata
}

// The grant types that a client can register for.
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// GrantTypes are all of them.
var GrantTypes = []string{GrantCode, GrantRefresh, GrantDevice}

// Bounds of what a client may say, in bytes and entries.
const (
	maxRedirects    = 10
	maxRedirect     = 512
	maxURI          = 2000 // of any other URI
	maxClientName   = 200
	maxContacts     = 10
	clientIDPrefix  = "dyn_"
	responseTypeOne = "code"
)

// maxUnused is how many clients may be registered that nobody has let in yet.
// Then the oldest of them go: anybody can register. A node looks when it starts
// and with every trimEvery of its registrations, because counting takes as long as
// many of them.
const (
	maxUnused = 10_000
	trimEvery = 100
)

// RegisterClient registers a client. It returns what was kept, with what the
// client left out filled in, [ErrInvalidRedirect] or [ErrInvalidMetadata].
func (a *Accounts) RegisterClient(ctx context.Context, m Metadata) (Client, error) {
	if err := m.complete(); err != nil {
		return Client{}, err
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // which makes six bytes of one
	if err := enc.Encode(m); err != nil {
		return Client{}, fmt.Errorf("encode client: %w", err)
	}
	c := Client{ID: auth.NewID(clientIDPrefix), Metadata: m}
	trim := a.registrations.Add(1)%trimEvery == 1
	err := a.db.Tx(ctx, func(tx *store.Tx) error {
		c.Created = tx.Now()
		if trim {
			if err := tx.TrimClients(maxUnused - trimEvery); err != nil {
				return err
			}
		}
		return tx.CreateClient(store.Client{ID: c.ID, Metadata: text.String()})
	})
	return c, err
}

// Client returns the client with that id, or [ErrUnknownClient].
func (a *Accounts) Client(ctx context.Context, id string) (Client, error) {
	row, err := a.db.Client(ctx, id)
	if errors.Is(err, store.ErrNoClient) {
		return Client{}, ErrUnknownClient
	}
	c := Client{ID: row.ID, Created: row.Created}
	if err == nil {
		err = json.Unmarshal([]byte(row.Metadata), &c.Metadata)
	}
	return c, err
}

// clientFor returns the client with that id if it registered for the grant
// type, or [ErrUnauthorizedClient].
func (a *Accounts) clientFor(ctx context.Context, id, grantType string) (Client, error) {
	c, err := a.Client(ctx, id)
	if err == nil && !c.may(grantType) {
		err = ErrUnauthorizedClient
	}
	return c, err
}

// may reports whether the client registered for a grant type.
func (c *Client) may(grantType string) bool { return slices.Contains(c.GrantTypes, grantType) }

// complete checks what a client says and fills in what it left out.
func (m *Metadata) complete() error {
	if len(m.RedirectURIs) > maxRedirects {
		return because(ErrInvalidRedirect, fmt.Sprintf("A client has at most %d redirect URIs", maxRedirects))
	}
	for _, uri := range m.RedirectURIs {
		switch {
		case len(uri) > maxRedirect:
			return because(ErrInvalidRedirect, fmt.Sprintf("A redirect URI is at most %d bytes", maxRedirect))
		case !validRedirect(uri):
			return ErrInvalidRedirect
		}
	}
	if err := m.completeTypes(); err != nil {
		return err
	}
	if len(m.Name) > maxClientName || !plainText(m.Name) {
		return because(ErrInvalidMetadata, fmt.Sprintf("client_name is at most %d bytes of text in one line", maxClientName))
	}
	if m.Scope != "" {
		scopes := artifact.ParseScopes(m.Scope).Intersect(GrantableScopes)
		if len(scopes) == 0 {
			return because(ErrInvalidMetadata, "scope has none that a client can get: "+GrantableScopes.String())
		}
		m.Scope = scopes.String()
	}
	for _, uri := range []string{m.ClientURI, m.LogoURI, m.TermsURI, m.PolicyURI} {
		if uri != "" && !webAddress(uri) {
			return because(ErrInvalidMetadata, "client_uri, logo_uri, tos_uri and policy_uri are http or https")
		}
	}
	if len(m.Contacts) > maxContacts {
		return because(ErrInvalidMetadata, fmt.Sprintf("A client has at most %d contacts", maxContacts))
	}
	for _, text := range append([]string{m.SoftwareID, m.Software}, m.Contacts...) {
		if len(text) > maxClientName || !plainText(text) {
			return because(ErrInvalidMetadata, fmt.Sprintf("contacts, software_id and software_version are at most %d bytes of text", maxClientName))
		}
	}
	return nil
}

// completeTypes is complete for what the client wants to do.
func (m *Metadata) completeTypes() error {
	switch m.AuthMethod {
	case "", "none":
		m.AuthMethod = "none"
	default:
		return because(ErrInvalidMetadata, "token_endpoint_auth_method is none: clients have no secret here")
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = GrantTypes
		if len(m.RedirectURIs) == 0 {
			m.GrantTypes = []string{GrantDevice, GrantRefresh}
		}
	}
	for i, grant := range m.GrantTypes {
		if !slices.Contains(GrantTypes, grant) || slices.Contains(m.GrantTypes[:i], grant) {
			return because(ErrInvalidMetadata, "grant_types are some of "+strings.Join(GrantTypes, ", "))
		}
	}
	byCode := slices.Contains(m.GrantTypes, GrantCode)
	if byCode && len(m.RedirectURIs) == 0 {
		return because(ErrInvalidRedirect, "A client of authorization_code has a redirect URI")
	}
	for _, kind := range m.ResponseTypes {
		if kind != responseTypeOne || len(m.ResponseTypes) > 1 {
			return because(ErrInvalidMetadata, "response_types is code")
		}
	}
	if byCode {
		m.ResponseTypes = []string{responseTypeOne}
	}
	return nil
}

// plainText reports whether text is one line without characters that are not
// seen or turn the reading direction.
func plainText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsPrint(r)
	})
}

func webAddress(uri string) bool {
	u, ok := parseURI(uri)
	return ok && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// parseURI parses an absolute URI that every parser reads alike.
func parseURI(uri string) (*url.URL, bool) {
	if len(uri) > maxURI {
		return nil, false
	}
	for _, c := range []byte(uri) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`\"<>^{}|`+"`", c) >= 0 {
			return nil, false
		}
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.User != nil || strings.Contains(uri, "#") {
		return nil, false
	}
	return u, true
}

// validRedirect reports whether a client may be sent an answer at a URI: one of
// the web, of a program on the person's own machine, or of an app that owns the
// scheme (RFC 8252 §7).
func validRedirect(uri string) bool {
	u, ok := parseURI(uri)
	switch {
	case !ok:
		return false
	case u.Scheme == "https":
		return u.Hostname() != "" && !strings.ContainsFunc(u.Host, notOfHost)
	case u.Scheme == "http":
		return loopback(u)
	}
	// Without a dot anybody's scheme is taken, javascript and data among them.
	return strings.Contains(u.Scheme, ".")
}

// notOfHost is for hosts that also stand in a Content-Security-Policy, where
// others of the characters that a URI allows have a meaning.
func notOfHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-:[]_", r)
}

// loopback reports whether u is http on the machine of the person.
func loopback(u *url.URL) bool {
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	return u.Scheme == "http" && (host == "localhost" || err == nil && addr.Zone() == "" && addr.IsLoopback())
}

// OnMachine reports whether a redirect URI leads to a program on the person's
// own machine: http on a loopback address, or an app that owns the scheme
// (RFC 8252 §7). Any other leads to a site that nobody has checked.
func OnMachine(uri string) bool {
	u, ok := parseURI(uri)
	return ok && (loopback(u) || strings.Contains(u.Scheme, "."))
}

// redirects reports whether the client registered a redirect URI: to the
// letter, save for the port on a loopback address, which the client cannot know
// before it listens (RFC 8252 §7.3).
func (c *Client) redirects(uri string) bool {
	if !validRedirect(uri) {
		return false
	}
	return slices.ContainsFunc(c.RedirectURIs, func(known string) bool {
		return known == uri || withoutPort(known) != "" && withoutPort(known) == withoutPort(uri)
	})
}

// withoutPort returns a URI on a loopback address without its port, and "" for
// any other.
func withoutPort(uri string) string {
	u, ok := parseURI(uri)
	if !ok || !loopback(u) {
		return ""
	}
	before, after, _ := strings.Cut(uri, u.Host)
	return before + u.Hostname() + after
}

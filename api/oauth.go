package api

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

// The doors of OAuth (contract, auth §5). oauth_device.go and oauth_authorize.go
// have the pages for people.
const (
	authorizePath = "/oauth/authorize"
	devicePath    = "/device"
)

// maxRegistration is how long the body of a registration may be. It is kept, and
// nobody knows who sent it.
const maxRegistration = 8 << 10

// oauthTable has the doors of OAuth, through which nobody known comes.
func (s *Server) oauthTable() table {
	return table{
		{method: "GET", pattern: "/.well-known/oauth-authorization-server", h: s.oauthServer, public: true},
		{method: "GET", pattern: "/.well-known/oauth-protected-resource", h: s.oauthResource, public: true},
		{method: "POST", pattern: "/oauth/register", h: s.register, body: bodyJSON, limit: maxRegistration, public: true, login: true},
		{method: "POST", pattern: "/oauth/device_authorization", h: s.startDevice, body: bodyFields, public: true, login: true},
		{method: "POST", pattern: "/oauth/token", h: s.token, body: bodyFields, public: true, login: true},
		{method: "POST", pattern: "/oauth/revoke", h: s.revokeToken, body: bodyFields, public: true},
		{method: "GET", pattern: devicePath, h: s.showDevice, public: true, login: true},
		{method: "POST", pattern: devicePath, h: s.decideDevice, body: bodyFields, public: true, login: true},
		{method: "GET", pattern: authorizePath, h: s.showAuthorize, public: true},
		{method: "POST", pattern: authorizePath, h: s.decideAuthorize, body: bodyFields, public: true, login: true},
	}
}

// oauthServer tells clients where to go (RFC 8414). What is not named here does
// not work.
func (s *Server) oauthServer(http.ResponseWriter, *http.Request) (any, error) {
	base := s.Accounts.Issuer()
	return map[string]any{
		"issuer":                                         base,
		"authorization_endpoint":                         base + authorizePath,
		"token_endpoint":                                 base + "/oauth/token",
		"device_authorization_endpoint":                  base + "/oauth/device_authorization",
		"registration_endpoint":                          base + "/oauth/register",
		"revocation_endpoint":                            base + "/oauth/revoke",
		"token_endpoint_auth_methods_supported":          []string{"none"},
		"revocation_endpoint_auth_methods_supported":     []string{"none"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          account.GrantTypes,
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               account.GrantableScopes,
		"authorization_response_iss_parameter_supported": true,
		"service_documentation":                          base + "/openapi.json",
	}, nil
}

// oauthResource tells clients whose tokens are good here (RFC 9728).
func (s *Server) oauthResource(http.ResponseWriter, *http.Request) (any, error) {
	base := s.Accounts.Issuer()
	return map[string]any{
		"resource":                              base,
		"resource_name":                         "Vitrine",
		"authorization_servers":                 []string{base},
		"scopes_supported":                      account.GrantableScopes,
		"bearer_methods_supported":              []string{"header"},
		"resource_signing_alg_values_supported": []string{"HS256"},
		"resource_documentation":                base + "/openapi.json",
	}, nil
}

// register lets a client register itself (RFC 7591).
func (s *Server) register(_ http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, asMetadata(err)
	}
	const most = 64 // entries of a list; account has the real bounds
	m := account.Metadata{
		Name:          o.optionalText("client_name", ""),
		RedirectURIs:  o.texts("redirect_uris", most),
		GrantTypes:    o.texts("grant_types", most),
		ResponseTypes: o.texts("response_types", most),
		AuthMethod:    o.optionalText("token_endpoint_auth_method", ""),
		Scope:         o.optionalText("scope", ""),
		ClientURI:     o.optionalText("client_uri", ""),
		LogoURI:       o.optionalText("logo_uri", ""),
		TermsURI:      o.optionalText("tos_uri", ""),
		PolicyURI:     o.optionalText("policy_uri", ""),
		Contacts:      o.texts("contacts", most),
		SoftwareID:    o.optionalText("software_id", ""),
		Software:      o.optionalText("software_version", ""),
	}
	if err := o.err(); err != nil {
		return nil, asMetadata(err)
	}
	c, err := s.Accounts.RegisterClient(r.Context(), m)
	if err != nil {
		return nil, err
	}
	return created(struct {
		ID     string `json:"client_id"`
		Issued int64  `json:"client_id_issued_at"`
		account.Metadata
	}{c.ID, c.Created.Unix(), c.Metadata}), nil
}

// asMetadata gives what is wrong with the body of a registration its name.
func asMetadata(err error) error {
	if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind == artifact.Malformed {
		named := *e
		named.Code = account.ErrInvalidMetadata.Code
		return &named
	}
	return err
}

// startDevice begins the device flow (RFC 8628 §3.1).
func (s *Server) startDevice(_ http.ResponseWriter, r *http.Request) (any, error) {
	f, err := clientFields(r)
	if err != nil {
		return nil, err
	}
	if err := f.need("client_id"); err != nil {
		return nil, err
	}
	d, err := s.Accounts.StartDevice(r.Context(), f["client_id"], f["scope"])
	if err != nil {
		return nil, err
	}
	page := s.Accounts.Issuer() + devicePath
	return map[string]any{
		"device_code":               d.Code,
		"user_code":                 d.UserCode,
		"verification_uri":          page,
		"verification_uri_complete": page + "?user_code=" + d.UserCode,
		"expires_in":                wholeSeconds(d.Life),
		"interval":                  wholeSeconds(d.Interval),
	}, nil
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// token gives tokens for a code or another token (RFC 6749 §3.2).
func (s *Server) token(_ http.ResponseWriter, r *http.Request) (any, error) {
	f, err := clientFields(r)
	if err != nil {
		return nil, err
	}
	grant, client := f["grant_type"], f["client_id"]
	switch {
	case grant == "":
		return nil, f.need("grant_type")
	case !slices.Contains(account.GrantTypes, grant):
		return nil, account.ErrUnsupportedGrant
	case client == "":
		return nil, f.need("client_id")
	}
	ctx := r.Context()
	var t account.Tokens
	switch grant {
	case account.GrantDevice:
		if err := f.need("device_code"); err != nil {
			return nil, err
		}
		t, err = s.Accounts.PollDevice(ctx, client, f["device_code"])
	case account.GrantRefresh:
		if err := f.need("refresh_token"); err != nil {
			return nil, err
		}
		t, err = s.Accounts.RefreshClient(ctx, client, f["refresh_token"], f["scope"], f["resource"])
	default:
		if err := f.need("code", "redirect_uri", "code_verifier"); err != nil {
			return nil, err
		}
		t, err = s.Accounts.ExchangeCode(ctx, account.CodeExchange{
			Client: client, Code: f["code"], RedirectURI: f["redirect_uri"], Verifier: f["code_verifier"], Resource: f["resource"],
		})
	}
	if err != nil {
		return nil, err
	}
	return tokenJSON{t.Access, "Bearer", int64(t.Life.Seconds()), t.Refresh, t.Scopes.String()}, nil
}

// tokenJSON is the wire form of tokens for clients of OAuth (RFC 6749 §5.1).
type tokenJSON struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Life    int64  `json:"expires_in"`
	Refresh string `json:"refresh_token,omitempty"`
	Scope   string `json:"scope"`
}

// revokeToken ends what a token stands for (RFC 7009). A token that is not good
// is revoked already.
func (s *Server) revokeToken(_ http.ResponseWriter, r *http.Request) (any, error) {
	f, err := clientFields(r)
	if err != nil {
		return nil, err
	}
	if err := f.need("token"); err != nil {
		return nil, err
	}
	if err := s.Accounts.RevokeToken(r.Context(), f["client_id"], f["token"]); err != nil {
		return nil, err
	}
	return reply{status: http.StatusOK}, nil
}

// clientFields returns the form that a client sends. Some name themselves like a
// user without a password; clients have no secret, so that is as good.
func clientFields(r *http.Request) (fields, error) {
	f, err := readFields(r)
	id, secret, basic := r.BasicAuth()
	switch {
	case err != nil || !basic:
		return f, err
	case secret != "":
		return nil, errNoSecrets
	case id != "" && f["client_id"] != "" && f["client_id"] != id:
		return nil, badFields("Two clients are named")
	case id != "":
		f["client_id"] = id
	}
	return f, nil
}

var errNoSecrets = &artifact.Error{Kind: artifact.Unauthorized, Code: account.ErrUnknownClient.Code, Msg: "Clients have no secret here; client_id is enough"}

// need returns an error that names the first of the fields that is missing.
func (f fields) need(names ...string) error {
	for _, name := range names {
		if f[name] == "" {
			return badFields(name + " is missing")
		}
	}
	return nil
}

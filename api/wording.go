package api

import (
	"net/http"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// wording is how a part of the API says what the dialect has decided. There are
// three: that of sessions, that of /api/v2 and that of OAuth.
type wording interface {
	// headers sets what every answer carries, before a handler runs.
	headers(w http.ResponseWriter)
	// success returns what is sent for the value of a handler.
	success(d *dialect, w http.ResponseWriter, value any) any
	// failure returns what is sent for a problem, and its status.
	failure(d *dialect, w http.ResponseWriter, p problem, e *artifact.Error) (status int, body any)
}

// wordingAt returns the wording of a path. It depends on nothing else, so that
// refusals of the guard, unknown routes and panics are told in it as well.
func wordingAt(path string) wording {
	switch {
	case within(path, "/api/v2"):
		return libraryWording{}
	case within(path, "/oauth"), within(path, "/.well-known"):
		return oauthWording{}
	}
	return sessionWording{}
}

// within reports whether path is top or lies below it.
func within(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest == "" || rest[0] == '/')
}

// catalogued reports whether code is one of /api/v2. Those of OAuth are in
// lower case, and each wording ignores the other's.
func catalogued(code string) bool { return code != "" && code[0] >= 'A' && code[0] <= 'Z' }

// challenge returns the WWW-Authenticate header of a refusal, or "" (RFC 6750
// §3, RFC 9728 §5.1).
func (d *dialect) challenge(status int, e *artifact.Error) string {
	var params []string
	switch status {
	case http.StatusUnauthorized:
		switch e.Code {
		case "AUTH_TOKEN_INVALID", "AUTH_TOKEN_EXPIRED", "AUTH_INVALID_CREDENTIALS":
			params = append(params, `error="invalid_token"`)
		}
	case http.StatusForbidden:
		if e.Code != "AUTH_INSUFFICIENT_PERMISSIONS" {
			return ""
		}
		params = append(params, `error="insufficient_scope"`)
		if scopes, ok := e.Facts["required_scopes"].(artifact.Scopes); ok {
			params = append(params, `scope="`+scopes.String()+`"`)
		}
	default:
		return ""
	}
	if d.base != "" {
		params = append(params, `resource_metadata="`+d.base+`/.well-known/oauth-protected-resource"`)
	}
	return strings.TrimSpace("Bearer " + strings.Join(params, ", "))
}

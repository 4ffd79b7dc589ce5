package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// oauthWording is that of /oauth/… and /.well-known/…: plain JSON, and the
// errors of RFC 6749 §5.2, whose codes are those of the errors.
type oauthWording struct{}

type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (oauthWording) headers(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}

func (oauthWording) success(_ *dialect, _ http.ResponseWriter, value any) any { return value }

// oauthCodes are the codes of errors that do not name one of OAuth; the others
// are invalid_request.
var oauthCodes = map[int]string{
	401: "invalid_token",
	403: "access_denied",
	404: "not_found",
	429: "temporarily_unavailable",
	500: "server_error",
	503: "temporarily_unavailable",
	507: "server_error",
}

func (oauthWording) failure(_ *dialect, _ http.ResponseWriter, p problem, e *artifact.Error) (status int, body any) {
	code := oauthCodes[p.status]
	switch {
	case e.Code != "" && !catalogued(e.Code):
		code = e.Code
	case code == "":
		code = "invalid_request"
	}
	switch {
	case code == "invalid_client":
		p.status = http.StatusUnauthorized
	case e.Kind == artifact.Malformed:
		p.status = http.StatusBadRequest
	}
	msg := e.Msg
	if list, ok := errors.AsType[faults](e.Err); ok && len(list) > 0 {
		msg = fieldName(list[0].Loc) + ": " + list[0].Msg
	}
	return p.status, oauthError{code, strings.Map(describing, msg)}
}

// describing keeps the characters that a description may have (RFC 6749 §5.2).
func describing(r rune) rune {
	switch {
	case r == '"':
		return '\''
	case r == '\\':
		return '/'
	case r < ' ', r > '~':
		return '?'
	}
	return r
}

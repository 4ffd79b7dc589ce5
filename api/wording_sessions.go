package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// sessionWording is that of /api/… (contract, sessions §0).
type sessionWording struct{}

func (sessionWording) headers(http.ResponseWriter) {}

func (sessionWording) success(_ *dialect, _ http.ResponseWriter, value any) any { return value }

// failure returns the one body that satisfies every known client: detail,
// error and timestamp, and for expired cursors their facts at top level.
func (sessionWording) failure(d *dialect, _ http.ResponseWriter, p problem, e *artifact.Error) (status int, body any) {
	details := maps.Clone(e.Facts)
	if details == nil {
		details = make(map[string]any)
	}
	if _, taken := details["field"]; e.Field != "" && !taken {
		details["field"] = e.Field
	}
	out := make(map[string]any)
	if e.Kind == artifact.Gone {
		maps.Copy(out, e.Facts)
	}
	out["detail"] = e.Msg
	if e.Kind == artifact.Malformed {
		out["detail"] = faultsOf(e)
	}
	out["error"] = map[string]any{"code": p.code, "message": e.Msg, "details": details}
	out["timestamp"] = d.now().UTC().Format("2006-01-02T15:04:05.000000")
	return p.status, out
}

// faultsOf returns the list that stands as detail of a 422.
func faultsOf(e *artifact.Error) faults {
	if list, ok := errors.AsType[faults](e.Err); ok {
		return list
	}
	f := fault{Loc: strings.Split(e.Field, "."), Msg: e.Msg, Type: "value_error", Input: e.Facts["input"]}
	f.Loc = slices.DeleteFunc(f.Loc, func(s string) bool { return s == "" })
	if t, ok := e.Facts["type"].(string); ok {
		f.Type = t
	}
	return faults{f}
}

package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

// loginJSON is what may be told of a login.
type loginJSON struct {
	ID          string          `json:"id"`
	Current     bool            `json:"current"`   // it is the one that the request came with
	ClientID    any             `json:"client_id"` // null for a login by an API key
	ClientName  any             `json:"client_name"`
	KeyID       string          `json:"key_id"`
	MemberID    string          `json:"member_id"`
	Scopes      artifact.Scopes `json:"scopes"`
	CreatedAt   string          `json:"created_at"`
	RefreshedAt any             `json:"refreshed_at"`
	ExpiresAt   string          `json:"expires_at"`
}

func showLogin(l *account.Login, c *artifact.Caller) loginJSON {
	return loginJSON{
		l.ID, l.ID == c.Grant, textOrNull(l.Client), textOrNull(l.ClientName), l.Key, l.Owner, l.Scopes,
		artifact.Stamp(l.Created), stampOrNull(l.Refreshed), artifact.Stamp(l.Expires),
	}
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// How many logins are a page: without a word, and at most.
const (
	someLogins = 100
	maxLogins  = 1000
)

// listLogins answers with the logins that the caller may end.
func (s *Server) listLogins(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := parseQuery(r)
	limit := int(q.integer("limit", someLogins, atLeast(1), atMost(maxLogins)))
	after := loginCursor(q)
	if err := q.err(); err != nil {
		return nil, err
	}
	page, err := s.Accounts.Logins(r.Context(), after, limit)
	if err != nil {
		return nil, err
	}
	list := make([]loginJSON, len(page.Logins))
	for i := range page.Logins {
		list[i] = showLogin(&page.Logins[i], artifact.CallerOf(r.Context()))
	}
	var next any
	if page.Next != nil {
		next = strconv.FormatInt(page.Next.Created.UnixMicro(), 10) + "." + page.Next.ID
	}
	return map[string]any{"logins": list, "next_cursor": next}, nil
}

// loginCursor reads the place in the list that next_cursor stood for.
func loginCursor(q *query) account.LoginCursor {
	text, given := q.last("cursor")
	if !given {
		return account.LoginCursor{}
	}
	made, id, _ := strings.Cut(text, ".")
	us, err := strconv.ParseInt(made, 10, 64)
	if id = versionName(id); err != nil || id == "" {
		q.refuse("cursor", "value_error", "The cursor is none of this list's", nil)
		return account.LoginCursor{}
	}
	return account.LoginCursor{Created: time.UnixMicro(us), ID: id}
}

func (s *Server) endLogin(_ http.ResponseWriter, r *http.Request) (any, error) {
	id := versionName(r.PathValue("login_id"))
	if err := s.Accounts.EndLogin(r.Context(), id); err != nil {
		return nil, err
	}
	return map[string]any{"id": id, "revoked": true}, nil
}

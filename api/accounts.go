package api

import (
	"net/http"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// tokensJSON answers an exchange (contract, auth §2).
type tokensJSON struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	TenantID     string `json:"tenant_id"`
	RefreshToken string `json:"refresh_token"`
}

func showTokens(t *account.Tokens) tokensJSON {
	return tokensJSON{t.Access, "Bearer", int64(t.Life / time.Second), t.Tenant, t.Refresh}
}

// exchangeKey gives tokens for the API key that stands where a token would.
// Some clients send a body of nothing; none is read.
func (s *Server) exchangeKey(_ http.ResponseWriter, r *http.Request) (any, error) {
	key, given, err := auth.Bearer(r.Header)
	if err != nil || !given {
		return nil, auth.ErrNoKey
	}
	t, err := s.Accounts.Exchange(r.Context(), key)
	if err != nil {
		return nil, err
	}
	return showTokens(&t), nil
}

// refreshTokens gives new tokens for a refresh token of an API key's.
func (s *Server) refreshTokens(_ http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	token := o.text("refresh_token")
	if err := o.err(); err != nil {
		return nil, err
	}
	t, err := s.Accounts.Refresh(r.Context(), token)
	if err != nil {
		return nil, err
	}
	return showTokens(&t), nil
}

// verifyToken says what a token is worth.
func (s *Server) verifyToken(_ http.ResponseWriter, r *http.Request) (any, error) {
	c := artifact.CallerOf(r.Context())
	scopes := c.Scopes
	if scopes == nil { // a token of another issuer may have none
		scopes = artifact.Scopes{}
	}
	return map[string]any{
		"valid": true, "tenant_id": c.Tenant, "user_id": c.User, "scopes": scopes, "token_type": "access", "expires_at": stampOrNull(c.Expires),
	}, nil
}

func stampOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return artifact.Stamp(t)
}

// login gives a browser a cookie for an API key.
func (s *Server) login(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	key := o.text("api_key")
	if err := o.err(); err != nil {
		return nil, err
	}
	if !s.sameOrigin(r) && r.Header.Get("Origin") != "" {
		return nil, artifact.Errorf(artifact.Denied, "Only a page of this server can log in")
	}
	t, err := s.Accounts.CookieLogin(r.Context(), key)
	if err != nil {
		return nil, err
	}
	s.setCookie(w, t.Access, t.Life)
	return map[string]any{"tenant_id": t.Tenant, "scopes": t.Scopes, "expires_in": int64(t.Life / time.Second)}, nil
}

// logout ends what the caller came with, and takes the cookie away if it is a
// page of this server that asks.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.Accounts.Logout(r.Context(), artifact.CallerOf(r.Context())); err != nil {
		return nil, err
	}
	s.dropCookie(w, r)
	return map[string]bool{"success": true}, nil
}

// keyJSON is what may be told of an API key.
type keyJSON struct {
	ID          string          `json:"id"`
	Key         string          `json:"key,omitempty"` // once, when it is made
	Name        string          `json:"name"`
	Permissions artifact.Scopes `json:"permissions"`
	MemberID    string          `json:"member_id"`
	CreatedAt   string          `json:"created_at"`
	ExpiresAt   any             `json:"expires_at"`
	LastUsedAt  any             `json:"last_used_at"`
}

func showKey(k *account.KeyInfo) keyJSON {
	return keyJSON{k.ID, "", k.Name, k.Scopes, k.Owner, artifact.Stamp(k.Created), stampOrNull(k.Expires), stampOrNull(k.LastUsed)}
}

func (s *Server) listKeys(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := s.Accounts.Keys(r.Context(), s.tenant(r))
	if err != nil {
		return nil, err
	}
	keys := make([]keyJSON, len(list))
	for i := range list {
		keys[i] = showKey(&list[i])
	}
	return map[string]any{"keys": keys}, nil
}

// maxLife bounds how long, in seconds, something is asked to last.
const maxLife = 100 * 366 * 24 * 3600

func (s *Server) createKey(_ http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	ask := account.KeyRequest{Name: o.optionalText("name", ""), Owner: o.optionalText("member_id", "")}
	if ask.Owner != "" && versionName(ask.Owner) == "" {
		o.refuse("member_id", "value_error", "Input should be the id of a member")
	}
	permissions := o.texts("permissions", 16)
	if len(permissions) == 0 && o.isList("permissions") { // which is not a word left out
		o.refuse("permissions", "too_short", "List should have at least 1 item")
	}
	for _, scope := range permissions {
		ask.Scopes = append(ask.Scopes, artifact.Scope(scope))
	}
	if life := o.integer("expires_in", 0, atLeast(1), atMost(maxLife)); life > 0 {
		ask.Expires = time.Now().Add(time.Duration(life) * time.Second)
	}
	if err := o.err(); err != nil {
		return nil, err
	}
	secret, info, err := s.Accounts.CreateKey(r.Context(), s.tenant(r), ask)
	if err != nil {
		return nil, err
	}
	k := showKey(&info)
	k.Key = secret
	return created(k), nil
}

func (s *Server) revokeKey(_ http.ResponseWriter, r *http.Request) (any, error) {
	id := versionName(r.PathValue("key_id"))
	if err := s.Accounts.RevokeKey(r.Context(), s.tenant(r), id); err != nil {
		return nil, err
	}
	return map[string]any{"id": id, "revoked": true}, nil
}

// memberJSON is a member of the tenant.
type memberJSON struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt string `json:"created_at"`
}

func (s *Server) listMembers(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := s.Accounts.Members(r.Context(), s.tenant(r))
	if err != nil {
		return nil, err
	}
	members := make([]memberJSON, len(list))
	for i, m := range list {
		members[i] = memberJSON{m.ID, m.Name, artifact.Stamp(m.Created)}
	}
	return map[string]any{"members": members}, nil
}

func (s *Server) addMember(_ http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readObject(r)
	if err != nil {
		return nil, err
	}
	name := o.text("name")
	if err := o.err(); err != nil {
		return nil, err
	}
	m, err := s.Accounts.AddMember(r.Context(), s.tenant(r), name)
	if err != nil {
		return nil, err
	}
	return created(memberJSON{m.ID, m.Name, artifact.Stamp(m.Created)}), nil
}

func (s *Server) removeMember(_ http.ResponseWriter, r *http.Request) (any, error) {
	id := versionName(r.PathValue("member_id"))
	if err := s.Accounts.RemoveMember(r.Context(), s.tenant(r), id); err != nil {
		return nil, err
	}
	return map[string]any{"id": id, "removed": true}, nil
}

// showTenant answers with what the tenant uses and may use; null is no limit.
func (s *Server) showTenant(_ http.ResponseWriter, r *http.Request) (any, error) {
	t, err := s.Accounts.Tenant(r.Context(), s.tenant(r))
	if err != nil {
		return nil, err
	}
	limit := func(n int64) any {
		if n == 0 {
			return nil
		}
		return n
	}
	return map[string]any{
		"tenant_id": t.ID, "name": t.Name, "created_at": artifact.Stamp(t.Created),
		"usage":      map[string]any{"bytes": t.Bytes, "files": t.Files, "sessions": t.Sessions, "followers": s.depot.FollowersOf(t.ID)},
		"quota":      map[string]any{"bytes": limit(t.Quota.Bytes), "files": limit(t.Quota.Files), "sessions": limit(t.Quota.Sessions), "followers": limit(t.Quota.Followers)},
		"rate_limit": limit(int64(s.Rates.Tenant)),
	}, nil
}

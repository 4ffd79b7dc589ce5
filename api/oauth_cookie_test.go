package api

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// visit is a browser at the pages of OAuth, as whoever it is logged in as.
type visit struct {
	*testing.T
	s      *Server
	caller *artifact.Caller
}

// visiting returns a browser that somebody is logged in with by a cookie.
func visiting(t *testing.T) *visit {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "vitrine.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	a, err := account.Open(t.Context(), db, account.Options{Issuer: "http://v.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	key, err := a.Bootstrap(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := a.CookieLogin(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Authenticate(t.Context(), tokens.Access)
	if err != nil {
		t.Fatal(err)
	}
	c.Cookie = true
	d := &dialect{log: slog.New(slog.DiscardHandler)}
	g, err := newGuard(d, "http://v.example", "", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return &visit{T: t, s: &Server{Config: Config{Accounts: a}, dialect: d, guard: g}, caller: c}
}

// goes sends a form, or nothing, to a path.
func (v *visit) goes(method, path string, form ...string) (int, string, http.Header) {
	v.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	r := httptest.NewRequest(method, path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r = r.WithContext(artifact.WithCaller(r.Context(), v.caller))
	v.s.oauthTable().mux(v.s.dialect).ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

// csrfIn returns what a page's form proves that it was seen with.
func csrfIn(page string) string {
	_, rest, _ := strings.Cut(page, `name="csrf" value="`)
	token, _, _ := strings.Cut(rest, `"`)
	return token
}

func TestConsentByCookie(t *testing.T) {
	v := visiting(t)
	c, err := v.s.Accounts.RegisterClient(t.Context(), account.Metadata{Name: "Robot", RedirectURIs: []string{"http://localhost/cb"}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := v.s.Accounts.StartDevice(t.Context(), c.ID, "read run")
	if err != nil {
		t.Fatal(err)
	}
	status, page, _ := v.goes("GET", "/device?user_code="+d.UserCode)
	csrf := csrfIn(page)
	if status != 200 || csrf == "" || strings.Contains(page, "api_key") || !strings.Contains(page, "to the account of") || !strings.Contains(page, "pf_default") {
		t.Fatalf("%d %s", status, page)
	}
	form := []string{"user_code", d.UserCode, "action", "approve", "run", "yes"}
	for _, wrong := range []string{"", "x", csrf + "x", strings.Replace(csrf, ".", "", 1)} {
		if status, page, _ := v.goes("POST", "/device", append(form, "csrf", wrong)...); status != 403 || csrfIn(page) != csrf || !strings.Contains(page, `role="alert"`) {
			t.Errorf("csrf %q: %d %s", wrong, status, page)
		}
	}
	// That of another login is another's.
	mine := v.caller
	other := *mine
	other.Token, other.Grant = "g.0", "g"
	v.caller = &other
	if status, _, _ := v.goes("POST", "/device", append(form, "csrf", csrf)...); status != 403 {
		t.Errorf("the csrf of another login: %d", status)
	}
	// Who is known by nothing that a browser sends by itself types a key.
	for _, change := range []func(*artifact.Caller){
		func(c *artifact.Caller) { c.Cookie = false }, func(c *artifact.Caller) { c.Kind = artifact.CallerOAuth }, func(c *artifact.Caller) { c.Kind = artifact.CallerLocal },
		func(c *artifact.Caller) { c.Kind, c.User = artifact.CallerProxy, "somebody@x.example" },
	} {
		other := *mine
		change(&other)
		v.caller = &other
		if status, page, _ := v.goes("POST", "/device", append(form, "csrf", csrf)...); status != 401 || !strings.Contains(page, "api_key") {
			t.Errorf("%+v: %d %s", other, status, page)
		}
	}
	v.caller = mine
	if status, page, _ := v.goes("POST", "/device", append(form, "csrf", csrf)...); status != 200 || !strings.Contains(page, "read run") {
		t.Errorf("approve: %d %s", status, page)
	}
	if _, err := v.s.Accounts.PollDevice(t.Context(), c.ID, d.Code); err != nil {
		t.Errorf("the device gets %v", err)
	}
}

func TestAuthorizeByCookie(t *testing.T) {
	v := visiting(t)
	c, err := v.s.Accounts.RegisterClient(t.Context(), account.Metadata{RedirectURIs: []string{"http://localhost/cb"}})
	if err != nil {
		t.Fatal(err)
	}
	form := []string{"response_type", "code", "client_id", c.ID, "redirect_uri", "http://localhost:7/cb", "scope", "run", "code_challenge", strings.Repeat("c", 43), "code_challenge_method", "S256"}
	q := url.Values{}
	for i := 0; i < len(form); i += 2 {
		q.Set(form[i], form[i+1])
	}
	_, page, _ := v.goes("GET", "/oauth/authorize?"+q.Encode())
	csrf := csrfIn(page)
	if status, _, _ := v.goes("POST", "/oauth/authorize", append(form, "action", "approve", "run", "yes")...); status != 403 {
		t.Errorf("without csrf: %d", status)
	}
	form = append(form, "csrf", csrf, "action", "approve")
	// Without the tick there is nothing left to give.
	if status, page, _ := v.goes("POST", "/oauth/authorize", form...); status != 403 || !strings.Contains(page, "none of the permissions") {
		t.Errorf("run without consent: %d %s", status, page)
	}
	status, _, h := v.goes("POST", "/oauth/authorize", append(form, "run", "yes")...)
	if at := h.Get("Location"); status != 302 || !strings.HasPrefix(at, "http://localhost:7/cb?code=") {
		t.Errorf("%d to %s", status, at)
	}
	// Who has no right to start workflows is not offered to give it.
	less := *v.caller
	less.Scopes = artifact.Scopes{artifact.Read}
	v.caller = &less
	if _, page, _ := v.goes("GET", "/oauth/authorize?"+q.Encode()); strings.Contains(page, `name="run"`) {
		t.Errorf("run is offered: %s", page)
	}
}

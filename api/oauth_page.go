package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

//go:embed consent.html
var pageText string

//go:embed consent.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// consentPage is what a person sees of OAuth. It has no script, works with a keyboard
// and says every error in words.
type consentPage struct {
	Title    string
	Alert    string // what went wrong
	Text     string
	AsksCode bool   // of the device
	Code     string // that was typed
	Back     string // address of the client, for a link
	Consent  *consentForm
	sendsTo  string // origin that the answer to the form may lead to
}

// consentForm asks whether a client is let in.
type consentForm struct {
	Action   string
	Name     string // that the client gives itself
	ClientID string
	Code     string // that the device shows
	SendsTo  string // who gets the answer
	Scopes   []string
	AsksRun  bool
	Account  string // who is asked; empty asks for an API key
	Tenant   string
	Hidden   []hiddenField
}

type hiddenField struct{ Name, Value string }

// Style is for the template.
func (consentPage) Style() template.CSS { return template.CSS(pageStyle) }

var styleHash = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}()

// pageHeaders keep a page out of frames and caches, and everything that it does
// not need away from it.
func pageHeaders(h http.Header, sendsTo string) {
	policy := "default-src 'none'; style-src 'sha256-" + styleHash + "'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	if sendsTo != "" { // browsers hold redirects after a form against it too
		policy += " " + sendsTo
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// With no-referrer the form of the page would come from the Origin null.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
}

// show answers with a page.
func (p *consentPage) show(w http.ResponseWriter, status int) (any, error) {
	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, p); err != nil {
		return nil, err
	}
	pageHeaders(w.Header(), p.sendsTo)
	w.WriteHeader(status)
	w.Write(buf.Bytes())
	return nil, nil
}

// refuse answers with the page and what is wrong, if a person can do something
// about it; other errors are the dialect's.
func (p *consentPage) refuse(w http.ResponseWriter, err error) (any, error) {
	e, ok := errors.AsType[*artifact.Error](err)
	if !ok || e.Kind == artifact.Internal || e.Kind == artifact.Unavailable {
		return nil, err
	}
	p.Alert = e.Msg + "."
	status := problems[e.Kind].status
	if e.Kind == artifact.Limited {
		w.Header().Set("Retry-After", retryAfter(e.Facts))
	}
	return p.show(w, status)
}

// plainScopes say what a client can do, to somebody who has never heard of
// scopes. Run is asked for by itself.
var plainScopes = map[artifact.Scope]string{
	artifact.Read:    "see your sessions, files and library",
	artifact.Write:   "add, change and delete sessions, files and what is in your library",
	artifact.Profile: "see who you are",
	artifact.Offline: "do so while you are away, until you revoke it",
}

// consentOf returns the form for a client that asks for scopes, before who is
// asked is known.
func consentOf(c *account.Client, scopes artifact.Scopes) *consentForm {
	f := &consentForm{Name: shortName(c.Name), ClientID: c.ID, AsksRun: scopes.Has(artifact.Run)}
	for _, s := range scopes {
		if words := plainScopes[s]; words != "" {
			f.Scopes = append(f.Scopes, words)
		}
	}
	return f
}

// shortName returns what a client calls itself, in a line that leaves room for
// what we say of it.
func shortName(name string) string {
	const most = 60 // characters
	name = strings.Join(strings.Fields(name), " ")
	if name == "" {
		return "(nothing)"
	}
	if r := []rune(name); len(r) > most {
		return string(r[:most]) + "…"
	}
	return name
}

// person returns which member sits before the browser, if that was known before
// they came here, and what they are called; otherwise nil.
func (s *Server) person(r *http.Request) (*artifact.Caller, string, error) {
	c := artifact.CallerOf(r.Context())
	if !account.Decides(c) || !c.Cookie && c.Kind != artifact.CallerProxy {
		return nil, "", nil
	}
	name, err := s.Accounts.Owner(r.Context(), c)
	if artifact.KindOf(err) == artifact.NotFound { // somebody vouches for a stranger
		return nil, "", nil
	}
	return c, name, err
}

// ask makes the form one for whoever sits before the browser.
func (s *Server) ask(r *http.Request, f *consentForm) error {
	c, name, err := s.person(r)
	if c == nil || err != nil {
		return err
	}
	f.Account, f.Tenant = name, c.Tenant
	f.AsksRun = f.AsksRun && c.Scopes.Has(artifact.Run)
	f.Hidden = append(f.Hidden, hiddenField{"csrf", s.Accounts.CSRF(c)})
	return nil
}

var (
	errForeignForm = artifact.Errorf(artifact.Denied, "The form was not sent by this server's page")
	errStaleForm   = artifact.Errorf(artifact.Denied, "The form is too old or not yours; look at it once more")
	errNoPerson    = artifact.Errorf(artifact.Unauthorized, "An API key is needed")
	errNoAction    = artifact.Errorf(artifact.Invalid, "The action is approve or deny")
)

// decision returns what a person answered, and who it is: by the API key in the
// form, which proves it, or by what their browser sends along, which a page of
// somebody else's could have made it send.
func (s *Server) decision(r *http.Request, f fields) (*artifact.Caller, account.Decision, error) {
	answer := account.Decision{Approve: f["action"] == "approve", Run: f["run"] != ""}
	switch {
	case !s.ownForm(r):
		return nil, answer, errForeignForm
	case f["action"] != "approve" && f["action"] != "deny":
		return nil, answer, errNoAction
	case f["api_key"] != "":
		by, err := s.Accounts.ByKey(r.Context(), strings.TrimSpace(f["api_key"]))
		return by, answer, err
	}
	by, _, err := s.person(r)
	switch {
	case err != nil:
		return nil, answer, err
	case by == nil:
		return nil, answer, errNoPerson
	case !s.Accounts.CheckCSRF(by, f["csrf"]):
		return nil, answer, errStaleForm
	}
	return by, answer, nil
}

// ownForm reports whether a form was sent by a page of this server, or by no
// page at all. Neighbours, whom the guard lets in, are not enough here.
func (s *Server) ownForm(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return false
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	o, ok := parseOrigin(origins[0])
	return ok && len(origins) == 1 && s.guard.isOwn(o, r)
}

// originOf returns what a redirect URI is to a Content-Security-Policy.
func originOf(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Scheme != "http" && u.Scheme != "https", strings.HasPrefix(u.Host, "["): // which has no words for such an address
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// hostOf returns what a redirect URI is to a person: a host, or the scheme of an
// app.
func hostOf(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Scheme != "http" && u.Scheme != "https":
		return u.Scheme
	}
	return u.Host
}

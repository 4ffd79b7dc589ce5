package api

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

// The page of the authorization code flow (RFC 6749 §4.1, RFC 9207): a person
// says whether a client may come in, and is sent back to it.

// codeAsked returns what a client asks for, from the query or from the form
// that repeats it.
func codeAsked(f fields) account.CodeRequest {
	return account.CodeRequest{
		ResponseType: f["response_type"], ResponseMode: f["response_mode"], ClientID: f["client_id"], RedirectURI: f["redirect_uri"],
		Scope: f["scope"], State: f["state"], Challenge: f["code_challenge"], ChallengeMethod: f["code_challenge_method"], Resource: f["resource"],
	}
}

// repeated are the fields of a request that the form sends along.
var repeated = []string{
	"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "resource",
}

func (s *Server) showAuthorize(w http.ResponseWriter, r *http.Request) (any, error) {
	f, err := parseFields(r.URL.RawQuery)
	if err != nil {
		return noClientPage().refuse(w, err)
	}
	ask, consent, done, err := s.checkCode(w, r, f)
	if done || err != nil {
		return nil, err
	}
	p, err := s.authorizePage(r, f, &ask, &consent)
	if err != nil {
		return nil, err
	}
	return p.show(w, http.StatusOK)
}

func noClientPage() *consentPage {
	return &consentPage{Title: "This link does not work", Text: "The program that sent you here asked in a way that cannot be answered. You were not sent back to it, because it may not be what it says."}
}

// checkCode checks a request. Where it is not in order it answers, and done is
// true: with a page for the person if it is not sure who asks, else with an
// error for the client. Anybody can register a site and ask in a wrong way, so
// before a person has decided nobody is sent to one: it gets the error by a link
// (RFC 9700 §4.11.2).
func (s *Server) checkCode(w http.ResponseWriter, r *http.Request, f fields) (ask account.CodeRequest, consent account.Consent, done bool, err error) {
	ask = codeAsked(f)
	c, err := s.Accounts.CodeClient(r.Context(), &ask)
	if err != nil {
		if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind == artifact.Unauthorized { // not the person is
			err = &artifact.Error{Kind: artifact.Invalid, Msg: e.Msg}
		}
		_, err = noClientPage().refuse(w, err)
		return ask, consent, true, err
	}
	consent, err = s.Accounts.CheckCode(c, &ask)
	if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind == artifact.Invalid {
		told := url.Values{"error": {e.Code}, "error_description": {strings.Map(describing, e.Msg)}}
		if account.OnMachine(ask.RedirectURI) {
			s.sendBack(w, &ask, told)
			return ask, consent, true, nil
		}
		_, err = backPage(s.wayBack(&ask, told)).refuse(w, err)
		return ask, consent, true, err
	}
	return ask, consent, false, err
}

// authorizePage returns the page that asks the person.
func (s *Server) authorizePage(r *http.Request, f fields, ask *account.CodeRequest, consent *account.Consent) (*consentPage, error) {
	form := consentOf(&consent.Client, consent.Scopes)
	form.Action = authorizePath
	form.SendsTo = hostOf(ask.RedirectURI)
	for _, name := range repeated {
		if f[name] != "" {
			form.Hidden = append(form.Hidden, hiddenField{name, f[name]})
		}
	}
	return &consentPage{Title: "Let a program in?", Consent: form, sendsTo: originOf(ask.RedirectURI)}, s.ask(r, form)
}

func (s *Server) decideAuthorize(w http.ResponseWriter, r *http.Request) (any, error) {
	f, err := readFields(r)
	if err != nil {
		return noClientPage().refuse(w, err)
	}
	ask, consent, done, err := s.checkCode(w, r, f)
	if done || err != nil {
		return nil, err
	}
	by, answer, err := s.decision(r, f)
	var code string
	if err == nil {
		code, err = s.Accounts.DecideCode(r.Context(), by, &ask, consent, answer)
	}
	switch {
	case errors.Is(err, account.ErrAccessDenied):
		s.sendBack(w, &ask, url.Values{"error": {account.ErrAccessDenied.Code}})
		return nil, nil
	case err != nil:
		p, perr := s.authorizePage(r, f, &ask, &consent)
		if perr != nil {
			return nil, perr
		}
		return p.refuse(w, err)
	}
	s.sendBack(w, &ask, url.Values{"code": {code}})
	return nil, nil
}

// backPage tells a person that they were not sent back, and where that would be.
func backPage(to string) *consentPage {
	return &consentPage{
		Title: "This request cannot be answered",
		Text:  "The program that sent you here asked in a wrong way. You were not sent back to it, because nobody has checked where that leads. Go back only if you know this address:",
		Back:  to,
	}
}

// sendBack sends the browser to the client, whose redirect URI was checked.
func (s *Server) sendBack(w http.ResponseWriter, ask *account.CodeRequest, q url.Values) {
	h := w.Header()
	h.Set("Location", s.wayBack(ask, q))
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}

// wayBack returns the address at which the client is told q.
func (s *Server) wayBack(ask *account.CodeRequest, q url.Values) string {
	if ask.State != "" {
		q.Set("state", ask.State)
	}
	q.Set("iss", s.Accounts.Issuer())
	to := ask.RedirectURI
	switch {
	case !strings.Contains(to, "?"):
		to += "?"
	case !strings.HasSuffix(to, "?") && !strings.HasSuffix(to, "&"):
		to += "&"
	}
	return to + q.Encode()
}

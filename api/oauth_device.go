package api

import (
	"net/http"

	"github.com/vitrine-hq/vitrine/artifact"
)

// The page of the device flow (RFC 8628 §3.3), on which a person says that the
// device with this code may come in.

// devicePage returns the page for a code, or the one that asks for a code. The
// error says why it is the latter; the page can show it.
func (s *Server) devicePage(r *http.Request, code string) (*consentPage, error) {
	blank := &consentPage{Title: "Connect a device", AsksCode: true, Code: code}
	if code == "" {
		return blank, nil
	}
	view, err := s.Accounts.DeviceView(r.Context(), code)
	if err != nil {
		return blank, err
	}
	f := consentOf(&view.Client, view.Scopes)
	f.Action, f.Code = devicePath, view.UserCode
	f.Hidden = []hiddenField{{"user_code", view.UserCode}}
	return &consentPage{Title: "Connect a device?", Consent: f}, s.ask(r, f)
}

func (s *Server) showDevice(w http.ResponseWriter, r *http.Request) (any, error) {
	p, err := s.devicePage(r, cut(r.URL.Query().Get("user_code"), 64))
	if err != nil {
		return p.refuse(w, err)
	}
	return p.show(w, http.StatusOK)
}

func (s *Server) decideDevice(w http.ResponseWriter, r *http.Request) (any, error) {
	f, err := readFields(r)
	if err != nil {
		return (&consentPage{Title: "Connect a device"}).refuse(w, err)
	}
	by, answer, err := s.decision(r, f)
	var scopes artifact.Scopes
	if err == nil {
		scopes, err = s.Accounts.DecideDevice(r.Context(), by, f["user_code"], answer)
	}
	if err != nil {
		return s.deviceAgain(w, r, f["user_code"], err)
	}
	if !answer.Approve {
		return (&consentPage{Title: "Denied", Text: "The device does not get in. You can close this page."}).show(w, http.StatusOK)
	}
	return (&consentPage{Title: "Approved", Text: "The device gets in, with the permissions " + scopes.String() + ". You can close this page and go on there."}).show(w, http.StatusOK)
}

// deviceAgain shows the page once more, with what was wrong.
func (s *Server) deviceAgain(w http.ResponseWriter, r *http.Request, code string, wrong error) (any, error) {
	switch artifact.KindOf(wrong) {
	case artifact.NotFound, artifact.Limited: // it would only say so again, and count again
		return (&consentPage{Title: "Connect a device", AsksCode: true, Code: cut(code, 64)}).refuse(w, wrong)
	}
	p, err := s.devicePage(r, cut(code, 64))
	if err != nil && artifact.KindOf(err) == artifact.Internal {
		return nil, err
	}
	return p.refuse(w, wrong)
}

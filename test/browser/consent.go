package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// bootstrapKey is the API key of the tested server.
const bootstrapKey = "tm_pf_default_ak_0123456789abcdefghijklmnopqrstuv"

// consent is what a person does who lets programs in. The person has a keyboard
// and a narrow screen.
var consent = []testCase{
	{"device: a person types an API key and approves, the client gets tokens", deviceApproved},
	{"device: a person denies, the client hears of it", deviceDenied},
	{"device: a wrong key is told, and the page is good for another try", deviceWrongKey},
	{"authorize: a person approves and is sent back with a code", authorizeApproved},
	{"authorize: who is logged in types no key, and can deny", authorizeLoggedIn},
}

// register makes a client known and returns its id.
func (s *server) register(redirect string) (string, error) {
	var made struct {
		ID string `json:"client_id"`
	}
	err := s.do("POST", "/oauth/register", "application/json", []byte(`{"client_name":"<b>Robot</b>","redirect_uris":["`+redirect+`"]}`), &made)
	return made.ID, err
}

const formType = "application/x-www-form-urlencoded"

// device is a program that waits for a person.
type device struct {
	client   string
	Code     string `json:"device_code"`
	UserCode string `json:"user_code"`
	Complete string `json:"verification_uri_complete"`
}

func (s *server) device() (d device, err error) {
	if d.client, err = s.register("http://localhost:0/cb"); err != nil {
		return d, err
	}
	form := url.Values{"client_id": {d.client}, "scope": {"read write offline_access"}}
	err = s.do("POST", "/oauth/device_authorization", formType, []byte(form.Encode()), &d)
	return d, err
}

// tokens asks for tokens and fails unless they are there, or the error says want.
func (s *server) tokens(want string, form url.Values) error {
	var got struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	err := s.do("POST", "/oauth/token", formType, []byte(form.Encode()), &got)
	switch {
	case want != "" && (err == nil || !strings.Contains(err.Error(), `"error":"`+want+`"`)):
		return fmt.Errorf("the client got %+v, %w; want %s", got, err, want)
	case want == "" && err == nil && (got.Access == "" || got.Refresh == ""):
		return errors.New("the client got no tokens")
	case want == "":
		return err
	}
	return nil
}

func (s *server) poll(d device, want string) error {
	return s.tokens(want, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.Code}, "client_id": {d.client}})
}

// narrow gives the page the screen of a phone, at night.
func (p *page) narrow() error {
	err := p.b.call(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": true}, nil)
	if err != nil {
		return err
	}
	return p.b.call(p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}}, nil)
}

// readable fails unless the page fits its screen, is dark, has its style, and
// names every field.
func (p *page) readable() error {
	return p.eval(nil, `
		const wide = document.documentElement.scrollWidth;
		if (wide > 360) throw new Error("the page is " + wide + " wide");
		const style = getComputedStyle(document.body);
		const [r] = style.backgroundColor.match(/\d+/g).map(Number);
		if (r > 60) throw new Error("the page is light: " + style.backgroundColor);
		if (style.fontFamily.indexOf("system-ui") < 0) throw new Error("the page has no style: " + style.fontFamily);
		for (const field of document.querySelectorAll("input:not([type=hidden])"))
			if (field.labels.length !== 1) throw new Error("no label for " + field.name);
		if (document.querySelector(".name bdi")?.textContent !== "<b>Robot</b>") throw new Error("the client is not named: " + document.body.innerText);`)
}

// types puts text where the keyboard is.
func (p *page) types(text string) error {
	return p.b.call(p.session, "Input.insertText", map[string]string{"text": text}, nil)
}

// press presses a key.
func (p *page) press(key string, code int) error {
	for _, kind := range []string{"keyDown", "keyUp"} {
		event := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if key == "Enter" && kind == "keyDown" {
			event["text"] = "\r"
		}
		if err := p.b.call(p.session, "Input.dispatchKeyEvent", event, nil); err != nil {
			return err
		}
	}
	return nil
}

// tabTo presses Tab until an element has the focus.
func (p *page) tabTo(selector string) error {
	for range 10 {
		var there bool
		if err := p.eval(&there, `return document.activeElement.matches(args[0])`, selector); err != nil || there {
			return err
		}
		if err := p.press("Tab", 9); err != nil {
			return err
		}
	}
	return fmt.Errorf("the keyboard does not reach %s", selector)
}

// enter presses Enter and waits for the page that comes.
func (p *page) enter() error {
	for len(p.loads) > 0 {
		<-p.loads
	}
	if err := p.press("Enter", 13); err != nil {
		return err
	}
	select {
	case <-p.loads:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("no page came after Enter")
	}
}

// answers types a key, where the page asks for one, and chooses a button.
func (p *page) answers(key, button string) error {
	if key != "" {
		if err := p.tabTo("#api_key"); err != nil {
			return err
		}
		if err := p.types(key); err != nil {
			return err
		}
	}
	if err := p.tabTo("button[value=" + button + "]"); err != nil {
		return err
	}
	return p.enter()
}

func (p *page) says(heading string) error {
	var got string
	if err := p.eval(&got, `return document.querySelector("h1").innerText`); err != nil {
		return err
	}
	if got != heading {
		return fmt.Errorf("the page says %q, want %q", got, heading)
	}
	return nil
}

// opened opens the page for a new device.
func opened(w *world, p *page) (d device, err error) {
	if d, err = w.server.device(); err != nil {
		return d, err
	}
	if err := p.narrow(); err != nil {
		return d, err
	}
	if _, err := p.visit(d.Complete); err != nil {
		return d, err
	}
	return d, p.readable()
}

func deviceApproved(w *world, p *page) error {
	d, err := opened(w, p)
	if err != nil {
		return err
	}
	return first(
		func() error { return w.server.poll(d, "authorization_pending") },
		func() error { return p.answers(bootstrapKey, "approve") },
		func() error { return p.says("Approved") },
		func() error { return w.server.poll(d, "") },
		func() error { return w.server.poll(d, "invalid_grant") },
	)
}

func deviceDenied(w *world, p *page) error {
	d, err := opened(w, p)
	if err != nil {
		return err
	}
	return first(
		func() error { return p.answers(bootstrapKey, "deny") },
		func() error { return p.says("Denied") },
		func() error { return w.server.poll(d, "access_denied") },
	)
}

func deviceWrongKey(w *world, p *page) error {
	d, err := opened(w, p)
	if err != nil {
		return err
	}
	return first(
		func() error { return p.answers(bootstrapKey+"x", "approve") },
		p.readable,
		func() error {
			return p.eval(nil, `
				if (document.querySelector("[role=alert]") === null) throw new Error("nothing is told");
				if (document.querySelector("#api_key").value !== "") throw new Error("the key is still there");`)
		},
		func() error { return w.server.poll(d, "authorization_pending") },
		func() error { return p.answers(bootstrapKey, "approve") },
		func() error { return p.says("Approved") },
		func() error { return w.server.poll(d, "") },
	)
}

// The verifier and the challenge of RFC 7636, appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// asked opens the page that asks to let a client in, which listens on localhost.
func asked(w *world, p *page) (client, redirect string, err error) {
	redirect = w.foreign.at("localhost", "/cb")
	w.foreign.serve("/cb", "<!doctype html><title>back</title>")
	if client, err = w.server.register("http://localhost/cb"); err != nil {
		return "", "", err
	}
	q := url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {"read offline_access"},
		"state": {"a&b"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	if err := p.narrow(); err != nil {
		return "", "", err
	}
	if _, err := p.visit(w.server.url("/oauth/authorize?" + q.Encode())); err != nil {
		return "", "", err
	}
	return client, redirect, p.readable()
}

// back returns what the client was told in the address that the page is at now.
func (p *page) back(w *world, redirect string) (url.Values, error) {
	var at string
	if err := p.eval(&at, `return location.href`); err != nil {
		return nil, err
	}
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if !strings.HasPrefix(at, redirect+"?") || q.Get("iss") != w.server.url("") || q.Get("state") != "a&b" {
		return nil, fmt.Errorf("the browser is at %s", at)
	}
	return q, nil
}

func authorizeApproved(w *world, p *page) error {
	client, redirect, err := asked(w, p)
	if err != nil {
		return err
	}
	if err := p.answers(bootstrapKey, "approve"); err != nil {
		return err
	}
	q, err := p.back(w, redirect)
	if err != nil {
		return err
	}
	return w.server.tokens("", url.Values{"grant_type": {"authorization_code"}, "client_id": {client}, "code": {q.Get("code")},
		"redirect_uri": {redirect}, "code_verifier": {verifier}})
}

func authorizeLoggedIn(w *world, p *page) error {
	err := first(
		func() error { return w.home(p) },
		func() error {
			return p.eval(nil, `
				const answer = await fetch("/api/v2/auth/login", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({api_key: args[0]})});
				if (answer.status !== 200) throw new Error("login: " + answer.status + await answer.text());`, bootstrapKey)
		},
	)
	if err != nil {
		return err
	}
	_, redirect, err := asked(w, p)
	if err != nil {
		return err
	}
	err = p.eval(nil, `if (document.querySelector("#api_key") !== null) throw new Error("the page asks for a key");`)
	if err != nil {
		return err
	}
	if err := p.answers("", "deny"); err != nil {
		return err
	}
	q, err := p.back(w, redirect)
	if err == nil && q.Get("error") != "access_denied" {
		err = fmt.Errorf("the client is told %v", q)
	}
	return err
}

// first does one step after the other and returns the first error.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

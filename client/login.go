package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Device is what a person needs to let a program in: an address, and a code
// that the page there asks for.
type Device struct {
	Code    string // such as "WDJB-MJHT"
	Address string
	Whole   string // the address with the code in it; may be empty
	Expires time.Time
}

// DeviceLogin says who logs in, and for what.
type DeviceLogin struct {
	// Name is what the page calls the program.
	Name string
	// Client is its id on this server, if it has registered before.
	Client string
	// Scopes is what it asks for; without any it is read, write and
	// offline_access, without which a login ends after days.
	Scopes []string
	// Show is told what to show to the person. It must not block.
	Show func(Device)
}

// Why a device login came to nothing, for errors.Is.
var (
	ErrLoginDenied  = errors.New("the login was denied")
	ErrLoginExpired = errors.New("the code expired before somebody approved it")
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// LoginByDevice logs in with the help of a person at a browser (RFC 8628), and
// waits for that. From then on the client uses the tokens that it returns.
// Errors are [ErrLoginDenied], [ErrLoginExpired], those of the server, and the
// context's.
func (c *Client) LoginByDevice(ctx context.Context, l DeviceLogin) (Tokens, error) {
	if len(l.Scopes) == 0 {
		l.Scopes = []string{"read", "write", "offline_access"}
	}
	if l.Client == "" {
		var err error
		if l.Client, err = c.register(ctx, &l); err != nil {
			return Tokens{}, fmt.Errorf("register: %w", err)
		}
	}
	var d deviceAnswer
	err := c.patiently(ctx, func() error {
		fields := url.Values{"client_id": {l.Client}, "scope": {strings.Join(l.Scopes, " ")}}
		return c.form(ctx, fields, &d, "oauth", "device_authorization")
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("begin login: %w", err)
	}
	expires := time.Now().Add(time.Duration(d.Life) * time.Second)
	if l.Show != nil {
		l.Show(Device{Code: d.UserCode, Address: d.Address, Whole: d.Whole, Expires: expires})
	}
	t, err := c.poll(ctx, &d, l.Client, expires)
	if err != nil {
		return Tokens{}, err
	}
	c.cred.set(t)
	return t, nil
}

// register makes the program known to the server and returns its id.
func (c *Client) register(ctx context.Context, l *DeviceLogin) (string, error) {
	var registered struct {
		ID string `json:"client_id"`
	}
	err := c.patiently(ctx, func() error {
		req, err := c.withJSON(ctx, http.MethodPost, c.url(nil, "oauth", "register"), map[string]any{
			"client_name": l.Name, "grant_types": []string{deviceGrant, "refresh_token"},
			"token_endpoint_auth_method": "none", "scope": strings.Join(l.Scopes, " "),
		})
		if err != nil {
			return err
		}
		return c.ask(req, "", &registered)
	})
	if err == nil && registered.ID == "" {
		err = errors.New("the server answered without a client_id")
	}
	return registered.ID, err
}

type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	Address    string `json:"verification_uri"`
	Whole      string `json:"verification_uri_complete"`
	Life       int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// Pace of polling where the server does not set it (RFC 8628 §3.2, §3.5).
const (
	usualInterval = 5 * time.Second
	slower        = 5 * time.Second
)

// poll asks for the tokens as often as the server allows until somebody has
// decided. A lost connection, or a server that is away for a moment, only means
// to wait longer.
func (c *Client) poll(ctx context.Context, d *deviceAnswer, client string, expires time.Time) (Tokens, error) {
	interval := time.Duration(d.Interval) * time.Second
	if interval <= 0 {
		interval = usualInterval
	}
	fields := url.Values{"grant_type": {deviceGrant}, "device_code": {d.DeviceCode}, "client_id": {client}}
	for wait := interval; ; {
		if time.Now().Add(wait).After(expires) {
			return Tokens{}, ErrLoginExpired
		}
		if err := sleep(ctx, wait); err != nil {
			return Tokens{}, err
		}
		wait = interval
		g := granted{Tokens: Tokens{Client: client}}
		err := c.form(ctx, fields, &g, "oauth", "token")
		if err == nil {
			return g.tokens()
		}
		e, _ := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return Tokens{}, context.Cause(ctx)
		case e == nil: // no answer (RFC 8628 §3.5)
			wait = 2 * interval
		case e.Code == "authorization_pending":
		case e.Code == "slow_down":
			interval += slower
			wait = interval
		case e.Code == "access_denied":
			return Tokens{}, ErrLoginDenied
		case e.Code == "expired_token":
			return Tokens{}, ErrLoginExpired
		case e.temporary():
			wait = max(interval, e.RetryAfter)
		default:
			return Tokens{}, err
		}
	}
}

// Logout ends the login on the server, with all tokens that came from it, and
// forgets them. A login that had ended already is no error.
func (c *Client) Logout(ctx context.Context) error {
	t := c.cred.current()
	var err error
	switch {
	case t.Access == "":
		return nil
	case t.Client != "" && t.Refresh != "":
		err = c.form(ctx, url.Values{"token": {t.Refresh}, "client_id": {t.Client}}, nil, "oauth", "revoke")
	default:
		err = c.call(ctx, http.MethodPost, c.url(nil, "api", "v2", "auth", "logout"), nil, nil)
	}
	if err != nil && !errors.Is(err, ErrUnauthorized) {
		return err
	}
	c.cred.set(Tokens{})
	return nil
}

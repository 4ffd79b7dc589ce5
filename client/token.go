package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Tokens is what a server gave for an API key or after a device login. As JSON
// it can be kept and handed to a later client; whoever has it is logged in.
type Tokens struct {
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token,omitempty"`
	Client  string    `json:"client_id,omitempty"` // of OAuth; empty where a key was exchanged
	Scope   string    `json:"scope,omitempty"`     // of OAuth
	Tenant  string    `json:"tenant_id,omitempty"` // where a key was exchanged
	Expires time.Time `json:"expires_at,omitzero"` // of Access; zero when it is not known
}

// ErrRenewed says that the token was no longer good and has been renewed, but
// that the request was not repeated, since its body could be read only once.
// The caller can do it again.
var ErrRenewed = errors.New("the login was renewed; send it again")

// credentials are what a client shows of itself.
type credentials struct {
	mu      sync.Mutex
	tokens  Tokens
	renewal *renewal // the one under way, or nil
}

// renewal is shared by all requests that need it.
type renewal struct {
	done chan struct{} // closed when err is set
	err  error
	left bool // who did it gave up, which says nothing to the others
}

func (cr *credentials) current() Tokens {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return cr.tokens
}

func (cr *credentials) set(t Tokens) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.tokens = t
}

// Tokens returns the client's tokens, which it gets for its key if it has none
// yet. They are empty for a client that has neither.
func (c *Client) Tokens(ctx context.Context) (Tokens, error) {
	t := c.cred.current()
	if t.Access != "" || c.opt.Key == "" {
		return t, nil
	}
	return c.renew(ctx, t)
}

// early is how long before its end a token is renewed, so that it does not end
// on the way.
const early = 30 * time.Second

// fresh returns tokens that are good as far as the client can tell.
func (c *Client) fresh(ctx context.Context) (Tokens, error) {
	t, err := c.Tokens(ctx)
	if err != nil || t.Expires.IsZero() || time.Until(t.Expires) > early {
		return t, err
	}
	renewed, err := c.renew(ctx, t)
	if errors.Is(err, errNoRenewal) || refused(err) {
		return t, nil // the server has the last word
	}
	return renewed, err
}

// errNoRenewal says that there is nothing to renew tokens with.
var errNoRenewal = errors.New("the login has ended")

// renew returns the tokens that follow used. Of requests that ask at the same
// time one does the work, and the others take what it got.
func (c *Client) renew(ctx context.Context, used Tokens) (Tokens, error) {
	cr := &c.cred
	for {
		cr.mu.Lock()
		if now := cr.tokens; now.Access != used.Access {
			cr.mu.Unlock()
			return now, nil
		}
		r := cr.renewal
		mine := r == nil
		if mine {
			r = &renewal{done: make(chan struct{})}
			cr.renewal = r
		}
		cr.mu.Unlock()
		if mine {
			return c.lead(ctx, r, used)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return Tokens{}, context.Cause(ctx)
		}
		if r.err != nil && !r.left {
			return Tokens{}, r.err
		}
	}
}

// lead does a renewal for all who wait for it.
func (c *Client) lead(ctx context.Context, r *renewal, used Tokens) (t Tokens, err error) {
	err = errNoRenewal // for those who wait, if a function of the caller panics
	defer func() {
		c.cred.mu.Lock()
		defer c.cred.mu.Unlock()
		if err == nil {
			c.cred.tokens = t
		}
		r.err, r.left = err, ctx.Err() != nil
		c.cred.renewal = nil
		close(r.done)
	}()
	if c.opt.Renew != nil && used.Access != "" {
		return c.opt.Renew(ctx, used, c.next)
	}
	return c.next(ctx, used)
}

// next asks the server for the tokens that follow: by the refresh token, and
// where that is no longer good by the key.
func (c *Client) next(ctx context.Context, used Tokens) (t Tokens, err error) {
	err = errNoRenewal
	if used.Refresh != "" {
		if t, err = c.refresh(ctx, used); err == nil || !refused(err) {
			return t, err
		}
	}
	if c.opt.Key == "" {
		return t, err
	}
	return c.exchange(ctx)
}

// refused reports whether the server answered that a credential is not good.
func refused(err error) bool {
	e, answered := errors.AsType[*Error](err)
	return answered && !e.temporary()
}

// granted is how both token endpoints answer.
type granted struct {
	Tokens
	Life float64 `json:"expires_in"`
}

func (g *granted) tokens() (Tokens, error) {
	if g.Access == "" {
		return Tokens{}, errors.New("the server answered without a token")
	}
	if g.Life > 0 {
		g.Expires = time.Now().Add(time.Duration(g.Life * float64(time.Second))).Round(time.Second)
	}
	return g.Tokens, nil
}

// exchange gets tokens for the key.
func (c *Client) exchange(ctx context.Context) (Tokens, error) {
	var g granted
	err := c.patiently(ctx, func() error {
		req, err := c.request(ctx, http.MethodPost, c.url(nil, "api", "v2", "auth", "token"), nil)
		if err != nil {
			return err
		}
		return c.ask(req, c.opt.Key, &envelope{Data: &g})
	})
	if err != nil {
		return Tokens{}, err
	}
	return g.tokens()
}

// refresh gets the tokens that follow others, from where those came.
func (c *Client) refresh(ctx context.Context, used Tokens) (Tokens, error) {
	g := granted{Tokens: Tokens{Client: used.Client, Scope: used.Scope}}
	err := c.patiently(ctx, func() error {
		if used.Client != "" {
			return c.form(ctx, url.Values{
				"grant_type": {"refresh_token"}, "refresh_token": {used.Refresh}, "client_id": {used.Client},
			}, &g, "oauth", "token")
		}
		req, err := c.withJSON(ctx, http.MethodPost, c.url(nil, "api", "v2", "auth", "refresh"), map[string]string{"refresh_token": used.Refresh})
		if err != nil {
			return err
		}
		return c.ask(req, "", &envelope{Data: &g})
	})
	if err != nil {
		return Tokens{}, err
	}
	return g.tokens()
}

// form sends a form to an endpoint of OAuth, whose answers have no envelope.
func (c *Client) form(ctx context.Context, fields url.Values, out any, segments ...string) error {
	req, err := c.request(ctx, http.MethodPost, c.url(nil, segments...), strings.NewReader(fields.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.ask(req, "", out)
}

// ask sends a request with a bearer of its own, or none, and decodes the answer.
// It does not wait for ever: others may wait for the outcome.
func (c *Client) ask(req *http.Request, bearer string, out any) error {
	ctx, cancel := context.WithTimeoutCause(req.Context(), c.opt.Silence, fmt.Errorf("no answer came for %s", c.opt.Silence))
	defer cancel()
	resp, err := c.try(req.WithContext(ctx), bearer)
	if err == nil {
		err = decode(resp, out)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// maxPatience is how often a login waits for its turn.
const maxPatience = 5

// patiently calls f again, after a while, where the server says that too many
// log in.
func (c *Client) patiently(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		e, answered := errors.AsType[*Error](err)
		if !answered || e.Status != http.StatusTooManyRequests || n > maxPatience {
			return err
		}
		if err := sleep(ctx, c.wait(n, err)); err != nil {
			return err
		}
	}
}

// rewound returns the request once more, unless its body can be read only once.
func rewound(req *http.Request) (*http.Request, bool) {
	again := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return again, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	again.Body = body
	return again, err == nil
}

// renewed is the error of a request that was not repeated.
func renewed(err error) error { return fmt.Errorf("%w (%w)", ErrRenewed, err) }

// Package client speaks the HTTP API of a Vitrine server: sessions, uploads,
// the log, single artifacts and zips; the library with its path artifacts; and
// logging in. It knows nothing of how a server keeps them. Read this file first,
// then follow.go, library.go and token.go.
//
// # Compatibility
//
// This package keeps a promise that no other package of the module makes.
// Within a major version no exported name goes away or changes its type or
// meaning. Structs gain fields, so write their literals with field names;
// [Error].Code and [Entry].Type gain values, so expect unknown ones. A client
// works with every server of the same major version: keys that it does not
// know are ignored, and what an older server does not send is left zero. Types
// of package artifact that appear here (SessionID, Seq, Path, Filter) are part of
// the promise, the rest of that package is not. The text of errors is for people.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Silence is how long a stream may bring nothing before it counts as broken:
// three of the server's heartbeats.
const Silence = 45 * time.Second

// Options are the choices of a Client. The zero value is good.
type Options struct {
	// HTTP makes the requests. It must not have a Timeout, which would cut
	// off long transfers; contexts end requests.
	HTTP *http.Client
	// UserAgent is sent with every request.
	UserAgent string
	// Silence replaces the constant of this name.
	Silence time.Duration
	// Key is an API key. The client exchanges it for a token, which it renews by
	// itself. Without Key and Tokens it shows nothing, which an open server allows
	// for everything but the library.
	Key string
	// Tokens are those of an earlier client, or of another issuer that the server
	// trusts. They are used before Key is.
	Tokens Tokens
	// Renew, if set, stands around each renewal of tokens. It is told those that
	// are no longer good, and renews them, or later ones, with next. So it can lock
	// what it keeps them in, return those that another program has got meanwhile,
	// and keep the new ones.
	Renew func(ctx context.Context, used Tokens, next func(context.Context, Tokens) (Tokens, error)) (Tokens, error)
	// Backoff returns how long to wait before the n-th try (1, 2, …) to
	// connect again after a loss. Without it the wait doubles from a quarter
	// of a second up to 30 seconds, with jitter.
	Backoff func(n int) time.Duration
}

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base *url.URL
	opt  Options
	cred credentials
}

// New returns a client of the server at base, such as "http://127.0.0.1:6400".
// It does not connect.
func New(base string, opt Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("parse server address: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("server address %q does not begin with http:// or https://", base)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	u.RawQuery, u.Fragment = "", ""
	if opt.HTTP == nil {
		opt.HTTP = &http.Client{Transport: transport()}
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "vitrine-client"
	}
	if opt.Silence <= 0 {
		opt.Silence = Silence
	}
	if opt.Backoff == nil {
		opt.Backoff = backoff
	}
	return &Client{base: u, opt: opt, cred: credentials{tokens: opt.Tokens}}, nil
}

func transport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 16,
		DisableCompression:  true, // a range or a digest speaks of the bytes as they are stored
	}
}

const (
	firstWait = 250 * time.Millisecond
	maxWait   = 5 * time.Second
)

// backoff spreads clients over the second half of the wait, so that those who
// lost the same server do not come back at once.
func backoff(n int) time.Duration {
	wait := maxWait
	if n < 8 {
		wait = min(maxWait, firstWait<<max(0, n-1))
	}
	return wait/2 + rand.N(wait/2)
}

// sleep waits for d or until ctx ends, which is an error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Server returns the address that the client was made with.
func (c *Client) Server() string { return c.base.String() }

// url returns the address of segments below /api, which are escaped here.
func (c *Client) url(q url.Values, segments ...string) string {
	var path strings.Builder
	path.WriteString(c.base.EscapedPath())
	for _, s := range segments {
		path.WriteByte('/')
		path.WriteString(url.PathEscape(s))
	}
	u := *c.base
	u.Path, u.RawPath, u.RawQuery = "", "", ""
	address := u.String() + path.String()
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	return address
}

// session returns the address of a session or of something below it.
func (c *Client) session(s artifact.SessionID, q url.Values, below ...string) string {
	return c.url(q, append([]string{"api", "sessions", string(s)}, below...)...)
}

func (c *Client) request(ctx context.Context, method, address string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", c.opt.UserAgent)
	return req, nil
}

// send returns the response to req when its status is below 400, and an *Error
// otherwise. A token that is no longer good is renewed, and the request sent
// once more; it is not if its body can be read only once, which is ErrRenewed.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	used, err := c.fresh(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.try(req, used.Access)
	if used.Access == "" || !errors.Is(err, ErrUnauthorized) {
		return resp, err
	}
	next, rerr := c.renew(ctx, used)
	switch {
	case errors.Is(rerr, errNoRenewal), refused(rerr):
		return nil, err
	case rerr != nil:
		return nil, rerr
	}
	again, ok := rewound(req)
	if !ok {
		return nil, renewed(err)
	}
	return c.try(again, next.Access)
}

// try sends req with a bearer, or without.
func (c *Client) try(req *http.Request, bearer string) (*http.Response, error) {
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := c.opt.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

// call sends in as JSON, unless it is nil, and decodes the answer into out,
// unless that is nil.
func (c *Client) call(ctx context.Context, method, address string, in, out any) error {
	req, err := c.withJSON(ctx, method, address, in)
	if err != nil {
		return err
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

// withJSON returns a request with in as its body, unless that is nil.
func (c *Client) withJSON(ctx context.Context, method, address string, in any) (*http.Request, error) {
	if in == nil {
		return c.request(ctx, method, address, nil)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(in); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	req, err := c.request(ctx, method, address, &text)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// envelope is how /api/v2 answers.
type envelope struct {
	Data any `json:"data"`
}

// decode reads the whole of an answer, so that its connection serves again.
func decode(resp *http.Response, out any) error {
	defer resp.Body.Close()
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return fmt.Errorf("decode answer: %w", err)
		}
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

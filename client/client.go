// Package client speaks the HTTP API of a Vitrine server: sessions, uploads,
// the log, single artifacts and zips. It knows nothing of how a server keeps
// them. Read this file first, then follow.go.
//
// # Compatibility
//
// This package keeps a promise that no other package of the module makes.
// Within a major version no exported name goes away or changes its type or
// meaning. Structs gain fields, so write their literals with field names;
// [Error].Code and [Entry].Type gain values, so expect unknown ones. A client
// works with every server of the same major version: keys that it does not
// know are ignored, and what an older server does not send is left zero. Types
// of package artifact that appear here (SessionID, Seq, Filter) are part of the
// promise, the rest of that package is not. The text of errors is for people.
package client

import (
	"bytes"
	"context"
	"encoding/json"
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
	// Backoff returns how long to wait before the n-th try (1, 2, …) to
	// connect again after a loss. Without it the wait doubles from a quarter
	// of a second up to 30 seconds, with jitter.
	Backoff func(n int) time.Duration
}

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base *url.URL
	opt  Options
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
	return &Client{base: u, opt: opt}, nil
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
// otherwise.
func (c *Client) send(req *http.Request) (*http.Response, error) {
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
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := c.request(ctx, method, address, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	return decode(resp, out)
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

// Package api speaks HTTP: routes, errors, and the transports of the log. A
// handler parses a request, calls one use case of package depot and returns a
// value; statuses and the form of errors are the dialect's business
// (dialect.go). Read this file first, then route.go.
package api

import (
	"context"
	"html"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// Config is what a Server is made of. Depot, Accounts and Log must be set.
type Config struct {
	Depot         *depot.Depot
	Log           *slog.Logger
	Version       string
	PublicURL     string   // allowed as Host, besides local names
	CORSOrigins   []string // allowed with credentials
	Accounts      *account.Accounts
	Access        Access
	Rates         RateLimits
	UploadIdle    time.Duration // an upload that sends nothing for so long is cut off; 0 means 60 s
	UploadTimeout time.Duration // the longest an upload may take; 0 means 6 h
	BodyTimeout   time.Duration // in which any other body must arrive; 0 means 30 s
	DataURILimit  int64         // contents up to this size are inlined in answers; 0 means 20 MiB
	Heartbeat     time.Duration // of idle streams; 0 means 15 s
	WriteTimeout  time.Duration // of one write to a client, which is cut off after it; 0 means 30 s
	OpenAPI       []byte        // the description served as /openapi.json
	Hooks         Hooks
}

// Hooks tell metrics what happens. They must not block; nil ones are left out.
type Hooks struct {
	Ended     func(Outcome)                // a request is over
	Uploaded  func(files int, bytes int64) // an upload was acknowledged
	Delivered func(lag time.Duration)      // a follower was sent an entry, so long after its commit
	OverQuota func(quota string)           // a tenant wanted more than it may have of bytes, files, sessions or followers
}

func (c *Config) defaults() {
	if c.UploadIdle == 0 {
		c.UploadIdle = time.Minute
	}
	if c.UploadTimeout == 0 {
		c.UploadTimeout = 6 * time.Hour
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = 30 * time.Second
	}
	if c.DataURILimit == 0 {
		c.DataURILimit = 20 << 20
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
	if c.Hooks.Uploaded == nil {
		c.Hooks.Uploaded = func(int, int64) {}
	}
	if c.Hooks.Delivered == nil {
		c.Hooks.Delivered = func(time.Duration) {}
	}
}

// Server answers the API. It is an http.Handler through [Server.Handler].
type Server struct {
	Config
	depot   *depot.Depot
	dialect *dialect
	guard   *guard
	routes  table
	sockets sockets
	limits  *limits
	bodies  *semaphore.Weighted // bytes of large bodies of JSON in memory
	coming  coming              // large bodies of JSON on the disk
	closing context.Context     // ends when followers are to leave
	drain   context.CancelFunc
}

// New returns a server, or an error about an address in the configuration.
func New(c Config) (*Server, error) {
	c.defaults()
	s := &Server{Config: c, depot: c.Depot, dialect: &dialect{
		log: c.Log, now: time.Now, stall: c.WriteTimeout, body: c.BodyTimeout, base: strings.TrimSuffix(c.PublicURL, "/"), rate: c.Rates.Tenant,
	}}
	g, err := newGuard(s.dialect, c.PublicURL, "", c.CORSOrigins, c.Access.Required)
	if err != nil {
		return nil, err
	}
	s.guard = g
	s.dialect.admit, s.dialect.remote, s.dialect.overQuota = s.admit, s.remote, s.Hooks.OverQuota
	s.limits = newLimits(c.Rates, time.Now)
	s.bodies, s.coming.n = semaphore.NewWeighted(heldBodies), map[string]int{}
	s.closing, s.drain = context.WithCancel(context.Background())
	s.routes = s.table()
	return s, nil
}

// Handler returns the API for the network.
func (s *Server) Handler() http.Handler {
	return surround(s.routes.mux(s.dialect), s.dialect, s.guard, s.Hooks.Ended)
}

// Drain tells followers to leave, each in the way of its transport. New ones
// are sent away too.
func (s *Server) Drain() { s.drain() }

// Wait returns when every WebSocket has left, which net/http does not wait for,
// or when ctx ends.
func (s *Server) Wait(ctx context.Context) error {
	gone := make(chan struct{})
	go func() { // ends with the last socket
		s.sockets.open.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Operations lists every method and path that the server answers, for the
// test that compares it with its description.
func (s *Server) Operations() []Operation { return s.routes.operations() }

// sessionID returns the session that the path names.
func sessionID(r *http.Request) (artifact.SessionID, error) {
	return artifact.ParseSessionID(r.PathValue("session_id"))
}

// following returns a context that ends with the request, when followers are
// told to leave, or when what the caller came with has expired.
func (s *Server) following(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := s.Accounts.Expiring(r.Context(), artifact.CallerOf(r.Context()))
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

func (s *Server) health(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]string{"status": "healthy"}, nil
}

func (s *Server) live(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]string{"status": "alive"}, nil
}

// ready is red while the database does not answer, takes no writes, or the
// server is on its way down.
func (s *Server) ready(_ http.ResponseWriter, r *http.Request) (any, error) {
	if s.closing.Err() != nil {
		return nil, artifact.Errorf(artifact.Unavailable, "The server is shutting down")
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := s.depot.Database().Ping(ctx); err != nil {
		return nil, artifact.Wrap(artifact.Unavailable, err, "The database is not ready")
	}
	return map[string]string{"status": "ready"}, nil
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) (any, error) {
	writeJSON(w, http.StatusOK, s.OpenAPI)
	return nil, nil
}

// landing tells a person who opens the address in a browser what this is.
func (s *Server) landing(w http.ResponseWriter, r *http.Request) (any, error) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, err := io.WriteString(w, strings.ReplaceAll(landingPage, "HOST", html.EscapeString(r.Host)))
	return nil, err
}

const landingPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Vitrine</title>
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color:#1c1c1e;background:#fbfbfa}
code,pre{font:14px/1.5 ui-monospace,monospace;background:#efefec;border-radius:4px;padding:.1em .3em}pre{padding:1em;overflow:auto}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161618}code,pre{background:#26262a}a{color:#8ab4ff}}</style>
<h1>Vitrine</h1>
<p>This artifact server is running. Send it a file:</p>
<pre>curl -T report.md http://HOST/api/uploads/demo/</pre>
<p>See <a href="/api/sessions">the sessions</a>, <a href="/openapi.json">the API description</a>
and <a href="/health/ready">whether it is ready</a>.</p>
</html>
`

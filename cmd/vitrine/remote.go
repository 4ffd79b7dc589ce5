package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

// defaultServer must be what the tag of Server says.
const defaultServer = "http://127.0.0.1:6400"

// address says which server a command speaks to.
type address struct {
	Server string `default:"http://127.0.0.1:6400" placeholder:"URL" help:"Address of the server (default: http://127.0.0.1:6400)."`
}

// client returns a client of the server.
func (d *address) client(opt client.Options) (*client.Client, error) {
	opt.UserAgent = "vitrine/" + version
	c, err := client.New(d.Server, opt)
	if err != nil {
		return nil, usage("--server: %v", err)
	}
	return c, nil
}

// remote says which server a command speaks to, and as whom.
type remote struct {
	address
	Key string `placeholder:"KEY" help:"API key, which is better given by the variable (default: what \"vitrine login\" has kept)."`
}

// client returns a client of the server. It has the key, or a login that was
// kept for this server, or nothing.
func (r *remote) client() (*client.Client, error) {
	c, err := r.address.client(client.Options{Key: r.Key})
	if err != nil || r.Key != "" {
		return c, err
	}
	cr, err := openCredentials()
	if err != nil {
		return c, nil //nolint:nilerr // who has no home directory has kept nothing
	}
	k, err := cr.read()
	if err != nil {
		return nil, err
	}
	t, ok := k.Servers[c.Server()]
	if !ok {
		return c, nil
	}
	return r.address.client(client.Options{Tokens: t, Renew: cr.renew(c.Server())})
}

// sessionID is an id on the command line.
type sessionID artifact.SessionID

// UnmarshalText refuses what can be no id.
func (s *sessionID) UnmarshalText(b []byte) error {
	id, err := artifact.ParseSessionID(string(b))
	if err != nil {
		return fmt.Errorf("%q is no session id: 1 to 128 letters, digits, \"_\" and \"-\"", b)
	}
	*s = sessionID(id)
	return nil
}

func (s sessionID) id() artifact.SessionID { return artifact.SessionID(s) }

// wrong gives an error of the server, or of the way to it, the words of the
// command line.
func (r *remote) wrong(err error, id sessionID) error {
	if err == nil {
		return nil
	}
	return r.known(unreachable(inSession(err, id.id()), r.Server))
}

// known says what helps who is not let in.
func (r *remote) known(err error) error {
	if _, ok := errors.AsType[*hinted](err); ok || !errors.Is(err, client.ErrUnauthorized) {
		return err
	}
	if r.Key != "" {
		return withHint(err, "the API key has a mistake, was revoked, or is another server's")
	}
	return withHint(err, `log in with "vitrine login", or give an API key by VITRINE_KEY`)
}

// broken tells of a lost connection.
func (a *app) broken(bar *meter, what string) func(error, time.Duration) {
	return func(err error, wait time.Duration) {
		bar.end()
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		a.say("connection lost (%s); %s in %s", explain(err), what, wait.Round(100*time.Millisecond))
	}
}

package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

// remote says which server a command speaks to.
type remote struct {
	Server string `default:"http://127.0.0.1:6400" placeholder:"URL" help:"Address of the server (default: http://127.0.0.1:6400)."`
}

func (r *remote) client() (*client.Client, error) {
	c, err := client.New(r.Server, client.Options{UserAgent: "vitrine/" + version})
	if err != nil {
		return nil, usage("--server: %v", err)
	}
	return c, nil
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
	return unreachable(inSession(err, id.id()), r.Server)
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

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/client"
)

type loginCmd struct {
	address
	Key         keySource `help:"Log in with an API key, read from standard input, instead of a browser."`
	Permissions []string  `default:"read,write" placeholder:"LIST" help:"What to ask for at a browser: read, write, run (default: read,write)."`
}

// Help is the long help.
func (c *loginCmd) Help() string {
	return `Shows an address and a code; whoever opens the address, sees the same code there and approves it lets this command in. The login is kept in $XDG_CONFIG_HOME/vitrine/credentials.json, which nobody else can read, and every command for that server uses it. It is renewed by itself, and ends when it is not used for 30 days, or by "vitrine logout".

An API key that is used to log in is not kept itself. With VITRINE_KEY set, that key is used.

Examples:

  vitrine login --server https://vitrine.example
  vitrine login --key < vitrine.key`
}

// keySource says where the key of a login comes from.
type keySource struct {
	stdin bool
	given string // by the variable
}

// Decode reads the flag, which takes no value, or the variable, which is a key.
func (k *keySource) Decode(ctx *kong.DecodeContext) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		k.stdin = true
		return nil
	}
	if err := ctx.Scan.PopValueInto("key", &k.given); err != nil {
		return err
	}
	if k.given != os.Getenv("VITRINE_KEY") {
		return errors.New("a key on the command line can be seen by others: give it by standard input, or by VITRINE_KEY")
	}
	return nil
}

// IsBool lets the flag stand without a value.
func (k *keySource) IsBool() bool { return true }

// read returns the key, or "" where there is none.
func (k *keySource) read(a *app) (string, error) {
	key := k.given
	if k.stdin {
		const longest = 4 << 10
		line, err := bufio.NewReader(io.LimitReader(a.stdin, longest)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("read key: %w", err)
		}
		key = strings.TrimSpace(line)
	} else if key == "" {
		return "", nil
	}
	if _, ok := auth.ParseKey(key); !ok {
		return "", errors.New("this is no API key: one has the form tm_pf_<tenant>_ak_<secret>")
	}
	return key, nil
}

// Run logs in and says to what.
func (c *loginCmd) Run(ctx context.Context, a *app) error {
	key, err := c.Key.read(a)
	if err != nil {
		return err
	}
	cr, err := openCredentials()
	if err != nil {
		return err
	}
	if _, err := cr.read(); err != nil { // before a login that could not be kept
		return err
	}
	cl, err := c.client(client.Options{Key: key})
	if err != nil {
		return err
	}
	var t client.Tokens
	if key != "" {
		t, err = cl.Tokens(ctx)
	} else {
		t, err = c.byDevice(ctx, a, cl)
	}
	if err != nil {
		r := remote{address: c.address, Key: key}
		return r.wrong(err, "")
	}
	var old client.Tokens
	err = cr.change(ctx, func(servers map[string]client.Tokens) error {
		old = servers[cl.Server()]
		servers[cl.Server()] = t
		return nil
	})
	if err != nil {
		return err
	}
	a.say("logged in to %s", cl.Server())
	if former, err := c.client(client.Options{Tokens: old}); err == nil {
		_ = former.Logout(ctx) // else it ends by itself: nobody has it any more
	}
	return nil
}

func (c *loginCmd) byDevice(ctx context.Context, a *app, cl *client.Client) (client.Tokens, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine" // it is only shown
	}
	t, err := cl.LoginByDevice(ctx, client.DeviceLogin{
		Name: "vitrine on " + printable(host), Scopes: append(c.Permissions, "offline_access"),
		Show: func(d client.Device) {
			a.say("open %s", printable(cmp.Or(d.Whole, d.Address)))
			a.say("and approve the code %s", printable(d.Code))
		},
	})
	if errors.Is(err, client.ErrUnauthorized) { // of a client, not of the person
		return t, fmt.Errorf("the server does not know this program any more: %w", err)
	}
	return t, err
}

type logoutCmd struct {
	address
}

// Help is the long help.
func (c *logoutCmd) Help() string {
	return `The server ends the login with all its tokens, so that a copy of the credentials file is worth nothing either.

Examples:

  vitrine logout
  vitrine logout --server https://vitrine.example`
}

// Run ends the login and forgets it.
func (c *logoutCmd) Run(ctx context.Context, _ *app) error {
	cr, err := openCredentials()
	if err != nil {
		return err
	}
	cl, err := c.client(client.Options{})
	if err != nil {
		return err
	}
	server := cl.Server()
	return cr.change(ctx, func(servers map[string]client.Tokens) error {
		t, ok := servers[server]
		if !ok {
			return withHint(fmt.Errorf("not logged in to %s", server), "name another server with --server")
		}
		cl, err := c.client(client.Options{Tokens: t})
		if err == nil {
			err = cl.Logout(ctx)
		}
		if err != nil {
			r := remote{address: c.address}
			return r.wrong(err, "")
		}
		delete(servers, server)
		return nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// keyCmd is vitrine key and what comes after it.
type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make an API key and print it, this once."`
	List   keyListCmd   `cmd:"" help:"List API keys."`
	Revoke keyRevokeCmd `cmd:"" help:"End an API key with everything that came from it."`
	Rotate keyRotateCmd `cmd:"" name:"rotate-signing" help:"Sign new tokens with a new key of the server's."`
}

// Help is the long help.
func (c *keyCmd) Help() string {
	return `These commands work on the data directory, or through the server that holds it. Who has a key with the permission admin can do the same over the network, by /api/v2/keys.`
}

// ofTenant says whose accounts a command is about.
type ofTenant struct {
	Tenant tenantID `placeholder:"ID" help:"The tenant (default: the first)."`
}

// tenantID is the id of a tenant on the command line.
type tenantID string

// UnmarshalText refuses what can be no id.
func (t *tenantID) UnmarshalText(b []byte) error {
	id, err := artifact.ParseTenant(string(b))
	if err != nil {
		return fmt.Errorf(`%q is no tenant: "pf_" and 1 to 32 lower-case letters or digits`, b)
	}
	*t = tenantID(id)
	return nil
}

// lifetime is an age that is not left empty: the unset variable of a script must
// not make a key that never ends.
type lifetime age

// UnmarshalText reads an age, or "never".
func (l *lifetime) UnmarshalText(b []byte) error {
	if strings.TrimSpace(string(b)) == "" {
		return errors.New(`an empty age; write one like 90d, or "never"`)
	}
	return (*age)(l).UnmarshalText(b)
}

type keyCreateCmd struct {
	ofTenant
	Name        string   `placeholder:"TEXT" help:"What the key is for."`
	Permissions []string `default:"read,write,delete,run" placeholder:"LIST" help:"What it allows: read, write, delete, run, admin (default: all but admin)."`
	Expires     lifetime `default:"never" placeholder:"AGE" help:"When it ends, counted from now, such as 90d (default: never)."`
	place
	output
}

// Help is the long help.
func (c *keyCreateCmd) Help() string {
	return `Prints the key alone. It is kept nowhere: what is lost is made anew. Programs take it from VITRINE_KEY, "vitrine login --key" from its standard input.

Examples:

  vitrine key create --name laptop --expires 90d
  vitrine key create --tenant pf_acme --permissions read > reader.key
  vitrine key create --permissions read,write,delete,run,admin`
}

// Run prints the key.
func (c *keyCreateCmd) Run(ctx context.Context, a *app) error {
	scopes := artifact.ParseScopes(strings.Join(c.Permissions, " "))
	if len(scopes) == 0 { // the unset variable of a script must not make a key that may do nearly everything
		return usage("--permissions names none; without it a key has all but admin")
	}
	t := task{Name: "key-create", Tenant: string(c.Tenant), Called: c.Name, Scopes: scopes}
	if c.Expires > 0 {
		t.Expires = time.Now().Add(time.Duration(c.Expires))
	}
	var k keyInfo
	if err := a.onData(ctx, c.place, lifetimes{}, t, "", &k); err != nil {
		return err
	}
	if c.JSON {
		return a.writeJSON(k)
	}
	return a.line("%s", k.Key)
}

type keyListCmd struct {
	ofTenant
	place
	output
}

// Help is the long help.
func (c *keyListCmd) Help() string {
	return `One line per key that was not revoked: id, when it was made, when it was last used and when it ends (or -), permissions, name. The keys themselves are not kept.

Examples:

  vitrine key list
  vitrine key list --json | jq -r 'select(.last_used_at == null).id'`
}

// Run prints the keys.
func (c *keyListCmd) Run(ctx context.Context, a *app) error {
	var keys []keyInfo
	if err := a.onData(ctx, c.place, lifetimes{}, task{Name: "key-list", Tenant: string(c.Tenant)}, "", &keys); err != nil {
		return err
	}
	for i := range keys {
		k := &keys[i]
		var err error
		if c.JSON {
			err = a.writeJSON(k)
		} else {
			permissions := strings.ReplaceAll(k.Permissions.String(), " ", ",")
			err = a.line("%s  %s  %-20s  %-20s  %s  %s", k.ID, stamp(k.Created), stampOrDash(k.LastUsed), stampOrDash(k.Expires), permissions, nameOrDash(k.Name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type keyRevokeCmd struct {
	ID string `arg:"" name:"id" placeholder:"ID" help:"The key, by its id."`
	ofTenant
	place
}

// Help is the long help.
func (c *keyRevokeCmd) Help() string {
	return `The key, its tokens and its logins are no longer good at once, and streams that were opened with them end within a second.

Examples:

  vitrine key list
  vitrine key revoke key_x4pfzqhm3jvxdbgv2sdxb4m2ly`
}

// Run prints nothing.
func (c *keyRevokeCmd) Run(ctx context.Context, a *app) error {
	return a.onData(ctx, c.place, lifetimes{}, task{Name: "key-revoke", Tenant: string(c.Tenant), ID: c.ID}, "", nil)
}

type keyRotateCmd struct {
	place
}

// Help is the long help.
func (c *keyRotateCmd) Help() string {
	return `Tokens that are out stay good until they end, so that nobody is logged out; the old key goes when nothing needs it any more.

Examples:

  vitrine key rotate-signing`
}

// Run prints nothing.
func (c *keyRotateCmd) Run(ctx context.Context, a *app) error {
	return a.onData(ctx, c.place, lifetimes{}, task{Name: "key-rotate"}, "", nil)
}

// stampOrDash returns a time that may be never.
func stampOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return stamp(t)
}

// nameOrDash returns a name that may be missing.
func nameOrDash(name string) string {
	if name == "" {
		return "-"
	}
	return printable(name)
}

package artifact

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Scope is something that a caller may do (contract, auth §6; extensions §4).
type Scope string

// The scopes. Delete and Admin are held by API keys only, never by clients of
// OAuth; Profile and Offline are known to OAuth only and allow nothing here.
const (
	Read    Scope = "read"    // every GET
	Write   Scope = "write"   // make and change; save and delete artifacts
	Delete  Scope = "delete"  // delete records of the memory half
	Run     Scope = "run"     // start and stop workflows
	Admin   Scope = "admin"   // keys, members, audit log and quotas of the tenant
	Profile Scope = "profile" // who the user is
	Offline Scope = "offline_access"
)

// Scopes is a set of scopes, in the order in which it was given.
type Scopes []Scope

// ParseScopes reads scopes between spaces. It drops repeated ones and keeps
// those that nobody knows.
func ParseScopes(text string) Scopes {
	var list Scopes
	for word := range strings.FieldsSeq(text) {
		if s := Scope(word); !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// String returns the scopes with spaces between them.
func (s Scopes) String() string {
	words := make([]string, len(s))
	for i, scope := range s {
		words[i] = string(scope)
	}
	return strings.Join(words, " ")
}

// Has reports whether the set holds every one of the scopes.
func (s Scopes) Has(scopes ...Scope) bool {
	for _, want := range scopes {
		if !slices.Contains(s, want) {
			return false
		}
	}
	return true
}

// Intersect returns those of s that other holds too.
func (s Scopes) Intersect(other Scopes) Scopes {
	var both Scopes
	for _, scope := range s {
		if slices.Contains(other, scope) {
			both = append(both, scope)
		}
	}
	return both
}

// CallerKind says how a caller showed who it is.
type CallerKind string

// The kinds of callers.
const (
	CallerSystem   CallerKind = "system"   // the server itself, or a command on its machine
	CallerLocal    CallerKind = "local"    // anybody, on an open server
	CallerKey      CallerKind = "key"      // a token that an API key was exchanged for
	CallerOAuth    CallerKind = "oauth"    // a token of an OAuth client
	CallerExternal CallerKind = "external" // a token of another issuer
	CallerProxy    CallerKind = "proxy"    // named by a trusted proxy
	CallerShare    CallerKind = "share"    // the holder of a share
	CallerNobody   CallerKind = "nobody"   // who showed nothing that is good
)

// Caller is who asks. The zero Caller is the system.
type Caller struct {
	Kind    CallerKind
	Tenant  string
	User    string // "usr_…"; of an external issuer, its subject; of a share, who made it
	Key     string // id of the API key that the token, or the share, comes from
	Client  string // OAuth client
	Grant   string // what a refresh token or a code stands for; revoking it ends all of its tokens
	Token   string // jti of the access token
	Share   string // id of the share
	Scopes  Scopes
	Expires time.Time // of the token; zero is never
	Cookie  bool      // came with a cookie, which browsers send by themselves
	Remote  string    // address, for the audit log
	Agent   string    // User-Agent, for the audit log
	Request string    // request id
}

// Actor returns what the audit log calls the caller: the id of what it showed
// and whose it is.
func (c *Caller) Actor() string {
	switch c.Kind {
	case CallerKey:
		return "key:" + c.Key
	case CallerOAuth:
		return "client:" + c.Client
	case CallerShare:
		return "share:" + c.Share
	case CallerExternal, CallerProxy:
		return string(c.Kind) + ":" + c.User
	case CallerLocal, CallerNobody:
		return string(c.Kind)
	}
	return "system"
}

// Owner returns who a content belongs to that the caller writes: the actor and,
// because a client acts for many, its user.
func (c *Caller) Owner() string {
	if c.Kind == CallerOAuth {
		return c.Actor() + " " + c.User
	}
	return c.Actor()
}

type callerKey struct{}

// WithCaller returns a context that says who asks.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asks, or the system. It is never nil and must not be
// changed.
func CallerOf(ctx context.Context) *Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return c
	}
	return system
}

// ShutOut returns the Unauthorized error that ctx has ended with, because who
// asks is let in no longer, or nil.
func ShutOut(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && KindOf(cause) == Unauthorized {
		return cause
	}
	return nil
}

var system = &Caller{Kind: CallerSystem}

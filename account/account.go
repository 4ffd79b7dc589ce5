// Package account knows who may come in: tenants and their members, API keys,
// the grants that tokens stand for, OAuth clients, and shares. It keeps them as
// rows (package store) and makes and checks what is shown of them with package
// auth. What a caller may do with sessions and artifacts is not decided here.
// Start at [Accounts.Authenticate], then read grant.go.
package account

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// Options are the settings of Accounts. Only Issuer has to be set; all nodes on
// one database need the same.
type Options struct {
	Issuer         string // public address of the server
	Now            func() time.Time
	Log            *slog.Logger
	External       *auth.External // issuer of tokens that are taken besides our own, or nil
	AccessLife     time.Duration  // of an access token; 72 hours
	RefreshLife    time.Duration  // of a grant since it was last used; 30 days
	Grace          time.Duration  // in which a refresh token may come again; 60 seconds
	Recheck        time.Duration  // between looks at what other nodes revoked; 500 milliseconds
	DeviceInterval time.Duration  // between polls of the device flow; 5 seconds
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		of       *time.Duration
		standard time.Duration
	}{
		{&o.AccessLife, 72 * time.Hour},
		{&o.RefreshLife, 30 * 24 * time.Hour},
		{&o.Grace, time.Minute},
		{&o.Recheck, 500 * time.Millisecond},
		{&o.DeviceInterval, 5 * time.Second},
	} {
		if *d.of == 0 {
			*d.of = d.standard
		}
	}
}

// Accounts are the accounts in one database.
type Accounts struct {
	db            *store.DB
	opt           Options
	keys          keyring
	revoked       revocations
	seen          sightings
	refusals      chan refusal
	guesses       guesses
	tallies       tallies
	registrations atomic.Uint64 // since Open
	stop          context.CancelFunc
	running       sync.WaitGroup
}

// Open returns the accounts in db. It makes the first signing key where there
// is none and then follows, until Close, what other nodes change.
func Open(ctx context.Context, db *store.DB, opt Options) (*Accounts, error) {
	opt.setDefaults()
	a := &Accounts{db: db, opt: opt, refusals: make(chan refusal, maxRefusals)}
	a.keys.issuer, a.revoked.opt = opt.Issuer, &a.opt
	if err := a.firstSigningKey(ctx); err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	if err := a.reread(ctx); err != nil {
		return nil, err
	}
	a.revoked.heard.Store(0) // those were heard of by others
	ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	a.running.Go(func() { a.follow(ctx) })
	// Beside it: revocations wait for nothing.
	a.running.Go(func() { a.tidy(ctx) })
	a.running.Go(func() { a.tell(ctx) })
	return a, nil
}

// Close ends what Open started, and must not be called while somebody logs in.
// The database is the caller's.
func (a *Accounts) Close() error {
	a.stop()
	a.running.Wait()
	return nil
}

// follow looks at what other nodes did.
func (a *Accounts) follow(ctx context.Context) {
	look := time.NewTicker(a.opt.Recheck)
	defer look.Stop()
	failing := false
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		err := a.reread(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing: // once, not twice a second; it goes on with what it knows
			a.opt.Log.Error("revocations cannot be read", "error", err)
		case err == nil && failing:
			a.opt.Log.Info("revocations are read again")
		}
		failing = err != nil
	}
}

// patience is how long a look at the database may take.
const patience = 10 * time.Second

// reread reads what was revoked, and the signing keys.
func (a *Accounts) reread(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := a.revoked.read(ctx, a.db); err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	if err := a.keys.read(ctx, a.db); err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	return nil
}

// revoke runs a transaction that revokes something, which has an effect here
// when it returns, and elsewhere within Options.Recheck.
func (a *Accounts) revoke(ctx context.Context, f func(*store.Tx) error) error {
	if err := a.db.Tx(ctx, f); err != nil {
		return err
	}
	// It happened, so the client's leaving changes nothing any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := a.revoked.read(ctx, a.db); err != nil {
		// It is done, and follow goes on trying.
		a.opt.Log.Error("revocations cannot be read", "error", err)
	}
	return nil
}

// as returns a context in which c acts, from where the caller was.
func as(ctx context.Context, c artifact.Caller) context.Context {
	was := artifact.CallerOf(ctx)
	c.Remote, c.Agent, c.Request = was.Remote, was.Agent, was.Request
	return artifact.WithCaller(ctx, &c)
}

// nobody is who tries to log in.
var nobody = artifact.Caller{Kind: artifact.CallerNobody}

// refuse returns err with a reason for the log.
func refuse(err error, reason string) error { return fmt.Errorf("%w: %s", err, reason) }

// FirstTenant returns the oldest tenant, which an open server acts for.
func (a *Accounts) FirstTenant() string { return a.db.FirstTenant() }

package account

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// deviceLife is how long a request of the device flow waits for an answer.
const deviceLife = 15 * time.Minute

// How many requests may wait for an answer, of one client and of all. Anybody can
// make them; guess.go counts on the latter.
const (
	maxClientDevices = 100
	maxDevices       = 10_000
)

// Device is a request of the device flow, as its client sees it (RFC 8628 §3.2).
type Device struct {
	Code     string // to poll with; only its hash is kept
	UserCode string // for the person to type in
	Life     time.Duration
	Interval time.Duration // between polls
}

// StartDevice begins a request of the device flow. Errors are
// [ErrUnknownClient], [ErrUnauthorizedClient], [ErrInvalidScope], and a Limited
// one while too many wait already.
func (a *Accounts) StartDevice(ctx context.Context, client, scope string) (Device, error) {
	c, err := a.clientFor(ctx, client, GrantDevice)
	if err != nil {
		return Device{}, err
	}
	scopes, err := c.asks(scope)
	if err != nil {
		return Device{}, err
	}
	// Who is refused does not come as far as the writer.
	if err := roomForDevice(ctx, &a.db.Reads, c.ID, a.opt.Now()); err != nil {
		return Device{}, err
	}
	d := Device{Code: auth.NewSecret(), Life: deviceLife, Interval: a.opt.DeviceInterval}
	err = a.db.Tx(ctx, func(tx *store.Tx) error {
		// What expired so long ago no client asks for any more.
		if _, err := tx.Prune(store.StaleDeviceCodes, tx.Now().Add(-deviceLife)); err != nil {
			return err
		}
		if err := roomForDevice(ctx, tx.Reads(), c.ID, tx.Now()); err != nil {
			return err
		}
		for {
			d.UserCode = auth.NewUserCode()
			_, err := tx.Reads().DeviceCodeOf(ctx, d.UserCode)
			if err == nil {
				continue // taken
			}
			if !errors.Is(err, store.ErrNoCode) {
				return err
			}
			return tx.CreateDeviceCode(store.DeviceCode{
				Hash: hashCode(d.Code), UserCode: d.UserCode, Client: c.ID, Scopes: scopes,
				Expires: tx.Now().Add(d.Life), Pause: d.Interval,
			})
		}
	})
	return d, err
}

// roomForDevice returns a Limited error if too many requests wait for an answer,
// of the client or in all.
func roomForDevice(ctx context.Context, r *store.Reads, client string, now time.Time) error {
	for _, bound := range []struct {
		client string
		most   int
	}{{client, maxClientDevices}, {"", maxDevices}} {
		n, first, err := r.DevicesPending(ctx, bound.client, now)
		if err != nil {
			return err
		}
		if n >= bound.most {
			e := artifact.Errorf(artifact.Limited, "Too many devices wait for an answer")
			e.Facts = map[string]any{"retry_after": int(math.Ceil(first.Sub(now).Seconds()))}
			return e
		}
	}
	return nil
}

// DeviceView is a request of the device flow that waits for a person.
type DeviceView struct {
	UserCode string
	Client   Client
	Scopes   artifact.Scopes // that are asked for
}

// ErrNoDevice is the NotFound error for a user code that nobody waits for: it
// was mistyped or guessed, has expired, or was answered.
var ErrNoDevice = artifact.Errorf(artifact.NotFound, "No device waits with this code")

// DeviceView returns the request that a person typed the user code of, or
// [ErrNoDevice]. Codes that are not good are counted against the caller's key,
// or a stranger's address: too many are a Limited error.
func (a *Accounts) DeviceView(ctx context.Context, userCode string) (DeviceView, error) {
	code, ok := auth.CleanUserCode(userCode)
	if !ok { // no guess: nothing is asked
		return DeviceView{}, ErrNoDevice
	}
	now := a.opt.Now()
	guess, err := a.guesses.begin(artifact.CallerOf(ctx), now)
	if err != nil {
		return DeviceView{}, err
	}
	d, err := a.db.DeviceCodeOf(ctx, code)
	switch {
	case errors.Is(err, store.ErrNoCode):
		return DeviceView{}, ErrNoDevice
	case err != nil:
		return DeviceView{}, err
	}
	guess.right()
	if d.State != store.DevicePending || !now.Before(d.Expires) {
		return DeviceView{}, ErrNoDevice
	}
	c, err := a.Client(ctx, d.Client)
	if errors.Is(err, ErrUnknownClient) {
		return DeviceView{}, ErrNoDevice
	}
	return DeviceView{UserCode: code, Client: c, Scopes: d.Scopes}, err
}

// Decision is a person's answer to a client.
type Decision struct {
	Approve bool
	Run     bool // lets the client start workflows, if it asks for that
}

// DecideDevice answers a request of the device flow and returns what was
// granted. Errors are those of [Accounts.DeviceView], and Denied ones for who
// cannot decide, or has nothing of what is asked.
func (a *Accounts) DecideDevice(ctx context.Context, by *artifact.Caller, userCode string, answer Decision) (artifact.Scopes, error) {
	if !Decides(by) {
		return nil, errNoDecision
	}
	ctx = as(ctx, *by)
	view, err := a.DeviceView(ctx, userCode)
	if err != nil {
		return nil, err
	}
	var scopes artifact.Scopes
	err = a.db.Tx(ctx, func(tx *store.Tx) error {
		d := store.DeviceCode{UserCode: view.UserCode, State: store.DeviceDenied, Tenant: by.Tenant, Owner: by.User, Key: by.Key}
		if scopes = nil; answer.Approve {
			var err error
			if scopes, err = a.consents(ctx, tx.Reads(), view.Scopes, by, answer.Run, tx.Now()); err != nil {
				return err
			}
			d.State, d.Scopes = store.DeviceApproved, scopes
		}
		ok, err := tx.DecideDeviceCode(d)
		switch {
		case err != nil:
			return err
		case !ok: // somebody was faster
			return ErrNoDevice
		}
		return a.answered(tx, by, view.Client.ID, "device", answer.Approve, scopes)
	})
	return scopes, err
}

// answered notes what a person said to a client, and what they came with.
func (a *Accounts) answered(tx *store.Tx, by *artifact.Caller, client, flow string, approved bool, scopes artifact.Scopes) error {
	e := artifact.AuditEntry{Action: "client.deny", Object: "client:" + client, Details: map[string]any{"flow": flow}}
	if approved {
		e.Action, e.Details["scope"] = "client.approve", scopes.String()
	}
	tx.Audit(by.Tenant, e)
	if by.Key != "" {
		if err := tx.UseKey(by.Key, tx.Now().Add(-time.Minute)); err != nil {
			return err
		}
	}
	if !approved {
		return nil
	}
	return tx.UseClient(client)
}

// PollDevice returns the tokens of a request that a person approved: once.
// Until then it is [ErrPending], or [ErrSlowDown] for a client that asks faster
// than it was told to. Other errors are [ErrAccessDenied], [ErrExpiredCode],
// [ErrInvalidGrant], [ErrUnknownClient] and [ErrUnauthorizedClient].
func (a *Accounts) PollDevice(ctx context.Context, client, code string) (Tokens, error) {
	if _, err := a.clientFor(ctx, client, GrantDevice); err != nil {
		return Tokens{}, err
	}
	hash := hashCode(code)
	d, err := a.db.DeviceCode(ctx, hash)
	switch {
	case errors.Is(err, store.ErrNoCode), err == nil && (d.Client != client || d.Grant != ""):
		return Tokens{}, ErrInvalidGrant
	case err != nil:
		return Tokens{}, err
	case d.State == store.DeviceDenied:
		return Tokens{}, ErrAccessDenied
	case !a.opt.Now().Before(d.Expires):
		return Tokens{}, ErrExpiredCode
	case d.State == store.DevicePending:
		return Tokens{}, a.wait(ctx, hash)
	}
	return a.redeem(ctx, store.Grant{Tenant: d.Tenant, Owner: d.Owner, Key: d.Key, Client: client, Scopes: d.Scopes}, "device",
		func(tx *store.Tx, grant string) (bool, error) { return tx.SpendDeviceCode(hash, grant) })
}

// wait tells a client to ask again, and not faster than it may.
func (a *Accounts) wait(ctx context.Context, hash string) error {
	early := false
	err := a.db.Tx(ctx, func(tx *store.Tx) error {
		d, err := tx.Reads().DeviceCode(ctx, hash)
		if err != nil {
			return err
		}
		early = !d.Polled.IsZero() && tx.Now().Sub(d.Polled) < d.Pause-jitter
		return tx.PollDeviceCode(hash)
	})
	switch {
	case err != nil:
		return err
	case early:
		return ErrSlowDown
	}
	return ErrPending
}

// jitter is what the way of two polls may differ by, so that a client which
// keeps the interval is not told to slow down.
const jitter = 100 * time.Millisecond

// redeem returns the tokens of a new grant for a code that spend marks as used,
// or [ErrInvalidGrant] when that was done before.
func (a *Accounts) redeem(ctx context.Context, g store.Grant, flow string, spend func(tx *store.Tx, grant string) (bool, error)) (Tokens, error) {
	g.ID = auth.NewID("")
	won := g
	err := a.db.Tx(as(ctx, holder(&g)), func(tx *store.Tx) error {
		won = g
		ok, err := spend(tx, g.ID)
		switch {
		case err != nil:
			return err
		case !ok:
			return ErrInvalidGrant
		}
		if err := a.newGrant(tx, &won); err != nil {
			return err
		}
		tx.Audit(g.Tenant, artifact.AuditEntry{
			Action: "login", Object: "grant:" + g.ID, Details: map[string]any{"by": flow, "scope": won.Scopes.String()},
		})
		return nil
	})
	if err != nil {
		return Tokens{}, refused(err)
	}
	t, err := a.tokens(won, won.Rotated)
	if err == nil {
		a.tallies.logins.Add(1)
	}
	return t, refused(err)
}

package store

import (
	"context"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Client is an OAuth client, as it registered itself (RFC 7591).
type Client struct {
	ID       string
	Metadata string // JSON
	Created  time.Time
	Used     time.Time // when somebody last let it in
}

// Errors for what is not there, or no longer.
var (
	ErrNoClient = artifact.Errorf(artifact.NotFound, "Client not found")
	ErrNoCode   = artifact.Errorf(artifact.NotFound, "Code not found")
)

// Client returns an OAuth client, or [ErrNoClient].
func (r *Reads) Client(ctx context.Context, id string) (Client, error) {
	var c Client
	var created, used int64
	err := r.q.row(ctx, "SELECT id, metadata, created, used FROM clients WHERE id = ?", []any{id}, &c.ID, &c.Metadata, &created, &used)
	if errNoRows(err) {
		return c, ErrNoClient
	}
	c.Created, c.Used = fromMicros(created), orNever(used)
	return c, r.d.explain(err)
}

// CreateClient adds a client.
func (tx *Tx) CreateClient(c Client) error {
	_, err := tx.exec("INSERT INTO clients (id, metadata, created) VALUES (?, ?, ?)", c.ID, c.Metadata, tx.now.UnixMicro())
	return err
}

// TrimClients removes the oldest of the clients that nobody let in yet, so that
// at most so many are left. One that a device waits for is held. Where there are
// far too many, a call removes some of them.
func (tx *Tx) TrimClients(most int) error {
	var have int
	if err := tx.s.row(tx.ctx, "SELECT COUNT(*) FROM clients WHERE used = 0", nil, &have); err != nil || have <= most {
		return err
	}
	_, err := tx.exec("DELETE FROM clients WHERE used = 0 AND id IN (SELECT id FROM clients WHERE used = 0 AND held <= ? ORDER BY created, id LIMIT ?)",
		tx.now.UnixMicro(), min(have-most, maxPruned))
	return err
}

// UseClient notes that somebody let the client in, so that it stays, or returns
// [ErrNoClient].
func (tx *Tx) UseClient(id string) error {
	n, err := tx.exec("UPDATE clients SET used = ? WHERE id = ?", tx.now.UnixMicro(), id)
	if err == nil && n == 0 {
		return ErrNoClient
	}
	return err
}

// What became of a request of the device flow.
const (
	DevicePending  = "pending"
	DeviceApproved = "approved"
	DeviceDenied   = "denied"
)

// DeviceCode is a request of the device flow (RFC 8628).
type DeviceCode struct {
	Hash     string // of the device code
	UserCode string
	Client   string
	Scopes   artifact.Scopes // asked for; once approved, granted
	Created  time.Time
	Expires  time.Time
	Polled   time.Time     // last
	Pause    time.Duration // that the client is to keep between two polls
	State    string
	Tenant   string // who approved, as all below
	Owner    string
	Key      string
	Grant    string // that it was exchanged for
}

const deviceColumns = "hash, user_code, client, scopes, created, expires, polled, pause, state, tenant, owner, key_id, grant_id"

func (r *Reads) deviceCode(ctx context.Context, where string, args ...any) (DeviceCode, error) {
	var c DeviceCode
	var scopes string
	var created, expires, polled, pause int64
	err := r.q.row(ctx, "SELECT "+deviceColumns+" FROM device_codes WHERE "+where, args,
		&c.Hash, &c.UserCode, &c.Client, &scopes, &created, &expires, &polled, &pause, &c.State, &c.Tenant, &c.Owner, &c.Key, &c.Grant)
	if errNoRows(err) {
		return c, ErrNoCode
	}
	c.Scopes, c.Pause = artifact.ParseScopes(scopes), time.Duration(pause)*time.Microsecond
	c.Created, c.Expires, c.Polled = fromMicros(created), fromMicros(expires), orNever(polled)
	return c, r.d.explain(err)
}

// DeviceCode returns the request with that hash, also one that has expired, or
// [ErrNoCode].
func (r *Reads) DeviceCode(ctx context.Context, hash string) (DeviceCode, error) {
	return r.deviceCode(ctx, "hash = ?", hash)
}

// DeviceCodeOf returns the request with that user code, also one that has
// expired, or [ErrNoCode].
func (r *Reads) DeviceCodeOf(ctx context.Context, userCode string) (DeviceCode, error) {
	return r.deviceCode(ctx, "user_code = ?", userCode)
}

// DevicesPending returns how many requests wait for an answer now, of a client or,
// if that is empty, of all; and when the first of them will have expired.
func (r *Reads) DevicesPending(ctx context.Context, client string, now time.Time) (n int, first time.Time, err error) {
	const pending = "SELECT COUNT(*), COALESCE(MIN(expires), 0) FROM device_codes WHERE state = 'pending' AND expires > ?"
	query, args := pending, []any{now.UnixMicro()}
	if client != "" {
		query, args = pending+" AND client = ?", append(args, client)
	}
	var expires int64
	err = r.q.row(ctx, query, args, &n, &expires)
	return n, orNever(expires), r.d.explain(err)
}

// CreateDeviceCode adds a request that waits for an answer, and holds its client
// for as long.
func (tx *Tx) CreateDeviceCode(c DeviceCode) error {
	_, err := tx.exec("INSERT INTO device_codes (hash, user_code, client, scopes, created, expires, pause, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		c.Hash, c.UserCode, c.Client, c.Scopes.String(), tx.now.UnixMicro(), micros(c.Expires), c.Pause.Microseconds(), DevicePending)
	if err == nil {
		_, err = tx.exec("UPDATE clients SET held = ? WHERE id = ? AND used = 0 AND held < ?", micros(c.Expires), c.Client, micros(c.Expires))
	}
	return err
}

// PollDeviceCode notes that the client asked now.
func (tx *Tx) PollDeviceCode(hash string) error {
	_, err := tx.exec("UPDATE device_codes SET polled = ? WHERE hash = ?", tx.now.UnixMicro(), hash)
	return err
}

// DecideDeviceCode answers the request with c's user code for whom c names, and
// reports whether it still waited: of all who try, one succeeds.
func (tx *Tx) DecideDeviceCode(c DeviceCode) (bool, error) {
	n, err := tx.exec("UPDATE device_codes SET state = ?, scopes = ?, tenant = ?, owner = ?, key_id = ? WHERE user_code = ? AND state = ? AND expires > ?",
		c.State, c.Scopes.String(), c.Tenant, c.Owner, c.Key, c.UserCode, DevicePending, tx.now.UnixMicro())
	return n == 1, err
}

// SpendDeviceCode notes what an approved request is exchanged for, and reports
// whether it was not yet: of all who try, one succeeds.
func (tx *Tx) SpendDeviceCode(hash, grant string) (bool, error) {
	n, err := tx.exec("UPDATE device_codes SET grant_id = ? WHERE hash = ? AND state = ? AND grant_id = '' AND expires > ?",
		grant, hash, DeviceApproved, tx.now.UnixMicro())
	return n == 1, err
}

// AuthCode is an authorization code (RFC 6749 §4.1, RFC 7636).
type AuthCode struct {
	Hash        string
	Client      string
	RedirectURI string
	Challenge   string // S256
	Resource    string // RFC 8707; may be empty
	Scopes      artifact.Scopes
	Tenant      string // who consented, as Owner and Key
	Owner       string
	Key         string
	Expires     time.Time
	Grant       string // that it was exchanged for
}

// AuthCode returns the code with that hash, also one that has expired or was
// exchanged, or [ErrNoCode].
func (r *Reads) AuthCode(ctx context.Context, hash string) (AuthCode, error) {
	var c AuthCode
	var scopes string
	var expires int64
	err := r.q.row(ctx, "SELECT hash, client, redirect_uri, challenge, resource, scopes, tenant, owner, key_id, expires, grant_id FROM auth_codes WHERE hash = ?", []any{hash},
		&c.Hash, &c.Client, &c.RedirectURI, &c.Challenge, &c.Resource, &scopes, &c.Tenant, &c.Owner, &c.Key, &expires, &c.Grant)
	if errNoRows(err) {
		return c, ErrNoCode
	}
	c.Scopes, c.Expires = artifact.ParseScopes(scopes), fromMicros(expires)
	return c, r.d.explain(err)
}

// CreateAuthCode adds an authorization code.
func (tx *Tx) CreateAuthCode(c AuthCode) error {
	_, err := tx.exec("INSERT INTO auth_codes (hash, client, redirect_uri, challenge, resource, scopes, tenant, owner, key_id, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		c.Hash, c.Client, c.RedirectURI, c.Challenge, c.Resource, c.Scopes.String(), c.Tenant, c.Owner, c.Key, micros(c.Expires))
	return err
}

// SpendAuthCode notes what a code is exchanged for, and reports whether it was
// not yet: of all who try, one succeeds.
func (tx *Tx) SpendAuthCode(hash, grant string) (bool, error) {
	n, err := tx.exec("UPDATE auth_codes SET grant_id = ? WHERE hash = ? AND grant_id = '' AND expires > ?", grant, hash, tx.now.UnixMicro())
	return n == 1, err
}

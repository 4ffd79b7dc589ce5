package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// ledger is what the closures of a batch have added to the usage of tenants and
// to their audit logs. It is written once, before the batch is committed.
type ledger struct {
	balances map[string]*balance
	audits   map[string][]audited // by tenant
}

// balance is what a tenant uses and may use, as far as a batch knows.
type balance struct {
	row   Tenant
	added Usage // by the batch, and not yet in the row
	stale bool  // the row was changed since
}

// audited is an entry on its way to a tenant's audit log.
type audited struct {
	action string
	data   string
}

// reread makes the next closure look at tenants again: one has changed them.
func (l *ledger) reread() {
	for _, b := range l.balances {
		b.stale = true
	}
}

// balance returns that of a tenant. Where it has a quota its row is locked, so
// that no other node adds to it before the commit.
func (tx *Tx) balance(tenant string) (*balance, error) {
	b, ok := tx.ledger.balances[tenant]
	if ok && !b.stale {
		return b, nil
	}
	row, err := readTenant(tx.ctx, tx.s, tx.db.opt.Quota, tenant, "")
	if err == nil && row.Quota != (artifact.Quota{}) && tx.db.d.lock != "" {
		row, err = readTenant(tx.ctx, tx.s, tx.db.opt.Quota, tenant, tx.db.d.lock)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		b = &balance{}
		tx.ledger.balances[tenant] = b
	}
	b.row, b.stale = row, false
	return b, nil
}

// finish takes what the closure has collected into the ledger, or returns the
// Full error that says which limit of a tenant forbids it. Because a batch has
// one writer that is exact, however many write at the same time.
func (tx *Tx) finish() error {
	for tenant, u := range tx.usage {
		b, err := tx.balance(tenant)
		if err == nil {
			now := b.row
			now.Usage = now.plus(b.added)
			err = now.Allows(u)
		}
		if err != nil {
			return err
		}
	}
	for tenant, u := range tx.usage {
		b := tx.ledger.balances[tenant]
		b.added = b.added.plus(u)
	}
	for _, a := range tx.audit {
		tx.ledger.audits[a.tenant] = append(tx.ledger.audits[a.tenant], a.audited)
	}
	return nil
}

// OverQuota is the Full error that says which limit of a tenant forbids a change.
func OverQuota(what string, limit, used int64) error {
	e := artifact.Errorf(artifact.Full, "The tenant's quota of %d %s does not allow this", limit, what)
	e.Code = "BIZ_QUOTA_EXCEEDED"
	e.Facts = map[string]any{"quota": what, "limit": limit, "used": used}
	return e
}

// settle writes the ledger. Tenants come in the order of their ids and after
// all sessions, so that nodes do not wait for each other in a circle. It
// returns the keys of the logs that were written to.
func (tx *Tx) settle() (woken []int64, err error) {
	for _, tenant := range slices.Sorted(maps.Keys(tx.ledger.balances)) {
		b := tx.ledger.balances[tenant]
		if b.added == (Usage{}) || b.row.Deleted != 0 {
			continue
		}
		_, err := tx.exec("UPDATE tenants SET bytes = bytes + ?, files = files + ?, sessions = sessions + ? WHERE id = ?",
			b.added.Bytes, b.added.Files, b.added.Sessions, tenant)
		if err != nil {
			return nil, err
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(tx.ledger.audits)) {
		key, err := tx.writeAudit(tenant, tx.ledger.audits[tenant])
		if err != nil {
			return nil, err
		}
		woken = append(woken, key)
	}
	return woken, nil
}

// maxAudits is how many entries of an audit log are written by one statement.
const maxAudits = 32

// writeAudit appends entries to a tenant's audit log.
func (tx *Tx) writeAudit(tenant string, list []audited) (key int64, err error) {
	key, last, err := tx.nextOf(tenant, artifact.AuditLog, len(list))
	if err != nil {
		return 0, err
	}
	seq := int64(last) - int64(len(list)) + 1
	for len(list) > 0 {
		n := 1
		for 2*n <= min(len(list), maxAudits) { // powers of two, so that few statements serve
			n *= 2
		}
		args := make([]any, 0, 5*n)
		for _, a := range list[:n] {
			args = append(args, key, seq, a.action, tx.now.UnixMicro(), a.data)
			seq++
		}
		_, err := tx.exec("INSERT INTO events (session, seq, type, at, data) VALUES (?, ?, ?, ?, ?)"+strings.Repeat(", (?, ?, ?, ?, ?)", n-1), args...)
		if err != nil {
			return 0, err
		}
		list = list[n:]
	}
	return key, nil
}

// Audit notes in the audit log of a tenant that the caller did something. The
// entry becomes durable with the transaction, or not at all. Outcome may be
// left empty for "ok"; who asks is filled in.
func (tx *Tx) Audit(tenant string, e artifact.AuditEntry) {
	if e.Outcome == "" {
		e.Outcome = "ok"
	}
	c := tx.caller
	e.Actor, e.User, e.Remote, e.Agent, e.Request = c.Actor(), c.User, c.Remote, c.Agent, c.Request
	data, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("details of %s: %v", e.Action, err)) // a slip of ours, which fails this caller only
	}
	tx.audit = append(tx.audit, collected{tenant, audited{e.Action, string(data)}})
}

// collected is an entry of a closure, for a tenant.
type collected struct {
	tenant string
	audited
}

// nextOf takes the next n positions of a log of a tenant that is no session, and
// makes the log where there is none yet. It returns the last of them.
func (tx *Tx) nextOf(tenant string, log artifact.SessionID, n int) (key int64, last artifact.Seq, err error) {
	const update = "UPDATE sessions SET last_seq = last_seq + ?, updated = ? WHERE tenant = ? AND id = ? RETURNING key, last_seq"
	args := []any{n, tx.now.UnixMicro(), tenant, string(log)}
	err = tx.s.row(tx.ctx, update, args, &key, &last)
	if errNoRows(err) {
		if _, err = tx.EnsureLog(tenant, log); err == nil {
			err = tx.s.row(tx.ctx, update, args, &key, &last)
		}
	}
	return key, last, err
}

// EnsureLog returns the key of a tenant's library or audit log, which it makes
// where there is none. The log is the transaction's from then on: what is read
// of it afterwards stands until the commit, whatever other servers want to write.
func (tx *Tx) EnsureLog(tenant string, log artifact.SessionID) (int64, error) {
	var key int64
	find := "SELECT key FROM sessions WHERE tenant = ? AND id = ?" + tx.db.d.lock
	err := tx.s.row(tx.ctx, find, []any{tenant, string(log)}, &key)
	if !errNoRows(err) {
		return key, err
	}
	us := tx.now.UnixMicro()
	_, err = tx.exec("INSERT INTO sessions (key, tenant, id, status, created, updated, first_seq, last_seq) VALUES (?, ?, ?, ?, ?, ?, 1, 0) ON CONFLICT (tenant, id) DO NOTHING",
		tx.newKey(), tenant, string(log), artifact.StatusIdle, us, us)
	if err != nil {
		return 0, err
	}
	err = tx.s.row(tx.ctx, find, []any{tenant, string(log)}, &key)
	return key, err
}

package store

import (
	"encoding/json"
	"fmt"

	"github.com/vitrine-hq/vitrine/artifact"
)

// audited is an entry on its way to a tenant's audit log.
type audited struct {
	tenant string
	entry  artifact.AuditEntry
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
	tx.audit = append(tx.audit, audited{tenant, e})
}

func (tx *Tx) writeAudit() error {
	for _, a := range tx.audit {
		data, err := json.Marshal(a.entry)
		if err != nil {
			return fmt.Errorf("encode audit entry: %w", err)
		}
		key, seq, err := tx.nextOf(a.tenant, artifact.AuditLog)
		if err != nil {
			return err
		}
		_, err = tx.exec("INSERT INTO events (session, seq, type, at, data) VALUES (?, ?, ?, ?, ?)",
			key, int64(seq), a.entry.Action, tx.now.UnixMicro(), string(data))
		if err != nil {
			return err
		}
	}
	return nil
}

// nextOf takes the next position of a log of a tenant that is no session, and
// makes the log where there is none yet.
func (tx *Tx) nextOf(tenant string, log artifact.SessionID) (key int64, seq artifact.Seq, err error) {
	const update = "UPDATE sessions SET last_seq = last_seq + 1, updated = ? WHERE tenant = ? AND id = ? RETURNING key, last_seq"
	args := []any{tx.now.UnixMicro(), tenant, string(log)}
	err = tx.s.row(tx.ctx, update, args, &key, &seq)
	if errNoRows(err) {
		if _, err = tx.EnsureLog(tenant, log); err == nil {
			err = tx.s.row(tx.ctx, update, args, &key, &seq)
		}
	}
	tx.woken = append(tx.woken, key)
	return key, seq, err
}

// EnsureLog returns the key of a tenant's library or audit log, which it makes
// where there is none.
func (tx *Tx) EnsureLog(tenant string, log artifact.SessionID) (int64, error) {
	var key int64
	const find = "SELECT key FROM sessions WHERE tenant = ? AND id = ?"
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

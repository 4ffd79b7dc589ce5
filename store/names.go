package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/vitrine-hq/vitrine/artifact"
)

// checkNames returns ErrBadName if a row names a session as this program never
// does. Names become folders, and somebody else may have written the row: a
// database comes from a backup.
func checkNames(tenant string, id artifact.SessionID) error {
	var badID error
	if id != artifact.LibraryLog && id != artifact.AuditLog {
		_, badID = artifact.ParseSessionID(artifact.SessionPrefix + string(id))
	}
	_, badTenant := artifact.ParseTenant(tenant)
	if badID != nil || badTenant != nil {
		return fmt.Errorf("session %q of %q: %w", id, tenant, ErrBadName)
	}
	return nil
}

// ErrBadName says that a row names a session as none can be called.
var ErrBadName = errors.New("no session can be called so")

// CheckNames returns [ErrBadName] if any session, also a deleted one, is called
// as none can be.
func (r *Reads) CheckNames(ctx context.Context) error {
	const query = "SELECT tenant, id FROM sessions UNION ALL SELECT tenant, id FROM tombstones"
	err := r.q.rows(ctx, query, nil, func(scan func(...any) error) error {
		var tenant string
		var id artifact.SessionID
		if err := scan(&tenant, &id); err != nil {
			return err
		}
		return checkNames(tenant, id)
	})
	return r.d.explain(err)
}

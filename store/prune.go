package store

import "time"

// Stale is a kind of rows that are worth nothing some time after they were.
type Stale struct{ query string }

// What there is to prune, and which time of a row decides.
var (
	StaleGrants      = Stale{"DELETE FROM grants WHERE id IN (SELECT id FROM grants WHERE expires < ? LIMIT ?)"}                         // its end
	StaleDeviceCodes = Stale{"DELETE FROM device_codes WHERE hash IN (SELECT hash FROM device_codes WHERE expires < ? LIMIT ?)"}         // its end
	StaleCodes       = Stale{"DELETE FROM auth_codes WHERE hash IN (SELECT hash FROM auth_codes WHERE expires < ? LIMIT ?)"}             // its end
	StaleClients     = Stale{staleClients}                                                                                               // when it registered, or the last device that waited for it was given up
	StaleRevocations = Stale{"DELETE FROM revocations WHERE seq IN (SELECT seq FROM revocations WHERE forget < ? LIMIT ?)"}              // when it may be forgotten
	StaleShares      = Stale{"DELETE FROM shares WHERE id IN (SELECT id FROM shares WHERE expires < ? LIMIT ?)"}                         // its end
	StaleReplays     = Stale{"DELETE FROM replays WHERE (tenant, name) IN (SELECT tenant, name FROM replays WHERE created < ? LIMIT ?)"} // when it was made
)

// Clients that somebody let in stay.
const staleClients = "DELETE FROM clients WHERE used = 0 AND id IN " +
	"(SELECT id FROM clients WHERE used = 0 AND CASE WHEN held > created THEN held ELSE created END < ? LIMIT ?)"

// maxPruned is how many rows one transaction removes.
const maxPruned = 500

// Prune removes rows whose time lies before a limit, and reports whether those
// were all.
func (tx *Tx) Prune(what Stale, before time.Time) (done bool, err error) {
	n, err := tx.exec(what.query, before.UnixMicro(), maxPruned)
	return n < maxPruned, err
}

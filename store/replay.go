package store

import (
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// ReplayLife is how long the outcome of a request with an Idempotency-Key is
// kept.
const ReplayLife = 24 * time.Hour

// Replay returns the event id of the version that an earlier request with the
// same Idempotency-Key saved, or "" where there was none. request tells the
// requests of one key apart: another one is a Malformed error.
func (tx *Tx) Replay(tenant, name, request string) (eventID string, err error) {
	var given string
	err = tx.s.row(tx.ctx, "SELECT request, answer FROM replays WHERE tenant = ? AND name = ? AND created > ?",
		[]any{tenant, name, tx.now.Add(-ReplayLife).UnixMicro()}, &given, &eventID)
	if errNoRows(err) {
		return "", nil
	}
	if err == nil && given != request {
		e := artifact.Errorf(artifact.Malformed, "The Idempotency-Key was used for another request")
		e.Field = "header.idempotency-key"
		return "", e
	}
	return eventID, err
}

// Remember keeps the outcome of a request for [Tx.Replay].
func (tx *Tx) Remember(tenant, name, request, eventID string) error {
	_, err := tx.exec("INSERT INTO replays (tenant, name, request, answer, created) VALUES (?, ?, ?, ?, ?)"+
		" ON CONFLICT (tenant, name) DO UPDATE SET request = excluded.request, answer = excluded.answer, created = excluded.created",
		tenant, name, request, eventID, tx.now.UnixMicro())
	return err
}

// VersionByEvent returns the version with an event id as it was written, or
// [ErrNoFile].
func (tx *Tx) VersionByEvent(lib int64, eventID string) (artifact.Version, error) {
	seq, _ := eventSeq(eventID)
	var v artifact.Version
	err := tx.s.rows(tx.ctx, filesOf+"e.seq = ? AND e.event_id = ?", []any{lib, int64(seq), eventID}, func(scan func(...any) error) error {
		e, err := scanEntry(scan, artifact.LibraryLog)
		if e.Version != nil {
			v = *e.Version
		}
		return err
	})
	if err == nil && v.Seq == 0 {
		err = ErrNoFile
	}
	return v, err
}

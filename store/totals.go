package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Totals counts what the database holds. Deleted sessions are in Pending only.
type Totals struct {
	Sessions int64
	Entries  int64 // of sessions and libraries
	Versions int64 // entries whose bytes are kept
	Bytes    int64 // of those versions
	Pending  int64 // deleted sessions whose rows are still to be purged
	Lost     int64 // versions that should have bytes and name none
}

// Totals returns the counts.
func (r *Reads) Totals(ctx context.Context) (Totals, error) {
	var t Totals
	const events = "SELECT COUNT(*), COALESCE(SUM(CASE WHEN e.blob > '' THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN e.blob > '' THEN e.size ELSE 0 END), 0)," +
		" COALESCE(SUM(CASE WHEN e.blob = '' AND e.change <> '" + string(artifact.Deleted) + "' AND (e.source = '" + artifact.SourceWorkspace +
		"' OR e.source = '" + artifact.SourceLibrary + "' AND e.until = 9223372036854775807) THEN 1 ELSE 0 END), 0)" +
		" FROM events e JOIN sessions s ON s.key = e.session WHERE s.id <> '" + string(artifact.AuditLog) + "'"
	if err := r.q.row(ctx, events, nil, &t.Entries, &t.Versions, &t.Bytes, &t.Lost); err != nil {
		return t, r.d.explain(err)
	}
	err := r.q.row(ctx, "SELECT (SELECT COUNT(*) FROM sessions WHERE "+notALog+"), (SELECT COUNT(*) FROM tombstones WHERE purged = 0)", nil, &t.Sessions, &t.Pending)
	return t, r.d.explain(err)
}

// KeptUploads returns which of the attachments of a session have bytes: they
// were uploaded and not cleaned since. It is asked about at most 500.
func (r *Reads) KeptUploads(ctx context.Context, s *artifact.Session, attachments []string) (map[string]bool, error) {
	kept := make(map[string]bool, len(attachments))
	if len(attachments) == 0 {
		return kept, nil
	}
	args := []any{s.Key}
	for _, a := range attachments {
		args = append(args, a)
	}
	query := "SELECT attachment FROM events WHERE session = ? AND blob > '' AND source = '" + artifact.SourceUpload +
		"' AND attachment IN (?" + strings.Repeat(", ?", len(attachments)-1) + ")"
	err := r.q.rows(ctx, query, args, func(scan func(...any) error) error {
		var a string
		err := scan(&a)
		kept[a] = true
		return err
	})
	return kept, r.d.explain(err)
}

// AttachmentAt returns the version of a file that stood at a position, which
// may be its deletion, or a NotFound error.
func (r *Reads) AttachmentAt(ctx context.Context, s *artifact.Session, attachment string, at artifact.Seq) (artifact.Version, error) {
	list, err := r.entries(ctx, s.ID, "SELECT "+eventColumns+" FROM events e WHERE e.session = ? AND e.attachment = ? AND e.seq <= ? ORDER BY e.seq DESC LIMIT 1",
		s.Key, attachment, int64(at))
	if err == nil && len(list) == 0 {
		return artifact.Version{}, artifact.Errorf(artifact.NotFound, "Artifact not found")
	}
	if err != nil {
		return artifact.Version{}, fmt.Errorf("read attachment: %w", err)
	}
	return *list[0].Version, nil
}

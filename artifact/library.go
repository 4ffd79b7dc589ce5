package artifact

import "time"

// The logs of a tenant that are no sessions. No session can be called so.
const (
	LibraryLog SessionID = "/library" // its path artifacts
	AuditLog   SessionID = "/audit"   // who did what
)

// SourceLibrary is the source of a library's artifacts.
const SourceLibrary = "library"

// Moved is the change of a library's artifact that got another path and
// nothing else.
const Moved Change = "moved"

// Types of entries of a library's log.
const (
	TypeSaved   = "artifact_saved"
	TypeMoved   = "artifact_moved"
	TypeRemoved = "artifact_deleted"
)

// MaxVersions is how many versions of a path artifact are kept: with each new
// one beyond that the oldest loses its bytes and its metadata.
const MaxVersions = 500

// What a scanner said of a content. Empty means that none was asked.
const (
	ScanPending = "pending" // it is still to be looked at
	ScanClean   = "clean"
	ScanFailed  = "failed" // it could not be looked at
	ScanFound   = "found"  // quarantined
)

// Quota is what a tenant may use; 0 is no limit.
type Quota struct {
	Bytes     int64 // of every version that is kept, and of metadata as it is stored
	Files     int64 // uploads, live workspace files, library artifacts
	Sessions  int64
	Followers int64 // open streams, on each node
}

// AuditEntry is what the audit log tells of one change or login.
type AuditEntry struct {
	Action  string         `json:"action"` // such as "artifact.save"
	Object  string         `json:"object"` // such as "artifact:/docs/a.md"
	Outcome string         `json:"outcome"`
	Actor   string         `json:"actor"`
	User    string         `json:"user,omitempty"`
	Remote  string         `json:"remote,omitempty"`
	Agent   string         `json:"user_agent,omitempty"`
	Request string         `json:"request_id,omitempty"`
	Details map[string]any `json:"details,omitempty"`
}

// libraryEvent is what the log of a library tells of an artifact.
type libraryEvent struct {
	ArtifactID   string         `json:"artifact_id"`
	Path         string         `json:"path"`
	From         string         `json:"from,omitempty"` // of a move
	Version      int64          `json:"version,omitempty"`
	Change       Change         `json:"change_type"`
	ContentType  string         `json:"content_type"`
	Size         int64          `json:"size"`
	ETag         string         `json:"etag,omitempty"`
	Metadata     map[string]any `json:"metadata,omitzero"` // not of a version that is gone
	Actor        string         `json:"actor"`
	LastModified string         `json:"last_modified"`
}

func (v *Version) libraryEvent() libraryEvent {
	e := libraryEvent{
		ArtifactID: v.Attachment, Path: v.Path, Version: v.Number, Change: v.Change, ContentType: v.MIME, Size: v.Size,
		Metadata: v.Extra, Actor: v.Node, LastModified: Stamp(v.At),
	}
	if e.Metadata == nil && v.Key != "" {
		e.Metadata = map[string]any{}
	}
	if v.Change == Moved {
		e.From = v.Stat
	}
	if v.SHA256 != "" {
		e.ETag = v.ETag()
	}
	return e
}

// ETag returns the entity tag of a library's artifact: its hash in quotes
// (extensions §8).
func (v *Version) ETag() string { return `"` + v.Hash() + `"` }

// Stamp returns a time as /api/v2 writes it (contract, artifacts §1).
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

package artifact

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
// one beyond that the oldest loses its bytes.
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
	Bytes     int64 // of every version that is kept
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

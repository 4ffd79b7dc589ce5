// Package artifact holds the vocabulary of Vitrine: sessions, versions of
// files, entries of the log, and errors, with their JSON forms. It is not
// where anything happens: package store keeps these things, package depot uses
// them. Read this file first, then event.go.
package artifact

import (
	"crypto/rand"
	"encoding/json"

	"strings"
	"time"
)

// DefaultTenant is the tenant that owns everything while there are no accounts.
const DefaultTenant = "pf_default"

// SessionID names a session inside its tenant: 1 to 128 letters, digits, "_"
// and "-". Only [ParseSessionID] makes one from outside text.
type SessionID string

// Seq is a position in the log of one session: 1, 2, 3, … without gaps.
// 0 stands before the first entry.
type Seq int64

// Blob says where bytes live and what they are. An empty Key means that there
// are no bytes (a deletion, or an upload that was cleaned).
type Blob struct {
	Key    string
	SHA256 string // lower-case hex
	Size   int64
}

// Statuses of a session (contract, sessions §1).
const (
	StatusIdle      = "idle"
	StatusRunning   = "running"
	StatusWaiting   = "waiting_for_input"
	StatusCompleted = "completed"
	StatusError     = "error"
	StatusCancelled = "cancelled"
)

// Session is where an agent or a workflow works with files.
type Session struct {
	Key         int64 // internal; never leaves the server
	Tenant      string
	ID          SessionID
	Status      string
	Created     time.Time
	Updated     time.Time // time of the last entry, or of creation
	FirstSeq    Seq       // oldest entry kept in the log; FirstSeq-1 is the oldest valid cursor
	LastSeq     Seq
	Attachments int64           // uploads
	Artifacts   int64           // live files captured from the workspace
	Bytes       int64           // of every version that is kept
	Metadata    json.RawMessage // an object, as the client wrote it
}

// IsLog reports whether this is a tenant's library or its audit log, which have
// no workspace.
func (s *Session) IsLog() bool { return s.ID == LibraryLog || s.ID == AuditLog }

// Change says what an entry did to a file.
type Change string

// The changes of contract, sessions §3 (change_type).
const (
	Created Change = "created"
	Updated Change = "updated"
	Deleted Change = "deleted"
)

// Sources of a version.
const (
	SourceUpload    = "user_upload" // came over HTTP
	SourceWorkspace = "workspace"   // found in the workspace
)

// Version is one state of one file of a session: what an entry of the log
// tells of. Its bytes never change.
type Version struct {
	EventID    string // 32 hex digits; the artifact id is "art_" followed by it
	Attachment string // "att_…"; the logical file, the same through its updates
	Session    SessionID
	Seq        Seq
	Change     Change
	Path       string // slash path below code_workspace
	Name       string // display name: the last segment of Path
	MIME       string
	Blob
	Source string
	Node   string // who wrote it: a node id, "upload" or "workspace"
	Extra  map[string]any
	Stored int // bytes of Extra in its row
	At     time.Time
	Until  Seq    // the entry that superseded it; [Current] while it stands
	Number int64  // of a library's artifact: 1, 2, 3, …
	Scan   string // what a scanner said; see [ScanPending]
	Owner  string // who may read the bytes while Scan is [ScanPending]; empty is nobody
	Stat   string // what the file looked like on disk when captured, see package depot; of a move in a library, the path before
	Root   string // absolute session directory, only where local paths are shown
}

// Current is the Until of a version that nothing has superseded.
const Current Seq = 1<<63 - 1

// ID returns the artifact id, which names exactly this version.
func (v *Version) ID() string { return "art_" + v.EventID }

// Upload reports whether the file came in by upload.
func (v *Version) Upload() bool { return v.Source == SourceUpload }

// Cleaned reports whether the bytes were deleted for privacy (extensions §5).
func (v *Version) Cleaned() bool { return v.Change != Deleted && v.Key == "" }

// Storage says how the bytes are kept: "copy" for uploads, "reference" for
// workspace files, "cleaned" once they are deleted (contract, sessions §1), and
// "quarantined" where a scanner found something.
func (v *Version) Storage() string {
	switch {
	case v.Cleaned():
		return "cleaned"
	case v.Scan == ScanFound:
		return "quarantined"
	case v.Upload():
		return "copy"
	}
	return "reference"
}

// Kind returns "image", "audio", "video" or "file" from the media type.
func (v *Version) Kind() string {
	major, _, _ := strings.Cut(v.MIME, "/")
	switch major {
	case "image", "audio", "video":
		return major
	}
	return "file"
}

// Types of log entries of this package's making. Runs add their own.
const (
	TypeArtifact    = "artifact_created"     // a file was created, updated or deleted in the workspace
	TypeUpload      = "attachment_uploaded"  // a file was uploaded
	TypeCleaned     = "attachments_cleaned"  // the bytes of uploads were deleted
	TypeQuarantined = "artifact_quarantined" // a scanner found something in a version, also of a library
	TypeDeleted     = "session_deleted"      // always the last entry
)

// Entry is one entry of a session's log.
type Entry struct {
	Session SessionID
	Seq     Seq
	Type    string
	At      time.Time
	Version *Version // set for TypeArtifact and TypeUpload
	Data    []byte   // JSON object of every other type
}

// Weight returns how many bytes of JSON the entry was read with, which bounds
// how many are in memory at a time.
func (e *Entry) Weight() int {
	if e.Version != nil {
		return e.Version.Stored
	}
	return len(e.Data)
}

// NewAttachmentID returns "att_" and 26 random lower-case letters and digits.
func NewAttachmentID() string { return "att_" + strings.ToLower(rand.Text()) }

package artifact

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"time"
)

// WorkspaceDir is the folder of a session in which its files lie.
const WorkspaceDir = "code_workspace"

// AttachmentsDir is the folder of the workspace in which uploads lie.
const AttachmentsDir = "attachments"

// event is the wire form of a version: the 14 keys of the reference, then the
// seed's names for the same things (contract, sessions §3 and §10).
type event struct {
	EventID       string         `json:"event_id"`
	Sequence      Seq            `json:"sequence"`
	NodeID        string         `json:"node_id"`
	AttachmentID  string         `json:"attachment_id"`
	FileName      string         `json:"file_name"`
	RelativePath  string         `json:"relative_path"`
	WorkspacePath string         `json:"workspace_path"`
	MIMEType      string         `json:"mime_type"`
	Size          int64          `json:"size"`
	SHA256        string         `json:"sha256"`
	DataURI       *string        `json:"data_uri"` // always null, as in the reference
	CreatedAt     float64        `json:"created_at"`
	ChangeType    Change         `json:"change_type"`
	Extra         map[string]any `json:"extra"`
	ArtifactID    string         `json:"artifact_id"`
	Name          string         `json:"name"`
	Path          string         `json:"path"`
	MIME          string         `json:"mime"`
	Hash          string         `json:"hash"`
	Timestamp     int64          `json:"timestamp"`
	SessionID     SessionID      `json:"session_id"`
	Source        string         `json:"source"`
	Storage       string         `json:"storage"`
}

// MarshalJSON returns the artifact event of contract, sessions §3; of a library,
// what its change log tells of an artifact.
func (v *Version) MarshalJSON() ([]byte, error) {
	if v.Source == SourceLibrary {
		return json.Marshal(v.libraryEvent())
	}
	return json.Marshal(event{
		EventID: v.EventID, Sequence: v.Seq, NodeID: v.Node, AttachmentID: v.Attachment,
		FileName: v.Name, RelativePath: v.Path, WorkspacePath: v.LocalPath(),
		MIMEType: v.MIME, Size: v.Size, SHA256: v.SHA256, CreatedAt: UnixSeconds(v.At),
		ChangeType: v.Change, Extra: v.ManifestExtra(), ArtifactID: v.ID(), Name: v.Name,
		Path: WorkspaceDir + "/" + v.Path, MIME: v.MIME, Hash: v.Hash(), Timestamp: v.At.Unix(),
		SessionID: v.Session, Source: v.Source, Storage: v.Storage(),
	})
}

// Hash returns the content hash in the seed's form, "sha256:<hex>".
func (v *Version) Hash() string { return "sha256:" + v.SHA256 }

// LocalPath returns where the file lies: below the session's directory, or the
// absolute path where the operator lets local paths be shown.
func (v *Version) LocalPath() string {
	p := WorkspaceDir + "/" + v.Path
	if v.Root != "" {
		return filepath.Join(v.Root, filepath.FromSlash(p))
	}
	return p
}

// ManifestExtra returns the "extra" object of contract, sessions §1: who the
// file comes from, with source, workspace_path and storage always present.
func (v *Version) ManifestExtra() map[string]any {
	m := make(map[string]any, len(v.Extra)+6)
	for k, x := range v.Extra {
		m[k] = x
	}
	m["source"], m["workspace_path"], m["storage"] = v.Source, v.Path, v.Storage()
	if v.Upload() {
		m["origin"], m["session_id"] = "web_upload", string(v.Session)
		return m
	}
	m["node_id"], m["relative_path"], m["hook"] = v.Node, v.Path, "workspace_scan"
	return m
}

// entry is the wire form of an entry on SSE and in events.jsonl (extensions §2).
type entry struct {
	Type      string          `json:"type"`
	Seq       Seq             `json:"seq"`
	SessionID SessionID       `json:"session_id"`
	At        float64         `json:"at"`
	Data      json.RawMessage `json:"data"`
}

// tenantEntry is the wire form of an entry of a library or of an audit log.
type tenantEntry struct {
	Type string          `json:"type"`
	Seq  Seq             `json:"seq"`
	At   string          `json:"at"`
	Data json.RawMessage `json:"data"`
}

// MarshalJSON returns {"type","seq","session_id","at","data"}; for a file the
// data is the artifact event. Logs of a tenant have no session_id, and their
// times are those of contract, artifacts §1.
func (e *Entry) MarshalJSON() ([]byte, error) {
	data := json.RawMessage(e.Data)
	if e.Version != nil {
		b, err := e.Version.MarshalJSON()
		if err != nil {
			return nil, err
		}
		data = b
	}
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	if e.Session == LibraryLog || e.Session == AuditLog {
		return json.Marshal(tenantEntry{e.Type, e.Seq, Stamp(e.At), data})
	}
	return json.Marshal(entry{e.Type, e.Seq, e.Session, UnixSeconds(e.At), data})
}

// UnixSeconds returns t as the contract writes times: seconds with a fraction.
func UnixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// FromUnixSeconds is the inverse of UnixSeconds, exact to the microsecond.
func FromUnixSeconds(s float64) time.Time { return time.UnixMicro(int64(math.Round(s * 1e6))).UTC() }

// Filter says which entries a reader wants. The zero Filter takes all of them.
// Its parts are joined by "and" (contract, sessions §3).
type Filter struct {
	Types   []string // of entries; empty takes all
	MIME    []string // prefixes of the media type, in any case; a trailing "*" is ignored
	Ext     []string // suffixes of the file name after a dot, in any case
	MaxSize int64    // bytes; 0 takes any size
	Uploads bool     // uploads too, when Types would leave them out
}

// Match reports whether the filter takes e. A filter that asks for a property
// of a file never takes an entry without one, but the end of a session is
// always told.
func (f *Filter) Match(e *Entry) bool {
	if e.Type == TypeDeleted {
		return true
	}
	if len(f.Types) > 0 && !f.wantsType(e.Type) {
		return false
	}
	v := e.Version
	if v == nil {
		return len(f.MIME) == 0 && len(f.Ext) == 0 && f.MaxSize == 0
	}
	return f.matchMIME(v.MIME) && f.matchExt(v.Name) && (f.MaxSize == 0 || v.Size <= f.MaxSize)
}

func (f *Filter) wantsType(t string) bool {
	if t == TypeUpload && f.Uploads {
		return true
	}
	for _, want := range f.Types {
		if want == t {
			return true
		}
	}
	return false
}

func (f *Filter) matchMIME(mime string) bool {
	if len(f.MIME) == 0 {
		return true
	}
	mime = strings.ToLower(mime)
	for _, want := range f.MIME {
		if mime != "" && strings.HasPrefix(mime, strings.ToLower(strings.TrimSuffix(want, "*"))) {
			return true
		}
	}
	return false
}

func (f *Filter) matchExt(name string) bool {
	if len(f.Ext) == 0 {
		return true
	}
	name = strings.ToLower(name)
	for _, want := range f.Ext {
		if want = strings.TrimLeft(strings.ToLower(want), "."); want != "" && strings.HasSuffix(name, "."+want) {
			return true
		}
	}
	return false
}

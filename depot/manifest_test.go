package depot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// manifestText returns what writeManifest writes now.
func (p *place) manifestText() string {
	p.t.Helper()
	s := p.session()
	var b bytes.Buffer
	if err := p.writeManifest(p.t.Context(), &s, s.LastSeq, &b, nil); err != nil {
		p.t.Fatal(err)
	}
	return b.String()
}

// keysOf returns the keys of a JSON object in the order in which they stand.
func keysOf(t *testing.T, text string) (keys []string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestManifest(t *testing.T) {
	p := inPlace(t, Options{})
	if got := p.manifestText(); got != "{}" {
		t.Errorf("the manifest of an empty session is %q", got)
	}
	up := send(t, p.Depot, p.s.ID, "a <b> & 报告.txt")[0]
	p.write("out/pic.png", "png")
	p.write("node_modules/x.js", "x")
	pic := p.want("created out/pic.png")[0]
	text := p.manifestText()
	want := fmt.Sprintf(`{
  "%[1]s": {
    "ref": {
      "attachment_id": "%[1]s",
      "mime_type": "text/plain",
      "name": "a <b> & 报告.txt",
      "size": %[2]d,
      "sha256": "%[3]s",
      "local_path": "code_workspace/attachments/%[1]s/a <b> & 报告.txt"
    },
    "kind": "file",
    "description": null,
    "extra": {
      "origin": "web_upload",
      "session_id": "s1",
      "source": "user_upload",
      "storage": "copy",
      "workspace_path": "attachments/%[1]s/a <b> & 报告.txt"
    },
    "source": "user_upload",
    "workspace_path": "attachments/%[1]s/a <b> & 报告.txt",
    "storage": "copy",
    "created_at": %[4]s,
    "updated_at": %[4]s
  },
  "%[5]s": {
    "ref": {
      "attachment_id": "%[5]s",
      "mime_type": "image/png",
      "name": "pic.png",
      "size": 3,
      "sha256": "%[6]s",
      "local_path": "code_workspace/out/pic.png"
    },
    "kind": "image",
    "description": null,
    "extra": {
      "hook": "workspace_scan",
      "node_id": "workspace",
      "relative_path": "out/pic.png",
      "source": "workspace",
      "storage": "reference",
      "workspace_path": "out/pic.png"
    },
    "source": "workspace",
    "workspace_path": "out/pic.png",
    "storage": "reference",
    "created_at": %[7]s,
    "updated_at": %[7]s
  },
  "skipped:node_modules": {
    "ref": {
      "attachment_id": "skipped:node_modules",
      "mime_type": "inode/directory",
      "name": "node_modules",
      "size": 0
    },
    "kind": "file",
    "description": null,
    "extra": {
      "reason": "ignored folder",
      "relative_path": "node_modules",
      "skipped": true,
      "source": "workspace",
      "storage": "skipped",
      "workspace_path": "node_modules"
    },
    "source": "workspace",
    "workspace_path": "node_modules",
    "storage": "skipped"
  }
}`, up.Attachment, up.Size, up.SHA256, seconds(t, up), pic.Attachment, pic.SHA256, seconds(t, pic))
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func seconds(t *testing.T, v artifact.Version) string {
	t.Helper()
	b, err := json.Marshal(artifact.UnixSeconds(v.At))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestManifestRemembersWhenAFileAppeared(t *testing.T) {
	p := inPlace(t, Options{ExposePaths: true})
	p.write("a.txt", "1")
	first := p.want("created a.txt")[0]
	p.write("a.txt", "2")
	p.want("updated a.txt")
	p.write("a.txt", "3")
	last := p.want("updated a.txt")[0]
	var m map[string]ManifestRecord
	if err := json.Unmarshal([]byte(p.manifestText()), &m); err != nil {
		t.Fatal(err)
	}
	r := m[first.Attachment]
	if r.CreatedAt != artifact.UnixSeconds(first.At) || r.UpdatedAt != artifact.UnixSeconds(last.At) || r.Ref.SHA256 != last.SHA256 {
		t.Errorf("record = %+v, want the first time, the last time and the last content", r)
	}
	if want := filepath.Join(p.dir, "a.txt"); r.Ref.LocalPath != want {
		t.Errorf("local_path = %q, want %q", r.Ref.LocalPath, want)
	}
}

// Many uploads share few writes, and what is on the disk in the end is complete.
func TestManifestWriterCoalesces(t *testing.T) {
	p := inPlace(t, Options{})
	const n = 500
	var want []string
	for i := range n {
		want = append(want, send(t, p.Depot, p.s.ID, fmt.Sprint("f", i))[0].Attachment)
	}
	file := filepath.Join(p.dir, artifact.AttachmentsDir, manifestName)
	var text []byte
	eventually(t, "complete manifest", func() bool {
		b, err := os.ReadFile(file)
		text = b
		return err == nil && bytes.Contains(b, []byte(want[n-1]))
	})
	if diff := cmp.Diff(want, keysOf(t, string(text))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if w := p.manifest.writes.Load(); w < 1 || w > n/5 {
		t.Errorf("%d uploads wrote the manifest %d times", n, w)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestManifestIsWrittenAtClose(t *testing.T) {
	p := inPlace(t, Options{})
	up := send(t, p.Depot, p.s.ID, "a.txt")[0]
	p.close()
	b, err := os.ReadFile(filepath.Join(p.dir, artifact.AttachmentsDir, manifestName))
	if err != nil || !bytes.Contains(b, []byte(up.Attachment)) {
		t.Errorf("manifest after Close = %q, %v; want the upload in it", b, err)
	}
}

// A write that fails is tried again.
func TestManifestWriterTriesAgain(t *testing.T) {
	p := inPlace(t, Options{})
	dir := filepath.Join(p.dir, artifact.AttachmentsDir)
	if err := os.MkdirAll(filepath.Join(dir, manifestName, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.manifestChanged(&p.s)
	eventually(t, "failure", func() bool {
		p.manifest.mu.Lock()
		defer p.manifest.mu.Unlock()
		x := p.manifest.m[p.s.Key]
		return x != nil && x.failures > 0
	})
	if err := os.RemoveAll(filepath.Join(dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "manifest", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, manifestName))
		return err == nil && string(b) == "{}"
	})
}

// A manifest that is due when its session is deleted does not bring the folder back.
func TestManifestOfDeletedSession(t *testing.T) {
	p := inPlace(t, Options{})
	send(t, p.Depot, p.s.ID, "a.txt")
	if err := p.DeleteSession(t.Context(), p.s.Tenant, p.s.ID); err != nil {
		t.Fatal(err)
	}
	p.close()
	if _, err := os.Lstat(p.Depot.dir(&p.s)); !os.IsNotExist(err) {
		t.Errorf("the folder of a deleted session: %v, want that it does not exist", err)
	}
}

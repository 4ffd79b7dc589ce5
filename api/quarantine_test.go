package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/scan/scantest"
)

// The scanner of these tests finds "evil", and says nothing while there is a
// file "wait" beside it.
const checkScript = `#!/bin/sh
content=$(cat; echo)
while [ -e "$(dirname "$0")/wait" ]; do sleep 0.01; done
case $content in *evil*) echo Test.Evil; exit 1;; esac
`

// scanning starts a server with a scanner that waits, in which everybody needs
// a token. go lets the scanner go on.
func scanning(t testing.TB) (h *house, let func()) {
	t.Helper()
	dir := t.TempDir()
	wait := filepath.Join(dir, "wait")
	err := errors.Join(os.WriteFile(filepath.Join(dir, "check"), []byte(checkScript), 0o700), os.WriteFile(wait, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	scanner, err := scan.Open("exec:" + filepath.Join(dir, "check"))
	if err != nil {
		t.Fatal(err)
	}
	let = func() {
		if err := os.Remove(wait); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	h = open(t, func(s *setup) {
		s.depot.Scanner, s.depot.ScanHold, s.depot.ScanRequired = scanner, true, true
		s.api.Access.Required = true
	})
	t.Cleanup(let) // before the house is closed
	return h, let
}

// another returns the house in the hands of another user of the tenant, and the
// header that says so.
func (h *house) another() (other *house, bearer string) {
	h.Helper()
	key, _, err := h.accounts.CreateKey(context.Background(), artifact.DefaultTenant, account.KeyRequest{Name: "other"})
	if err != nil {
		h.Fatal(err)
	}
	other = h.in(h.TB)
	other.bearer = h.tokenOf(key)
	return other, "Bearer " + other.bearer
}

// scanned waits until the scanner has said something of everything.
func (h *house) scanned() {
	h.Helper()
	eventually(h, "everything is scanned", func() bool {
		n, err := h.depot.Unscanned(context.Background())
		return err == nil && n == 0
	})
}

func TestHeldIsTheOwners(t *testing.T) {
	h, let := scanning(t)
	other, bearer := h.another()
	mine := "Bearer " + h.bearer
	up := h.ok(h.do("PUT", "/api/uploads/s/a.txt", strings.NewReader("good"), "Authorization", mine)).json
	if up["scan"] != "pending" {
		t.Errorf("upload %v", up)
	}
	saved := h.data(h.save("/a.md", "good"))
	stream := fmt.Sprintf("/api/sessions/s/artifacts/%s?mode=stream", up["artifact_id"])
	ways := map[string]string{
		"stream": stream, "text": library + "?path=/a.md", "version": library + "?path=/a.md&version=1", "raw": library + "/raw/a.md",
		"zip": fmt.Sprintf("/api/sessions/s/download?ids=%s", up["artifact_id"]),
	}
	for name, path := range ways {
		h.ok(h.get(path, "Authorization", mine))
		a := other.want(other.get(path, "Authorization", bearer), 503, "")
		e := a.json["error"].(map[string]any)
		details, _ := e["details"].(map[string]any)
		if a.Header.Get("Retry-After") == "" || details["reason"] != "scan_pending" || strings.Contains(string(a.body), "good") {
			t.Errorf("%s: %v, %s", name, a.Header, a.body)
		}
		if strings.HasPrefix(path, library) && e["code"] != "RES_SCAN_PENDING" {
			t.Errorf("%s: code %v", name, e["code"])
		}
	}
	meta := other.ok(other.get(strings.TrimSuffix(stream, "?mode=stream"), "Authorization", bearer)).json
	if meta["scan"] != "pending" || meta["data_uri"] != nil || meta["size"] != 4.0 {
		t.Errorf("meta %v", meta)
	}
	if meta = h.ok(h.get(strings.TrimSuffix(stream, "?mode=stream"), "Authorization", mine)).json; meta["data_uri"] == nil {
		t.Errorf("the owner's meta %v", meta)
	}
	record := other.data(other.get(fmt.Sprintf("/api/v2/memories/%s", saved["artifact_id"])))
	if record["content"] != "/a.md\n\n" {
		t.Errorf("record %v", record)
	}
	list := objects(other.list("?recursive=true")["files"])
	if len(list) != 1 || list[0]["scan"] != "pending" {
		t.Errorf("list %v", list)
	}
	let()
	h.scanned()
	for name, path := range ways {
		if a := other.ok(other.get(path, "Authorization", bearer)); a.StatusCode != 200 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	if meta = other.ok(other.get(strings.TrimSuffix(stream, "?mode=stream"), "Authorization", bearer)).json; meta["scan"] != "clean" || meta["data_uri"] == nil {
		t.Errorf("meta %v", meta)
	}
}

// What was found is nobody's, whichever way it came in; with the real clamd.
func TestFoundIsNobodys(t *testing.T) {
	address, marker := scantest.Clamd(t)
	scanner, err := scan.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	h := open(t, func(s *setup) { s.depot.Scanner, s.depot.ScanRequired = scanner, true })
	ids := []any{h.up("s", "form.txt", marker)["artifact_id"],
		h.ok(h.do("PUT", "/api/uploads/s/put.bin", strings.NewReader(strings.Repeat("x", 30<<10)+marker))).json["artifact_id"],
		h.change("s", "out/made.txt", marker)["artifact_id"]}
	h.up("s", "good.txt", "good")
	h.data(h.save("/evil.md", marker))
	h.data(h.save("/old.md", marker))
	h.data(h.save("/old.md", "good again", `,"overwrite":true`))
	h.scanned()
	refused := func(a answer) {
		t.Helper()
		h.want(a, 403, "")
		e := a.json["error"].(map[string]any)
		if details, _ := e["details"].(map[string]any); details["reason"] != "quarantined" || strings.Contains(string(a.body), marker) {
			t.Errorf("%s %s: %s", a.Request.Method, a.Request.URL, a.body)
		}
	}
	for _, id := range ids {
		path := fmt.Sprintf("/api/sessions/s/artifacts/%s", id)
		refused(h.get(path + "?mode=stream"))
		refused(h.get(path+"?mode=stream", "Range", "bytes=0-3"))
		refused(h.get(fmt.Sprintf("/api/sessions/s/download?ids=%s", id)))
		if a := h.do("HEAD", path+"?mode=stream", nil); a.StatusCode != 403 {
			t.Errorf("HEAD: %d", a.StatusCode)
		}
		meta := h.ok(h.get(path)).json
		if meta["scan"] != "found" || meta["storage"] != "quarantined" || meta["data_uri"] != nil {
			t.Errorf("meta %v", meta)
		}
	}
	for _, path := range []string{"?path=/evil.md", "?path=/evil.md&version=1", "?path=/old.md&version=1", "/raw/evil.md", "/raw/old.md?version=1"} {
		refused(h.get(library + path))
	}
	if d := h.data(h.artifactAt("/old.md")); d["content"] != "good again" {
		t.Errorf("the newest version is %v", d)
	}
	for _, ask := range []struct{ method, path, body string }{
		{"POST", "/move", `{"from":"/evil.md","to":"/b.md"}`}, {"POST", "/copy", `{"from":"/evil.md","to":"/b.md"}`},
		{"POST", "/restore", `{"path":"/old.md","version":1}`}, {"PATCH", "?path=/evil.md", `{"append":"x"}`},
		{"POST", "/checkout", `{"path":"/evil.md","session_id":"s"}`},
		{"POST", "/promote", fmt.Sprintf(`{"session_id":"s","artifact_id":%q,"path":"/b.md"}`, ids[1])},
	} {
		refused(h.ask(ask.method, library+ask.path, ask.body))
	}
	for _, path := range []string{"/api/sessions/s/download", library + "/archive"} {
		_, contents := unzip(t, h.ok(h.get(path)).body)
		all := strings.Join(slices.Collect(maps.Values(contents)), "")
		if strings.Contains(all, marker) || !strings.Contains(all, "good") || !strings.Contains(all, `"quarantined"`) {
			t.Errorf("%s holds what was found, or does not tell of it: %s", path, all)
		}
	}
	versions := objects(h.data(h.get(library + "/versions?path=" + url.QueryEscape("/old.md")))["versions"])
	if len(versions) != 2 || versions[0]["scan"] != "clean" || versions[1]["scan"] != "found" {
		t.Errorf("versions %v", versions)
	}
	h.toldOf(ids)
	h.data(h.do("DELETE", library+"?path=/evil.md", nil))
}

// toldOf fails the test unless the logs and the listing of a session tell of
// what was found in three of its versions.
func (h *house) toldOf(ids []any) {
	h.Helper()
	s := h.stream("s", "/events?types=artifact_quarantined")
	told := map[any]bool{}
	for range ids {
		var e struct{ Data map[string]any }
		if err := json.Unmarshal([]byte(s.next().Data), &e); err != nil {
			h.Fatal(err)
		}
		if told[e.Data["artifact_id"]] = true; e.Data["found"] != scantest.Found {
			h.Errorf("entry %v", e.Data)
		}
	}
	for _, id := range ids {
		if !told[id] {
			h.Errorf("nothing is told of %v", id)
		}
	}
	items := objects(h.ok(h.get("/api/uploads/s")).json["items"])
	if got := strings.Join(texts(items, "storage"), " "); got != "quarantined quarantined quarantined copy" {
		h.Errorf("storage of the uploads: %s", got)
	}
}

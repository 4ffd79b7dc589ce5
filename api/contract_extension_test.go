package api_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Our extensions to the library (extensions §8).

// tag returns the entity tag of a content.
func tag(content string) string { return fmt.Sprintf(`"sha256:%x"`, sha256.Sum256([]byte(content))) }

// holds fails the test unless the text at a path is this one.
func (h *house) holds(path, want string) {
	h.Helper()
	if got := h.data(h.artifactAt(path))["content"]; got != want {
		h.Errorf("%s holds %.80q, want %.80q", path, got, want)
	}
}

// saveIf saves a text under conditions.
func (h *house) saveIf(path, content string, headers ...string) answer {
	h.Helper()
	return h.do("POST", library, strings.NewReader(saveBody(h, path, content)), append(headers, "Content-Type", "application/json")...)
}

func TestOverwrite(t *testing.T) {
	h := open(t)
	first := h.data(h.save("/a.bin", "one", `,"content_type":"text/x-thing"`))
	if diff := cmp.Diff([]string{"artifact_id", "content_type", "message", "path", "size", "storage_path", "success"}, keys(first)); diff != "" {
		t.Errorf("a request without extensions is answered with more: %s", diff)
	}
	a := h.save("/a.bin", "two!", `,"overwrite":true`)
	second := h.data(a)
	want := map[string]any{"success": true, "message": "Artifact saved successfully", "path": "/a.bin", "artifact_id": first["artifact_id"],
		"content_type": "text/x-thing", "size": 4.0, "storage_path": "artifacts/a.bin", "version": 2.0, "etag": tag("two!")}
	if diff := cmp.Diff(want, second); diff != "" || a.Header.Get("ETag") != tag("two!") {
		t.Errorf("(-want +got):\n%s\nETag %q", diff, a.Header.Get("ETag"))
	}
	h.holds("/a.bin", "two!")
	if got := h.artifactAt("/a.bin").Header.Get("ETag"); got != tag("two!") {
		t.Errorf("retrieved with ETag %q", got)
	}
	h.want(h.save("/a.bin", "two!", `,"overwrite":false`), 409, "RES_ALREADY_EXISTS")
	h.want(h.save("/a.bin", "x", `,"overwrite":"yes"`), 422, "VAL_VALIDATION_FAILED")
	if v := h.data(h.save("/new.bin", "x", `,"overwrite":true`)); v["version"] != 1.0 {
		t.Errorf("overwriting nothing: %v", v)
	}
}

// Conditions hold or nothing is done (RFC 9110 §13.1).
func TestSaveConditions(t *testing.T) {
	h := open(t)
	h.data(h.save("/a.md", "one"))
	for _, row := range []struct {
		name, path string
		headers    []string
		status     int
		code       string
	}{
		{"another's tag", "/a.md", []string{"If-Match", tag("other")}, 412, "RES_PRECONDITION_FAILED"},
		{"a weak tag", "/a.md", []string{"If-Match", "W/" + tag("one")}, 412, "RES_PRECONDITION_FAILED"},
		{"any, where nothing is", "/none.md", []string{"If-Match", "*"}, 412, "RES_PRECONDITION_FAILED"},
		{"no tag", "/a.md", []string{"If-Match", "one"}, 400, "VAL_FIELD_INVALID"},
		{"half a tag", "/a.md", []string{"If-Match", `"one`}, 400, "VAL_FIELD_INVALID"},
		{"create only", "/a.md", []string{"If-None-Match", "*"}, 412, "RES_PRECONDITION_FAILED"},
		{"none of these", "/a.md", []string{"If-None-Match", tag("one")}, 412, "RES_PRECONDITION_FAILED"},
		{"no condition that replaces", "/a.md", []string{"If-None-Match", tag("other")}, 409, "RES_ALREADY_EXISTS"},
		{"create only, nothing there", "/b.md", []string{"If-None-Match", "*"}, 200, ""},
		{"right among others", "/a.md", []string{"If-Match", tag("other") + ", " + tag("one"), "If-Match", `"x"`}, 200, ""},
		{"the tag of before", "/a.md", []string{"If-Match", tag("one")}, 412, "RES_PRECONDITION_FAILED"},
		{"any", "/a.md", []string{"If-Match", "*"}, 200, ""},
	} {
		if a := h.saveIf(row.path, "next", row.headers...); a.StatusCode != row.status {
			t.Errorf("%s: %d, want %d: %s", row.name, a.StatusCode, row.status, a.body)
		} else if row.code != "" {
			h.want(a, row.status, row.code)
		}
	}
	h.want(h.do("DELETE", at("/a.md"), nil, "If-Match", tag("one")), 412, "")
	h.data(h.do("DELETE", at("/a.md"), nil, "If-Match", tag("next")))
}

// Of writers who saw the same one wins, and no edit of many is lost.
func TestNoLostUpdates(t *testing.T) {
	h := open(t)
	h.data(h.save("/seen.md", "seen"))
	h.data(h.save("/log.txt", ""))
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[int]int{}
	const writers = 16
	for i := range writers {
		wg.Go(func() {
			a := h.saveIf("/seen.md", fmt.Sprint("by ", i), "If-Match", tag("seen"))
			mu.Lock()
			won[a.StatusCode]++
			mu.Unlock()
			if a := h.edit("/log.txt", fmt.Sprintf(`{"append":"<%d>"}`, i)); a.StatusCode != 200 {
				t.Errorf("append: %d %s", a.StatusCode, a.body)
			}
		})
	}
	wg.Wait()
	if won[200] != 1 || won[412] != writers-1 {
		t.Errorf("statuses %v", won)
	}
	text := fmt.Sprint(h.data(h.artifactAt("/log.txt"))["content"])
	for i := range writers {
		if strings.Count(text, fmt.Sprintf("<%d>", i)) != 1 {
			t.Errorf("the edit of %d is not there once: %s", i, text)
		}
	}
}

func TestVersions(t *testing.T) {
	h := open(t)
	id := h.data(h.save("/v.md", "one", `,"metadata":{"n":1}`))["artifact_id"]
	h.data(h.save("/v.md", "two", `,"overwrite":true,"metadata":{"n":2}`))
	h.data(h.save("/v.md", "three", `,"overwrite":true`))
	list := h.data(h.get(library + "/versions?path=/v.md"))
	if list["path"] != "/v.md" || list["artifact_id"] != id {
		t.Errorf("%v", list)
	}
	var got []string
	for _, v := range objects(list["versions"]) {
		got = append(got, fmt.Sprint(v["version"], v["etag"], v["size"], v["metadata"], v["path"], v["artifact_id"] == id))
	}
	want := []string{
		fmt.Sprint(3, tag("three"), 5, map[string]any{"n": 2}, "/v.md", true),
		fmt.Sprint(2, tag("two"), 3, map[string]any{"n": 2}, "/v.md", true),
		fmt.Sprint(1, tag("one"), 3, map[string]any{"n": 1}, "/v.md", true),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for version, content := range map[string]string{"1": "one", "2": "two", "3": "three"} {
		if got := h.data(h.artifactAt("/v.md", "&version="+version)); got["content"] != content {
			t.Errorf("version %s: %v", version, got)
		}
	}
	h.want(h.artifactAt("/v.md", "&version=4"), 404, "RES_NOT_FOUND")
	restored := h.data(h.ask("POST", library+"/restore", `{"path":"/v.md","version":1}`))
	if restored["version"] != 4.0 || restored["etag"] != tag("one") || restored["artifact_id"] != id {
		t.Errorf("restored %v", restored)
	}
	h.holds("/v.md", "one")
	h.want(h.ask("POST", library+"/restore", `{"path":"/v.md","version":9}`), 404, "RES_NOT_FOUND")
	h.want(h.do("POST", library+"/restore", strings.NewReader(`{"path":"/v.md","version":2}`), "If-Match", tag("two"), "Content-Type", "application/json"), 412, "")
	h.data(h.do("DELETE", at("/v.md"), nil))
	h.want(h.get(library+"/versions?path=/v.md"), 404, "RES_NOT_FOUND")
	h.data(h.save("/v.md", "anew"))
	if list := objects(h.data(h.get(library + "/versions?path=/v.md"))["versions"]); len(list) != 1 || list[0]["version"] != 1.0 {
		t.Errorf("after deletion and a save: %v", list)
	}
}

// Edits fail without guessing and then change nothing.
func TestEditsAreExact(t *testing.T) {
	h := open(t)
	const text = "one two two three aaa \r\n é x"
	h.data(h.save("/e.txt", text))
	e := func(old, to string) string {
		b, err := json.Marshal(map[string]string{"old": old, "new": to})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, row := range map[string]struct {
		edits, reason string
		edit, times   float64
	}{
		"absent":                     {e("four", "4"), "absent", 0, 0},
		"ambiguous":                  {e("two", "2"), "ambiguous", 0, 2},
		"overlapping itself":         {e("aa", "b"), "ambiguous", 0, 2},
		"the second is absent":       {e("one", "1") + "," + e("one", "I"), "absent", 1, 0},
		"the first makes it unclear": {e("one", "three") + "," + e("three", "3"), "ambiguous", 1, 2},
		"a line end of another kind": {e(" \n", ""), "absent", 0, 0},
		"decomposed":                 {e("e\u0301", "e"), "absent", 0, 0},
	} {
		a := h.want(h.edit("/e.txt", `{"edits":[`+row.edits+`],"append":"more"}`), 409, "RES_EDIT_"+strings.ToUpper(row.reason))
		want := map[string]any{"reason": row.reason, "edit": row.edit, "occurrences": row.times}
		if diff := cmp.Diff(want, asMap(a.json["error"])["details"]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	h.holds("/e.txt", text)
	for _, body := range []string{`{}`, `{"edits":"x"}`, `{"edits":[{"old":"one"}]}`, `{"edits":[{"old":"","new":"x"}]}`, `{"append":7}`, `{"edits":[7]}`,
		`{"edits":[` + strings.Repeat(e("one", "1")+",", 100) + e("one", "1") + `]}`} {
		h.want(h.edit("/e.txt", body), 422, "")
	}
	got := h.data(h.edit("/e.txt", `{"edits":[`+e("one", "three")+`,`+e("two three", "3")+`,`+e("é", "É")+`],"append":"!"}`, "If-Match", tag(text)))
	want := "three two 3 aaa \r\n É x!"
	if got["version"] != 2.0 || got["etag"] != tag(want) || got["size"] != float64(len(want)) {
		t.Errorf("edited: %v", got)
	}
	h.holds("/e.txt", want)
	h.data(h.edit("/e.txt", `{"append":"?"}`))
	h.holds("/e.txt", want+"?")
	if got := h.data(h.edit("/e.txt", `{"metadata":{"k":1}}`)); got["version"] != 4.0 || got["etag"] != tag(want+"?") {
		t.Errorf("metadata alone: %v", got)
	}
	h.data(h.edit("/e.txt", `{"edits":[],"append":""}`))
}

func TestMoveAndCopy(t *testing.T) {
	h := open(t)
	first := h.data(h.save("/from.md", "one"))
	h.data(h.save("/from.md", "two", `,"overwrite":true,"metadata":{"k":"v"}`))
	move := func(from, to string) answer {
		return h.ask("POST", library+"/move", `{"from":"`+from+`","to":"`+to+`"}`)
	}
	moved := h.data(move("/from.md", "/dir/to.md"))
	if moved["artifact_id"] != first["artifact_id"] || moved["path"] != "/dir/to.md" || moved["version"] != 2.0 || moved["message"] != "Artifact moved successfully" {
		t.Errorf("moved: %v", moved)
	}
	h.want(h.artifactAt("/from.md"), 404, "RES_NOT_FOUND")
	h.holds("/dir/to.md", "two")
	if got := h.data(h.artifactAt("/dir/to.md", "&version=1")); got["content"] != "one" || got["path"] != "/dir/to.md" {
		t.Errorf("history: %v", got)
	}
	if m := h.data(h.get("/api/v2/memories/" + fmt.Sprint(first["artifact_id"]))); asMap(m["metadata"])["path"] != "/dir/to.md" {
		t.Errorf("its record: %v", m)
	}
	h.want(move("/from.md", "/x.md"), 404, "RES_NOT_FOUND")
	h.want(move("/dir/to.md", "/dir/to.md"), 409, "RES_ALREADY_EXISTS")
	h.data(h.save("/from.md", "again"))
	h.want(move("/from.md", "/dir/to.md"), 409, "RES_ALREADY_EXISTS")
	for body, field := range map[string]string{`{"from":"x","to":"/y"}`: "from", `{"from":"/x","to":"y/"}`: "to"} {
		e := asMap(h.want(h.ask("POST", library+"/move", body), 400, "VAL_FIELD_INVALID").json["error"])
		if asMap(e["details"])["field"] != field {
			t.Errorf("%s: %v", body, e)
		}
	}
	duplicate := func(more string) answer {
		return h.ask("POST", library+"/copy", `{"from":"/dir/to.md","to":"/copy.md"`+more+`}`)
	}
	copied := h.data(duplicate(``))
	if copied["artifact_id"] == first["artifact_id"] || copied["version"] != 1.0 || copied["etag"] != tag("two") || copied["content_type"] != "text/markdown" {
		t.Errorf("copied: %v", copied)
	}
	h.want(duplicate(``), 409, "RES_ALREADY_EXISTS")
	if again := h.data(duplicate(`,"overwrite":true,"version":1`)); again["artifact_id"] != copied["artifact_id"] || again["version"] != 2.0 || again["etag"] != tag("one") {
		t.Errorf("copied over: %v", again)
	}
	files := objects(h.list("?recursive=true&prefix=/")["files"])
	if got := texts(files, "path"); fmt.Sprint(got) != "[/copy.md /dir/to.md /from.md]" || fmt.Sprint(files[0]["metadata"]) != "map[]" || fmt.Sprint(files[1]["metadata"]) != "map[k:v]" {
		t.Errorf("afterwards: %v", files)
	}
}

// Pages of a recursive listing are whole while others write: what stands all the
// time is told once, and what happens meanwhile is in the log behind position.
func TestRecursiveListing(t *testing.T) {
	h := open(t)
	const fixed = 60
	want := map[string]bool{}
	for i := range fixed {
		path := fmt.Sprintf("/d%d/e/f%02d.md", i%4, i)
		h.data(h.save(path, "x"))
		want[path] = true
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			path := fmt.Sprintf("/d%d/e/g%d.md", i%4, i)
			h.data(h.save(path, "y"))
			h.data(h.do("DELETE", at(path), nil))
		}
	})
	seen := map[string]int{}
	position, logID := -1.0, ""
	for cursor := ""; ; {
		page := h.list("?recursive=true&limit=7&cursor=" + url.QueryEscape(cursor))
		last := ""
		for _, path := range texts(objects(page["files"]), "path") {
			if seen[path]++; path <= last {
				t.Errorf("%s after %s", path, last)
			}
			last = path
		}
		if position < 0 {
			position, logID = page["position"].(float64), fmt.Sprint(page["log_id"])
		}
		if page["next_cursor"] == nil {
			break
		}
		cursor = fmt.Sprint(page["next_cursor"])
	}
	close(done)
	wg.Wait()
	for path := range want {
		if seen[path] != 1 {
			t.Errorf("%s was told %d times", path, seen[path])
		}
	}
	page := h.data(h.get(library + fmt.Sprintf("/events?after=%d&log_id=%s&limit=1000", int(position), logID)))
	if page["truncated"] != nil || len(objects(page["events"])) == 0 {
		t.Errorf("the log behind the position: %v", page)
	}
	if got := h.list("?recursive=true&prefix=/d1&name_pattern=F0"); fmt.Sprint(texts(objects(got["files"]), "name")) != "[f01.md f05.md f09.md]" || got["next_cursor"] != nil {
		t.Errorf("by folder and name: %v", got)
	}
	if got := h.list("?recursive=true&limit=4&name_pattern=f5"); len(objects(got["files"])) != 4 || got["next_cursor"] == nil {
		t.Errorf("a page of matches: %v", got)
	}
	h.want(h.get(library+"/list?recursive=true&cursor=L2Ev"), 422, "VAL_FIELD_INVALID")
}

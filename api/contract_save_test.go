package api_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Metadata comes back as it was written, to the digit, and stays with a version
// that says nothing of it.
func TestLibraryMetadata(t *testing.T) {
	h := open(t)
	const metadata = `{"a":{"b":[null,true,"é😀"]},"big":12345678901234567890,"e":1.50e+300,"exact":0.1000000000000000055511151231257827,"n":9007199254740993}`
	kept := func(where string, a answer) {
		t.Helper()
		if h.ok(a); !strings.Contains(string(a.body), `"metadata":`+metadata) {
			t.Errorf("%s: %s", where, a.body)
		}
	}
	h.data(h.save("/m.md", "one", `,"metadata":`+metadata))
	everywhere := func() {
		t.Helper()
		kept("listing", h.get(library+"/list?recursive=true"))
		kept("versions", h.get(library+"/versions?path=/m.md"))
		kept("events", h.get(library+"/events"))
	}
	everywhere()
	h.data(h.save("/m.md", "two", `,"overwrite":true`))
	h.data(h.edit("/m.md", `{"append":"!","metadata":null}`))
	h.ok(h.put("/m.md", "three"))
	everywhere()
	got := objects(h.data(h.get(library + "/versions?path=/m.md"))["versions"])
	for _, v := range got {
		if len(asMap(v["metadata"])) != 5 {
			t.Errorf("version %v: %v", v["version"], v["metadata"])
		}
	}
	h.data(h.edit("/m.md", `{"metadata":{}}`))
	if got := objects(h.list("?recursive=true")["files"])[0]["metadata"]; len(asMap(got)) != 0 {
		t.Errorf("emptied: %v", got)
	}
	for _, bad := range []string{`[]`, `"x"`, `1`, `{"a":1,"a":2}`, `{"a":[{"b":{"c":1,"c":1}}]}`, `{"a":"` + strings.Repeat("x", 16<<10) + `"}`, `{"a":"\ud800"}`} {
		if a := h.save("/bad.md", "x", `,"metadata":`+bad); a.StatusCode != 422 {
			t.Errorf("metadata %.40s: %d %s", bad, a.StatusCode, a.body)
		}
	}
	h.data(h.save("/full.md", "x", `,"metadata":{"a":"`+strings.Repeat("x", 16<<10-8)+`"}`))
	h.data(h.save("/null.md", "x", `,"metadata":null`))
}

// same sends a save by a name of the client's.
func (h *house) same(name, path, content string, more ...string) answer {
	h.Helper()
	return h.do("POST", library, strings.NewReader(saveBody(h, path, content, more...)), "Content-Type", "application/json", "Idempotency-Key", name)
}

// A save that comes again by its name is answered as before and does nothing;
// another one by that name is refused.
func TestIdempotencyKey(t *testing.T) {
	c := &clock{}
	h := open(t, c.rules)
	first := h.data(h.same("k1", "/i.md", "one"))
	position := h.list("?recursive=true")["position"]
	if diff := cmp.Diff(first, h.data(h.same("k1", "/i.md", "one"))); diff != "" || h.list("?recursive=true")["position"] != position {
		t.Errorf("the answer changed, or the library: %s", diff)
	}
	for name, again := range map[string]answer{
		"content": h.same("k1", "/i.md", "two"), "path": h.same("k1", "/j.md", "one"), "overwrite": h.same("k1", "/i.md", "one", `,"overwrite":true`),
		"metadata": h.same("k1", "/i.md", "one", `,"metadata":{"a":1}`), "content type": h.same("k1", "/i.md", "one", `,"content_type":"a/b"`),
		"bytes": h.put("/i.md", "two", "Idempotency-Key", "k1"),
	} {
		if again.StatusCode != 422 {
			t.Errorf("another %s: %d %s", name, again.StatusCode, again.body)
		}
	}
	h.data(h.same("k2", "/m.md", "x", `,"metadata":{"a":1,"b":2}`))
	h.data(h.same("k2", "/m.md", "x", `,"metadata":{"b":2,"a":1}`))
	h.want(h.same("k2", "/m.md", "x", `,"metadata":{"a":1,"b":3}`), 422, "")
	h.want(h.save("/i.md", "one"), 409, "RES_ALREADY_EXISTS") // without a name it is another save
	h.want(h.same("k3", "/i.md", "one"), 409, "RES_ALREADY_EXISTS")
	h.data(h.save("/i.md", "next", `,"overwrite":true`))
	if again := h.data(h.same("k1", "/i.md", "one")); again["artifact_id"] != first["artifact_id"] || again["size"] != first["size"] {
		t.Errorf("after a replacement: %v", again)
	}
	h.holds("/i.md", "next")
	other := h.tenant("pf_other")
	if theirs := other.data(other.same("k1", "/i.md", "theirs")); theirs["artifact_id"] == first["artifact_id"] {
		t.Error("a name counts for another tenant")
	}
	for _, name := range []string{strings.Repeat("x", 256), "é", "a\tb"} {
		h.want(h.same(name, "/x.md", "x"), 400, "VAL_FIELD_INVALID")
	}
	h.data(h.same(strings.Repeat("x", 255), "/x.md", "x"))
	c.pass(24*time.Hour + time.Minute)
	h.want(h.with(h.tokenOf(h.key)).same("k1", "/i.md", "one"), 409, "RES_ALREADY_EXISTS")
}

// An edit that comes again by its name is made once, also where what it replaced
// is not there any more.
func TestIdempotencyKeyOfEdits(t *testing.T) {
	h := open(t)
	h.data(h.save("/e.md", "one"))
	edit := func(name, body string) answer {
		return h.do("PATCH", at("/e.md"), strings.NewReader(body), "Content-Type", "application/json", "Idempotency-Key", name)
	}
	const change = `{"edits":[{"old":"one","new":"two"}],"append":"!"}`
	first := h.data(edit("k", change))
	for range 2 {
		if diff := cmp.Diff(first, h.data(edit("k", change))); diff != "" {
			t.Errorf("the answer changed: %s", diff)
		}
	}
	h.holds("/e.md", "two!")
	h.want(edit("k", `{"append":"!"}`), 422, "")
	h.want(h.same("k", "/e.md", "two!"), 422, "")
	h.want(edit("other", change), 409, "RES_EDIT_ABSENT")
	h.want(edit("é", change), 400, "VAL_FIELD_INVALID")
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() { edit("once", `{"append":"?"}`) })
	}
	wg.Wait()
	h.holds("/e.md", "two!?")
}

// Of one save that comes many times at once all get the answer of one.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	h := open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]int{}
	for range 12 {
		wg.Go(func() {
			a := h.same("once", "/once.md", "x")
			mu.Lock()
			defer mu.Unlock()
			ids[fmt.Sprint(a.StatusCode, asMap(a.json["data"])["artifact_id"])]++
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("answers: %v", ids)
	}
	if got := objects(h.data(h.get(library + "/versions?path=/once.md"))["versions"]); len(got) != 1 {
		t.Errorf("%d versions", len(got))
	}
	h.want(h.put("/bytes", "\x00\x01", "Idempotency-Key", "bytes"), 201, "")
	again := h.put("/bytes", "\x00\x01", "Idempotency-Key", "bytes")
	if again.StatusCode != 201 || again.Header.Get("Location") == "" || len(objects(h.data(h.get(library + "/versions?path=/bytes"))["versions"])) != 1 {
		t.Errorf("bytes that come again: %d %v", again.StatusCode, again.Header)
	}
	// What was answered is answered again though it is gone meanwhile: the client
	// that asks twice has not deleted it.
	h.data(h.do("DELETE", at("/once.md"), nil))
	if a := h.same("once", "/once.md", "x"); a.StatusCode == 404 || a.StatusCode >= 500 {
		t.Errorf("after a deletion: %d %s", a.StatusCode, a.body)
	}
}

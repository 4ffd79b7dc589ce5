package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fold applies an entry of the log to the files that stand, as a client does.
func fold(files map[string]string, entryType string, v map[string]any) {
	if entryType != "artifact_created" && entryType != "attachment_uploaded" {
		return
	}
	id := fmt.Sprint(v["attachment_id"])
	delete(files, id)
	if v["change_type"] != "deleted" {
		files[id] = fmt.Sprint(v["relative_path"], " ", v["sha256"], " ", v["artifact_id"])
	}
}

func standing(files []map[string]any) map[string]string {
	m := make(map[string]string)
	for _, f := range files {
		fold(m, "artifact_created", f)
	}
	return m
}

// The state at any position, and the log after it, make the state at the end;
// the zip at that position has just these files.
func TestFoldOfStateAndLog(t *testing.T) {
	h := open(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		id := fmt.Sprint("s", n)
		h.want(h.ask("POST", "/api/sessions", fmt.Sprintf(`{"session_id":%q}`, id)), 201, "")
		for range rapid.IntRange(0, 8).Draw(rt, "steps") {
			randomStep(h, rt, id)
		}
		whole := h.ok(h.get("/api/sessions/" + id + "/state")).json
		end, _ := whole["cursor"].(float64)
		at := rapid.IntRange(0, int(end)).Draw(rt, "at")
		want := standing(objects(whole["files"]))

		got := make(map[string]string)
		s := h.stream(id, fmt.Sprint("/state?follow=1&at=", at))
		for pos := int64(-1); pos < int64(end); {
			e := s.next()
			entry, v := e.entry()
			switch e.Name {
			case "file":
				fold(got, "artifact_created", entry)
				continue
			case "state":
				if diff := cmp.Diff(standing(objects(h.get(fmt.Sprintf("/api/sessions/%s/state?at=%d", id, at)).json["files"])), got); diff != "" {
					rt.Fatalf("the stream begins with other files than the listing:\n%s", diff)
				}
				if e.seq() != int64(at) {
					rt.Fatalf("state at %d, want %d", e.seq(), at)
				}
			default:
				if e.seq() != pos+1 {
					rt.Fatalf("%d follows %d", e.seq(), pos)
				}
				fold(got, e.Name, v)
			}
			pos = e.seq()
		}
		s.resp.Body.Close()
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("fold(state at %d, log) is not the state (-state +fold):\n%s", at, diff)
		}
	})
}

// randomStep uploads, or does something to a file of the workspace.
func randomStep(h *house, rt *rapid.T, id string) {
	name := rapid.SampledFrom([]string{"a", "b", "d/a", "d/b"}).Draw(rt, "name")
	switch rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		h.up(id, name, "upload")
	case 1:
		err := os.Remove(filepath.Join(h.workspace(id), filepath.FromSlash(name)))
		if err == nil {
			h.scan(id)
		}
	default:
		h.write(id, name, rapid.StringN(0, 9, -1).Draw(rt, "content"))
		h.scan(id)
	}
}

// Readers that come, go and come back with their cursor while several write
// get the log: every position once, in order, each with the hash that was
// acknowledged.
func TestCursorsUnderWriters(t *testing.T) {
	h := open(t)
	h.up("s", "0", "first")
	const writers, each = 4, 25
	var mu sync.Mutex
	acknowledged := map[int64]string{}
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				a := h.post("s", part{name: "f", content: fmt.Sprint(w, " ", i)}, part{name: "g", content: strings.Repeat(fmt.Sprint(w, i), 9000)})
				mu.Lock()
				for _, v := range objects(a.json["attachments"]) {
					acknowledged[whole(v["sequence"])] = fmt.Sprint(v["sha256"])
				}
				mu.Unlock()
			}
		})
	}
	const last = int64(1 + 2*writers*each)
	readers := map[string]func(after int64) map[int64]string{
		"poll": func(after int64) map[int64]string {
			got := make(map[int64]string)
			for _, v := range objects(h.get(fmt.Sprintf("/api/sessions/s/artifact-events?include_uploads=1&limit=7&after=%d", after)).json["events"]) {
				got[whole(v["sequence"])] = fmt.Sprint(v["sha256"])
			}
			return got
		},
		"SSE": func(after int64) map[int64]string {
			got := make(map[int64]string)
			s := h.stream("s", "/events", "Last-Event-ID", fmt.Sprint(after))
			defer s.resp.Body.Close()
			for len(got) < 11 && after+int64(len(got)) < last {
				e := s.next()
				_, v := e.entry()
				got[e.seq()] = fmt.Sprint(v["sha256"])
			}
			return got
		},
		"WebSocket": func(after int64) map[int64]string {
			got := make(map[int64]string)
			c := h.dial(fmt.Sprintf("/ws?session_id=s&after=%d", after))
			defer c.CloseNow()
			c.await("connection")
			for len(got) < 13 && after+int64(len(got)) < last {
				f := c.next()
				got[f.Seq] = fmt.Sprint(f.Data["sha256"])
			}
			return got
		},
	}
	seen := make(map[string]map[int64]string)
	for name, read := range readers {
		seen[name] = make(map[int64]string)
		for after := int64(1); after < last; {
			got := read(after)
			for range got {
				after++
				hash, ok := got[after]
				if !ok {
					t.Fatalf("%s: %d is missing among %v", name, after, got)
				}
				seen[name][after] = hash
			}
		}
	}
	work.Wait()
	for name, got := range seen {
		if diff := cmp.Diff(acknowledged, maps.Clone(got)); diff != "" {
			t.Errorf("%s (-acknowledged +read):\n%s", name, diff)
		}
	}
}

// The manifest in the workspace is one that the reference can read, and has
// what the list has.
func TestManifestFollows(t *testing.T) {
	h := open(t)
	up := h.up("s", "报告.md", "x")
	h.change("s", "out.txt", "y")
	file := filepath.Join(h.workspace("s"), "attachments", "attachments_manifest.json")
	var manifest map[string]map[string]any
	eventually(t, "the manifest has both files", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &manifest) == nil && len(manifest) == 2
	})
	text, _ := os.ReadFile(file)
	if !strings.Contains(string(text), "报告.md") || !strings.Contains(string(text), "\n  \"") {
		t.Errorf("not indented by two, or not in plain characters:\n%s", text)
	}
	list := asMap(h.ok(h.get("/api/uploads/s")).json["attachments"])
	for id, record := range manifest {
		for key, want := range record {
			if diff := cmp.Diff(want, asMap(list[id])[key]); diff != "" {
				t.Errorf("%s of %s differs in the list:\n%s", key, id, diff)
			}
		}
	}
	ref := asMap(manifest[fmt.Sprint(up["attachment_id"])]["ref"])
	if got, err := os.ReadFile(filepath.Join(h.dir, "WareHouse", "session_s", fmt.Sprint(ref["local_path"]))); err != nil || string(got) != "x" {
		t.Errorf("local_path %v leads to %q, %v", ref["local_path"], got, err)
	}
	if extra := asMap(manifest[fmt.Sprint(up["attachment_id"])]["extra"]); extra["source"] != "user_upload" || extra["origin"] != "web_upload" || extra["session_id"] != "s" {
		t.Errorf("extra %v", extra)
	}
}

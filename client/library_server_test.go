package client_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

func etagOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return `"sha256:` + hex.EncodeToString(sum[:]) + `"`
}

// library is a library on a real server with one artifact, /docs/a.md.
func library(t *testing.T) *client.Client {
	t.Helper()
	w := realServer(t, true)
	c := w.client(client.Options{Key: w.key})
	saved, err := c.Save(t.Context(), "/docs/a.md", "one <& é\u2028\x00", client.SaveOptions{Metadata: map[string]any{"k": "v"}})
	want := client.LibraryFile{Path: "/docs/a.md", ID: saved.ID, Version: 1, MIME: "text/markdown", Size: 13, ETag: etagOf("one <& é\u2028\x00")}
	if diff := cmp.Diff(want, saved); diff != "" || err != nil || len(saved.ID) != 36 {
		t.Fatalf("save: %v\n%s", err, diff)
	}
	return c
}

func read(t *testing.T, c *client.Client, p artifact.Path, version int64) string {
	t.Helper()
	text, err := c.Retrieve(t.Context(), p, version)
	if err != nil {
		t.Fatalf("retrieve %s: %v", p, err)
	}
	if text.Path != p || text.ETag != etagOf(text.Content) || text.Size != int64(len(text.Content)) {
		t.Errorf("retrieve %s: %+v", p, text)
	}
	return text.Content
}

func TestLibrarySave(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	if got := read(t, c, "/docs/a.md", 0); got != "one <& é\u2028\x00" {
		t.Errorf("got %q", got)
	}
	if _, err := c.Save(ctx, "/docs/a.md", "two", client.SaveOptions{}); !errors.Is(err, client.ErrExists) {
		t.Errorf("save again: %v", err)
	}
	if _, err := c.Save(ctx, "/docs/a.md", "two", client.SaveOptions{IfMatch: etagOf("other")}); !errors.Is(err, client.ErrStale) {
		t.Errorf("save what is stale: %v", err)
	}
	two, err := c.Save(ctx, "/docs/a.md", "two", client.SaveOptions{IfMatch: etagOf("one <& é\u2028\x00")})
	if err != nil || two.Version != 2 {
		t.Errorf("save if it matches: %+v, %v", two, err)
	}
	three, err := c.Save(ctx, "/docs/a.md", "three", client.SaveOptions{Overwrite: true})
	if err != nil || three.Version != 3 || three.ID != two.ID {
		t.Errorf("overwrite: %+v, %v", three, err)
	}
	again := client.SaveOptions{IdempotencyKey: "a word"}
	first, err := c.Save(ctx, "/once.bin", "x", again)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := c.Save(ctx, "/once.bin", "x", again); err != nil || second.ID != first.ID {
		t.Errorf("the same save again: %+v, %v", second, err)
	}
	_, err = c.Save(ctx, "/docs/../a", "x", client.SaveOptions{})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 400 || e.Code != "VAL_FIELD_INVALID" || e.Details["reason"] != "traversal" {
		t.Errorf("a path that is none: %v", err)
	}
	if _, err := c.Save(ctx, "/b", "\xff", client.SaveOptions{}); err == nil || !strings.Contains(err.Error(), "PutRaw") {
		t.Errorf("bytes as a text: %v", err)
	}
	if _, err := c.Retrieve(ctx, "/none", 0); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("retrieve nothing: %v", err)
	}
	if err := c.Delete(ctx, "/docs/a.md", etagOf("two")); !errors.Is(err, client.ErrStale) {
		t.Errorf("delete what is stale: %v", err)
	}
	if err := c.Delete(ctx, "/docs/a.md", etagOf("three")); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, "/docs/a.md", ""); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func TestLibraryPatchOnce(t *testing.T) {
	c := library(t)
	once := client.Patch{Append: "!", IdempotencyKey: "a word"}
	first, err := c.Patch(t.Context(), "/docs/a.md", once)
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, c, "/docs/a.md", 0)
	again, err := c.Patch(t.Context(), "/docs/a.md", once)
	if err != nil || again.ETag != first.ETag || again.Version != first.Version || read(t, c, "/docs/a.md", 0) != before {
		t.Errorf("again: %+v, %v; first %+v", again, err, first)
	}
}

func TestLibraryVersions(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	patched, err := c.Patch(ctx, "/docs/a.md", client.Patch{
		Edits: []client.Edit{{Old: "one", New: "1 and 1"}, {Old: "é", New: "e"}}, Append: "\nend", Metadata: map[string]any{"n": 2.0},
	})
	if err != nil || patched.Version != 2 {
		t.Fatalf("patch: %+v, %v", patched, err)
	}
	if _, err := c.Append(ctx, "/docs/a.md", "."); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, c, "/docs/a.md", 0), "1 and 1 <& e\u2028\x00\nend."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for reason, old := range map[string]string{"absent": "two", "ambiguous": "1"} {
		_, err := c.Patch(ctx, "/docs/a.md", client.Patch{Edits: []client.Edit{{Old: old, New: "x"}}})
		if e, ok := errors.AsType[*client.Error](err); !ok || !errors.Is(err, client.ErrEdit) || e.Details["reason"] != reason {
			t.Errorf("edit of what is %s: %v", reason, err)
		}
	}
	if _, err := c.Patch(ctx, "/docs/a.md", client.Patch{Append: "x", IfMatch: etagOf("x")}); !errors.Is(err, client.ErrStale) {
		t.Errorf("patch what is stale: %v", err)
	}
	if _, err := c.Restore(ctx, "/docs/a.md", 1, etagOf("x")); !errors.Is(err, client.ErrStale) {
		t.Errorf("restore over what is stale: %v", err)
	}
	if back, err := c.Restore(ctx, "/docs/a.md", 1, ""); err != nil || back.Version != 4 {
		t.Errorf("restore: %+v, %v", back, err)
	}
	if read(t, c, "/docs/a.md", 0) != read(t, c, "/docs/a.md", 1) || read(t, c, "/docs/a.md", 2) != "1 and 1 <& e\u2028\x00\nend" {
		t.Error("versions do not stay what they were")
	}
	list, err := c.Versions(ctx, "/docs/a.md")
	if err != nil || len(list) != 4 {
		t.Fatalf("versions: %+v, %v", list, err)
	}
	for i, v := range list {
		if v.Version != int64(4-i) || v.ID != patched.ID || v.Actor == "" || time.Since(v.Modified) > time.Hour {
			t.Errorf("version %d: %+v", 4-i, v)
		}
	}
	if diff := cmp.Diff(map[string]any{"n": 2.0}, list[2].Metadata); diff != "" {
		t.Error(diff)
	}
}

func TestLibraryList(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	for _, p := range []artifact.Path{"/docs/b.txt", "/docs/sub/c.md", "/docs/sub/d.md", "/top"} {
		if _, err := c.Save(ctx, p, string(p), client.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.List(ctx, "/docs", client.ListOptions{})
	if err != nil || list.Path != "/docs" || !slices.Equal(list.Folders, []string{"sub"}) || len(list.Files) != 2 || list.Files[1].Name != "b.txt" ||
		list.Files[1].MIME != "text/plain" || list.Files[1].Size != 11 || time.Since(list.Files[1].Modified) > time.Hour {
		t.Errorf("list: %+v, %v", list, err)
	}
	if list, err := c.List(ctx, "", client.ListOptions{Pattern: "TO"}); err != nil || len(list.Folders) != 0 || len(list.Files) != 1 {
		t.Errorf("list by pattern: %+v, %v", list, err)
	}
	if list, err := c.List(ctx, "/docs", client.ListOptions{Limit: 2}); err != nil || !list.Truncated || list.Total != 3 || len(list.Files) != 1 {
		t.Errorf("list with a limit: %+v, %v", list, err)
	}
	var paths []artifact.Path
	for f, err := range c.ListAll(ctx, client.FileQuery{Dir: "/docs", Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.ID == "" || f.Version != 1 || f.ETag == "" {
			t.Errorf("%+v", f)
		}
		paths = append(paths, f.Path)
	}
	if diff := cmp.Diff([]artifact.Path{"/docs/a.md", "/docs/b.txt", "/docs/sub/c.md", "/docs/sub/d.md"}, paths); diff != "" {
		t.Error(diff)
	}
	page, err := c.FilePage(ctx, client.FileQuery{Pattern: ".md", Limit: 2})
	if err != nil || len(page.Files) != 2 || page.Next == "" || page.At.After != 5 || page.At.LogID == "" {
		t.Errorf("page: %+v, %v", page, err)
	}
	for _, err := range c.ListAll(ctx, client.FileQuery{Dir: "/a//b"}) {
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 400 {
			t.Errorf("a folder that is none: %v", err)
		}
	}
}

func TestLibraryMoves(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	moved, err := c.Move(ctx, "/docs/a.md", "/docs/b.txt", "")
	if err != nil || moved.Path != "/docs/b.txt" || moved.MIME != "text/plain" {
		t.Errorf("move: %+v, %v", moved, err)
	}
	if _, err := c.Move(ctx, "/docs/b.txt", "/docs/c", etagOf("x")); !errors.Is(err, client.ErrStale) {
		t.Errorf("move what is stale: %v", err)
	}
	copied, err := c.Copy(ctx, "/docs/b.txt", "/docs/c", client.CopyOptions{Version: 1})
	if err != nil || copied.ID == moved.ID || copied.ETag != moved.ETag {
		t.Errorf("copy: %+v, %v", copied, err)
	}
	if _, err := c.Copy(ctx, "/docs/b.txt", "/docs/c", client.CopyOptions{}); !errors.Is(err, client.ErrExists) {
		t.Errorf("copy over something: %v", err)
	}
	if again, err := c.Copy(ctx, "/docs/b.txt", "/docs/c", client.CopyOptions{Overwrite: true}); err != nil || again.Version != 2 {
		t.Errorf("copy over it all the same: %+v, %v", again, err)
	}
	file, err := c.Checkout(ctx, "/docs/b.txt", 0, "s")
	if err != nil || file.Name != "b.txt" || file.Size != 13 || file.Attachment == "" {
		t.Fatalf("checkout: %+v, %v", file, err)
	}
	promoted, err := c.Promote(ctx, "s", file.Attachment, "/back.txt", client.PromoteOptions{})
	if err != nil || promoted.ETag != moved.ETag {
		t.Errorf("promote: %+v, %v", promoted, err)
	}
	if _, err := c.Promote(ctx, "s", file.Attachment, "/back.txt", client.PromoteOptions{}); !errors.Is(err, client.ErrExists) {
		t.Errorf("promote over something: %v", err)
	}
	if _, err := c.Promote(ctx, "s", file.Attachment, "/back.txt", client.PromoteOptions{IfMatch: moved.ETag}); err != nil {
		t.Errorf("promote over what matches: %v", err)
	}
}

func TestLibraryRaw(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	content := bytes.Repeat([]byte{0, 1, 2, 255, '\r', '\n'}, 50_000)
	put := func(o client.PutOptions) (client.LibraryFile, error) {
		return c.PutRaw(ctx, "/bin/some-file.x", client.File{Size: int64(len(content)), Content: bytes.NewReader(content), MIME: "x/y"}, o)
	}
	var sent int64
	first, err := put(client.PutOptions{Progress: func(n int64) { sent = n }})
	if err != nil || first.Version != 1 || first.MIME != "x/y" || sent != int64(len(content)) || first.ETag != etagOf(string(content)) {
		t.Fatalf("put: %+v, %v, %d sent", first, err, sent)
	}
	if _, err := put(client.PutOptions{}); !errors.Is(err, client.ErrExists) {
		t.Errorf("put again: %v", err)
	}
	if _, err := put(client.PutOptions{IfMatch: etagOf("x")}); !errors.Is(err, client.ErrStale) || errors.Is(err, client.ErrExists) {
		t.Errorf("put over what is stale: %v", err)
	}
	content = append(content, 'x')
	for range 2 {
		if again, err := put(client.PutOptions{Overwrite: true, IdempotencyKey: "w"}); err != nil || again.Version != 2 {
			t.Errorf("overwrite, perhaps again: %+v, %v", again, err)
		}
	}
	var out bytes.Buffer
	got, err := c.DownloadRaw(ctx, "/bin/some-file.x", 0, &out, client.Transfer{})
	if err != nil || !bytes.Equal(out.Bytes(), content) || got.Name != "some-file.x" {
		t.Errorf("download: %+v, %v", got, err)
	}
	rest, err := c.OpenRaw(ctx, "/bin/some-file.x", 1, int64(len(content)-3))
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	if text, err := io.ReadAll(rest); err != nil || string(text) != "\r\n" {
		t.Errorf("the end of version 1: %q, %v", text, err)
	}
	if _, err := c.OpenRaw(ctx, "/bin", 0, 0); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("open a folder: %v", err)
	}
	if _, err := c.Retrieve(ctx, "/bin/some-file.x", 0); err == nil {
		t.Error("bytes came as a text")
	}
}

func TestLibraryArchive(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	body, err := c.Export(ctx, "/docs")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	archive, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive))); err != nil || z.File[0].Name != "a.md" {
		t.Errorf("export: %v", err)
	}
	for want, overwrite := range []bool{false, true} {
		done, err := c.Import(ctx, "/docs", bytes.NewReader(archive), int64(len(archive)), overwrite)
		if err != nil || done.Files != int64(want) || len(done.Skipped) != 1-want {
			t.Errorf("import: %+v, %v", done, err)
		}
	}
	if done, err := c.Import(ctx, "/other", bytes.NewReader(archive), -1, false); err != nil || done.Files != 1 || done.Bytes != 13 {
		t.Errorf("import elsewhere: %+v, %v", done, err)
	}
	if _, err := c.Import(ctx, "", strings.NewReader("no zip"), 6, false); err == nil {
		t.Error("it took what is no zip")
	}
}

func TestLibraryLog(t *testing.T) {
	c := library(t)
	ctx := t.Context()
	page, err := c.LibraryEvents(ctx, client.EventQuery{})
	if err != nil || len(page.Entries) != 1 || page.Next != 1 || page.LogID == "" {
		t.Fatalf("events: %+v, %v", page, err)
	}
	if e := page.Entries[0]; e.Type != artifact.TypeSaved || e.File == nil || e.File.Path != "/docs/a.md" || e.File.Change != artifact.Created ||
		e.File.Version != 1 || e.Cursor() != (client.Cursor{After: 1, LogID: page.LogID}) || time.Since(e.At.Time) > time.Hour {
		t.Errorf("entry: %+v", e)
	}
	if page, err := c.LibraryEvents(ctx, client.EventQuery{After: client.Cursor{After: 99}}); err != nil || !page.Truncated || page.Last != 1 {
		t.Errorf("events ahead of the log: %+v, %v", page, err)
	}
	var got []string
	for e, err := range c.FollowLibrary(ctx, client.Following{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Type+" "+string(e.File.From)+" "+string(e.File.Path)); len(got) == 3 {
			break
		}
		if e.Seq == 1 {
			if _, err := c.Move(ctx, "/docs/a.md", "/b.md", ""); err != nil {
				t.Fatal(err)
			}
			if err := c.Delete(ctx, "/b.md", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff([]string{"artifact_saved  /docs/a.md", "artifact_moved /docs/a.md /b.md", "artifact_deleted  /b.md"}, got); diff != "" {
		t.Error(diff)
	}
	for _, err := range c.FollowLibrary(ctx, client.Following{From: client.Cursor{After: 1, LogID: "other"}}) {
		if e, ok := errors.AsType[*client.Expired](err); !ok || e.Last != 3 {
			t.Errorf("another log: %v", err)
		}
	}
	audit, err := c.AuditEvents(ctx, client.EventQuery{Filter: artifact.Filter{Types: []string{"artifact.save", "artifact.move"}}})
	if err != nil || len(audit.Entries) != 2 || !strings.Contains(string(audit.Entries[1].Data), `"artifact:/b.md"`) {
		t.Errorf("audit: %+v, %v", audit, err)
	}
	for e, err := range c.FollowAudit(ctx, client.Following{}) {
		if err != nil || e.Seq != 1 {
			t.Errorf("follow the audit log: %+v, %v", e, err)
		}
		break
	}
}

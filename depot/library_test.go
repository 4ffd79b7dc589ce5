package depot

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

func (s *stand) put(path artifact.Path, content string, change ...func(*Save)) (artifact.Version, error) {
	s.Helper()
	ask := Save{Tenant: tenant, Path: path}
	for _, f := range change {
		f(&ask)
	}
	v, _, err := s.SaveFile(s.Context(), ask, strings.NewReader(content))
	return v, err
}

func (s *stand) mustPut(path artifact.Path, content string, change ...func(*Save)) artifact.Version {
	s.Helper()
	v, err := s.put(path, content, change...)
	if err != nil {
		s.Fatalf("save %s: %v", path, err)
	}
	return v
}

func (s *stand) text(path artifact.Path, version int64) string {
	s.Helper()
	v, err := s.File(s.Context(), tenant, path, version)
	if err != nil {
		s.Fatalf("File(%s, %d): %v", path, version, err)
	}
	text, err := s.Text(s.Context(), &v)
	if err != nil {
		s.Fatalf("Text(%s, %d): %v", path, version, err)
	}
	return text
}

func (s *stand) clean() {
	s.Helper()
	report, err := s.Check(s.Context(), true, nil)
	if err != nil || !report.Clean() {
		s.Errorf("check: %v, %q", err, report.Faults)
	}
}

func replace(ask *Save) { ask.Replace = true }

// Contents on both sides of the inline limit live through everything that can
// be done to an artifact.
func TestLibraryOfSmallAndLarge(t *testing.T) {
	for _, size := range []int{0, 10, 40 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := newStand(t, t.TempDir(), Options{})
			one, two := strings.Repeat("1", size), strings.Repeat("2", size)+"é"
			first := s.mustPut("/a/one.md", one)
			if _, err := s.put("/a/one.md", one); artifact.KindOf(err) != artifact.Exists {
				t.Errorf("save again: %v, want Exists", err)
			}
			second := s.mustPut("/a/one.md", two, replace)
			if second.Attachment != first.Attachment || second.Number != 2 || s.text("/a/one.md", 1) != one || s.text("/a/one.md", 0) != two {
				t.Errorf("second version %+v", second)
			}
			if _, err := s.MoveFile(t.Context(), tenant, "/a/one.md", "/b/uno.md", Precondition{}); err != nil {
				t.Fatal(err)
			}
			if s.text("/b/uno.md", 1) != one || s.text("/b/uno.md", 2) != two {
				t.Error("history did not move")
			}
			if _, err := s.CopyFile(t.Context(), "/b/uno.md", 1, Save{Tenant: tenant, Path: "/c.md"}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.RestoreFile(t.Context(), tenant, "/b/uno.md", 1, Precondition{}); err != nil {
				t.Fatal(err)
			}
			if s.text("/c.md", 0) != one || s.text("/b/uno.md", 3) != one {
				t.Error("copy or restore")
			}
			s.clean()
			if err := s.DeleteFile(t.Context(), tenant, "/b/uno.md", Precondition{}); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteFile(t.Context(), tenant, "/b/uno.md", Precondition{}); !errors.Is(err, ErrNoFile) {
				t.Errorf("second delete: %v", err)
			}
			if s.text("/c.md", 0) != one {
				t.Error("a copy went with its original")
			}
			s.clean()
			swept, err := s.Sweep(t.Context(), true)
			if err != nil || swept.Blobs != 0 {
				t.Errorf("garbage %+v, %v", swept, err)
			}
		})
	}
}

func TestPreconditions(t *testing.T) {
	s := newLight(t, Options{})
	v := s.mustPut("/a", "1")
	tag := v.Hash()
	match := func(tags ...string) func(*Save) {
		return func(ask *Save) { ask.Replace, ask.If.Match = true, tags }
	}
	create := func(ask *Save) { ask.Replace, ask.If.NoneMatch = true, []string{"*"} }
	for _, c := range []struct {
		name string
		path artifact.Path
		ask  func(*Save)
		want artifact.Kind
	}{
		{"wrong tag", "/a", match("sha256:0"), artifact.Stale},
		{"any, nothing there", "/none", match("*"), artifact.Stale},
		{"create, there", "/a", create, artifact.Stale},
		{"create, nothing there", "/new", create, artifact.Internal},
		{"right tag among others", "/a", match("sha256:0", tag), artifact.Internal},
		{"the tag of before", "/a", match(tag), artifact.Stale},
		{"any", "/a", match("*"), artifact.Internal},
	} {
		if _, err := s.put(c.path, "2", c.ask); artifact.KindOf(err) != c.want || (c.want == artifact.Internal) != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestEdits(t *testing.T) {
	s := newLight(t, Options{})
	s.mustPut("/a.txt", "one two two three aaa")
	for _, c := range []struct{ old, reason string }{{"four", "absent"}, {"two", "ambiguous"}, {"aa", "ambiguous"}, {"", "absent"}} {
		_, err := s.PatchFile(t.Context(), Patch{Tenant: tenant, Path: "/a.txt", Edits: []Edit{{"one", "1"}, {c.old, "x"}}})
		e, ok := errors.AsType[*artifact.Error](err)
		if !ok || e.Kind != artifact.Exists || e.Facts["reason"] != c.reason || e.Facts["edit"] != 1 {
			t.Errorf("edit of %q: %v, want %s", c.old, err, c.reason)
		}
	}
	if s.text("/a.txt", 0) != "one two two three aaa" {
		t.Error("a failed edit changed something")
	}
	v, err := s.PatchFile(t.Context(), Patch{Tenant: tenant, Path: "/a.txt", Edits: []Edit{{"two two", "2"}, {"2", "zwei"}}, Append: "\n"})
	if err != nil || v.Number != 2 || s.text("/a.txt", 0) != "one zwei three aaa\n" {
		t.Errorf("%q, %v", s.text("/a.txt", 0), err)
	}
}

// Whoever appends at the same time as others loses nothing, and nobody can save
// over a state that he has not seen.
func TestNoLostEdits(t *testing.T) {
	s := newLight(t, Options{})
	s.mustPut("/log.txt", "")
	s.mustPut("/n.txt", "0")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := s.PatchFile(t.Context(), Patch{Tenant: tenant, Path: "/log.txt", Append: fmt.Sprintf("%d.", i)}); err != nil {
				t.Error(err)
			}
			for won := false; !won; {
				v, err := s.File(t.Context(), tenant, "/n.txt", 0)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := s.Text(t.Context(), &v)
				if err != nil {
					continue // dropped versions are not read: somebody was faster
				}
				var n int
				fmt.Sscan(text, &n)
				_, err = s.put("/n.txt", fmt.Sprint(n+1), func(ask *Save) { ask.Replace, ask.If.Match = true, []string{v.Hash()} })
				if won = err == nil; !won && artifact.KindOf(err) != artifact.Stale {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := s.text("/n.txt", 0); got != "16" {
		t.Errorf("counted to %s", got)
	}
	for i := range 16 {
		if !strings.Contains("."+s.text("/log.txt", 0), fmt.Sprintf(".%d.", i)) {
			t.Errorf("%d is lost in %q", i, s.text("/log.txt", 0))
		}
	}
	s.clean()
}

func TestReplayedSave(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	keyed := func(ask *Save) { ask.Replay = "k1" }
	big := strings.Repeat("x", 50<<10)
	first := s.mustPut("/a", big, keyed)
	v, replayed, err := s.SaveFile(t.Context(), Save{Tenant: tenant, Path: "/a", Replay: "k1"}, strings.NewReader(big))
	if err != nil || !replayed || v.EventID != first.EventID {
		t.Errorf("replay: %+v, %t, %v", v, replayed, err)
	}
	if _, err := s.put("/b", big, keyed); artifact.KindOf(err) != artifact.Malformed {
		t.Errorf("the key for another path: %v, want Malformed", err)
	}
	if _, err := s.put("/a", "other", keyed); artifact.KindOf(err) != artifact.Malformed {
		t.Errorf("the key for another content: %v, want Malformed", err)
	}
	s.clean()
}

func TestPromoteAndCheckout(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	for _, content := range []string{"small", strings.Repeat("large", 20<<10)} {
		path := artifact.Path(fmt.Sprintf("/from/%d.bin", len(content)))
		up, err := s.NewUpload(t.Context(), tenant, "work")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := up.Add(t.Context(), "x.dat", "application/x-thing", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		list, err := up.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Promote(t.Context(), "work", list[0].ID(), Save{Tenant: tenant, Path: path})
		if err != nil || v.MIME != "application/x-thing" || v.Extra["session_id"] != "work" || s.text(path, 0) != content {
			t.Errorf("promoted %+v, %v", v, err)
		}
		back, err := s.Checkout(t.Context(), tenant, path, 0, "other")
		if err != nil || back.SHA256 != v.SHA256 || back.Extra["library_path"] != string(path) {
			t.Errorf("checked out %+v, %v", back, err)
		}
		r, err := s.OpenContent(t.Context(), &back)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(text) != content {
			t.Errorf("%d bytes came back, %v", len(text), err)
		}
	}
	if _, err := s.Promote(t.Context(), "nobody", "x", Save{Tenant: tenant, Path: "/y"}); artifact.KindOf(err) != artifact.NotFound {
		t.Errorf("of no session: %v", err)
	}
	s.clean()
}

func TestListing(t *testing.T) {
	s := newLight(t, Options{})
	for _, p := range []artifact.Path{"/b.md", "/a.md", "/d/x", "/c/y/z"} {
		s.mustPut(p, "x")
	}
	all := func(string) bool { return true }
	for limit, want := range map[int]string{0: "[c d] 2 of 4", 1: "[c] 0 of 4", 3: "[c d] 1 of 4", 9: "[c d] 2 of 4"} {
		list, err := s.List(t.Context(), tenant, "/", limit, all)
		got := fmt.Sprintf("%v %d of %d", list.Folders, len(list.Files), list.Total)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("limit %d: %v %s", limit, err, diff)
		}
	}
	list, err := s.List(t.Context(), "pf_nobody", "/", 0, all)
	if err != nil || list.Folders == nil || list.Files == nil || list.Total != 0 {
		t.Errorf("of nobody: %+v, %v", list, err)
	}
}

// The library is followed as a session is, and its entries tell what was done.
func TestLibraryLog(t *testing.T) {
	s := newLight(t, Options{})
	lib, err := s.Library(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Follow(t.Context(), tenant, artifact.LibraryLog, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx := artifact.WithCaller(t.Context(), &artifact.Caller{Kind: artifact.CallerKey, Key: "key_7"})
	var got []string
	for _, change := range []func() error{ // the last takes away the metadata of those before
		func() error {
			_, _, err := s.SaveFile(ctx, Save{Tenant: tenant, Path: "/a.md", Metadata: map[string]any{"k": "v"}}, strings.NewReader("hi"))
			return err
		},
		func() error { _, err := s.MoveFile(ctx, tenant, "/a.md", "/b.txt", Precondition{}); return err },
		func() error { return s.DeleteFile(ctx, tenant, "/b.txt", Precondition{}) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		items, err := f.Next(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			v := it.Version
			got = append(got, fmt.Sprintf("%d %s %s %s v%d %s %d %v %s", it.Seq, it.Type, v.Change, v.Path, v.Number, v.MIME, v.Size, v.Extra, v.Node))
		}
	}
	want := []string{
		"1 artifact_saved created /a.md v1 text/markdown 2 map[k:v] key:key_7",
		"2 artifact_moved moved /b.txt v1 text/plain 2 map[k:v] key:key_7",
		"3 artifact_deleted deleted /b.txt v0 text/plain 0 map[] key:key_7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	audit, err := s.Audit(t.Context(), tenant)
	if err != nil || audit.LastSeq != 3 {
		t.Errorf("audit log at %d, %v", audit.LastSeq, err)
	}
	if lib.Key == 0 || s.hasWorkspace(&lib) {
		t.Error("a library has no workspace")
	}
}

// A save that is refused after its content was received leaves nothing behind,
// and one that a quota cannot take is not received to its end.
func TestRefusedSavesLeaveNoBlobs(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	limit := int64(1 << 20)
	if err := s.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetQuota(tenant, &limit, nil, nil, nil) }); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 100<<10)
	s.mustPut("/there", big, func(ask *Save) { ask.Replay = "used" })
	huge := strings.NewReader(strings.Repeat("x", 8<<20))
	_, _, err := s.SaveFile(t.Context(), Save{Tenant: tenant, Path: "/huge"}, huge)
	if artifact.KindOf(err) != artifact.Full || huge.Len() < 6<<20 {
		t.Errorf("over the quota: %v, %d bytes were not read", err, huge.Len())
	}
	if _, err := s.put("/other", big, func(ask *Save) { ask.Replay = "used" }); artifact.KindOf(err) != artifact.Malformed {
		t.Errorf("a key that was used: %v", err)
	}
	files := int64(1)
	if err := s.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetQuota(tenant, &limit, &files, nil, nil) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put("/another", big); artifact.KindOf(err) != artifact.Full {
		t.Errorf("a file too many: %v", err)
	}
	up, err := s.NewUpload(t.Context(), tenant, "s")
	if err == nil {
		_, err = up.Add(t.Context(), "a", "", strings.NewReader(big))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Commit(t.Context()); artifact.KindOf(err) != artifact.Full {
		t.Errorf("an upload too many: %v", err)
	}
	up.Discard()
	report, err := s.Check(t.Context(), true, nil)
	if err != nil || report.Orphans != 0 || !report.Clean() {
		t.Errorf("%d blobs that no row names, %q, %v", report.Orphans, report.Faults, err)
	}
}

// A text that overlaps itself everywhere is counted only so far.
func TestCountingOccurrencesEnds(t *testing.T) {
	text, old := strings.Repeat("a", 2_000_000), strings.Repeat("a", 200_000)
	if n := occurrences(text, old, 1); n != maxCount {
		t.Errorf("counted %d", n)
	}
}

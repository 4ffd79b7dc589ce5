package depot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/scan/scantest"
	"github.com/vitrine-hq/vitrine/store"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// Before it is clean a content is its owner's alone, and of a capture there is none.
func TestHold(t *testing.T) {
	c := newChecker(t)
	c.set("wait", true)
	s := newLight(t, Options{Scanner: c, ScanHold: true, ScanRequired: true})
	ann, bob := s.as("ann"), s.as("bob")
	open := s.by(&artifact.Caller{Kind: artifact.CallerLocal, Tenant: tenant})
	up, saved := ann.up("a", "x.txt", []byte("one")), ann.mustPut("/x.md", "two")
	captured := s.write("a", "out/y.txt", []byte("three"))
	for _, v := range []*artifact.Version{&up, &saved} {
		if v.Scan != artifact.ScanPending || ann.refused(v) != "" || open.refused(v) != "" || bob.refused(v) != codePending || s.refused(v) != codePending {
			t.Errorf("%s is not held: %+v", v.Path, v)
		}
	}
	if ann.refused(&captured) != codePending || s.refused(&captured) != codePending || open.refused(&captured) != "" {
		t.Error("a capture is not held")
	}
	zipped := func(s *stand) int { return len(names(s.pack("a", ZipOptions{}))) }
	if a, b := zipped(ann), zipped(bob); a <= b {
		t.Errorf("the zip of the owner has %d entries, that of another %d", a, b)
	}
	manifest := string(unpack(t, bob.pack("a", ZipOptions{}), "session_a/code_workspace/attachments/attachments_manifest.json"))
	if strings.Count(manifest, `"reason": "not scanned yet"`) != 2 {
		t.Errorf("the manifest says %s", manifest)
	}
	moved, err := bob.MoveFile(bob.Context(), tenant, "/x.md", "/y.md", Precondition{})
	if err != nil || bob.refused(&moved) != codePending || ann.refused(&moved) != "" {
		t.Errorf("moving a held artifact makes it one's own: %+v, %v", moved, err)
	}
	if _, err := bob.CopyFile(bob.Context(), "/y.md", 0, Save{Tenant: tenant, Path: "/z.md"}); codeOf(t, err) != codePending {
		t.Errorf("copy of a held artifact: %v", err)
	}
	if _, err := ann.CopyFile(ann.Context(), "/y.md", 0, Save{Tenant: tenant, Path: "/z.md"}); err != nil {
		t.Errorf("copy by its owner: %v", err)
	}
	c.set("wait", false)
	s.settled()
	for _, v := range []*artifact.Version{&up, &moved, &captured} {
		if bob.refused(v) != "" {
			t.Errorf("%s is clean and still held", v.Path)
		}
	}
	if zipped(ann) != zipped(bob) {
		t.Error("the zips differ")
	}
	s.sound()
}

func TestAfter(t *testing.T) {
	c := newChecker(t)
	c.set("wait", true)
	s := newLight(t, Options{Scanner: c, ScanRequired: true})
	v := s.as("ann").up("a", "x.txt", []byte("evil"))
	if s.as("bob").refused(&v) != "" {
		t.Error("content is held")
	}
	c.set("wait", false)
	s.settled()
	if s.as("ann").refused(&v) != codeQuarantined {
		t.Error("what was found is given out")
	}
}

// A server that ends between a commit and its verdict leaves both to the next.
func TestScansGoOnAfterARestart(t *testing.T) {
	dir, c := t.TempDir(), newChecker(t)
	c.set("wait", true)
	s := newStand(t, dir, Options{Scanner: c, ScanHold: true, ScanRequired: true})
	good, evil := s.up("a", "good", []byte("good")), s.up("a", "evil", []byte("evil"))
	saved := s.mustPut("/evil", "evil")
	until(t, "the scanner has all of them", func() bool { return c.seen() == 3 })
	s.shut()
	c.set("wait", false)
	s = newStand(t, dir, Options{})
	if s.refused(&evil) != "" {
		t.Error("without a scanner what is pending is kept back")
	}
	s.shut()
	s = newStand(t, dir, Options{Scanner: c, ScanHold: true, ScanRequired: true})
	s.settled()
	if s.refused(&good) != "" || s.refused(&evil) != codeQuarantined || s.refused(&saved) != codeQuarantined {
		t.Error("the verdicts are not those of the contents")
	}
	if told := s.entries("a", artifact.TypeQuarantined); len(told) != 1 {
		t.Errorf("told %q", told)
	}
	s.shut()
	s = newStand(t, dir, Options{})
	if s.refused(&evil) != codeQuarantined {
		t.Error("without a scanner the quarantine is over")
	}
	if n := c.seen(); n != 6 {
		t.Errorf("%d scans, want three that were cut off and three", n)
	}
}

// While the scanner is away contents wait; nothing is given up.
func TestScannerIsAway(t *testing.T) {
	for _, required := range []bool{true, false} {
		c := newChecker(t)
		c.set("down", true)
		s := newLight(t, Options{Scanner: c, ScanHold: true, ScanRequired: required, scanPause: 10 * time.Millisecond})
		var list []artifact.Version
		for i := range 20 {
			list = append(list, s.as("ann").up("a", "x", fmt.Appendf(nil, "evil %d", i)))
		}
		until(t, "the scanner is left alone", func() bool { return s.scanning.down() })
		want := map[bool]string{true: codePending, false: ""}[required]
		if got := s.as("bob").refused(&list[0]); got != want {
			t.Errorf("required %t: refused with %q, want %q", required, got, want)
		}
		if n, err := s.Unscanned(t.Context()); n != 20 || err != nil || s.Verdicts() != (Verdicts{}) {
			t.Errorf("%d wait, %v, verdicts %+v", n, err, s.Verdicts())
		}
		c.set("down", false)
		s.settled()
		for _, v := range list {
			if s.refused(&v) != codeQuarantined {
				t.Errorf("%s was not quarantined", v.ID())
			}
		}
	}
}

// What a scanner that is there cannot look at is given up after some tries, and
// tried again by the next server.
func TestFailures(t *testing.T) {
	dir, c := t.TempDir(), newChecker(t)
	c.set("broken", true)
	opt := Options{Scanner: c, ScanHold: true, ScanRequired: true, scanPause: time.Millisecond}
	s := newStand(t, dir, opt)
	v := s.as("ann").up("a", "x", []byte("evil"))
	s.settled()
	if s.as("ann").refused(&v) != codeFailed || s.refused(&v) != codeFailed {
		t.Error("what cannot be scanned is given out")
	}
	if n := c.seen(); n != scanTries || s.Verdicts() != (Verdicts{Failed: 1}) {
		t.Errorf("%d tries, verdicts %+v", n, s.Verdicts())
	}
	if audit := s.entries(artifact.AuditLog, "artifact.scan"); len(audit) != 1 || !strings.Contains(audit[0], `"outcome":"failed"`) {
		t.Errorf("the audit log tells %q", audit)
	}
	s.shut()
	s = newStand(t, dir, Options{Scanner: c, ScanHold: true, scanPause: time.Millisecond})
	until(t, "it is given up again", func() bool { return s.Verdicts().Failed == 1 })
	if s.as("bob").refused(&v) != "" {
		t.Error("what cannot be scanned is kept back although that is allowed")
	}
	c.set("broken", false)
	s.shut()
	s = newStand(t, dir, opt)
	until(t, "it is found", func() bool { return s.Verdicts().Found == 1 })
	if s.refused(&v) != codeQuarantined {
		t.Error("what was found at last is given out")
	}
	s.sound()
}

// The same with the real clamd, and with more than it looks at.
func TestClamd(t *testing.T) {
	daemon := scantest.Start(t)
	scanner, err := scan.Open(daemon.Address)
	if err != nil {
		t.Fatal(err)
	}
	dir, opt := t.TempDir(), Options{Scanner: scanner, ScanHold: true, ScanRequired: true, scanPause: 10 * time.Millisecond}
	s := newStand(t, dir, opt)
	evil := []byte("x" + scantest.Marker + "y")
	up, clean, large := s.up("a", "evil", evil), s.up("a", "clean", []byte("clean")), s.up("a", "large", make([]byte, scantest.MaxFile+1))
	saved, captured := s.mustPut("/evil", string(evil)), s.write("a", "out/evil", append(noise(1<<20, 1), evil...))
	s.settled()
	for v, want := range map[*artifact.Version]string{&up: codeQuarantined, &clean: "", &large: codeFailed, &saved: codeQuarantined, &captured: codeQuarantined} {
		if got := s.refused(v); got != want {
			t.Errorf("%s is refused with %q, want %q", v.Path, got, want)
		}
	}
	if told := s.entries("a", artifact.TypeQuarantined); len(told) != 2 || !strings.Contains(told[0], scantest.Found) {
		t.Errorf("told %q", told)
	}
	daemon.Kill()
	later := s.up("a", "later", evil)
	until(t, "clamd is missed", func() bool { return s.scanning.down() })
	s.shut()
	if opt.Scanner, err = scan.Open(scantest.Start(t).Address); err != nil {
		t.Fatal(err)
	}
	s = newStand(t, dir, opt)
	s.settled()
	if s.refused(&later) != codeQuarantined || s.refused(&large) != codeFailed {
		t.Error("the verdicts of another clamd are not those of the contents")
	}
	s.sound()
}

// What is deleted, moved or cleaned while it is looked at is no trouble, and
// nobody is told of it.
func TestDeletedWhileScanned(t *testing.T) {
	c := newChecker(t)
	c.set("wait", true)
	s := newStand(t, t.TempDir(), Options{Scanner: c, ScanHold: true, ScanRequired: true})
	s.mustPut("/gone", "evil 1")
	s.up("dead", "evil", []byte("evil 2"))
	s.up("cleaned", "evil", append(noise(50<<10, 3), "evil"...))
	s.mustPut("/from", "evil 4")
	until(t, "the scanner has all of them", func() bool { return c.seen() == 4 })
	if _, err := s.MoveFile(t.Context(), tenant, "/from", "/to", Precondition{}); err != nil {
		t.Error(err)
	}
	err := errors.Join(s.DeleteFile(t.Context(), tenant, "/gone", Precondition{}), s.DeleteSession(t.Context(), tenant, "dead"), s.CleanUploads(t.Context(), tenant, "cleaned"))
	if err != nil {
		t.Fatal(err)
	}
	c.set("wait", false)
	s.settled()
	if s.Verdicts() != (Verdicts{Found: 1}) {
		t.Errorf("verdicts %+v, want one on what was moved", s.Verdicts())
	}
	if told := s.entries(artifact.LibraryLog, artifact.TypeQuarantined); len(told) != 1 || !strings.Contains(told[0], `"/to"`) {
		t.Errorf("the library tells %q", told)
	}
	if told := s.entries("cleaned", artifact.TypeQuarantined); len(told) != 0 {
		t.Errorf("the session tells %q", told)
	}
	s.sound()
}

// Many write, move and delete while the scanner works.
func TestScansAmongChanges(t *testing.T) {
	c := newChecker(t)
	s := newLight(t, Options{Scanner: c, ScanHold: true, ScanRequired: true})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			path := artifact.Path(fmt.Sprintf("/%d", i))
			for n := range 15 {
				s.mustPut(path, fmt.Sprintf("evil %d", n), replace)
				s.up("a", "x", fmt.Appendf(nil, "good %d-%d", i, n))
				var err error
				switch n % 3 {
				case 1:
					err = s.DeleteFile(t.Context(), tenant, path, Precondition{})
				case 2:
					_, err = s.MoveFile(t.Context(), tenant, path, path+artifact.Path(fmt.Sprintf("/%d", n)), Precondition{})
				}
				if err != nil && Withheld(err) != withheld[codeQuarantined] {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.settled()
	s.sound()
	list, _, err := s.Tree(t.Context(), tenant, "/", "", 1000)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d artifacts, %v", len(list), err)
	}
	for _, v := range list {
		if v.Scan != artifact.ScanFound || s.refused(&v) != codeQuarantined {
			t.Errorf("%s is %s", v.Path, v.Scan)
		}
	}
}

// Two servers on one database look at the same contents; each has one verdict,
// and what is found is told once and has no copy on either.
func TestTwoServersScan(t *testing.T) {
	url, bytes := storetest.Postgres(t), blob.NewMem()
	c := newChecker(t)
	start := func() *stand {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, wareHouseDir), 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := store.OpenPostgres(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), db, blob.New(bytes), Options{
			WareHouse: filepath.Join(dir, wareHouseDir), Implicit: true, Scanner: c, ScanHold: true, ScanRequired: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		s := &stand{TB: t, Depot: d, dir: dir}
		t.Cleanup(s.shut)
		return s
	}
	one, two := start(), start()
	c.set("wait", true)
	var list []artifact.Version
	for i := range 8 {
		list = append(list, one.up("a", "x", fmt.Appendf(nil, "evil %d", i)))
	}
	until(t, "one has begun", func() bool { return c.seen() >= tenantMost })
	two.scanning.wake()
	until(t, "the other has begun as well", func() bool { return c.seen() >= 2*tenantMost })
	c.set("wait", false)
	two.settled()
	until(t, "both are done", func() bool { return one.idle() && two.idle() })
	told := one.entries("a", artifact.TypeQuarantined)
	if slices.Sort(told); len(told) != 8 || len(slices.Compact(told)) != 8 || one.Verdicts().Found+two.Verdicts().Found != 8 {
		t.Errorf("told %q, verdicts %+v and %+v", told, one.Verdicts(), two.Verdicts())
	}
	one.scanning.tidy(context.Background())
	for _, v := range list {
		if one.refused(&v) != codeQuarantined || two.refused(&v) != codeQuarantined || slices.Contains(one.attachments("a"), v.Attachment) {
			t.Errorf("%s is still there", v.ID())
		}
	}
	one.sound()
}

package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
)

// files returns the regular files below a folder with what they hold.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == manifestName {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		all[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMaterialize(t *testing.T) {
	p := inPlace(t, Options{})
	big := strings.Repeat("large ", 10_000)
	up := send(t, p.Depot, p.s.ID, "up.txt")[0]
	p.write("a.txt", "a")
	p.write("d/e/big.bin", big)
	p.write("gone.txt", "x")
	p.scan()
	p.remove("gone.txt")
	p.scan()
	want := map[string]string{"a.txt": "a", "d/e/big.bin": big, up.Path: "content of up.txt"}
	check := func(when string) {
		t.Helper()
		if err := p.Materialize(t.Context(), &p.s); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if diff := cmp.Diff(want, files(t, p.dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		p.want()
	}
	p.lose()
	check("after the folder went")
	p.write("a.txt", "A")
	p.write("d/e/big.bin", strings.ToUpper(big))
	p.write(up.Path, "changed by a node")
	check("after files were changed")
	want["mine.txt"] = "not in the log yet"
	p.write("mine.txt", want["mine.txt"])
	if err := p.Materialize(t.Context(), &p.s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, files(t, p.dir)); diff != "" {
		t.Errorf("a file that is not in the log (-want +got):\n%s", diff)
	}
	p.want("created mine.txt")
}

// Links that lie where files and folders belong lead nothing out.
func TestMaterializeFollowsNoLinkOut(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("d/a.txt", "a")
	p.write("b.txt", "b")
	p.scan()
	outside := t.TempDir()
	victim := filepath.Join(outside, "b.txt")
	if err := os.WriteFile(victim, []byte("victim"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.remove("d")
	p.remove("b.txt")
	for name, to := range map[string]string{"d": outside, "b.txt": victim} {
		if err := os.Symlink(to, filepath.Join(p.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Materialize(t.Context(), &p.s); err == nil {
		t.Error("Materialize says nothing of a folder that it could not make")
	}
	if diff := cmp.Diff(map[string]string{"b.txt": "victim"}, files(t, outside)); diff != "" {
		t.Errorf("outside (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(filepath.Join(p.dir, "b.txt")); err != nil || string(b) != "b" {
		t.Errorf("b.txt = %q, %v; want it in the place of the link", b, err)
	}
}

func TestRemoveFolder(t *testing.T) {
	dir := t.TempDir()
	name, outside := filepath.Join(dir, "x"), filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(name, "shut", "deep"), outside} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(name, "link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(name, "shut", "deep"), filepath.Join(name, "shut")} {
		if err := os.Chmod(d, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeFolder(name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if len(files(t, outside)) != 1 {
		t.Error("a link was followed")
	}
	if err := removeFolder(name); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

// fullDisk is a driver without room.
type fullDisk struct{ blob.Driver }

func (fullDisk) Put(_ context.Context, _ string, r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		return err
	}
	return syscall.ENOSPC
}

// A scan that finds the disk full tells of nothing, and the next one of all.
func TestScanOnFullDisk(t *testing.T) {
	p := inPlace(t, Options{})
	good := p.bucket
	p.bucket = blob.New(fullDisk{blob.NewMem()})
	p.write("a.txt", "small")
	p.write("b.bin", strings.Repeat("large", 10_000))
	if _, err := p.Scan(t.Context(), p.s.Tenant, p.s.ID, ""); artifact.KindOf(err) != artifact.Full {
		t.Errorf("Scan = %v, want Full", err)
	}
	if s := p.session(); s.LastSeq != 0 || s.Artifacts != 0 {
		t.Errorf("session = %+v after a failed scan, want nothing in it", s)
	}
	if err := p.refresh(t.Context(), &p.s); err != nil {
		t.Errorf("refresh = %v; what is known can still be read", err)
	}
	p.bucket = good
	p.want("created a.txt", "created b.bin")
}

func TestScanEndsWithItsContext(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("a.txt", "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Scan(ctx, p.s.Tenant, p.s.ID, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Scan = %v, want that it was cancelled", err)
	}
	p.want("created a.txt")
}

// Two servers over one database and one WareHouse tell of each change once.
func TestTwoServersScanOneWorkspace(t *testing.T) {
	p := inPlace(t, Options{})
	other, err := Open(t.Context(), p.db, p.bucket, p.opt)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for round := range 10 {
		for i := range 20 {
			p.write(fmt.Sprint("f", i), fmt.Sprint(round, i))
		}
		var wg sync.WaitGroup
		for _, d := range []*Depot{p.Depot, other, p.Depot, other} {
			wg.Go(func() {
				if _, err := d.Scan(t.Context(), p.s.Tenant, p.s.ID, ""); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
	}
	if got := len(p.entries()); got != 200 {
		t.Errorf("%d changes were told, want 200", got)
	}
}

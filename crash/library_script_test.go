package crash

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// folder is where the script writes in the library.
func (s *script) folder() artifact.Path { return artifact.Path("/" + s.name) }

func (s *script) at(name string) artifact.Path { return s.folder() + artifact.Path("/"+name) }

// deleting is what the script says of an artifact before it deletes it: the
// deletion may then be done though nobody is told.
const deleting artifact.Change = "deleting"

// shelve does one of each thing that a library does with files.
func (s *script) shelve(ctx context.Context) {
	const large = 48 << 10
	s.save(ctx, "library save", "large.bin", large)
	s.save(ctx, "library save of a row", "notes.md", 2<<10)
	s.save(ctx, "library replace", "large.bin", large+1)
	s.writes(ctx, "library edit", func() (artifact.Version, error) {
		return s.d.PatchFile(ctx, depot.Patch{Tenant: tenant, Path: s.at("notes.md"), Append: text(s.rng, large)})
	})
	s.writes(ctx, "library restore", func() (artifact.Version, error) {
		return s.d.RestoreFile(ctx, tenant, s.at("large.bin"), 1, depot.Precondition{})
	})
	s.move(ctx, "large.bin", "moved.bin")
	s.importZip(ctx, []int{100, large, large + 2})
	s.step = "library export"
	s.done(s.step, nil, s.d.Export(ctx, tenant, s.folder(), io.Discard))
	s.remove(ctx, "library delete", "moved.bin")
	s.step = "sweep"
	_, err := s.d.Sweep(ctx, false)
	s.done(s.step, nil, err)
}

// writes is a step that writes one version of an artifact.
func (s *script) writes(ctx context.Context, step string, write func() (artifact.Version, error)) {
	s.step = step
	v, err := write()
	switch {
	case errors.Is(err, depot.ErrNoFile): // no step before has made it
		s.done(step, nil, nil)
	case err != nil:
		s.done(step, nil, err)
	default:
		s.done(step, []artifact.Version{v}, nil)
	}
}

func (s *script) save(ctx context.Context, step, name string, size int) {
	content := text(s.rng, size)
	s.writes(ctx, step, func() (artifact.Version, error) {
		v, _, err := s.d.SaveFile(ctx, depot.Save{Tenant: tenant, Path: s.at(name), Replace: true}, strings.NewReader(content))
		return v, err
	})
}

func (s *script) move(ctx context.Context, from, to string) {
	s.step = "library move"
	v, err := s.d.MoveFile(ctx, tenant, s.at(from), s.at(to), depot.Precondition{})
	if errors.Is(err, depot.ErrNoFile) {
		s.done(s.step, nil, nil)
		return
	}
	if err != nil {
		s.done(s.step, nil, err)
		return
	}
	left := artifact.Version{Session: artifact.LibraryLog, Path: string(s.at(from)), Change: artifact.Deleted}
	s.done(s.step, []artifact.Version{left, v}, nil)
}

func (s *script) remove(ctx context.Context, step, name string) {
	s.step = step
	v := artifact.Version{Session: artifact.LibraryLog, Path: string(s.at(name)), Change: deleting}
	s.done(step, []artifact.Version{v}, nil)
	err := s.d.DeleteFile(ctx, tenant, s.at(name), depot.Precondition{})
	v.Change = artifact.Deleted
	if err != nil && !errors.Is(err, depot.ErrNoFile) {
		s.done(step, nil, err)
		return
	}
	s.done(step, []artifact.Version{v}, nil)
}

// importZip takes in an archive, whose files are saved one after the other:
// after an error those before it are there.
func (s *script) importZip(ctx context.Context, sizes []int) {
	s.step = "library import"
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	var all []artifact.Version
	for i, size := range sizes {
		name, content := fmt.Sprintf("i%d.bin", i), noise(s.rng, size)
		w, err := zw.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			panic(fmt.Sprint("write into memory: ", err))
		}
		v := artifact.Version{Session: artifact.LibraryLog, Path: string(s.at(name)), Change: artifact.Created, Number: 1}
		v.SHA256, v.Size = sum(content), int64(size)
		all = append(all, v)
	}
	if err := zw.Close(); err != nil {
		panic(fmt.Sprint("write into memory: ", err))
	}
	done, err := s.d.Import(ctx, tenant, s.folder(), false, &b)
	s.done(s.step, all[:done.Files], err)
}

// onlyFiles fails the test unless the folder of a script holds what was
// acknowledged, and no more.
func onlyFiles(t testing.TB, d *depot.Depot, _, name string, acked []artifact.Version) {
	t.Helper()
	want := map[string]string{}
	for path, v := range stand(acked) {
		want[path] = v.SHA256
	}
	got := map[string]string{}
	list, _, err := d.Tree(t.Context(), tenant, artifact.Path("/"+name), "", 100)
	for i := range list {
		got[list[i].Path] = list[i].SHA256
	}
	if diff := cmp.Diff(got, want); diff != "" || err != nil {
		t.Errorf("library, %v (-there +acknowledged):\n%s", err, diff)
	}
}

// stand returns the artifacts that stand after what was acknowledged, by path.
func stand(acked []artifact.Version) map[string]artifact.Version {
	m := map[string]artifact.Version{}
	for _, v := range acked {
		if v.Session != artifact.LibraryLog {
			continue
		}
		if m[v.Path] = v; v.Change == artifact.Deleted {
			delete(m, v.Path)
		}
	}
	return m
}

// holdsFiles fails the test unless the library has what was acknowledged.
func holdsFiles(t testing.TB, d *depot.Depot, acked []artifact.Version) {
	t.Helper()
	for path, want := range stand(acked) {
		got, err := d.File(t.Context(), tenant, artifact.Path(path), 0)
		if want.Change == deleting {
			continue
		}
		if err != nil || got.SHA256 != want.SHA256 || got.Number != want.Number {
			t.Errorf("acknowledged %s: %+v, %v, want version %d with the hash %s", path, got, err, want.Number, want.SHA256)
			continue
		}
		if sum, err := sumOf(t.Context(), d, &got); err != nil || sum != want.SHA256 {
			t.Errorf("acknowledged %s has the hash %s (%v), want %s", path, sum, err, want.SHA256)
		}
		if v, err := d.FileByID(t.Context(), tenant, got.Attachment); err != nil || v.Path != path {
			t.Errorf("record of %s: %+v, %v", path, v, err)
		}
	}
}

// clearFiles deletes what a script has left in the library.
func clearFiles(t testing.TB, d *depot.Depot, name string) {
	t.Helper()
	list, _, err := d.Tree(t.Context(), tenant, artifact.Path("/"+name), "", 100)
	for i := range list {
		err = errors.Join(err, d.DeleteFile(t.Context(), tenant, artifact.Path(list[i].Path), depot.Precondition{}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

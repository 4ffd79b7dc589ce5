package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// small mounts a disk of a few bytes on dir, or skips the test.
func small(t *testing.T, dir string, size int) {
	t.Helper()
	err := errors.New("not root")
	if os.Geteuid() == 0 {
		err = syscall.Mount("vitrine-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	}
	if err != nil {
		if os.Getenv("VITRINE_TEST_STRICT") != "" {
			t.Fatalf("mount a tmpfs: %v; VITRINE_TEST_STRICT allows no skip", err)
		}
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// free returns how many bytes are left.
func free(t testing.TB, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// full is a server on a small disk.
type full struct {
	*verifier
	srv     *server
	o       *oracle
	library *library
	stats   struct{ acked, refused int }
}

const smallDisk = 24 << 20

// The disk is full while files are uploaded and while the database commits.
// Uploads and large artifacts are then refused with 507, nothing that was acknowledged is lost, the
// server lives on and takes uploads again once there is room.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		name    string
		sizes   []int // of the uploads that fill the disk
		ballast int   // bytes taken before; freed afterwards
	}{
		{"large files", []int{700 << 10, 64 << 10}, 8 << 20},
		{"rows", []int{16 << 10, 8 << 10, 1 << 10, 1}, 16 << 20},
		{"both", []int{16 << 10, 300 << 10, 16 << 10, 4 << 10, 17 << 10}, 12 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fill(t, c.sizes, c.ballast)
		})
	}
}

func fill(t *testing.T, sizes []int, ballast int) {
	program(t)
	disk := t.TempDir()
	small(t, disk, smallDisk)
	rng := random(t)
	weight := filepath.Join(disk, "ballast")
	if err := os.WriteFile(weight, make([]byte, ballast), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	f := &full{o: newOracle("full", false)}
	f.verifier = &verifier{t: t, api: newAPI(addr), dir: filepath.Join(disk, "data"), rng: rng, all: true}
	f.library = newLibrary(t, newAPI(addr), fork(rng), 1)
	f.srv = launch(t, f.dir, addr)
	f.srv.ready(t)
	f.furnish()
	f.create("full")
	f.create("spare")
	for i := range 8 { // to be deleted when the disk is full
		if !f.upload("spare", 200<<10, i) {
			t.Fatal("an upload to an empty disk was refused")
		}
	}
	f.exhaust(sizes)
	again := f.cram()
	f.sound("on the full disk")
	f.clean(true)

	if status, err := f.api.call(t.Context(), "DELETE", "/api/sessions/spare", nil, nil); err != nil {
		t.Logf("deleting a session on a full disk answers %d: %v", status, err)
		if status != 507 {
			t.Errorf("deleting a session on a full disk: %v", err)
		}
	}
	if err := os.Remove(weight); err != nil {
		t.Fatal(err)
	}
	if !eventually(t.Context(), func() bool { return f.upload("full", 16<<10, 0) }) {
		t.Fatalf("uploads are refused though %d bytes are free:\n%s", free(t, disk), f.srv.log)
	}
	if !f.upload("full", 600<<10, 0) {
		t.Errorf("a large upload is refused though %d bytes are free", free(t, disk))
	}
	for _, a := range again {
		if !f.writes(a) {
			t.Errorf("%s %s is refused though %d bytes are free", a.method, a.path, free(t, disk))
		}
	}
	f.sound("after there was room again")
	f.clean(true)
	f.exhaust(sizes) // once more, and this time it is killed there
	t.Logf("the full disk has room for the deletion of artifacts: %t", f.empty())
	f.srv.kill()
	f.srv = launch(t, f.dir, addr)
	f.srv.ready(t)
	f.sound("after a start on the full disk")
	f.clean(true)
	t.Logf("%d uploads acknowledged, %d refused", f.stats.acked, f.stats.refused)
}

func (f *full) create(id string) {
	f.t.Helper()
	if _, err := f.api.call(f.t.Context(), "POST", "/api/sessions", map[string]string{"session_id": id}, nil); err != nil {
		f.t.Fatal(err)
	}
}

// upload sends a file and reports whether it was taken. Other than taken or
// refused for want of room it must not be.
func (f *full) upload(session string, size, i int) bool {
	f.t.Helper()
	b := noise(f.rng, size)
	name := fmt.Sprintf("f%d.bin", i)
	u := f.o.begin([]string{name}, [][]byte{b})
	var a answer
	status, err := f.api.call(f.t.Context(), "PUT", "/api/uploads/"+session+"/"+name, b, &a)
	if !f.srv.running() {
		f.t.Fatalf("the server ended on the full disk:\n%s", f.srv.log)
	}
	switch {
	case err == nil:
		files := []kept{{id: a.ID, name: a.Name, sum: a.Sum, size: a.Size, seq: a.Sequence}}
		if session != f.o.id {
			files = nil
		}
		f.o.acknowledged(u, files)
		f.stats.acked++
		return true
	case status == 507:
		f.o.refused(u)
		f.stats.refused++
		return false
	}
	f.t.Fatalf("upload of %d bytes with %d free: %v\n%s", size, free(f.t, filepath.Dir(f.dir)), err, f.srv.log)
	return false
}

// exhaust uploads until every size has been refused several times in a row.
func (f *full) exhaust(sizes []int) {
	f.t.Helper()
	refused := 0
	for i := 0; refused < 4*len(sizes); i++ {
		if f.upload(f.o.id, sizes[i%len(sizes)], i) {
			refused = 0
		} else {
			refused++
		}
		if i > 20_000 {
			f.t.Fatalf("the disk does not become full: %d bytes are free", free(f.t, filepath.Dir(f.dir)))
		}
	}
	f.t.Logf("full with %d bytes free after %d uploads", free(f.t, filepath.Dir(f.dir)), f.stats.acked)
}

// sound checks that all that was acknowledged is there, and no more.
func (f *full) sound(when string) {
	f.t.Helper()
	f.session(f.t.Context(), f.o)
	f.library.verify(f.t.Context(), true)
	if f.t.Failed() {
		f.t.Fatalf("%s:\n%s", when, f.srv.log)
	}
}

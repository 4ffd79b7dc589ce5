package depot

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asNobody runs the test that calls it once more, as a user who is not root:
// root can read every file.
func asNobody(t *testing.T) {
	t.Helper()
	const nobody = 65534
	dir, err := os.MkdirTemp("/tmp", "nobody-") // every folder above must let nobody in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The program's folder may shut nobody out; this name leads past it.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "GOTMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}

// What cannot be read now is still there.
func TestScanOfUnreadableFiles(t *testing.T) {
	if os.Getuid() == 0 {
		asNobody(t)
		return
	}
	p := inPlace(t, Options{})
	p.write("a.txt", "a")
	p.write("d/b.txt", "b")
	p.want("created a.txt", "created d/b.txt")
	p.write("a.txt", "changed")
	mode := func(file, folder os.FileMode) {
		t.Helper()
		for name, m := range map[string]os.FileMode{"a.txt": file, "d": folder} {
			if err := os.Chmod(filepath.Join(p.dir, name), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	mode(0, 0)
	p.want()
	if diff := cmp.Diff(map[string]string{"a.txt": whyClosed, "d/": whyClosed}, p.skipped()); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	mode(0o600, 0o700)
	p.want("updated a.txt")
}

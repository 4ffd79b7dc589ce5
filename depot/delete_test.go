package depot

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
)

// onDisk reports whether a file of the data directory holds these bytes.
func (s *stand) onDisk(secret []byte) bool {
	s.Helper()
	found := false
	err := filepath.WalkDir(s.dir, func(name string, e os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // went while we look
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			return nil
		}
		found = found || bytes.Contains(b, secret)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return found
}

// Small contents of what was deleted or cleaned stayed in the database and its
// log, and large ones of deleted sessions on the disk, where no quota counted them.
func TestDeletedBytesLeaveTheDisk(t *testing.T) {
	for name, remove := range map[string]func(s *stand) error{
		"delete": func(s *stand) error { return s.DeleteSession(t.Context(), tenant, "a") },
		"clean":  func(s *stand) error { return s.CleanUploads(t.Context(), tenant, "a") },
	} {
		s := newStand(t, t.TempDir(), Options{})
		secret := []byte("what nobody may find")
		small := s.up("a", "small.txt", secret)
		big := s.up("a", "big.bin", append(noise(large, 1), secret...))
		open, err := s.OpenContent(t.Context(), &big)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		if !s.onDisk(secret) {
			t.Fatalf("%s: the content of %s is not where this test looks", name, small.Name)
		}
		if err := remove(s); err != nil {
			t.Fatal(err)
		}
		until(t, "nothing of it is on the disk after "+name, func() bool { return !s.has(big.Key) && !s.onDisk(secret) })
		if b, err := io.ReadAll(open); err != nil || !bytes.HasSuffix(b, secret) {
			t.Errorf("%s: a download that had begun got %d bytes, %v", name, len(b), err)
		}
	}
}

// The oldest version beyond those that are kept takes no room.
func TestOldVersionsLeaveTheDisk(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	v := s.mustPut("/a.bin", string(noise(large, 1)))
	kept := s.mustPut("/a.bin", string(noise(large, 2)), func(ask *Save) { ask.Replace = true })
	for i := range artifact.MaxVersions - 2 {
		s.mustPut("/a.bin", fmt.Sprint(i), func(ask *Save) { ask.Replace = true })
	}
	if !s.has(v.Key) {
		t.Fatal("a version that is kept has lost its bytes")
	}
	s.mustPut("/a.bin", "one too many", func(ask *Save) { ask.Replace = true })
	if s.has(v.Key) || !s.has(kept.Key) {
		t.Error("the oldest version is on the disk, or the one after it is not")
	}
}

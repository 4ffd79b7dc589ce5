package depot

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
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
// log. Large ones of a deleted session are left to the sweeper.
func TestDeletedBytesLeaveTheDisk(t *testing.T) {
	for name, remove := range map[string]func(s *stand) error{
		"delete": func(s *stand) error { return s.DeleteSession(t.Context(), tenant, "a") },
		"clean":  func(s *stand) error { return s.CleanUploads(t.Context(), tenant, "a") },
	} {
		s := newStand(t, t.TempDir(), Options{})
		secret := []byte("what nobody may find")
		small := s.up("a", "small.txt", secret)
		end := secret
		if name == "delete" {
			end = []byte("swept later")
		}
		big := s.up("a", "big.bin", append(noise(large, 1), end...))
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
		until(t, "nothing of it is on the disk after "+name, func() bool { return s.has(big.Key) == (name == "delete") && !s.onDisk(secret) })
		if b, err := io.ReadAll(open); err != nil || !bytes.HasSuffix(b, end) {
			t.Errorf("%s: a download that had begun got %d bytes, %v", name, len(b), err)
		}
	}
}

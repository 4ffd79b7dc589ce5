package depot

import (
	"os"
	"path/filepath"
	"testing"
)

// TestScanOfALinkToTheManifest holds down a file that fed itself: each look at
// it made a version, and each version another manifest.
func TestScanOfALinkToTheManifest(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("a.txt", "a")
	p.want("created a.txt")
	if err := os.MkdirAll(filepath.Join(p.dir, "attachments"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.write("attachments/"+manifestName, "{}")
	if err := os.Symlink("attachments/"+manifestName, filepath.Join(p.dir, "m.json")); err != nil {
		t.Fatal(err)
	}
	p.want()
	if got := p.skipped()["m.json"]; got != whyManifest {
		t.Errorf("m.json is skipped because %q, want %q", got, whyManifest)
	}
}

// TestScanOfAFolderInPlaceOfTheMark plants what a mark cannot replace by a
// plain removal.
func TestScanOfAFolderInPlaceOfTheMark(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("a.txt", "a")
	mark := filepath.Join(filepath.Dir(p.dir), home)
	if err := os.MkdirAll(filepath.Join(mark, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.want("created a.txt")
	if info, err := os.Lstat(mark); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the mark is %v, %v; want a file", info, err)
	}
}

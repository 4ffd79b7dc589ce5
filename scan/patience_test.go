package scan

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hasty makes the package wait a fifth of a second for what stands still.
func hasty(t *testing.T) {
	before := patience
	patience = 200 * time.Millisecond
	t.Cleanup(func() { patience = before })
}

// Scanners that take nothing, or everything without a word, are left without a
// deadline of the caller's.
func TestStalledScannersAreLeft(t *testing.T) {
	hasty(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket) // connections wait in its queue
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "scan.sh")
	if err := os.WriteFile(file, []byte("exec sleep 1000"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"clamd://" + socket, "exec:sh " + file} {
		s, err := Open(address)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{10, 8 << 20} {
			v, err := s.Scan(t.Context(), "f", strings.NewReader(strings.Repeat("x", size)))
			if v != (Verdict{}) || !errors.Is(err, errStalled) {
				t.Errorf("%s, %d bytes: Scan = %+v, %v, want that it stood still", address, size, v, err)
			}
		}
	}
}

// A source that is slower than the scanner's patience is not the scanner's fault.
func TestSlowSource(t *testing.T) {
	hasty(t)
	s, err := Open("exec:cat")
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	timer := time.AfterFunc(3*patience, func() { w.Close() })
	defer timer.Stop()
	if v, err := s.Scan(t.Context(), "f", r); err != nil || !v.Clean {
		t.Errorf("Scan = %+v, %v, want it clean", v, err)
	}
}

package scan_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/scan"
)

func open(t *testing.T, address string) scan.Scanner {
	t.Helper()
	s, err := scan.Open(address)
	if err != nil {
		t.Fatalf("Open(%q) = %v", address, err)
	}
	return s
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ address, want string }{
		{"", "neither"},
		{"virus", "neither"},
		{"http://localhost:3310", "neither"},
		{"clamd", "two slashes"},
		{"clamd:/run/clamd.ctl", "two slashes"},
		{"clamd://", "names no socket and no host"},
		{"clamd:///", "folder"},
		{"clamd:///run/clamav/", "folder"},
		{"clamd://localhost", "a host and a port"},
		{"clamd://::1:3310", "a host and a port"},
		{"clamd://:3310", "names no host"},
		{"clamd://localhost:", "a number from 1"},
		{"clamd://localhost:0", "a number from 1"},
		{"clamd://localhost:65536", "a number from 1"},
		{"clamd://localhost:3310/x", "a number from 1"},
		{"exec:", "names no command"},
		{"exec:  ", "names no command"},
		{"exec:no-such-command -v", "not found"},
		{"exec:/no/such/command", "no such file"},
	} {
		_, err := scan.Open(test.address)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open(%q) = %v, want an error with %q", test.address, err, test.want)
		}
	}
}

func TestOpen(t *testing.T) {
	for _, address := range []string{
		"clamd:///run/clamav/clamd.ctl", "clamd://localhost:3310", "clamd://[::1]:3310", "exec:sh", "exec:/bin/sh  -c  true",
	} {
		open(t, address)
	}
}

func TestNobodyAtTheAddress(t *testing.T) {
	s := open(t, "clamd://"+t.TempDir()+"/missing")
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Ping of a missing clamd = nil")
	}
	v, err := s.Scan(t.Context(), "a.txt", strings.NewReader("text"))
	if err == nil || v.Clean || !strings.Contains(err.Error(), `scan "a.txt"`) {
		t.Errorf("Scan by a missing clamd = %+v, %v", v, err)
	}
}

var errSource = errors.New("the source broke")

// broken is a source that fails after some bytes.
func broken(size int, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(make([]byte, size)), failing{err})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// zeros is a source that needs no memory.
func zeros(size int64) io.Reader { return io.LimitReader(zero{}, size) }

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// allocates fails the test if f takes more than limit bytes of memory in all.
func allocates(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > limit {
		t.Errorf("took %d bytes of memory, more than %d", n, limit)
	}
}

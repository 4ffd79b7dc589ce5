package scan_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/scan"
)

// script is a scanner that runs the lines of a shell script, in which $1 is a
// folder of its own.
func script(t *testing.T, lines string) (s scan.Scanner, dir string) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(dir, "scan.sh")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, "exec:sh "+file+" "+dir), dir
}

func TestCommand(t *testing.T) {
	for _, test := range []struct {
		name, script string
		want         scan.Verdict
	}{
		{"clean", "cat >/dev/null", scan.Verdict{Clean: true}},
		{"clean, with words", "cat; echo fine", scan.Verdict{Clean: true}},
		{"counts", `[ "$(wc -c)" = 200000 ]`, scan.Verdict{Clean: true}},
		{"found", "cat >/dev/null; echo Bad.Thing; echo more; exit 1", scan.Verdict{Found: "Bad.Thing"}},
		{"found and said nothing", "cat >/dev/null; exit 1", scan.Verdict{Found: "unnamed"}},
		{"found before the end", "echo Early; exit 1", scan.Verdict{Found: "Early"}},
		{"a hostile name", `cat >/dev/null; printf '\033[31m\r\nx'; exit 1`, scan.Verdict{Found: "?[31m"}},
	} {
		s, _ := script(t, test.script)
		v, err := s.Scan(t.Context(), "f", zeros(200_000))
		if err != nil || v != test.want {
			t.Errorf("%s: Scan = %+v, %v, want %+v", test.name, v, err, test.want)
		}
	}
}

func TestCommandFaults(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"fails", "cat >/dev/null; echo no database >&2; exit 2", `exit status 2: "no database"`},
		{"fails at once", "echo no database >&2; exit 2", "no database"},
		{"is killed", "kill -9 $$", "killed"},
		{"ends well without reading", "exit 0", "before it had everything"},
		{"closes its input", "exec <&-; exit 0", "before it had everything"},
	} {
		s, _ := script(t, test.script)
		v, err := s.Scan(t.Context(), "f", zeros(8<<20))
		if err == nil || v != (scan.Verdict{}) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Scan = %+v, %v, want an error with %q", test.name, v, err, test.want)
		}
	}
}

func TestCommandPing(t *testing.T) {
	for lines, ok := range map[string]bool{"cat": true, "exit 1": false, "exit 2": false} {
		s, _ := script(t, lines)
		if err := s.Ping(t.Context()); (err == nil) != ok {
			t.Errorf("Ping of %q = %v", lines, err)
		}
	}
}

func TestCommandVanished(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scanner")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ncat\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, "exec:"+file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Scan(t.Context(), "f", zeros(1)); v.Clean || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Scan = %+v, %v, want os.ErrNotExist", v, err)
	}
}

// Passwords of ours are in our environment.
func TestCommandEnvironment(t *testing.T) {
	t.Setenv("VITRINE_DB", "postgres://secret")
	t.Setenv("SCANNER_OPTION", "yes")
	s, _ := script(t, `cat >/dev/null; echo "$SCANNER_OPTION $(env | grep -c VITRINE_)"; exit 1`)
	v, err := s.Scan(t.Context(), "f", zeros(1))
	if err != nil || v.Found != "yes 0" {
		t.Errorf("Scan = %+v, %v, want no variable of ours and theirs", v, err)
	}
}

func TestCommandSourceFails(t *testing.T) {
	for _, cause := range []error{errSource, io.ErrUnexpectedEOF} {
		s, dir := script(t, `cat >/dev/null; : >"$1/ended"`)
		v, err := s.Scan(t.Context(), "f", broken(100_000, cause))
		if v != (scan.Verdict{}) || !errors.Is(err, cause) {
			t.Errorf("Scan = %+v, %v, want %v", v, err, cause)
		}
		if _, err := os.Stat(filepath.Join(dir, "ended")); err == nil {
			t.Errorf("after %v the command believed that it had everything", cause)
		}
	}
}

func TestCommandMemory(t *testing.T) {
	s, _ := script(t, `cat; cat /dev/zero | head -c 64000000 >&2`)
	allocates(t, 1<<20, func() {
		if v, err := s.Scan(t.Context(), "f", zeros(64<<20)); err != nil || !v.Clean {
			t.Errorf("Scan = %+v, %v", v, err)
		}
	})
}

// When the context ends, everything that the command started ends with it. The
// child holds a pipe open, whose end the test sees.
func TestCommandEndsWithItsChildren(t *testing.T) {
	for _, size := range []int64{1, 8 << 20} { // it waits for the end, and for the pipe to have room
		s, dir := script(t, `sleep 1000 >"$1/pipe" & sleep 1000`)
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { // ends with the child, which the test waits for
			f, err := os.Open(filepath.Join(dir, "pipe")) // waits for the child
			cancel()
			if err == nil {
				_, err = io.Copy(io.Discard, f)
				f.Close()
			}
			ended <- err
		}()
		v, err := s.Scan(ctx, "f", zeros(size))
		if v != (scan.Verdict{}) || !errors.Is(err, context.Canceled) {
			t.Errorf("Scan = %+v, %v, want context.Canceled", v, err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("a child of the command goes on")
		}
	}
}

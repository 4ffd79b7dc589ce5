package depot

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// promptly runs f, which must not wait for somebody to write to the pipe.
func promptly(t *testing.T, what, pipe string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Errorf("%s waits for a pipe", what)
		w, err := os.OpenFile(pipe, os.O_RDWR, 0) // lets it go
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		<-done
	}
}

// A pipe in the place of a folder blocked whoever opened it, for ever.
func TestPipeInThePlaceOfAFolder(t *testing.T) {
	p := inPlace(t, Options{})
	p.write("d/a.txt", "a")
	p.want("created d/a.txt")
	pipe := filepath.Join(p.dir, "d")
	p.remove("d")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	promptly(t, "a look at a file below", pipe, func() {
		if _, _, err := p.Depot.scan(t.Context(), &p.s, look{paths: []string{"d/a.txt"}}); err != nil {
			t.Error(err)
		}
	})
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(p.dir, 0o600); err != nil {
		t.Fatal(err)
	}
	promptly(t, "a scan", p.dir, func() {
		if _, err := p.Scan(t.Context(), p.s.Tenant, p.s.ID, ""); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("Scan = %v, want that the workspace is no folder", err)
		}
	})
	promptly(t, "writing the workspace", p.dir, func() {
		if err := p.Materialize(t.Context(), &p.s); err == nil {
			t.Error("Materialize made a folder of a pipe")
		}
	})
	promptly(t, "removing", p.dir, func() {
		if err := removeFolder(p.dir); err != nil {
			t.Error(err)
		}
	})
}

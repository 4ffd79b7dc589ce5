package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// hello serves on an admin socket until the test ends.
func hello(t *testing.T, path string) {
	t.Helper()
	l, err := listenAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"done":true,"result":7}`) })}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket was left: %v", err)
		}
	})
}

func TestAdminSocket(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": filepath.Join(t.TempDir(), strings.Repeat("long", 30))} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(dir, 0o711); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, adminSocket)
			if err := os.WriteFile(path, nil, 0o644); err != nil { // left by a server that was killed
				t.Fatal(err)
			}
			hello(t, path)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode(); got&os.ModeSocket == 0 || got.Perm() != 0o600 {
				t.Errorf("mode is %v, want a socket for the owner only", got)
			}
			var out int
			if err := askServer(t.Context(), &lockedError{path: dir}, task{Name: "check"}, nil, &out); err != nil || out != 7 {
				t.Errorf("got %d, %v", out, err)
			}
		})
	}
}

func TestAdminSocketWithoutServer(t *testing.T) {
	err := askServer(t.Context(), &lockedError{path: t.TempDir(), pid: 42}, task{Name: "check"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "process 42") {
		t.Errorf("got %v, want who holds the data", err)
	}
}

func TestReadTask(t *testing.T) {
	var done, total int64
	var out struct{ N int }
	progress := func(d, t int64) { done, total = d, t }
	answer := `{"progress":{"done":0,"total":9}}` + "\n" + `{"progress":{"done":4,"total":9}}` + "\n" + `{"done":true,"result":{"N":3}}`
	if err := readTask(strings.NewReader(answer), progress, &out); err != nil || out.N != 3 || done != 4 || total != 9 {
		t.Errorf("got %+v after %d of %d, %v", out, done, total, err)
	}
	if err := readTask(strings.NewReader(`{"done":true,"error":"disk full"}`), nil, &out); err == nil || err.Error() != "disk full" {
		t.Errorf("got %v, want the server's error", err)
	}
	if err := readTask(strings.NewReader(`{"progress":{"done":4,"total":9}}`), progress, &out); err == nil {
		t.Error("an answer that broke off was taken for success")
	}
}

// Other users cannot open the socket; should they get hold of it all the same,
// they are turned away.
func TestAdminSocketTurnsOthersAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, adminSocket)
	hello(t, path)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	got := make(chan result)
	go func() {
		runtime.LockOSThread() // the thread becomes somebody else and ends with this goroutine
		n, err := askAs(65534, path)
		got <- result{n, err}
	}()
	if r := <-got; r.err == nil && r.n > 0 {
		t.Errorf("user 65534 got an answer of %d bytes", r.n)
	}
	conn, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := trustedPeer(conn.(*net.UnixConn)); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

// askAs makes this thread another user's and asks on a socket. It returns how
// many bytes were answered.
func askAs(uid uintptr, path string) (int, error) {
	none := ^uintptr(0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, none, uid, none); errno != 0 {
		return 0, errno
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return 0, err
	}
	if _, err := syscall.Write(fd, []byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		return 0, err
	}
	return syscall.Read(fd, make([]byte, 100))
}

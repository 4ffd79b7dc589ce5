package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// patience is how long anything that must come about may take on a slow
// machine. Nothing waits for it when all is well.
const patience = 30 * time.Second

// server is one process of the product on a data directory.
type server struct {
	cmd    *exec.Cmd
	addr   string
	log    *tailWriter
	exited chan struct{} // closed when the process is reaped
}

// tailWriter keeps the end of what a process said.
type tailWriter struct {
	mu  sync.Mutex
	buf []byte
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if n := len(w.buf) - 32<<10; n > 0 {
		w.buf = append(w.buf[:0], w.buf[n:]...)
	}
	return len(p), nil
}

func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.buf)
}

// freeAddr returns a loopback address that nobody listens on. Its port lies
// below those that systems give to outgoing connections, so that it is still
// free at the next start.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// launch starts the product. It does not wait until it is ready.
func launch(t testing.TB, dir, addr string, flags ...string) *server {
	t.Helper()
	args := append([]string{"serve", "--data", dir, "--listen", addr, "--metrics-listen", "127.0.0.1:0", "--log-level", "warn"}, flags...)
	s := &server{cmd: exec.Command(program(t), args...), addr: addr, log: new(tailWriter), exited: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(dir), "VITRINE_BOOTSTRAP_KEY="+firstKey)
	s.cmd.Dir = filepath.Dir(dir)
	tie(s.cmd)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ended by kill or stop, one of which every test calls
		defer close(s.exited)
		_ = s.cmd.Wait() // ProcessState says how it ended
	}()
	t.Cleanup(s.kill)
	return s
}

// kill ends the process at once and waits until it is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may be gone
	<-s.exited
}

// stop asks the process to end and fails the test if it does not do so well.
func (s *server) stop(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("stop the server: %v", err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Errorf("the server does not stop:\n%s", s.log)
		s.kill()
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the server that was told to stop exited with %d:\n%s", code, s.log)
	}
}

// running reports whether the process is there.
func (s *server) running() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// ready waits until the server takes requests.
func (s *server) ready(t testing.TB) {
	t.Helper()
	a := &api{base: "http://" + s.addr, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	ok := eventually(t.Context(), func() bool {
		if !s.running() {
			return true
		}
		status, err := a.call(t.Context(), "GET", "/health/ready", nil, nil)
		return err == nil && status == 200
	})
	if !ok || !s.running() {
		t.Fatalf("the server does not become ready:\n%s", s.log)
	}
}

// eventually waits until f is true, or reports false after patience.
func eventually(ctx context.Context, f func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		if f() {
			return true
		}
		if !pause(ctx, wait) {
			return f()
		}
	}
}

// pause waits, and reports whether it did so to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// check runs "vitrine check" on a data directory, beside a running server or
// without one, and returns what it found wrong.
func check(t testing.TB, dir string, deep bool) []string {
	t.Helper()
	args := []string{"check", "--data", dir, "--json"}
	if deep {
		args = append(args, "--deep")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), args...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(dir))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	tie(cmd)
	out, err := cmd.Output()
	var report struct {
		Faults *[]string `json:"faults"`
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil || report.Faults == nil {
		t.Fatalf("vitrine check: %v, %v\n%s\n%s", err, jerr, out, stderr.String())
	}
	if (err == nil) != (len(*report.Faults) == 0) {
		t.Errorf("vitrine check found %d faults and ended with %v", len(*report.Faults), err)
	}
	return *report.Faults
}

// api is a client that hides nothing: it repeats no request and takes no answer
// for another.
type api struct {
	base   string
	http   *http.Client
	bearer string       // the token that it shows, if any
	logID  atomic.Value // string; what the first event said
}

func newAPI(addr string) *api {
	return &api{base: "http://" + addr, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, ResponseHeaderTimeout: patience},
	}}
}

// answered is an answer that is not the expected one.
type answered struct {
	status int
	body   string
}

func (e *answered) Error() string { return fmt.Sprintf("answer %d: %s", e.status, e.body) }

func statusOf(err error) int {
	if e, ok := errors.AsType[*answered](err); ok {
		return e.status
	}
	return 0
}

// call sends a request and decodes the answer into into. Answers of 400 and
// above are an *answered; every other error means that nothing is known of the
// outcome.
func (a *api) call(ctx context.Context, method, path string, body any, into any) (int, error) {
	return a.send(ctx, method, path, nil, body, into)
}

// send is call with headers, which come in pairs.
func (a *api) send(ctx context.Context, method, path string, header []string, body any, into any) (int, error) {
	req, err := a.request(ctx, method, path, header, body)
	if err != nil {
		return 0, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, &answered{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	if w, ok := into.(io.Writer); ok {
		_, err = io.Copy(w, resp.Body)
		return resp.StatusCode, err
	}
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(into)
}

// request makes a request that shows the token.
func (a *api) request(ctx context.Context, method, path string, header []string, body any) (*http.Request, error) {
	var r io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case form:
		r, kind = bytes.NewReader(b.body), b.kind
	case []byte:
		r = bytes.NewReader(b)
	case io.Reader:
		r = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r, kind = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, r)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if a.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+a.bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req, nil
}

// workspace returns the folder of a session's files.
func workspace(dir, session string) string {
	return filepath.Join(dir, "WareHouse", artifact.SessionPrefix+session, artifact.WorkspaceDir)
}

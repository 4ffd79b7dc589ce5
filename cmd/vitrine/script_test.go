package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vitrine": main})
}

// TestScripts runs testdata/script/*.txt: the program as its users run it.
// Beside the commands of testscript there are
//
//	serve [FLAG…]        start a server on $WORK/data and a free port, or on that
//	                     of the server before ("serve again"); VITRINE_SERVER names it;
//	                     what it prints is in server.out
//	halt, crash          end it by SIGTERM, by SIGKILL
//	start NAME ARG…      start "vitrine ARG…" with its output in NAME.out and NAME.err
//	followers N          wait until the server has so many followers
//	metric NAME N        wait until a metric of the server's has that value
//	lines N FILE         wait until a file has N lines
//	until FILE TEXT      wait until a file has a text
//	ended NAME           wait until NAME ends, which must be with success
//	failed NAME [TIME]   wait until NAME ends, which must be with an error, and within
//	                     that time
//	approve NAME KEY     let the login in that NAME waits for, as the page would
//	issuer               start an issuer of tokens, whose address is in ISSUER
//	token NAME CLAIMS    set a variable to a token of that issuer with these claims
//	ask STATUS METHOD PATH [HEADER…]
//	                     send a request to the server, which must answer so; what it
//	                     answers is in answer.txt
//	field NAME N FILE    set a variable to the N-th word of a file
//	proxy MODE BYTES N   put a proxy before the server that breaks N connections:
//	                     after so many bytes of a "request", before the "answer" to
//	                     one, or after so many bytes of a "download"
//	big NAME SIZE        make a file of that many bytes, no two blocks alike
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("VITRINE_DATA", env.WorkDir+"/data")
			env.Setenv("NO_PROXY", "*")
			w := &world{running: map[string]*exec.Cmd{}}
			env.Values[worldKey{}] = w
			env.Defer(w.end)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": command(serve), "halt": command(halt), "crash": command(crash), "start": command(start),
			"followers": command(followers), "metric": command(metric), "until": command(untilText), "lines": command(lines), "ended": command(ended), "failed": command(failed), "proxy": command(proxy),
			"big": command(big), "approve": command(approve), "field": command(field),
			"issuer": command(issuer), "token": command(token), "ask": command(ask),
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// world is what a script has running.
type world struct {
	server  *exec.Cmd
	address string // host:port of the server
	metrics string // where its metrics are
	running map[string]*exec.Cmd
	proxies []net.Listener
	issuer  *foreign
	serving sync.WaitGroup
}

type worldKey struct{}

// end leaves nothing running.
func (w *world) end() {
	for _, cmd := range w.running {
		end(cmd)
	}
	if w.server != nil {
		end(w.server)
	}
	for _, l := range w.proxies {
		l.Close()
	}
	w.serving.Wait()
}

// end ends a process, which may have ended already.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// command makes a command of the script of f; an error ends the script.
func command(f func(*testscript.TestScript, *world, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be expected to fail")
		}
		ts.Check(f(ts, ts.Value(worldKey{}).(*world), args))
	}
}

// vitrine returns the program as the script's own "exec vitrine" runs it.
func vitrine(ts *testscript.TestScript, args ...string) (*exec.Cmd, error) {
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		file := dir + "/vitrine"
		if _, err := os.Stat(file); err != nil {
			continue
		}
		cmd := exec.Command(file, args...)
		cmd.Dir = ts.Getenv("WORK")
		for _, name := range []string{
			"PATH", "WORK", "HOME", "TMPDIR", "NO_PROXY", "XDG_CONFIG_HOME", "VITRINE_DATA", "VITRINE_SERVER", "VITRINE_KEY", "VITRINE_BOOTSTRAP_KEY",
		} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		return cmd, nil
	}
	return nil, errors.New("vitrine is not in PATH")
}

func serve(ts *testscript.TestScript, w *world, args []string) error {
	listen := "127.0.0.1:0"
	if len(args) > 0 && args[0] == "again" {
		listen, args = w.address, args[1:]
	}
	cmd, err := vitrine(ts, append([]string{"serve", "--listen", listen, "--metrics-listen", "127.0.0.1:0"}, args...)...)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(ts.MkAbs("server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.server = cmd
	printed, err := os.Create(ts.MkAbs("server.out"))
	if err != nil {
		return err
	}
	lines := bufio.NewReader(io.TeeReader(out, printed))
	url, err := fieldAfter(lines, " listens on ")
	if err == nil {
		w.metrics, err = fieldAfter(lines, "  metrics ")
	}
	if err != nil {
		text, _ := os.ReadFile(ts.MkAbs("server.log"))
		return fmt.Errorf("the server did not start: %w\n%s", err, text)
	}
	w.serving.Go(func() {
		defer printed.Close()
		_, _ = io.Copy(io.Discard, lines)
	})
	w.address = strings.TrimPrefix(url, "http://")
	ts.Setenv("VITRINE_SERVER", url)
	return nil
}

// fieldAfter returns what follows words on the first line that has them.
func fieldAfter(r *bufio.Reader, words string) (string, error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if _, field, ok := strings.Cut(strings.TrimSuffix(line, "\n"), words); ok {
			return strings.TrimSpace(field), nil
		}
	}
}

// until asks every 20 ms until it is told that all is well.
func until(ask func() error) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return err
		}
	}
}

func followers(ts *testscript.TestScript, w *world, args []string) error {
	return metric(ts, w, []string{"vitrine_followers", args[0]})
}

func metric(_ *testscript.TestScript, w *world, args []string) error {
	return until(func() error {
		resp, err := http.Get(w.metrics)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		_, value, _ := strings.Cut(string(text), "\n"+args[0]+" ")
		if value, _, _ = strings.Cut(value, "\n"); value != args[1] {
			err = fmt.Errorf("%s is %q, not %s", args[0], value, args[1])
		}
		return err
	})
}

func halt(_ *testscript.TestScript, w *world, _ []string) error { return w.endServer(syscall.SIGTERM) }

func crash(_ *testscript.TestScript, w *world, _ []string) error { return w.endServer(syscall.SIGKILL) }

func (w *world) endServer(sig os.Signal) error {
	if err := w.server.Process.Signal(sig); err != nil {
		return err
	}
	err := w.server.Wait()
	w.server = nil
	if sig == syscall.SIGKILL {
		return nil
	}
	return err
}

func start(ts *testscript.TestScript, w *world, args []string) error {
	name := args[0]
	cmd, err := vitrine(ts, args[1:]...)
	if err != nil {
		return err
	}
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	if err != nil {
		return err
	}
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	w.running[name] = cmd
	return cmd.Start()
}

// patience bounds every wait of a script.
const patience = 30 * time.Second

func lines(ts *testscript.TestScript, _ *world, args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	return until(func() error {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && bytes.Count(text, []byte("\n")) < want {
			err = fmt.Errorf("%s has not got %d lines:\n%s", args[1], want, text)
		}
		return err
	})
}

func untilText(ts *testscript.TestScript, _ *world, args []string) error {
	return until(func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !bytes.Contains(text, []byte(args[1])) {
			err = fmt.Errorf("%s has not got %q:\n%s", args[0], args[1], text)
		}
		return err
	})
}

func ended(ts *testscript.TestScript, w *world, args []string) error {
	cmd := w.running[args[0]]
	delete(w.running, args[0])
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		text, _ := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		return fmt.Errorf("%s: %w\n%s", args[0], err, text)
	}
	return nil
}

func failed(ts *testscript.TestScript, w *world, args []string) error {
	limit := patience
	if len(args) > 1 {
		var err error
		if limit, err = time.ParseDuration(args[1]); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := ended(ts, w, args[:1]); err == nil {
		return fmt.Errorf("%s ended without an error", args[0])
	}
	if took := time.Since(began); took > limit {
		return fmt.Errorf("%s took %v to end", args[0], took)
	}
	return nil
}

func big(ts *testscript.TestScript, _ *world, args []string) error {
	var n size
	if err := n.UnmarshalText([]byte(args[1])); err != nil {
		return err
	}
	b := make([]byte, 0, int64(n)+16)
	for i := 0; len(b) < int(n); i++ {
		b = fmt.Appendf(b, "%015d\n", i)
	}
	return os.WriteFile(ts.MkAbs(args[0]), b[:n], 0o600)
}

package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// command is a program that is started anew for each scan.
type command struct {
	path string
	args []string
}

// Scan runs the command on what r has.
func (c command) Scan(ctx context.Context, name string, r io.Reader) (Verdict, error) {
	v, err := c.run(ctx, r)
	if err != nil {
		return Verdict{}, fmt.Errorf("scanner %s: scan %q: %w", c.path, name, err)
	}
	return v, nil
}

// Ping runs the command on nothing, which must be clean.
func (c command) Ping(ctx context.Context) error {
	v, err := c.run(ctx, strings.NewReader(""))
	if err == nil && !v.Clean {
		err = fmt.Errorf("it found %s in nothing", v.Found)
	}
	if err != nil {
		return fmt.Errorf("scanner %s: ping: %w", c.path, err)
	}
	return nil
}

func (c command) run(ctx context.Context, r io.Reader) (Verdict, error) {
	ctx, p := newPump(ctx)
	defer p.stop()
	cmd := c.prepare(ctx)
	var stdout, stderr head
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Verdict{}, fmt.Errorf("make a pipe: %w", err)
	}
	cmd.Cancel = func() error {
		// One that left the group may hold the pipe and not read it.
		defer stdin.Close()
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err := cmd.Start(); err != nil {
		return Verdict{}, whyEnded(ctx, fmt.Errorf("start: %w", err))
	}
	readErr, writeErr := p.feed(stdin, r)
	if readErr != nil {
		p.stop() // kills the command
		_ = cmd.Wait()
		return Verdict{}, readErr
	}
	closeErr := stdin.Close()
	ended := cmd.Wait()
	if ctx.Err() != nil {
		return Verdict{}, context.Cause(ctx)
	}
	switch exit, failed := errors.AsType[*exec.ExitError](ended); {
	case failed && exit.ExitCode() == 1:
		line, _, _ := strings.Cut(strings.TrimSpace(stdout.String()), "\n")
		return found(line), nil
	case ended != nil:
		return Verdict{}, fmt.Errorf("%w: %q", ended, printable(stderr.String(), 500))
	case writeErr != nil || closeErr != nil: // a broken pipe, since it ended well
		return Verdict{}, fmt.Errorf("it ended before it had everything: %w", errors.Join(writeErr, closeErr))
	}
	return Verdict{Clean: true}, nil
}

// prepare makes a process that leads a group, in which all that it starts can be ended.
func (c command) prepare(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "VITRINE_") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // for one that left the group and holds the output
	return cmd
}

// A head keeps the first bytes that are written to it. The buffer is a field
// because io.Copy would fill an embedded one without a bound.
type head struct{ kept bytes.Buffer }

func (h *head) Write(b []byte) (int, error) {
	h.kept.Write(b[:min(len(b), 4<<10-h.kept.Len())])
	return len(b), nil
}

func (h *head) String() string { return h.kept.String() }

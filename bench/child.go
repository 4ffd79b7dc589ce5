package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// child is a server that was started to be measured, with a data directory of
// its own.
type child struct {
	cmd      *exec.Cmd
	addr     string
	greeting string // its first line
	dir      string
	reading  chan struct{} // closed when its output has ended
}

var greeted = regexp.MustCompile(`http://([^\s/]+)`)

// start starts a server and waits for the line that names its address.
func start(ctx context.Context, o *Options) (*child, error) {
	dir, err := os.MkdirTemp(o.Dir, "vitrine-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a data directory: %w", err)
	}
	args := append(append([]string{}, o.Command[1:]...),
		"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"))
	c := &child{cmd: exec.CommandContext(ctx, o.Command[0], args...), dir: dir, reading: make(chan struct{})}
	log, err := os.Create(filepath.Join(dir, "log")) // as a service has one
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a log: %w", err), os.RemoveAll(dir))
	}
	defer log.Close()
	c.cmd.Stderr = log
	c.cmd.SysProcAttr = endWithParent()
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 40 * time.Second
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a server: %w", err), os.RemoveAll(dir))
	}
	lines := bufio.NewReader(out)
	c.greeting, err = lines.ReadString('\n')
	go func() { // ends when the server does, which stop waits for
		defer close(c.reading)
		_, _ = io.Copy(io.Discard, lines) // what it prints is of no use, but must not block it
	}()
	m := greeted.FindStringSubmatch(c.greeting)
	if err != nil || m == nil {
		why, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("the server did not say where it listens, but %q", c.greeting+string(why)), c.stop(), os.RemoveAll(dir))
	}
	c.greeting, _, _ = strings.Cut(c.greeting, " listens")
	c.addr = m[1]
	return c, nil
}

// stop ends the server and gives back most of its room on the disk.
func (c *child) stop() error {
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-c.reading
	if waited := c.cmd.Wait(); waited != nil && err == nil {
		err = fmt.Errorf("the server ended: %w", waited)
	}
	return errors.Join(err, c.shrink())
}

// shrink removes the large files, which are few.
func (c *child) shrink() error {
	return filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() < 1<<20 {
			return err
		}
		return os.Remove(path)
	})
}

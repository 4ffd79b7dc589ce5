package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type saveCmd struct {
	File      string `arg:"" help:"The file; - is standard input."`
	Path      string `arg:"" help:"Where in the library; after a slash at the end comes the file's own name."`
	Overwrite bool   `help:"Make another version of what stands there."`
	Tries     int    `default:"5" placeholder:"N" help:"How often it begins anew after the connection is lost (default: ${default})."`
	remote
	output
}

// Help is the long help.
func (c *saveCmd) Help() string {
	return `Prints the bytes, the version and the path once it is safe on the server. What stands there is an error without --overwrite, and an older version with it. When the connection is lost it begins anew, and never makes two versions by that.

Examples:

  vitrine save plan.md /docs/plan.md
  vitrine save plan.md /docs/ --overwrite
  make 2>&1 | vitrine save - /logs/build.txt --overwrite`
}

// Run saves the file.
func (c *saveCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	// The server answers a repeated save with this word as it did the first.
	o := client.PutOptions{Overwrite: c.Overwrite, IdempotencyKey: rand.Text()}
	for n := 1; ; n++ {
		saved, again, err := c.once(ctx, a, cl, path, o)
		switch {
		case err == nil:
			return c.print(a, &saved)
		case !again || ctx.Err() != nil:
			return c.inLibrary(err, path)
		case n > c.Tries:
			return withHint(c.inLibrary(err, path), "gave up after %d tries; see --tries", c.Tries)
		}
		wait := time.Duration(1<<min(n-1, 5)) * 500 * time.Millisecond
		a.say("connection lost; it begins anew in %s (try %d of %d)", wait, n, c.Tries)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (c *saveCmd) path() (artifact.Path, error) {
	path := c.Path
	if strings.HasSuffix(path, "/") {
		if c.File == "-" {
			return "", usage("standard input has no name for %s", c.Path)
		}
		path += filepath.Base(c.File)
	}
	p, err := parsePath(path)
	if err != nil {
		return "", usage("%v", err)
	}
	return p, nil
}

// once sends the file. With an error it says whether another try makes sense.
func (c *saveCmd) once(ctx context.Context, a *app, cl *client.Client, p artifact.Path, o client.PutOptions) (_ client.LibraryFile, again bool, err error) {
	f := client.File{Size: -1, Content: a.stdin}
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return client.LibraryFile{}, false, err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return client.LibraryFile{}, false, err
		}
		if info.IsDir() {
			return client.LibraryFile{}, false, usage("%s is a directory", c.File)
		}
		if f.Content = file; info.Mode().IsRegular() {
			f.Size, again = info.Size(), true
		}
	}
	bar := a.meter(p.Name(), f.Size)
	defer bar.end()
	o.Progress = bar.set
	saved, err := cl.PutRaw(ctx, p, f, o)
	e, answered := errors.AsType[*client.Error](err)
	away := answered && e.Status == http.StatusServiceUnavailable
	_, lost := errors.AsType[*client.Interrupted](err)
	return saved, again && (lost || away || errors.Is(err, client.ErrRenewed)), err
}

func (c *saveCmd) print(a *app, f *client.LibraryFile) error {
	if c.JSON {
		return a.writeJSON(f)
	}
	return a.line("%12d  %4s  %s", f.Size, fmt.Sprint("v", f.Version), f.Path)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type upCmd struct {
	Files   []string  `arg:"" name:"file" help:"Files; - is standard input, and needs --name."`
	Session sessionID `short:"s" required:"" placeholder:"ID" help:"The session, made if it is new."`
	Name    string    `placeholder:"NAME" help:"Name of the file on the server, if there is one file only (default: its own name)."`
	Tries   int       `default:"5" placeholder:"N" help:"How often an upload begins anew after its connection is lost (default: ${default})."`
	remote
	output
}

// perRequest is how many files the server takes in one request.
const perRequest = 500

// Help is the long help.
func (c *upCmd) Help() string {
	return `Prints the attachment id, the bytes and the name of each file once it is safe on the server. Up to 500 files are stored all or not at all; more go in groups of 500. When the connection is lost the upload begins anew and says so; it never stores a file twice by that.

Examples:

  vitrine up report.md -s build-7
  vitrine up out/*.png -s build-7
  make 2>&1 | vitrine up - --name build.log -s build-7`
}

// Run uploads all files.
func (c *upCmd) Run(ctx context.Context, a *app) error {
	sources, err := c.sources(a)
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	for group := range slices.Chunk(sources, perRequest) {
		u := &uploading{a: a, c: c, cl: cl, sources: group}
		stored, err := u.run(ctx)
		if err != nil {
			return c.wrong(err, c.Session)
		}
		for i := range stored {
			if err := c.print(a, &stored[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *upCmd) print(a *app, f *client.Artifact) error {
	if c.JSON {
		return a.writeJSON(f)
	}
	return a.line("%s %12d  %s", f.Attachment, f.Size, printable(f.Name))
}

// source is a file to upload.
type source struct {
	path, name string
	stdin      io.Reader // instead of a file
	size       int64     // -1 when unknown
	again      bool      // it can be read from the start once more
}

// sources looks at all files before anything is sent.
func (c *upCmd) sources(a *app) ([]source, error) {
	if c.Name != "" && len(c.Files) != 1 {
		return nil, usage("--name is for one file, not for %d", len(c.Files))
	}
	var list []source
	for _, path := range c.Files {
		if path == "-" {
			if c.Name == "" {
				return nil, usage("standard input needs a --name")
			}
			list = append(list, source{path: path, name: c.Name, stdin: a.stdin, size: -1})
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			return nil, withHint(usage("%s is a directory", path), "name the files in it, such as %s, or an archive of it", filepath.Join(path, "*"))
		}
		s := source{path: path, name: filepath.Base(path), size: -1}
		if info.Mode().IsRegular() {
			s.size, s.again = info.Size(), true
		}
		if c.Name != "" {
			s.name = c.Name
		}
		list = append(list, s)
	}
	return list, nil
}

// uploading is one request with some files, until it is answered.
type uploading struct {
	a       *app
	c       *upCmd
	cl      *client.Client
	sources []source
	before  client.Cursor // of the log, when it began
	lost    []string      // hashes of files that may be stored; nil when they cannot be
}

func (u *uploading) run(ctx context.Context) ([]client.Artifact, error) {
	before, err := u.cl.Session(ctx, u.c.Session.id())
	if err == nil {
		u.before.After = before.LastSeq
	} else if !errors.Is(err, client.ErrNotFound) { // a new session begins at 0
		return nil, err
	}
	for n := 1; ; n++ {
		stored, err := u.once(ctx)
		if err == nil {
			return stored, nil
		}
		next, again := u.next(ctx, err)
		switch err := u.c.wrong(err, u.c.Session); {
		case !again && next != "":
			return nil, withHint(err, "%s", next)
		case !again:
			return nil, err
		case n > u.c.Tries:
			return nil, withHint(err, "gave up after %d tries; see --tries", u.c.Tries)
		}
		wait := time.Duration(1<<min(n-1, 5)) * 500 * time.Millisecond
		u.a.say("%s in %s (try %d of %d)", next, wait, n, u.c.Tries)
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// once finds out whether a try before was stored after all, and if not sends
// the files.
func (u *uploading) once(ctx context.Context) ([]client.Artifact, error) {
	if u.lost != nil {
		stored, err := u.find(ctx)
		if stored != nil || err != nil {
			return stored, err
		}
		u.lost = nil
	}
	return u.send(ctx)
}

// next says what comes after a failed try, and whether that is another.
func (u *uploading) next(ctx context.Context, err error) (string, bool) {
	e, answered := errors.AsType[*client.Error](err)
	interrupted, ok := errors.AsType[*client.Interrupted](err)
	if ok {
		u.lost = interrupted.Sums
	}
	switch {
	case ctx.Err() != nil:
		return "", false
	case ok && !u.repeatable():
		return "what came from a pipe cannot be read again", false
	case !u.repeatable():
		return "", false
	case errors.Is(err, client.ErrRenewed):
		return "the login has been renewed; the upload begins anew", true
	case u.lost != nil && (ok || !answered || e.Status >= 500):
		return "connection lost before the answer; looking whether it was stored", true
	case ok:
		return fmt.Sprintf("connection lost after %s; the upload begins anew", bytesText(interrupted.Sent)), true
	case answered && e.Status == http.StatusServiceUnavailable:
		return "the server is shutting down; the upload begins anew", true
	}
	return "", false
}

// pause waits for d or until ctx ends, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func (u *uploading) repeatable() bool {
	return !slices.ContainsFunc(u.sources, func(s source) bool { return !s.again })
}

// is reports whether f is what an upload of s would have stored.
func (s *source) is(f *client.Artifact, sum string) bool {
	return f.Source == artifact.SourceUpload && f.Name == artifact.CleanName(s.name) && f.SHA256 == sum
}

// send opens the files and sends them in one request.
func (u *uploading) send(ctx context.Context) ([]client.Artifact, error) {
	var files []client.File
	total, label := int64(0), u.sources[0].name
	if len(u.sources) > 1 {
		label = fmt.Sprintf("%d files", len(u.sources))
	}
	var opened []*os.File
	defer func() {
		for _, file := range opened {
			_ = file.Close() // it was only read
		}
	}()
	for _, s := range u.sources {
		f := client.File{Name: s.name, Size: s.size, Content: s.stdin}
		if s.stdin == nil {
			file, err := os.Open(s.path)
			if err != nil {
				return nil, err
			}
			opened = append(opened, file)
			f.Content = file
		}
		if total += s.size; s.size < 0 {
			total = -1 << 62
		}
		files = append(files, f)
	}
	bar := u.a.meter(label, max(total, -1))
	defer bar.end()
	return u.cl.Upload(ctx, u.c.Session.id(), files, bar.set)
}

// find looks in the log for what an upload without an answer may have stored:
// entries after its beginning with just these names, sizes and hashes. It
// returns nil if there are none.
func (u *uploading) find(ctx context.Context) ([]client.Artifact, error) {
	var uploads []client.Artifact
	for q := (client.EventQuery{After: u.before, Filter: uploadsOnly, Limit: 100}); ; {
		page, err := u.cl.Events(ctx, u.c.Session.id(), q)
		if errors.Is(err, client.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		uploads = append(uploads, page.Events...)
		if !page.More {
			break
		}
		q.After.After = page.Next
	}
	found := make([]client.Artifact, len(u.sources))
	for i, s := range u.sources {
		at := slices.IndexFunc(uploads, func(f client.Artifact) bool { return s.is(&f, u.lost[i]) })
		if at < 0 {
			return nil, nil
		}
		found[i] = uploads[at]
		uploads = slices.Delete(uploads, at, at+1)
	}
	return found, nil
}

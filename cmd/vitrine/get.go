package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type getCmd struct {
	Session sessionID `arg:"" help:"The session."`
	Files   []string  `arg:"" optional:"" name:"file" help:"Files, by id, path or name."`
	Ext     []string  `placeholder:"EXT" help:"All files with these extensions."`
	Output  string    `short:"o" default:"." placeholder:"DIR|FILE|-" help:"Folder, file, or - for standard output (default: this folder)."`
	At      int64     `placeholder:"SEQ" help:"Files as they were at this position of the log."`
	remote
	output
}

// Help is the long help.
func (c *getCmd) Help() string {
	return `Files of the workspace keep their path below the folder, uploads their name. Each appears there only when it is whole and its hash is right; a lost connection is taken up where it broke. Prints each file that it wrote.

An id that begins with "art_" is one version of a file for ever, also after the file was changed or deleted.

Examples:

  vitrine get build-7 out/plot.png
  vitrine get build-7 art_4bf92f3577b34da6a3ce929d0e0e4736 -o - | less
  vitrine get build-7 --ext pdf,md -o results/`
}

// Run downloads one file after the other and goes on after an error.
func (c *getCmd) Run(ctx context.Context, a *app) error {
	if len(c.Files) == 0 && len(c.Ext) == 0 {
		return withHint(usage("no files are named"), `name them, or --ext; "vitrine zip %s" gets all of them`, c.Session)
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	files, err := c.choose(ctx, cl)
	if err != nil {
		return c.wrong(expiredAt(err, c.At), c.Session)
	}
	if c.Output == "-" {
		return c.toStdout(ctx, a, cl, files)
	}
	t, err := newTarget(c.Output, len(files) == 1 && len(c.Ext) == 0)
	if err != nil {
		return err
	}
	defer t.root.Close()
	var failed error
	for i := range files {
		if err := c.save(ctx, a, cl, t, &files[i]); err != nil {
			if ctx.Err() != nil {
				return err
			}
			a.fail(c.wrong(fmt.Errorf("get %s: %w", printable(files[i].Path), err), c.Session))
			failed = errSilent
		}
	}
	return failed
}

func (c *getCmd) toStdout(ctx context.Context, a *app, cl *client.Client, files []client.Artifact) error {
	if len(files) != 1 {
		return usage("standard output takes one file, not %d", len(files))
	}
	_, err := c.download(ctx, a, cl, &files[0], a.stdout)
	return c.wrong(err, c.Session)
}

func (c *getCmd) download(ctx context.Context, a *app, cl *client.Client, f *client.Artifact, to io.Writer) (client.Downloaded, error) {
	bar := a.meter(f.Name, f.Size)
	defer bar.end()
	return cl.Download(ctx, c.Session.id(), f.ID, to, client.Transfer{
		SHA256: f.SHA256, Broken: a.broken(bar, "going on"), Progress: func(done, _ int64) { bar.set(done) },
	})
}

func (c *getCmd) save(ctx context.Context, a *app, cl *client.Client, t *target, f *client.Artifact) error {
	name, err := t.name(f)
	if err != nil {
		return err
	}
	var got client.Downloaded
	err = writeFile(t.root, name, 0o666, func(file *os.File) error {
		got, err = c.download(ctx, a, cl, f, file)
		return err
	})
	if err != nil {
		return err
	}
	written := filepath.Join(t.dir, name)
	if c.JSON {
		return a.writeJSON(map[string]any{"path": written, "artifact_id": f.ID, "size": got.Size, "sha256": got.SHA256})
	}
	return a.line("%s", printable(written))
}

// choose returns the files that the arguments name, each once.
func (c *getCmd) choose(ctx context.Context, cl *client.Client) ([]client.Artifact, error) {
	state, err := cl.State(ctx, c.Session.id(), artifact.Seq(c.At))
	if err != nil {
		return nil, err
	}
	var files []client.Artifact
	chosen := map[string]bool{}
	add := func(f client.Artifact) {
		if !chosen[f.ID] {
			chosen[f.ID] = true
			files = append(files, f)
		}
	}
	for _, arg := range c.Files {
		f, err := c.find(ctx, cl, state.Files, arg)
		if err != nil {
			return nil, err
		}
		add(f)
	}
	filter := artifact.Filter{Ext: c.Ext}
	for _, f := range state.Files {
		e := artifact.Entry{Version: &artifact.Version{Name: f.Name}}
		if len(c.Ext) > 0 && f.Storage != "cleaned" && filter.Match(&e) {
			add(f)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no file of session %q ends in .%s", c.Session, strings.Join(c.Ext, " or ."))
	}
	return files, nil
}

// find returns the file that arg names: by id, by path, by a name that only
// one file has, or by the id of a version that is no longer listed.
func (c *getCmd) find(ctx context.Context, cl *client.Client, files []client.Artifact, arg string) (client.Artifact, error) {
	asPath := strings.TrimPrefix(path.Clean(arg), artifact.WorkspaceDir+"/")
	var named []client.Artifact
	for _, f := range files {
		if arg == f.ID || arg == f.Attachment || arg == f.EventID || asPath == f.Path {
			return f, nil
		}
		if arg == f.Name {
			named = append(named, f)
		}
	}
	hint := fmt.Sprintf(`see "vitrine ls %s"`, c.Session)
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return client.Artifact{}, withHint(fmt.Errorf("%d files are called %q", len(named), arg), "name one by its id or path, %s", hint)
	case strings.ContainsAny(arg, "/."):
		return client.Artifact{}, withHint(fmt.Errorf("no file %q in session %q", arg, c.Session), "%s", hint)
	}
	content, err := cl.Open(ctx, c.Session.id(), arg, 0)
	if errors.Is(err, client.ErrNotFound) && !strings.Contains(err.Error(), "Session") {
		return client.Artifact{}, withHint(fmt.Errorf("no file %q in session %q", arg, c.Session), "%s", hint)
	}
	if err != nil {
		return client.Artifact{}, err
	}
	name := artifact.CleanName(content.Name)
	return client.Artifact{ID: arg, Name: name, Path: name, Size: content.Size, SHA256: content.SHA256}, content.Close()
}

// target is where files go.
type target struct {
	root  *os.Root
	dir   string          // name of root
	file  string          // of the only file; empty to take the server's names
	taken map[string]bool // names of this run
}

// newTarget opens the folder for files, which is made if several go there or
// its name ends in a slash. Otherwise out may be the name of a single file.
func newTarget(out string, single bool) (*target, error) {
	t := &target{dir: out, taken: map[string]bool{}}
	info, err := os.Stat(out)
	isDir := err == nil && info.IsDir()
	if single && !isDir && !strings.HasSuffix(out, "/") {
		t.dir, t.file = filepath.Dir(out), filepath.Base(out)
	} else if err := os.MkdirAll(out, 0o777); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if t.root, err = os.OpenRoot(t.dir); err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return t, nil
}

// name returns where a file goes below the folder. The server's word is not
// trusted: what would lead out of it is an error.
func (t *target) name(f *client.Artifact) (string, error) {
	if t.file != "" {
		return t.file, nil
	}
	name := filepath.FromSlash(f.Path)
	if f.Source == artifact.SourceUpload {
		if name = artifact.CleanName(f.Name); t.taken[name] {
			name = artifact.CleanName(f.Attachment + "-" + name) // two uploads of one name
		}
	}
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("the path %s leads out of the folder", printable(f.Path))
	}
	t.taken[name] = true
	return name, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

// libraryPath is the path of an artifact on the command line.
type libraryPath artifact.Path

// UnmarshalText refuses what can be no path.
func (p *libraryPath) UnmarshalText(b []byte) error {
	path, err := parsePath(string(b))
	*p = libraryPath(path)
	return err
}

func (p libraryPath) path() artifact.Path { return artifact.Path(p) }

func parsePath(text string) (artifact.Path, error) {
	path, err := artifact.ParsePath(text)
	if err != nil {
		return "", fmt.Errorf("%q is no path: %s", text, reason(err))
	}
	return path, nil
}

// folderPath is a folder of the library on the command line.
type folderPath artifact.Path

// UnmarshalText refuses what can be no folder.
func (p *folderPath) UnmarshalText(b []byte) error {
	dir, err := artifact.ParsePrefix(string(b))
	if err != nil {
		return fmt.Errorf("%q is no folder: %s", b, reason(err))
	}
	*p = folderPath(dir)
	return nil
}

// reason returns the rule that a path breaks, without what the API says before.
func reason(err error) string {
	_, rule, _ := strings.Cut(err.Error(), ": ")
	return rule
}

// inLibrary gives an answer of the server about an artifact the words of the
// command line.
func (r *remote) inLibrary(err error, p artifact.Path) error {
	e, answered := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, client.ErrNotFound) && e.Code == "RES_NOT_FOUND":
		return withHint(fmt.Errorf("no artifact %s", p), `list them with "vitrine files -r"`)
	case errors.Is(err, client.ErrExists):
		return withHint(fmt.Errorf("%s is there already", p), "say --overwrite to make another version of it")
	case answered && e.Status == http.StatusRequestEntityTooLarge:
		return withHint(err, "the server was started with a limit, --max-upload")
	}
	return r.known(unreachable(err, r.Server))
}

type catCmd struct {
	Path    libraryPath `arg:"" help:"The artifact."`
	Version int64       `placeholder:"N" help:"This version of it (default: the newest)."`
	remote
}

// Help is the long help.
func (c *catCmd) Help() string {
	return `Its hash is checked at the end: what was written is good only if the command succeeds. A lost connection is taken up where it broke.

Examples:

  vitrine cat /docs/plan.md
  vitrine cat /docs/plan.md --version 3 > plan.old.md`
}

// Run writes the bytes.
func (c *catCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	_, err = cl.DownloadRaw(ctx, c.Path.path(), c.Version, a.stdout, client.Transfer{Broken: a.broken(nil, "going on")})
	return c.inLibrary(err, c.Path.path())
}

type filesCmd struct {
	Folder    folderPath `arg:"" optional:"" default:"/" placeholder:"PREFIX" help:"The folder (default: /)."`
	Recursive bool       `short:"r" help:"At any depth, with versions."`
	Match     string     `short:"q" placeholder:"TEXT" help:"Only names that contain this, in any case."`
	remote
	output
}

// Help is the long help.
func (c *filesCmd) Help() string {
	return `Artifacts of the library in the order of their paths: bytes, time of the last change, path. Folders, which end in a slash, come first. With -r the version stands before the path.

Examples:

  vitrine files
  vitrine files /docs -r
  vitrine files -r --json | jq -r 'select(.size > 1000000).path'`
}

// Run lists the folder.
func (c *filesCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	if c.Recursive {
		return c.inLibrary(c.tree(ctx, a, cl), artifact.Path(c.Folder))
	}
	list, err := cl.List(ctx, artifact.Path(c.Folder), client.ListOptions{Pattern: c.Match})
	if err != nil {
		return c.inLibrary(err, artifact.Path(c.Folder))
	}
	top := strings.TrimSuffix(string(list.Path), "/") + "/"
	for _, name := range list.Folders {
		if c.JSON {
			err = a.writeJSON(map[string]any{"path": top + name + "/", "folder": true})
		} else {
			err = a.line("%12s  %-20s  %s", "-", "-", printable(top+name+"/"))
		}
		if err != nil {
			return err
		}
	}
	for _, f := range list.Files {
		if c.JSON {
			err = a.writeJSON(map[string]any{"path": top + f.Name, "size": f.Size, "content_type": f.MIME, "last_modified": f.Modified})
		} else {
			err = a.line("%12d  %s  %s", f.Size, stamp(f.Modified), printable(top+f.Name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *filesCmd) tree(ctx context.Context, a *app, cl *client.Client) error {
	for f, err := range cl.ListAll(ctx, client.FileQuery{Dir: artifact.Path(c.Folder), Pattern: c.Match}) {
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.writeJSON(f)
		} else {
			err = a.line("%12d  %s  %4s  %s", f.Size, stamp(f.Modified), fmt.Sprint("v", f.Version), printable(string(f.Path)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

type zipCmd struct {
	Session sessionID `arg:"" help:"The session."`
	Output  string    `short:"o" placeholder:"FILE" help:"Where to write it; - is standard output (default: session_<id>.zip)."`
	ID      []string  `name:"id" placeholder:"ID" help:"Only these files, by their ids."`
	At      int64     `placeholder:"SEQ" help:"The session as it was at this position of its log."`
	remote
	output
}

// Help is the long help.
func (c *zipCmd) Help() string {
	return `The zip holds every file of the session, its manifest and its log, below one folder session_<id>. A file appears under its name only when it is whole.

Examples:

  vitrine zip build-7
  vitrine zip build-7 -o - | bsdtar -tf -`
}

// Run prints the file that it wrote.
func (c *zipCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	body, err := cl.Zip(ctx, c.Session.id(), client.ZipQuery{IDs: c.ID, At: artifact.Seq(c.At)})
	if err != nil {
		return c.wrong(expiredAt(err, c.At), c.Session)
	}
	defer body.Close()
	bar := a.meter("zip", -1)
	defer bar.end()
	from := &counting{r: body, tell: bar.set}
	if c.Output == "-" {
		if _, err := io.Copy(a.stdout, from); err != nil {
			return fmt.Errorf("download zip: %w", err)
		}
		return nil
	}
	file := c.Output
	if file == "" {
		file = artifact.SessionPrefix + string(c.Session) + ".zip"
	}
	if err := c.save(file, from); err != nil {
		return fmt.Errorf("download zip: %w", err)
	}
	bar.end()
	if c.JSON {
		return a.writeJSON(map[string]any{"path": file, "size": from.n})
	}
	return a.line("%s", printable(file))
}

func (c *zipCmd) save(file string, from io.Reader) error {
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer root.Close()
	return writeFile(root, filepath.Base(file), 0o666, func(f *os.File) error {
		n, err := io.Copy(f, from)
		if err != nil {
			return err
		}
		if _, err := zip.NewReader(f, n); err != nil { // its directory comes last
			return fmt.Errorf("what arrived is no zip: %w", err)
		}
		return nil
	})
}

// counting tells how much was read.
type counting struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

// Read reads and tells.
func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}

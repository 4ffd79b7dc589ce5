package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

// uploadsOnly cannot leave out outputs, so that callers look at the source.
var uploadsOnly = artifact.Filter{Uploads: true}

type eventsCmd struct {
	Session        sessionID `arg:"" help:"The session."`
	Follow         bool      `short:"f" help:"Go on with what happens, until the session is deleted."`
	After          string    `placeholder:"CURSOR" help:"Begin after this position, such as 7 or 7@log; now leaves out what was (default: the beginning)."`
	Ext            []string  `placeholder:"EXT" help:"Only files with these extensions."`
	Mime           []string  `placeholder:"TYPE" help:"Only files whose media type begins with one of these, such as image/."`
	MaxSize        size      `placeholder:"SIZE" help:"Only files up to this size."`
	Types          []string  `placeholder:"TYPE" help:"Only entries of these types, such as artifact_created."`
	IncludeUploads bool      `help:"Uploads too, where --types leaves them out."`
	remote
	output
}

// Help is the long help.
func (c *eventsCmd) Help() string {
	return `One line per entry of the session's log: its position, time, what happened, bytes, artifact id, path. After a lost connection or a restart of the server -f goes on where it was: no entry is lost or shown twice.

Examples:

  vitrine events build-7
  vitrine events build-7 -f --ext png,svg
  vitrine events build-7 -f --json --after now | jq -r .data.path`
}

// Run prints entries.
func (c *eventsCmd) Run(ctx context.Context, a *app) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	from, last, err := c.span(ctx, cl)
	if err != nil {
		return c.wrong(err, c.Session)
	}
	if !c.Follow && from.After == last {
		return nil
	}
	at, err := c.show(ctx, a, cl, from, last)
	if e, ok := asExpired(err); ok && c.After == "" && at == from && from.After == 0 {
		a.say("the log begins at entry %d, what was before is no longer kept", e.Oldest+1)
		if !c.Follow && e.Oldest >= last {
			return nil // and nothing has happened since
		}
		at, err = c.show(ctx, a, cl, client.Cursor{After: e.Oldest}, last)
	}
	return c.wrong(c.ended(ctx, a, at, err), c.Session)
}

// span returns where to begin and, unless following, where to end.
func (c *eventsCmd) span(ctx context.Context, cl *client.Client) (from client.Cursor, last artifact.Seq, err error) {
	if c.After != "" && c.After != "now" {
		if from, err = parseCursor(c.After); err != nil {
			return from, 0, err
		}
	}
	if c.Follow && c.After != "now" {
		return from, 0, nil
	}
	// A page has the server look through the workspace, so that the session's
	// end of log is that of now.
	page, err := cl.Events(ctx, c.Session.id(), client.EventQuery{Limit: 1})
	if err != nil {
		return from, 0, err
	}
	s, err := cl.Session(ctx, c.Session.id())
	if c.After == "now" {
		from = client.Cursor{After: s.LastSeq, LogID: page.LogID}
	}
	return from, s.LastSeq, err
}

// parseCursor reads "7" or "7@log".
func parseCursor(text string) (client.Cursor, error) {
	seq, logID, _ := strings.Cut(text, "@")
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || n < 0 {
		return client.Cursor{}, usage("--after: %q is no position; write one like 7, 7@log or now", text)
	}
	return client.Cursor{After: artifact.Seq(n), LogID: logID}, nil
}

func (c *eventsCmd) filter() artifact.Filter {
	return artifact.Filter{Types: c.Types, MIME: c.Mime, Ext: c.Ext, MaxSize: int64(c.MaxSize), Uploads: c.IncludeUploads}
}

// show prints the entries after from, up to last unless following. It returns
// the position that it reached.
func (c *eventsCmd) show(ctx context.Context, a *app, cl *client.Client, from client.Cursor, last artifact.Seq) (client.Cursor, error) {
	for e, err := range c.entries(ctx, a, cl, from) {
		if err != nil {
			return from, err
		}
		if !c.Follow && e.Seq > last {
			return from, nil
		}
		from = e.Cursor()
		if c.Follow || c.takes(&e) {
			if err := c.print(a, &e); err != nil {
				return from, err
			}
		}
		if !c.Follow && e.Seq == last {
			return from, nil
		}
	}
	return from, nil
}

// entries filters on the server only when following: without it the last entry
// must be seen in order to stop there.
func (c *eventsCmd) entries(ctx context.Context, a *app, cl *client.Client, from client.Cursor) iter.Seq2[client.Entry, error] {
	f := client.Following{From: from, Broken: a.broken(nil, "connecting again")}
	if c.Follow {
		f.Filter = c.filter()
	}
	return cl.Follow(ctx, c.Session.id(), f)
}

// takes applies the filter to an entry.
func (c *eventsCmd) takes(e *client.Entry) bool {
	entry := artifact.Entry{Type: e.Type}
	if f := e.Artifact; f != nil {
		entry.Version = &artifact.Version{Name: f.Name, MIME: f.MIME, Blob: artifact.Blob{Size: f.Size}}
	}
	filter := c.filter()
	return filter.Match(&entry)
}

func (c *eventsCmd) print(a *app, e *client.Entry) error {
	if c.JSON {
		return a.line("%s", bytes.TrimSpace(e.Raw))
	}
	what, f := e.Type, e.Artifact
	if f == nil {
		var data bytes.Buffer
		if err := json.Compact(&data, e.Data); err != nil {
			return fmt.Errorf("read entry %d: %w", e.Seq, err)
		}
		return a.line("%6d  %s  %s %s", e.Seq, stamp(e.At.Time), what, data.Bytes())
	}
	if what = string(f.Change); e.Type == artifact.TypeUpload {
		what = "uploaded"
	}
	return a.line("%6d  %s  %-8s %12d  %s  %s", e.Seq, stamp(e.At.Time), what, f.Size, f.ID, printable(f.Path))
}

// ended returns what is to be told of the end. Who interrupts a command that
// runs for ever has what he wanted.
func (c *eventsCmd) ended(ctx context.Context, a *app, at client.Cursor, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := asExpired(err); ok {
		return withHint(fmt.Errorf("position %s is not in the log of this server, which has positions %d to %d", at, e.Oldest, e.Last),
			`begin anew without --after, after looking at "vitrine ls %s"`, c.Session)
	}
	if c.Follow && ctx.Err() != nil {
		if a.terminal {
			a.say("hint: go on with --after %s", at)
		}
		return nil
	}
	return err
}

func asExpired(err error) (*client.Expired, bool) {
	return errors.AsType[*client.Expired](err)
}

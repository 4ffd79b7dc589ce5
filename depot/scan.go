package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// Scan is what one look through a workspace found: the changes, which are in
// the log now, and the position after them.
type Scan struct {
	Versions []artifact.Version
	Cursor   artifact.Seq
}

// Scan looks through a session's workspace, captures what has changed since the
// last look and tells of it in the log. node is who the changes are put down
// to; empty means "workspace". The changes of up to 500 files appear at once.
// A session whose workspace is not on this machine has no changes.
func (d *Depot) Scan(ctx context.Context, tenant string, id artifact.SessionID, node string) (Scan, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return Scan{}, err
	}
	return d.scanAll(ctx, &s, look{node: node})
}

// refresh makes sure that what is written in the workspace by now is in the
// log. Where the workspace is watched that costs next to nothing.
func (d *Depot) refresh(ctx context.Context, s *artifact.Session) error {
	if !d.hasWorkspace(s) {
		return nil
	}
	var err error
	if d.watch.caughtUp(ctx, s.Key) {
		err = d.watch.settle(ctx, s.Key)
	} else {
		_, err = d.scanAll(ctx, s, look{shared: true, calm: largeForRead})
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrNoSession) {
		return err
	}
	// What is known can be read all the same, on a full disk above all.
	d.opt.Log.Warn("workspace cannot be looked through", "session", s.ID, "err", err)
	return nil
}

// look is one pass over a workspace.
type look struct {
	node   string
	paths  []string // only these, below code_workspace; nil is everything
	calm   int64    // files of this size that are being written are left for later; 0 leaves none
	shared bool     // a pass that began later than the call serves as well

	d       *Depot
	s       *artifact.Session
	tree    *tree
	result  Scan
	partial bool     // files are missing that were never here
	again   []string // paths to look at again soon
	changes []change // not yet in the log
	pending int64    // bytes held by them
}

// change is one thing that a look has to write.
type change struct {
	version artifact.Version
	content []byte // of a small file
	stat    bool   // the file is as it was: only version.Stat is new
}

const (
	maxChanges      = 500      // in one transaction
	maxPendingBytes = 16 << 20 // of small contents that wait for it
)

// scanAll runs a full look. Looks of one session come one after the other.
func (d *Depot) scanAll(ctx context.Context, s *artifact.Session, l look) (Scan, error) {
	l.paths = nil
	r, _, err := d.scan(ctx, s, l)
	return r, err
}

// scan runs a look, again if another server told of a file at the same time. It
// returns the paths that are to be looked at again.
func (d *Depot) scan(ctx context.Context, s *artifact.Session, l look) (Scan, []string, error) {
	lock := d.watch.lock(s.Key)
	defer d.watch.unlock(s.Key, lock)
	want := lock.began.Load() + 1
	select {
	case lock.free <- struct{}{}:
		defer func() { <-lock.free }()
	case <-ctx.Done():
		return Scan{}, nil, ctx.Err()
	}
	if l.shared && lock.done >= want {
		return Scan{}, nil, nil
	}
	var turn int64
	if l.paths == nil {
		turn = lock.began.Add(1)
		d.watch.begin(s.Key)
	}
	run := l
	err := run.run(ctx, d, s)
	for try := 1; try < 3 && artifact.KindOf(err) == artifact.Exists; try++ {
		so := run.result.Versions
		run = l
		run.result.Versions = so
		err = run.run(ctx, d, s)
	}
	if l.paths == nil {
		d.watch.end(s.Key, err, run.again)
	}
	if err != nil {
		return Scan{}, nil, noRoom(err)
	}
	lock.done = max(lock.done, turn)
	return run.result, run.again, nil
}

// run looks at the files, compares them with the rows and writes the difference.
func (l *look) run(ctx context.Context, d *Depot, s *artifact.Session) error {
	fresh, err := d.db.SessionByKey(ctx, s.Key)
	if err != nil {
		return err
	}
	l.d, l.s, l.result.Cursor = d, &fresh, fresh.LastSeq
	if l.node == "" {
		l.node = artifact.SourceWorkspace
	}
	root, err := d.openWorkspace(&fresh)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // was never here: nothing can be said of its files
	}
	if err != nil {
		return fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()
	if l.paths == nil {
		if l.partial, err = d.settleHome(ctx, &fresh, root); err != nil {
			if _, gone := d.db.SessionByKey(ctx, fresh.Key); gone != nil {
				return gone // deleted meanwhile, and its folder moved away
			}
			return err
		}
	}
	l.tree = &tree{root: root, ignore: d.opt.Ignore, skipped: map[string]string{}, enter: d.watch.enter(&fresh)}
	if l.paths == nil {
		err = l.tree.all(ctx)
	} else {
		err = l.tree.some(ctx, l.paths)
	}
	if err != nil {
		return err
	}
	live, err := l.live(ctx)
	if err != nil {
		return err
	}
	if err := l.compare(ctx, live); err != nil {
		return err
	}
	return l.finish(ctx)
}

// live returns the rows of the files that the look is about, by path.
func (l *look) live(ctx context.Context) (map[string]*artifact.Version, error) {
	var paths []string
	if l.paths != nil {
		paths = slices.Clone(l.paths)
		for _, f := range l.tree.found {
			paths = append(paths, f.path)
		}
		slices.Sort(paths)
		paths = slices.DeleteFunc(slices.Compact(paths), func(p string) bool { return !utf8.ValidString(p) })
	}
	rows := make(map[string]*artifact.Version)
	for l.paths == nil || len(paths) > 0 {
		page := paths[:min(len(paths), maxLookup)]
		paths = paths[len(page):]
		entries, err := l.d.db.Live(ctx, l.s, padded(page)...)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			rows[e.Version.Path] = e.Version
		}
		if len(page) == 0 {
			break
		}
	}
	return rows, nil
}

const maxLookup = 512 // paths in one query

// padded repeats the last path until their number is a power of two, so that
// only few different statements are prepared.
func padded(paths []string) []string {
	n := 1
	for n < len(paths) {
		n *= 2
	}
	for len(paths) > 0 && len(paths) < n {
		paths = append(paths[:len(paths):len(paths)], paths[len(paths)-1])
	}
	return paths
}

// compare finds what differs between the files and their rows. Rows that are
// left over are deletions, which come last.
func (l *look) compare(ctx context.Context, live map[string]*artifact.Version) error {
	for _, f := range l.tree.found {
		if err := ctx.Err(); err != nil {
			return err
		}
		v := live[f.path]
		delete(live, f.path)
		if v != nil && v.Stat != "" && v.Stat == f.seen.signature() {
			continue
		}
		if l.d.watch.patient(l.s.Key, f, l.calm) {
			l.again = append(l.again, f.path)
			continue
		}
		if err := l.judge(ctx, f, v); err != nil {
			return err
		}
	}
	gone := slices.SortedFunc(maps.Values(live), func(a, b *artifact.Version) int { return strings.Compare(a.Path, b.Path) })
	for _, v := range gone {
		if l.partial || l.tree.keeps(v.Path) {
			continue
		}
		v := *v
		v.Change, v.Key, v.Stat, v.Node, v.Scan, v.Owner = artifact.Deleted, "", "", l.node, "", ""
		if err := l.add(ctx, change{version: v}); err != nil {
			return err
		}
	}
	return nil
}

// judge captures one file whose signature is not that of its row.
func (l *look) judge(ctx context.Context, f found, v *artifact.Version) error {
	c, err := l.d.capture(ctx, l.tree.root, f.path, v)
	if err != nil {
		return err
	}
	switch {
	case c.later:
		l.again = append(l.again, f.path)
		return nil
	case c.reason != "":
		l.tree.skip(f.path, c.reason)
		return nil
	case c.same:
		if c.stat == v.Stat {
			return nil
		}
		v.Stat = c.stat
		return l.add(ctx, change{version: *v, stat: true})
	}
	n := artifact.Version{
		Attachment: artifact.NewAttachmentID(), Session: l.s.ID, Change: artifact.Created,
		Path: f.path, Name: f.path[strings.LastIndexByte(f.path, '/')+1:], MIME: c.mime, Blob: c.blob,
		Source: artifact.SourceWorkspace, Node: l.node, Stat: c.stat,
	}
	l.d.unscanned(ctx, &n)
	if v != nil {
		n.Attachment, n.Change, n.Extra = v.Attachment, artifact.Updated, maps.Clone(v.Extra)
		n.Seq = v.Seq // what it follows
		if _, ok := n.Extra[createdAt]; !ok {
			n.Extra = map[string]any{createdAt: artifact.UnixSeconds(v.At)}
		}
	}
	return l.add(ctx, change{version: n, content: c.content})
}

// createdAt is the key under which an update remembers when its file appeared.
const createdAt = "created_at"

func (l *look) add(ctx context.Context, c change) error {
	l.changes = append(l.changes, c)
	l.pending += int64(len(c.content))
	if len(l.changes) < maxChanges && l.pending < maxPendingBytes {
		return nil
	}
	return l.write(ctx)
}

// write puts the changes that were found so far into the log, in one transaction.
func (l *look) write(ctx context.Context) error {
	if len(l.changes) == 0 {
		return nil
	}
	var told []artifact.Version
	err := l.d.db.Tx(ctx, func(tx *store.Tx) error {
		told = told[:0]
		for _, c := range l.changes {
			v := c.version
			if c.stat {
				if err := tx.SetStat(l.s.Key, v.Seq, v.Stat); err != nil {
					return err
				}
				continue
			}
			if err := tx.AppendVersion(l.s.Key, &v, c.content); err != nil {
				return err
			}
			told = append(told, v)
		}
		if len(told) > 0 {
			e := onSession("session.capture", l.s.ID)
			e.Details = map[string]any{"changes": len(told)}
			tx.Audit(l.s.Tenant, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.changes, l.pending = nil, 0
	for i := range told {
		l.d.expose(l.s, &told[i])
		l.result.Cursor = told[i].Seq
	}
	l.result.Versions = append(l.result.Versions, told...)
	if len(told) > 0 {
		l.d.manifestChanged(l.s)
		l.d.scanning.wake()
	}
	return nil
}

// finish writes what is left, and the list of what is not captured.
func (l *look) finish(ctx context.Context) error {
	if err := l.write(ctx); err != nil {
		return err
	}
	known, err := l.d.db.Skipped(ctx, l.s.Key)
	if err != nil {
		return err
	}
	skipped := l.tree.skipped
	if l.paths != nil {
		skipped = merge(known, l.paths, skipped)
	}
	if maps.Equal(skipped, known) {
		return nil
	}
	if err := l.d.db.Tx(ctx, func(tx *store.Tx) error { return tx.SetSkipped(l.s.Key, skipped) }); err != nil {
		return err
	}
	l.d.manifestChanged(l.s)
	return nil
}

// merge replaces in old what a look at some paths found out about them.
func merge(old map[string]string, paths []string, found map[string]string) map[string]string {
	all := make(map[string]string, len(old)+len(found))
	for p, reason := range old {
		about := func(q string) bool {
			q = strings.ToValidUTF8(q, "\ufffd")
			return p == q || strings.HasPrefix(p, q+"/")
		}
		if !slices.ContainsFunc(paths, about) {
			all[p] = reason
		}
	}
	for p, reason := range found {
		if len(all) < maxSkipped {
			all[p] = reason
		}
	}
	return all
}

package depot

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// Cursor is a place to start reading a log from (extensions §3).
type Cursor struct {
	After artifact.Seq
	LogID string // the log the position belongs to; empty is taken as this one
	Now   bool   // the end of the log; After is ignored
}

// Follower reads the log of one session in order, without gaps and without
// repeating. It is used by one goroutine. All followers of a session share one
// reader of the table.
type Follower struct {
	Session artifact.Session // as it was when the follower began
	d       *Depot
	t       *tail
	after   artifact.Seq
	done    bool
	counted seat // zero for a reader
}

// Follow returns a follower that begins after the cursor. A cursor that is
// older than the kept log, ahead of it, or of another log is a Gone error with
// the facts "oldest" and "last", both valid cursors; where the tenant, or all who
// come with its shares, follow as much as they may, a Full error.
func (d *Depot) Follow(ctx context.Context, tenant string, id artifact.SessionID, c Cursor) (*Follower, error) {
	f, err := d.Reader(ctx, tenant, id, c)
	if err != nil {
		return nil, err
	}
	owner, err := d.db.Tenant(ctx, tenant)
	if err == nil {
		f.counted = seat{tenant, artifact.CallerOf(ctx).Kind == artifact.CallerShare}
		err = d.followers.take(f.counted, owner.Quota.Followers)
	}
	if err != nil {
		d.tails.put(f.t)
		return nil, err
	}
	return f, nil
}

// Reader is Follow for those who read what there is and leave: they are not
// counted. They must not wait.
func (d *Depot) Reader(ctx context.Context, tenant string, id artifact.SessionID, c Cursor) (*Follower, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	if c.Now {
		c.After = s.LastSeq
	}
	if err := d.expired(&s, c); err != nil {
		return nil, err
	}
	return &Follower{Session: s, d: d, t: d.tails.get(&s), after: c.After}, nil
}

func (d *Depot) expired(s *artifact.Session, c Cursor) error {
	known := c.LogID == "" || c.LogID == d.db.LogID()
	if known && c.After >= s.FirstSeq-1 && c.After <= s.LastSeq {
		return nil
	}
	e := artifact.Errorf(artifact.Gone, "The cursor is not in the log any more")
	if known && c.After > s.LastSeq {
		e.Msg = "The cursor is ahead of the log"
	}
	e.Facts = map[string]any{"oldest": int64(s.FirstSeq - 1), "last": int64(s.LastSeq), "log_id": d.db.LogID()}
	return e
}

// After returns the position up to which the follower has read.
func (f *Follower) After() artifact.Seq { return f.after }

// Close gives up the follower's share of the reader.
func (f *Follower) Close() {
	f.d.tails.put(f.t)
	if f.counted != (seat{}) {
		f.d.followers.give(f.counted)
	}
}

// Next returns the entries that follow: at least one if wait is set, which may
// take until ctx ends, otherwise those that are there, perhaps none. After the
// last entry of a deleted session it returns io.EOF; where the log was trimmed
// past the follower, a Gone error.
func (f *Follower) Next(ctx context.Context, wait bool) ([]*Item, error) {
	for {
		if f.done {
			return nil, io.EOF
		}
		if err := ctx.Err(); err != nil {
			return nil, err // also where entries come faster than they are taken
		}
		items, behind, news, err := f.t.after(f.after)
		if len(items) == 0 && f.after < f.Session.LastSeq {
			behind = true // the tail's reader has yet to come to what is known to be there
		}
		if behind {
			items, err = f.read(ctx)
		}
		if errors.Is(err, errEnded) {
			err = io.EOF
		}
		if err != nil {
			return nil, err
		}
		if len(items) > 0 {
			last := items[len(items)-1]
			f.after, f.done = last.Seq, last.Type == artifact.TypeDeleted
			return items, nil
		}
		if !wait {
			return nil, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read takes entries from the table, for a follower that is behind the tail.
func (f *Follower) read(ctx context.Context) ([]*Item, error) {
	s := &f.t.session
	f.d.tails.reads.Add(1)
	list, err := f.d.db.Entries(ctx, s, f.after, tailSize)
	if err != nil {
		return nil, err
	}
	list = list[:unbroken(list, f.after)]
	if len(list) == 0 {
		now, end, err := f.d.ended(ctx, s)
		if err != nil {
			return nil, err
		}
		if end == nil { // trimmed while the follower was behind
			return nil, f.d.expired(&now, Cursor{After: f.after, LogID: "trimmed"})
		}
		list = append(list[:0], *end)
	}
	items := make([]*Item, len(list))
	for i := range list {
		if list[i].Version != nil {
			f.d.expose(s, list[i].Version)
		}
		items[i] = &Item{Entry: list[i]}
	}
	return items, nil
}

// unbroken returns how many entries follow a position without a gap. A log that
// was trimmed has gaps before its first entry, between the versions it keeps.
func unbroken(list []artifact.Entry, after artifact.Seq) int {
	for i := range list {
		if list[i].Seq != after+1+artifact.Seq(i) {
			return i
		}
	}
	return len(list)
}

// PageBytes is how much JSON a page may hold, in bytes as it is stored. The entry
// that comes to it is the last one.
const PageBytes = store.PageBytes

// Query asks for a page of a log (contract, sessions §3).
type Query struct {
	Start  Cursor
	Filter artifact.Filter
	Limit  int           // matches on a page, which ends earlier where they come to [PageBytes]
	Wait   time.Duration // how long to wait for the first match
}

// Page is a page of a log. Next also passes what the filter left out.
type Page struct {
	Entries  []artifact.Entry
	weight   int // of Entries
	Next     artifact.Seq
	More     bool // the log goes on after Next
	TimedOut bool // Entries is empty
	LogID    string
	// Truncated says that the cursor was not in the log: nothing was read, Next
	// is the end, and Oldest to Last is what a cursor may be.
	Truncated    bool
	Oldest, Last artifact.Seq
}

// Events returns a page of the log of a session. Without a match it waits for
// one; a Wait of 0 never does.
func (d *Depot) Events(ctx context.Context, tenant string, id artifact.SessionID, q Query) (Page, error) {
	s, err := d.db.Session(ctx, tenant, id)
	if err == nil {
		err = d.refresh(ctx, &s)
	}
	if err != nil {
		return Page{}, err
	}
	open := d.Follow
	if q.Wait == 0 {
		open = d.Reader
	}
	f, err := open(ctx, tenant, id, q.Start)
	if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind == artifact.Gone {
		return d.truncated(e), nil
	}
	if err != nil {
		return Page{}, err
	}
	defer f.Close()
	deadline, cancel := context.WithTimeout(ctx, q.Wait)
	defer cancel()
	page := Page{Next: f.after, LogID: d.db.LogID()}
	for !page.full(&q) {
		until, wait := ctx, len(page.Entries) == 0 && q.Wait > 0
		if wait {
			until = deadline
		}
		items, err := f.Next(until, wait)
		if e, ok := errors.AsType[*artifact.Error](err); ok && e.Kind == artifact.Gone {
			return d.truncated(e), nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			break
		}
		if err != nil {
			return Page{}, err
		}
		if len(items) == 0 {
			break
		}
		page.take(items, &q)
	}
	page.TimedOut = len(page.Entries) == 0
	now, err := d.db.SessionByKey(ctx, f.Session.Key)
	page.More = err == nil && now.LastSeq > page.Next
	return page, nil
}

func (p *Page) full(q *Query) bool {
	return len(p.Entries) == q.Limit || p.weight >= PageBytes
}

// take moves the page past items until it is full.
func (p *Page) take(items []*Item, q *Query) {
	for _, it := range items {
		if p.full(q) {
			return
		}
		p.Next = it.Seq
		if q.Filter.Match(&it.Entry) {
			p.Entries = append(p.Entries, it.Entry)
			p.weight += it.Weight()
		}
	}
}

func (d *Depot) truncated(e *artifact.Error) Page {
	last, _ := e.Facts["last"].(int64)
	oldest, _ := e.Facts["oldest"].(int64)
	return Page{
		Next: artifact.Seq(last), TimedOut: true, LogID: d.db.LogID(),
		Truncated: true, Oldest: artifact.Seq(oldest), Last: artifact.Seq(last),
	}
}

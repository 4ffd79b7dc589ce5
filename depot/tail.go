package depot

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// tailSize is how many of the last entries of a followed session are kept in
// memory. Followers that are further behind read the table.
const tailSize = 256

// Format names an encoding of an entry, which all followers share.
type Format uint8

// The encodings that followers ask for.
const (
	FormatSSE Format = iota
	FormatWebSocket
	formats
)

// Item is an entry on its way to followers.
type Item struct {
	artifact.Entry
	once  [formats]sync.Once
	bytes [formats][]byte
}

// Encoded returns what enc makes of the entry. For each format enc runs once,
// however many followers ask; the result must not be changed.
func (it *Item) Encoded(f Format, enc func(*artifact.Entry) []byte) []byte {
	it.once[f].Do(func() { it.bytes[f] = enc(&it.Entry) })
	return it.bytes[f]
}

// tail is the end of the log of one followed session, filled by one reader.
type tail struct {
	session artifact.Session

	mu    sync.Mutex
	users int
	items []*Item      // the last ones, without a gap
	last  artifact.Seq // position up to which the reader has come
	err   error        // why it stopped; nil while it runs
	news  chan struct{}
	stop  context.CancelFunc
}

// tails holds the tail of each session that somebody follows.
type tails struct {
	d     *Depot
	reads atomic.Int64 // of the table, by tails and by followers behind them
	mu    sync.Mutex
	m     map[int64]*tail
}

// get returns the tail of s, starting its reader where there is none.
func (ts *tails) get(s *artifact.Session) *tail {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t, ok := ts.m[s.Key]; ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.users++
		return t
	}
	ctx, stop := context.WithCancel(ts.d.ctx)
	t := &tail{session: *s, users: 1, last: s.LastSeq, news: make(chan struct{}), stop: stop}
	if ts.m == nil {
		ts.m = make(map[int64]*tail)
	}
	ts.m[s.Key] = t
	ts.d.wg.Go(func() { ts.d.readLog(ctx, t) })
	return t
}

// put gives a tail back; the last user ends its reader.
func (ts *tails) put(t *tail) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users == 0 {
		t.stop()
		delete(ts.m, t.session.Key)
	}
}

// count returns how many sessions are followed, and by how many.
func (ts *tails) count() (sessions, followers int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.m {
		t.mu.Lock()
		followers += t.users
		t.mu.Unlock()
	}
	return len(ts.m), followers
}

// readLog reads the log of a session for all of its followers until the last one
// has left or the session is deleted.
func (d *Depot) readLog(ctx context.Context, t *tail) {
	timer := time.NewTimer(d.recheck())
	defer timer.Stop()
	for {
		d.touch(&t.session)                // its workspace is watched as long as somebody follows
		woken := d.db.Woken(t.session.Key) // before reading, or a commit in between goes unnoticed
		more, err := d.readTail(ctx, t)
		if err != nil {
			t.end(err)
			return
		}
		if more {
			continue
		}
		timer.Reset(d.recheck())
		select {
		case <-woken:
		case <-timer.C:
		case <-ctx.Done():
			t.end(ctx.Err())
			return
		}
	}
}

// readTail takes what is new into the tail and reports whether there may be more.
func (d *Depot) readTail(ctx context.Context, t *tail) (more bool, err error) {
	d.tails.reads.Add(1)
	list, err := d.db.Entries(ctx, &t.session, t.last, tailSize)
	if err != nil {
		if ctx.Err() == nil {
			d.opt.Log.Error("log cannot be read", "session", t.session.ID, "err", err)
		}
		return false, err
	}
	if len(list) == 0 {
		_, end, err := d.ended(ctx, &t.session)
		if end == nil || err != nil {
			return false, err
		}
		list = append(list, *end)
	}
	items := make([]*Item, len(list))
	for i := range list {
		if list[i].Version != nil {
			d.expose(&t.session, list[i].Version)
		}
		items[i] = &Item{Entry: list[i]}
	}
	t.add(items)
	if list[len(list)-1].Type == artifact.TypeDeleted {
		return false, errEnded
	}
	weight := 0
	for i := range list {
		weight += list[i].Weight()
	}
	return len(list) == tailSize || weight >= PageBytes, nil
}

// errEnded says that the log has come to its last entry.
var errEnded = errors.New("the session was deleted")

// ended looks up a session in one look. Of one that was deleted, and may be purged
// already, it returns the last entry, so that whoever follows it learns of its
// end all the same; of every other one what stands now.
func (d *Depot) ended(ctx context.Context, s *artifact.Session) (now artifact.Session, end *artifact.Entry, err error) {
	now, err = d.db.SessionByKey(ctx, s.Key)
	if !errors.Is(err, store.ErrNoSession) {
		return now, nil, err
	}
	stone, err := d.db.Tombstone(ctx, s.Key)
	if err != nil {
		return now, nil, err
	}
	return now, &artifact.Entry{Session: s.ID, Seq: stone.LastSeq, Type: artifact.TypeDeleted, At: stone.Deleted, Data: []byte(`{}`)}, nil
}

func (t *tail) add(items []*Item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, it := range items {
		if it.Seq != t.last+1 { // trimmed faster than read: who is behind reads the table, and is told there
			t.items = nil
		}
		t.items = append(t.items, it)
		t.last = it.Seq
	}
	if n := len(t.items) - tailSize; n > 0 {
		t.items = append(t.items[:0:0], t.items[n:]...)
	}
	close(t.news)
	t.news = make(chan struct{})
}

func (t *tail) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	close(t.news)
	t.news = make(chan struct{})
}

// after returns what the tail holds after a position. behind says that the
// position lies before what it holds; otherwise news closes when there is more.
func (t *tail) after(seq artifact.Seq) (items []*Item, behind bool, news <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq >= t.last {
		return nil, false, t.news, t.err
	}
	if len(t.items) == 0 || seq < t.items[0].Seq-1 {
		return nil, true, nil, nil
	}
	return t.items[int(seq-t.items[0].Seq)+1:], false, nil, nil
}

// Followers returns how many sessions are followed, and by how many followers.
func (d *Depot) Followers() (sessions, followers int) { return d.tails.count() }

// LogReads returns how often followers have made the log be read from its table.
func (d *Depot) LogReads() int64 { return d.tails.reads.Load() }

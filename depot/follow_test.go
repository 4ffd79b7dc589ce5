package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// following returns a depot over real rows, with blobs in memory.
func following(t *testing.T) *Depot {
	t.Helper()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "vitrine.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), db, blob.New(blob.NewMem()), Options{WareHouse: dir, Implicit: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return d
}

// send uploads files of the given names and returns their versions.
func send(t *testing.T, d *Depot, id artifact.SessionID, names ...string) []artifact.Version {
	t.Helper()
	u, err := d.NewUpload(t.Context(), artifact.DefaultTenant, id)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Discard()
	for _, name := range names {
		if _, err := u.Add(t.Context(), name, "", strings.NewReader("content of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := u.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// take reads from a follower until it has n entries or the log ends.
func take(t *testing.T, f *Follower, n int) (seqs []artifact.Seq, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(seqs) < n {
		items, err := f.Next(ctx, true)
		if err != nil {
			return seqs, err
		}
		for _, it := range items {
			seqs = append(seqs, it.Seq)
		}
	}
	return seqs, nil
}

// TestFollowAcrossTheTail follows a log that is longer than what is kept in
// memory, once from its beginning and once from its end on.
func TestFollowAcrossTheTail(t *testing.T) {
	d := following(t)
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("%d.txt", i)
	}
	for range 4 {
		send(t, d, "long", names...)
	}
	early, err := d.Follow(t.Context(), artifact.DefaultTenant, "long", Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	late, err := d.Follow(t.Context(), artifact.DefaultTenant, "long", Cursor{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	send(t, d, "long", names...)
	for items, _, news, _ := late.t.after(late.after); len(items) == 0; items, _, news, _ = late.t.after(late.after) {
		<-news // which come into memory in their own time
	}
	// Who has to leave gets nothing of what waits, in memory or in the table.
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, f := range []*Follower{early, late} {
		if items, err := f.Next(left, true); !errors.Is(err, context.Canceled) || len(items) > 0 {
			t.Errorf("the context has ended, and %d entries come, %v", len(items), err)
		}
	}
	for f, want := range map[*Follower]artifact.Seq{early: 1, late: 401} {
		got, err := take(t, f, int(500-want+1))
		if err != nil {
			t.Fatal(err)
		}
		for i, seq := range got {
			if seq != want+artifact.Seq(i) {
				t.Fatalf("entry %d of the follower from %d is %d", i, want, seq)
			}
		}
	}
}

// TestPollSeesWhatWasAcknowledged polls without waiting right after each
// upload, while others follow the same session.
func TestPollSeesWhatWasAcknowledged(t *testing.T) {
	d := following(t)
	send(t, d, "own", "first")
	f, err := d.Follow(t.Context(), artifact.DefaultTenant, "own", Cursor{Now: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := artifact.Seq(1)
	for i := range 50 {
		want := send(t, d, "own", fmt.Sprint(i))[0]
		page, err := d.Events(t.Context(), artifact.DefaultTenant, "own", Query{Start: Cursor{After: next}, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) != 1 || page.Entries[0].Seq != want.Seq || page.Next != want.Seq || page.More || page.TimedOut {
			t.Fatalf("page after upload %d = %+v, want exactly entry %d", i, page, want.Seq)
		}
		next = page.Next
	}
}

// TestFollowerLearnsOfTheEnd deletes a session under its followers, one of
// which only looks after everything is purged.
func TestFollowerLearnsOfTheEnd(t *testing.T) {
	d := following(t)
	send(t, d, "end", "a", "b")
	quick, err := d.Follow(t.Context(), artifact.DefaultTenant, "end", Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	if got, err := take(t, quick, 2); err != nil || len(got) != 2 {
		t.Fatalf("before the end: %v, %v", got, err)
	}
	slow := &Follower{Session: quick.Session, d: d, t: d.tails.get(&quick.Session), after: 1}
	defer slow.Close()
	if err := d.DeleteSession(t.Context(), artifact.DefaultTenant, "end"); err != nil {
		t.Fatal(err)
	}
	if got, err := take(t, quick, 2); !errors.Is(err, io.EOF) || len(got) != 1 || got[0] != 3 {
		t.Errorf("a follower saw %v, %v at the end; want entry 3, then io.EOF", got, err)
	}
	for pending := 1; pending > 0; {
		list, err := d.db.Pending(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		pending = len(list)
	}
	got, err := take(t, slow, 10)
	if !errors.Is(err, io.EOF) || len(got) == 0 || got[len(got)-1] != 3 {
		t.Errorf("a follower that was behind saw %v, %v; want to learn of entry 3, then io.EOF", got, err)
	}
}

// TestTrimmedUnderAFollower trims the log past a follower, which is told.
func TestTrimmedUnderAFollower(t *testing.T) {
	d := following(t)
	list := send(t, d, "trim", "a", "b", "c", "d") // entries 1 to 4
	s, err := d.Session(t.Context(), artifact.DefaultTenant, "trim")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.db.Tx(t.Context(), func(tx *store.Tx) error {
			return tx.Append(s.Key, &artifact.Entry{Type: "note", Data: []byte(`{}`)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := d.Follow(t.Context(), artifact.DefaultTenant, "trim", Cursor{After: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := d.db.Tx(t.Context(), func(tx *store.Tx) error { _, err := tx.Trim(s.Key, 1); return err }); err != nil {
		t.Fatal(err)
	}
	if got, err := take(t, f, 10); artifact.KindOf(err) != artifact.Gone {
		t.Errorf("a follower behind the kept log saw %v, %v; want a Gone error", got, err)
	}
	if _, err := d.Follow(t.Context(), artifact.DefaultTenant, "trim", Cursor{After: 5}); artifact.KindOf(err) != artifact.Gone {
		t.Errorf("Follow from before the kept log: %v, want a Gone error", err)
	}
	if f, err := d.Follow(t.Context(), artifact.DefaultTenant, "trim", Cursor{After: 6}); err != nil {
		t.Errorf("Follow from the oldest valid cursor: %v", err)
	} else {
		f.Close()
	}
	v, err := d.Version(t.Context(), artifact.DefaultTenant, "trim", list[0].ID())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.OpenContent(t.Context(), &v)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "content of a" {
		t.Errorf("content of a version whose entry was trimmed = %q, %v", b, err)
	}
}

func TestExpiredCursors(t *testing.T) {
	d := following(t)
	send(t, d, "x", "a", "b")
	for name, c := range map[string]Cursor{
		"ahead":       {After: 3},
		"another log": {After: 1, LogID: "other"},
	} {
		_, err := d.Follow(t.Context(), artifact.DefaultTenant, "x", c)
		e, ok := errors.AsType[*artifact.Error](err)
		if !ok || e.Kind != artifact.Gone || e.Facts["last"] != int64(2) || e.Facts["oldest"] != int64(0) {
			t.Errorf("%s: %v, want a Gone error with oldest 0 and last 2", name, err)
		}
		page, err := d.Events(t.Context(), artifact.DefaultTenant, "x", Query{Start: c, Limit: 5, Wait: time.Minute})
		if err != nil || !page.Truncated || page.Next != 2 || page.Last != 2 {
			t.Errorf("%s: page %+v, %v; want it truncated at 2", name, page, err)
		}
	}
	if f, err := d.Follow(t.Context(), artifact.DefaultTenant, "x", Cursor{After: 2, LogID: d.LogID()}); err != nil {
		t.Errorf("cursor at the end: %v", err)
	} else {
		f.Close()
	}
}

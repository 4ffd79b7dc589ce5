package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What holds when many use one library at the same time, on one server and on two.
func TestLibraryTogether(t *testing.T) {
	onEngines(t, func(t *testing.T, nodes []*node) {
		rng := random(t)
		l := newLibrary(t, nodes[0].api, rng, 0)
		l.login(t.Context())
		var doors []*api
		for _, n := range nodes {
			n.api.bearer = l.api.bearer // a token of one node is good on all
			doors = append(doors, n.api)
		}
		for _, c := range []struct {
			name string
			f    func(c *crowd)
		}{{"one winner per path", oneWinner}, {"no lost edit", noLostEdit}, {"none refused", noneRefused}, {"listing and cursor", listingAndCursor}} {
			t.Run(c.name, func(t *testing.T) {
				l.t = t
				c.f(&crowd{t, doors, l, rng})
			})
		}
		l.t = t
		l.verify(t.Context(), true)
	})
}

// crowd is who uses one library at the same time, on all nodes.
type crowd struct {
	*testing.T
	doors   []*api
	library *library
	rng     *rand.Rand
}

// door returns the one that a member of the crowd uses.
func (c *crowd) door(i int) *api { return c.doors[i%len(c.doors)] }

// together runs f for n members at the same time.
func (c *crowd) together(n int, f func(i int, a *api)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i, c.door(i)) })
	}
	wg.Wait()
}

// sound checks the library as it stands when all have left, and returns how
// many entries its log has since.
func (c *crowd) sound() int {
	c.Helper()
	before := c.library.changes
	c.library.verify(c.Context(), false)
	return c.library.changes - before
}

// Of all who save one path at the same time one makes the artifact, and what is
// kept is what that one sent.
func oneWinner(c *crowd) {
	const paths, members = 8, 10
	for n := range paths {
		p := fmt.Sprintf("/race/%d.txt", n)
		won := make([]string, members)
		c.together(members, func(i int, a *api) {
			var got saved
			body := map[string]any{"path": p, "content": fmt.Sprint("by ", i)}
			status, err := a.call(c.Context(), "POST", libraryURL, body, &got)
			switch {
			case err == nil:
				won[i] = got.Data.ID
			case status != 409:
				c.Errorf("save of %s: %v", p, err)
			}
		})
		winner := slices.IndexFunc(won, func(id string) bool { return id != "" })
		if winner < 0 || slices.ContainsFunc(won[winner+1:], func(id string) bool { return id != "" }) {
			c.Fatalf("%s was made by %v, want one", p, won)
		}
		var got struct{ Data struct{ Content string } }
		if _, err := c.door(1).call(c.Context(), "GET", libraryURL+at(p), nil, &got); err != nil || got.Data.Content != fmt.Sprint("by ", winner) {
			c.Errorf("%s holds %q (%v), and %d has won", p, got.Data.Content, err, winner)
		}
		if _, err := c.door(1).call(c.Context(), "GET", "/api/v2/memories/"+won[winner], nil, nil); err != nil {
			c.Errorf("record of %s: %v", p, err)
		}
	}
	if n := c.sound(); n != paths {
		c.Errorf("the log has %d entries, want %d", n, paths)
	}
}

// Nobody's edit is lost: neither of those who read, write with If-Match and
// begin again where somebody was faster, nor of those who have the server
// append.
func noLostEdit(c *crowd) {
	const members, each = 6, 6
	const p = "/shared.txt"
	if _, err := c.door(0).call(c.Context(), "POST", libraryURL, map[string]any{"path": p, "content": ""}, nil); err != nil {
		c.Fatal(err)
	}
	c.together(members, func(i int, a *api) {
		for n := range each {
			line := fmt.Sprintf("line %d of %d\n", n, i)
			var err error
			if i%2 == 0 {
				err = addLine(c.Context(), a, p, line)
			} else {
				_, err = a.call(c.Context(), "PATCH", libraryURL+at(p), map[string]any{"append": line}, nil)
			}
			if err != nil {
				c.Errorf("%s: %v", line, err)
			}
		}
	})
	var got struct{ Data struct{ Content string } }
	if _, err := c.door(1).call(c.Context(), "GET", libraryURL+at(p), nil, &got); err != nil {
		c.Fatal(err)
	}
	var want []string
	for i := range members {
		for n := range each {
			want = append(want, fmt.Sprintf("line %d of %d\n", n, i))
		}
	}
	lines := slices.Collect(strings.Lines(got.Data.Content))
	slices.Sort(lines)
	slices.Sort(want)
	if diff := cmp.Diff(lines, want); diff != "" {
		c.Errorf("edits (-kept +acknowledged):\n%s", diff)
	}
	if n, v := c.sound(), c.library.folded[p].Version; n != members*each+1 || v != int64(n) {
		c.Errorf("the log has %d entries and the artifact version %d, want %d", n, v, members*each+1)
	}
}

// What nothing forbids is refused to nobody, however many replace the same
// artifact: the log has a version of each.
func noneRefused(c *crowd) {
	const members, each = 4, 100
	const p = "/busy.txt"
	c.together(members, func(i int, a *api) {
		for n := range each {
			body := map[string]any{"path": p, "content": fmt.Sprint(i, " ", n), "overwrite": true}
			if _, err := a.call(c.Context(), "POST", libraryURL, body, nil); err != nil {
				c.Errorf("save %d of %d: %v", n, i, err)
			}
		}
	})
	if n, v := c.sound(), c.library.folded[p].Version; n != members*each || v != int64(n) {
		c.Errorf("the log has %d entries and the artifact version %d, want %d", n, v, members*each)
	}
}

// addLine reads a text and writes it with a line more, until nobody has changed
// it in between.
func addLine(ctx context.Context, a *api, p, line string) error {
	for {
		var got struct{ Data struct{ Content string } }
		if _, err := a.call(ctx, "GET", libraryURL+at(p), nil, &got); err != nil {
			return err
		}
		unchanged := []string{"If-Match", `"sha256:` + sum([]byte(got.Data.Content)) + `"`}
		status, err := a.send(ctx, "POST", libraryURL, unchanged, map[string]any{"path": p, "content": got.Data.Content + line}, nil)
		if err == nil || status != 412 {
			return err
		}
	}
}

// lastPath is saved when everything else was done.
const lastPath = "/last.txt"

// follow reads the log of the library after a position, until take returns an
// error, and returns that.
type follow func(ctx context.Context, a *api, after int64, take func(typ string, data []byte) error) error

// observer lists the library and then follows its log from where the listing
// says, over one of two transports.
type observer struct {
	name  string
	api   *api
	rng   *rand.Rand
	by    follow
	files map[string]listed
	err   error
}

func (o *observer) run(ctx context.Context) {
	l := newLibrary(nil, o.api, o.rng, 0)
	var position int64
	if o.files, position, o.err = l.list(ctx, 1+o.rng.IntN(4)); o.err != nil {
		return
	}
	o.err = o.by(ctx, o.api, position, func(typ string, data []byte) error {
		c, err := fold(o.files, typ, data)
		if err == nil && c.Path == lastPath {
			err = errTold
		}
		return err
	})
	if errors.Is(o.err, errTold) {
		o.err = nil
	}
}

func bySSE(ctx context.Context, a *api, after int64, take func(typ string, data []byte) error) error {
	own := &api{base: a.base, http: a.http, bearer: a.bearer}
	at := after
	return stream(ctx, own, libraryURL+"/events", strconv.FormatInt(after, 10), func(seq int64, typ string, data []byte) error {
		if at++; seq != at {
			return fmt.Errorf("%w: %d came after %d", errWrong, seq, at-1)
		}
		return take(typ, data)
	})
}

func byPolling(ctx context.Context, a *api, after int64, take func(typ string, data []byte) error) error {
	for {
		var page struct {
			Data struct {
				Events []logLine `json:"events"`
				Next   int64     `json:"next_cursor"`
			} `json:"data"`
		}
		url := fmt.Sprintf("%s/events?after=%d&limit=%d&wait_seconds=1", libraryURL, after, 1+rand.IntN(20))
		if _, err := a.call(ctx, "GET", url, nil, &page); err != nil {
			return err
		}
		for _, e := range page.Data.Events {
			if after++; e.Seq != after {
				return fmt.Errorf("%w: %d came after %d", errWrong, e.Seq, after-1)
			}
			if err := take(e.Type, e.Data); err != nil {
				return err
			}
		}
		if page.Data.Next != after {
			return fmt.Errorf("%w: the cursor is %d after entry %d", errWrong, page.Data.Next, after)
		}
	}
}

// A listing that was read page by page while others wrote, and what the log
// tells from its position on, make the library as it is in the end.
func listingAndCursor(c *crowd) {
	const members, each, looks = 4, 40, 4
	ctx, cancel := context.WithTimeout(c.Context(), 2*patience)
	defer cancel()
	var all []*observer
	var following, starting sync.WaitGroup
	for i := range looks * len(c.doors) {
		for name, by := range map[string]follow{"sse": bySSE, "long-poll": byPolling} {
			o := &observer{name: fmt.Sprintf("%s on node %d", name, i%len(c.doors)), api: c.door(i), rng: fork(c.rng), by: by}
			all = append(all, o)
			late := c.rng.IntN(200)
			starting.Add(1)
			following.Go(func() {
				pause(ctx, time.Duration(late)*time.Millisecond)
				starting.Done()
				o.run(ctx)
			})
		}
	}
	seeds := make([]*rand.Rand, members)
	for i := range seeds {
		seeds[i] = fork(c.rng)
	}
	c.together(members, func(i int, a *api) {
		for range each {
			c.meddle(a, seeds[i])
		}
	})
	starting.Wait()
	if _, err := c.door(0).call(ctx, "POST", libraryURL, map[string]any{"path": lastPath, "content": ""}, nil); err != nil {
		c.Fatal(err)
	}
	if n := c.sound(); n < members*each/4 {
		c.Errorf("only %d changes", n)
	}
	end := maps.Clone(c.library.folded)
	for i, a := range c.doors[1:] { // where nobody was told that there is something to read
		if _, err := a.call(ctx, "POST", libraryURL, map[string]any{"path": fmt.Sprintf("/woken%d.txt", i), "content": ""}, nil); err != nil {
			c.Fatal(err)
		}
	}
	following.Wait()
	for _, o := range all {
		if diff := cmp.Diff(o.files, end); diff != "" || o.err != nil {
			c.Errorf("%s, %v (-listing and log +listing in the end):\n%s", o.name, o.err, diff)
		}
	}
}

// meddle does something to a path that others may be at too. What it finds
// there, somebody else may have made or taken away.
func (c *crowd) meddle(a *api, rng *rand.Rand) {
	some := func() string { return fmt.Sprintf("/m/%c/%d.txt", 'a'+rune(rng.IntN(3)), rng.IntN(4)) }
	p := some()
	content := map[string]any{"path": p, "content": text(rng, 20), "metadata": map[string]string{"mark": mark(rng)}}
	var status int
	var err error
	var allowed []int
	switch rng.IntN(6) {
	case 0:
		status, err = a.call(c.Context(), "POST", libraryURL, content, nil)
		allowed = []int{409}
	case 1, 2:
		content["overwrite"] = true // which nothing forbids
		status, err = a.call(c.Context(), "POST", libraryURL, content, nil)
	case 3:
		status, err = a.call(c.Context(), "PATCH", libraryURL+at(p), map[string]any{"append": "more\n"}, nil)
		allowed = []int{404}
	case 4:
		status, err = a.call(c.Context(), "DELETE", libraryURL+at(p), nil, nil)
		allowed = []int{404}
	case 5:
		status, err = a.call(c.Context(), "POST", libraryURL+"/move", map[string]any{"from": p, "to": some()}, nil)
		allowed = []int{404, 409}
	}
	if err != nil && !slices.Contains(allowed, status) {
		c.Errorf("%s: %v", p, err)
	}
}

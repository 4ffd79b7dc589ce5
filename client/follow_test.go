package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

func filter(mimes ...string) artifact.Filter {
	return artifact.Filter{MIME: mimes, Ext: []string{"png", "gif"}, MaxSize: 10, Uploads: true}
}

// log is a server with one session's log, which breaks each connection after
// some entries.
type log struct {
	t      *testing.T
	last   int
	breaks int // entries per connection
	mu     sync.Mutex
	starts []string
}

func entryText(seq int, kind string) string {
	return fmt.Sprintf("id: %d@L\nevent: %s\ndata: {\"type\":%q,\"seq\":%d,\"session_id\":\"s\",\"at\":1,\"data\":{}}\n\n", seq, kind, kind, seq)
}

func (l *log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := 0
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	if seq, _, _ := strings.Cut(id, "@"); seq != "" {
		var err error
		if start, err = strconv.Atoi(seq); err != nil {
			l.t.Errorf("cursor %q", id)
		}
	}
	l.mu.Lock()
	l.starts = append(l.starts, id)
	l.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	fmt.Fprint(w, ": hello\n\n")
	for seq := start + 1; seq <= l.last; seq++ {
		if seq == start+1+l.breaks {
			fmt.Fprint(w, strings.TrimSuffix(entryText(seq, "x"), "\n")) // all but the empty line
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		kind := "x"
		if seq == l.last {
			kind = artifact.TypeDeleted
		}
		fmt.Fprint(w, entryText(seq, kind))
	}
}

func TestFollowLosesAndRepeatsNothing(t *testing.T) {
	l := &log{t: t, last: 23, breaks: 5}
	c := serve(t, l.ServeHTTP)
	var got []artifact.Seq
	broken := 0
	for e, err := range c.Follow(t.Context(), "s", Following{From: Cursor{After: 2}, Broken: func(error, time.Duration) { broken++ }}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Seq)
		if want := (Cursor{e.Seq, "L"}); e.Cursor() != want {
			t.Errorf("cursor %v, want %v", e.Cursor(), want)
		}
	}
	var want []artifact.Seq
	for i := artifact.Seq(3); i <= 23; i++ {
		want = append(want, i)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff([]string{"2", "7@L", "12@L", "17@L", "22@L"}, l.starts); diff != "" || broken != 4 {
		t.Errorf("%d losses; starts: %s", broken, diff)
	}
}

func TestFollowEnds(t *testing.T) {
	tests := map[string]struct {
		answers []string // an answer by connection; the last one repeats
		filter  artifact.Filter
		entries int
		check   func(error) bool
	}{
		"expired":                  {answers: []string{"410"}, check: isExpired},
		"expired later":            {answers: []string{entryText(1, "x"), "410"}, entries: 1, check: isExpired},
		"expired on the stream":    {answers: []string{entryText(1, "x") + "event: cursor_expired\ndata: {\"oldest\":5,\"last\":9}\n\n"}, entries: 1, check: isExpired},
		"no session":               {answers: []string{"404"}, check: func(err error) bool { return errors.Is(err, ErrNotFound) }},
		"deleted while away":       {answers: []string{entryText(1, "x"), "404"}, entries: 1, check: func(err error) bool { return errors.Is(err, ErrNotFound) }},
		"not there yet":            {answers: []string{"503"}, check: func(err error) bool { e, ok := errors.AsType[*Error](err); return ok && e.Status == 503 }},
		"down for a while":         {answers: []string{entryText(1, "x"), "503", "503", entryText(2, artifact.TypeDeleted)}, entries: 2, check: func(err error) bool { return err == nil }},
		"not a stream":             {answers: []string{"200"}, check: func(err error) bool { return err != nil }},
		"a gap":                    {answers: []string{entryText(1, "x") + entryText(3, "x")}, entries: 1, check: func(err error) bool { return errors.Is(err, errStream) }},
		"a gap made by a filter":   {answers: []string{entryText(3, artifact.TypeDeleted)}, filter: artifact.Filter{Types: []string{"x"}}, entries: 1, check: func(err error) bool { return err == nil }},
		"no entry":                 {answers: []string{"id: 1@L\ndata: {]\n\n"}, check: func(err error) bool { return errors.Is(err, errStream) }},
		"an entry that came twice": {answers: []string{entryText(1, "x") + entryText(1, "x") + entryText(2, artifact.TypeDeleted)}, entries: 2, check: func(err error) bool { return err == nil }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				answer := tt.answers[min(int(n.Add(1)), len(tt.answers))-1]
				var status int
				if k, _ := fmt.Sscanf(answer, "%3d", &status); k == 1 && len(answer) == 3 {
					w.WriteHeader(status)
					fmt.Fprint(w, `{"detail":"x","oldest":5,"last":9}`)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, answer)
			})
			entries := 0
			var got error
			for _, err := range c.Follow(t.Context(), "s", Following{Filter: tt.filter}) {
				if err != nil {
					got = err
					break
				}
				entries++
			}
			if !tt.check(got) || entries != tt.entries {
				t.Errorf("%d entries, want %d; then %v", entries, tt.entries, got)
			}
		})
	}
}

// A frame of nothing but an id moves the cursor past what the filter left out.
func TestFollowKeepsCursorOfFilteredEntries(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Header.Get("Last-Event-ID")+" "+r.URL.Query().Get("include_ext"))
		w.Header().Set("Content-Type", "text/event-stream")
		if len(asked) == 1 {
			fmt.Fprint(w, "id: 40@L\n\n")
			return
		}
		fmt.Fprint(w, entryText(41, artifact.TypeDeleted))
	})
	for _, err := range c.Follow(t.Context(), "s", Following{Filter: artifact.Filter{Ext: []string{"md"}}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{" md", "40@L md"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestFollowStopsWithContext(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, entryText(1, "x"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got error
	for _, err := range c.Follow(ctx, "s", Following{}) {
		cancel()
		got = err
	}
	if !errors.Is(got, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", got)
	}
}

// pipes is a network in memory, so that time can be made to pass.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) Close() error {
	close(p)
	return nil
}

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	p <- b
	return a, nil
}

// A server that vanished sends no heartbeats; one that is merely quiet does.
func TestFollowNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := make(pipes)
		connections := 0
		began := time.Now()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			connections++
			w.Header().Set("Content-Type", "text/event-stream")
			if connections == 2 {
				fmt.Fprint(w, entryText(1, artifact.TypeDeleted))
				return
			}
			for range 10 { // quiet for 150 s, then gone
				fmt.Fprint(w, ": still here\n\n")
				w.(http.Flusher).Flush()
				select {
				case <-time.After(15 * time.Second):
				case <-r.Context().Done():
					t.Error("the client left a server that sent heartbeats")
				}
			}
			<-r.Context().Done()
		})}
		done := make(chan error)
		go func() { done <- server.Serve(network) }()
		c, err := New("http://vitrine.test", Options{HTTP: &http.Client{Transport: &http.Transport{DialContext: network.dial, DisableKeepAlives: true}}})
		if err != nil {
			t.Fatal(err)
		}
		var losses []string
		for _, err := range c.Follow(t.Context(), "s", Following{Broken: func(err error, _ time.Duration) { losses = append(losses, err.Error()) }}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(losses) != 1 || !strings.Contains(losses[0], "nothing came for 45s") {
			t.Errorf("losses: %q", losses)
		}
		if took := time.Since(began); took < 180*time.Second || took > 182*time.Second {
			t.Errorf("noticed after %v, want 135 s of heartbeats and 45 s of silence", took)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	for n, limit := range map[int]time.Duration{1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 5: 4 * time.Second, 6: 5 * time.Second, 1000: 5 * time.Second} {
		for range 50 {
			if got := backoff(n); got < limit/2 || got > limit {
				t.Errorf("backoff(%d) = %v, want between %v and %v", n, got, limit/2, limit)
			}
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add("id: 1@a\ndata: x\ndata: y\n\n")
	f.Add(": c\r\n\r\nevent: e\r\ndata\r\n\r\n")
	f.Add("\n\nid\n\n data: z\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := bufio.NewReaderSize(strings.NewReader(text), 16)
		for {
			frame, err := readFrame(r, func() {})
			if err != nil {
				return
			}
			if frame.data == nil && frame.id == "" {
				t.Errorf("a frame of nothing in %q", text)
			}
			if strings.ContainsAny(frame.id, "\n") {
				t.Errorf("an id with a line end: %q", frame.id)
			}
		}
	})
}

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The client must read answers of every form to their end, or the next one on
// the connection is garbage.
func TestConnIsUsedAgain(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read request: %v", err)
		}
		switch r.URL.Path {
		case "/chunked":
			for i := range 50 {
				fmt.Fprintf(w, "%05000d", i)
				w.(http.Flusher).Flush()
			}
		case "/length":
			w.Write(bytes.Repeat([]byte("x"), 100_000))
		case "/echo":
			fmt.Fprintf(w, "%s %s", r.Header.Get("Content-Type"), body)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer srv.Close()
	c, err := dial(t.Context(), srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 {
		for path, want := range map[string]int64{"/chunked": 250_000, "/length": 100_000} {
			if n, err := c.fetch(c.request("GET", path, "")); n != want || err != nil {
				t.Fatalf("fetch %s: %d bytes, %v; want %d", path, n, err, want)
			}
		}
		want := int64(len("text/plain hello"))
		if n, err := c.fetch(c.request("POST", "/echo", "hello", "Content-Type: text/plain")); n != want || err != nil {
			t.Fatalf("echo: %d bytes, %v; want %d", n, err, want)
		}
	}
}

func TestConnTellsRefusals(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c, err := dial(t.Context(), srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.do(c.request("GET", "/", "")); err == nil || !strings.Contains(err.Error(), "status 404: 404 page not found") {
		t.Errorf("do of a page that is not there: %v", err)
	}
}

func TestReadFrame(t *testing.T) {
	long := strings.Repeat("l", 300)
	r := bufio.NewReader(strings.NewReader("\x81\x02hi" + "\x81\x7e\x01\x2c" + long + "\x89\x00" + "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01x"))
	type frame struct {
		Op   byte
		Text string
	}
	var got []frame
	buf := make([]byte, 0, 8)
	for range 4 {
		op, payload, err := readFrame(r, buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, frame{op, string(payload)})
	}
	if diff := cmp.Diff(got, []frame{{opText, "hi"}, {opText, long}, {opPing, ""}, {opText, "x"}}); diff != "" {
		t.Errorf("frames (-got +want):\n%s", diff)
	}
	if _, _, err := readFrame(r, buf); err == nil {
		t.Error("a frame behind the last one")
	}
}

func TestReport(t *testing.T) {
	r := &Report{Server: "vitrine 1", Rounds: 3}
	for _, v := range []float64{30, 10, 20.04} {
		r.add("upload-4k", "1 connection", value{"uploads/s", "1/s", v})
		r.add("upload-4k", "1 connection", value{"p50", "ms", v / 1000})
	}
	r.add("upload-4k", "16 connections", value{"uploads/s", "1/s", 1234.5})
	r.summarize()
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(b.String(), "when it is answered.\n\n")
	want := `| | uploads/s | p50, ms |
|---|---|---|
| 1 connection | **20.0** [10.0–30.0] | **0.02** [0.01–0.03] |
| 16 connections | **1234** [1234–1234] | – |
`
	if diff := cmp.Diff(table, want); diff != "" {
		t.Errorf("table (-got +want):\n%s", diff)
	}
}

func TestQuantile(t *testing.T) {
	var s spans
	for i := range 200 {
		s = append(s, time.Duration(200-i)*time.Millisecond)
	}
	if p50, p99 := s.quantile(.5), s.quantile(.99); p50 != 101 || p99 != 199 {
		t.Errorf("quantiles are %v and %v ms, want 101 and 199", p50, p99)
	}
	if got := (spans{}).quantile(.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
}

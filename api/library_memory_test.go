package api_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/depot"
)

// Whoever asks for large texts and does not read them costs little: it was
// some 95 MB a connection.
func TestTextsThatNobodyReads(t *testing.T) {
	h := open(t, func(s *setup) { s.api.WriteTimeout = time.Minute })
	h.data(h.save("/big.txt", strings.Repeat("é", depot.MaxText/2)))
	h.data(h.artifactAt("/big.txt"))
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	const readers = 8
	for range readers {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.web.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s?path=/big.txt HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", library, h.bearer)
		if _, err := conn.Read(make([]byte, 1<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if now := live(); now > before+readers*depot.MaxText/4 {
		t.Errorf("%d readers hold %d MB", readers, (now-before)>>20)
	}
}

// Bytes that are no text are refused before the answer begins, wherever they stand.
func TestNoTextFarBehind(t *testing.T) {
	h := open(t)
	h.want(h.do("PUT", library+"/raw/bad.bin", strings.NewReader(strings.Repeat("a", 1<<20)+"\xff")), 201, "")
	h.want(h.artifactAt("/bad.bin"), 415, "VAL_VALIDATION_FAILED")
}

// hardly begins to send a large body, announced or in chunks, and leaves it.
func (h *house) hardly(chunked bool, sent int) net.Conn {
	h.Helper()
	framing := fmt.Sprintf("Content-Length: %d\r\n\r\n", 6*depot.MaxText)
	if chunked {
		framing = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", 6*depot.MaxText)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.web.URL, "http://"))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s", library, h.bearer, framing)
	if _, err := io.WriteString(conn, strings.Repeat(" ", sent)); err != nil {
		h.Fatal(err)
	}
	return conn
}

// A tenant has so many large bodies on the way, and no more; others do not
// feel it.
func TestBodiesOnTheWayAreCounted(t *testing.T) {
	h := open(t, behindAccounts)
	other := h.tenant("pf_other")
	var open []net.Conn
	for range 32 {
		open = append(open, h.hardly(true, 1<<10))
	}
	large := strings.Repeat("x", 2<<20)
	var a answer
	eventually(t, "there are too many", func() bool {
		a = h.save("/a.txt", large, `,"overwrite":true`)
		return a.StatusCode != 200
	})
	h.want(a, 503, "SYS_SERVICE_UNAVAILABLE")
	if a.Header.Get("Retry-After") != "10" {
		t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
	}
	h.data(h.save("/small.txt", "x"))
	other.data(other.save("/a.txt", large))
	open[0].Close()
	eventually(t, "one has gone", func() bool { return h.save("/a.txt", large, `,"overwrite":true`).StatusCode == 200 })
}

// An archive that could not be kept is not taken in.
func TestArchivesBeyondTheQuota(t *testing.T) {
	h := open(t)
	h.limit(1<<20, 0, 0)
	sent := &counted{Reader: io.LimitReader(zeros{}, 1<<30)}
	a := h.do("POST", library+"/archive", sent)
	h.want(a, 413, "VAL_FIELD_TOO_LONG")
	if n := sent.n.Load(); n > 100<<20 {
		t.Errorf("%d MB were taken in", n>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// counted counts what is read.
type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Whoever sends large bodies slowly, announced or not, takes no memory and
// nobody's turn: sixteen of them would once have kept every large save waiting.
func TestBodiesThatHardlyCome(t *testing.T) {
	h := open(t)
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	const senders, sent = 16, 4 << 20
	for i := range senders {
		h.hardly(i%2 == 1, sent)
	}
	if now := live(); now > before+senders*sent/4 {
		t.Errorf("%d senders hold %d MB", senders, (now-before)>>20)
	}
	content := strings.Repeat("\u00e9", depot.MaxText/2)
	h.data(h.save("/announced.txt", content))
	if got := asMap(h.artifactAt("/announced.txt").json["data"])["content"]; got != content {
		t.Error("another content came back")
	}
	body := io.MultiReader(strings.NewReader(saveBody(h, "/chunked.txt", content))) // a length that is not known
	h.data(h.do("POST", library, body, "Content-Type", "application/json"))
	if got := asMap(h.artifactAt("/chunked.txt").json["data"])["content"]; got != content {
		t.Error("another content came back")
	}
	h.want(h.do("POST", library, io.MultiReader(strings.NewReader(saveBody(h, "/long.txt", content+"x"))), "Content-Type", "application/json"), 413, "VAL_FIELD_TOO_LONG")
}

package api_test

import (
	"fmt"
	"net"
	"runtime"
	"strings"
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

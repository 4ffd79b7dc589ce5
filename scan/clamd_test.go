package scan_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/scan"
)

// fake is a clamd that answers each connection as a test says, for what a real
// one does only when it breaks. It returns its address.
func fake(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return "clamd://" + socket
}

// receive reads a command and its stream as the protocol has them.
func receive(conn io.Reader) (command string, content []byte, err error) {
	r := bufio.NewReader(conn)
	if command, err = r.ReadString(0); err != nil {
		return command, nil, err
	}
	for {
		var size uint32
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return command, content, err
		}
		if size == 0 {
			return command, content, nil
		}
		chunk := make([]byte, size)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return command, content, err
		}
		content = append(content, chunk...)
	}
}

// replies is a clamd that receives everything and then sends reply.
func replies(reply string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, _, err := receive(conn); err == nil {
			io.WriteString(conn, reply)
		}
	}
}

// interrupts is a clamd that sends reply after some bytes and closes.
func interrupts(size int64, reply string) func(net.Conn) {
	return func(conn net.Conn) {
		io.CopyN(io.Discard, conn, size)
		io.WriteString(conn, reply)
	}
}

func TestClamdGetsTheWholeStream(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 20_001)
	got := make(chan []byte, 1)
	address := fake(t, func(conn net.Conn) {
		command, all, err := receive(conn)
		if command != "zINSTREAM\x00" || err != nil {
			t.Errorf("got command %q, %v", command, err)
		}
		got <- all
		io.WriteString(conn, "stream: OK\x00")
	})
	v, err := open(t, address).Scan(t.Context(), "digits", bytes.NewReader(content))
	if err != nil || v != (scan.Verdict{Clean: true}) {
		t.Fatalf("Scan = %+v, %v", v, err)
	}
	if all := <-got; !bytes.Equal(all, content) {
		t.Errorf("clamd got %d bytes, or other ones; want the %d of the source", len(all), len(content))
	}
}

func TestClamdFinds(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(net.Conn)
		want   string
	}{
		{"a name", replies("stream: Eicar-Test FOUND\x00"), "Eicar-Test"},
		{"a name with spaces", replies("stream: Some FOUND thing FOUND\x00"), "Some FOUND thing"},
		{"no name", replies("stream:  FOUND\x00"), "unnamed"},
		{"a hostile name", replies("stream: a\nb\x1b[31m\u202e\xff FOUND\x00"), "a?b?[31m?\ufffd"},
		{"before the end", interrupts(1000, "stream: Early FOUND\x00"), "Early"},
	} {
		v, err := open(t, fake(t, test.answer)).Scan(t.Context(), "f", zeros(4<<20))
		if err != nil || v != (scan.Verdict{Found: test.want}) {
			t.Errorf("%s: Scan = %+v, %v, want %q found", test.name, v, err, test.want)
		}
	}
	v, err := open(t, fake(t, replies("stream: "+strings.Repeat("é", 1000)+" FOUND\x00"))).Scan(t.Context(), "f", zeros(1))
	if err != nil || len(v.Found) != 200 || !utf8.ValidString(v.Found) {
		t.Errorf("Scan = %+v, %v, want 200 bytes of a long name", v, err)
	}
}

// Whatever clamd does wrong, nothing is clean, nothing is found, and the error says what it did.
func TestClamdFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(net.Conn)
		size   int64
		want   string
	}{
		{"an error", replies("Can't open file or directory ERROR\x00"), 10, "Can't open file"},
		{"an error after some bytes", interrupts(1000, "INSTREAM: Can't write to temporary file. ERROR\x00"), 8 << 20, "temporary file"},
		{"another command's reply", replies("PONG\x00"), 10, `replied "PONG"`},
		{"another file", replies("/etc/passwd: OK\x00"), 10, "replied"},
		{"clean with words behind", replies("stream: OK maybe\x00"), 10, "replied"},
		{"an empty reply", replies("\x00"), 10, `replied ""`},
		{"no reply", replies(""), 10, "closed the connection"},
		{"a short reply", replies("stream: O"), 10, "closed the connection"},
		{"a reply without its end", replies("stream: OK"), 10, "closed the connection"},
		{"a huge reply", replies("stream: " + strings.Repeat("x", 1<<20) + " FOUND\x00"), 10, "no end"},
		{"clean before it has everything", interrupts(1000, "stream: OK\x00"), 8 << 20, "clamd at"},
		{"closed midway", interrupts(1000, ""), 8 << 20, "clamd at"},
		{"closed at once", func(net.Conn) {}, 8 << 20, "clamd at"},
	} {
		v, err := open(t, fake(t, test.answer)).Scan(t.Context(), "f", zeros(test.size))
		if err == nil || v != (scan.Verdict{}) || !strings.Contains(err.Error(), test.want) || errors.Is(err, scan.ErrTooLarge) {
			t.Errorf("%s: Scan = %+v, %v, want an error with %q", test.name, v, err, test.want)
		}
	}
}

func TestClamdLimits(t *testing.T) {
	for _, reply := range []string{"INSTREAM size limit exceeded. ERROR\x00", "stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\x00"} {
		for _, answer := range []func(net.Conn){replies(reply), interrupts(1000, reply)} {
			v, err := open(t, fake(t, answer)).Scan(t.Context(), "f", zeros(8<<20))
			if v != (scan.Verdict{}) || !errors.Is(err, scan.ErrTooLarge) {
				t.Errorf("after %q: Scan = %+v, %v, want ErrTooLarge", reply, v, err)
			}
		}
	}
}

// A clamd that hangs is left when the context ends, whether it hangs while it
// receives or before it replies.
func TestClamdHangs(t *testing.T) {
	for _, size := range []int64{10, 64 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		address := fake(t, func(conn net.Conn) {
			io.ReadFull(conn, make([]byte, 20)) // command, size and some of the bytes
			cancel()
			_, err := io.Copy(io.Discard, conn)
			left <- err
		})
		v, err := open(t, address).Scan(ctx, "f", zeros(size))
		if v != (scan.Verdict{}) || !errors.Is(err, context.Canceled) {
			t.Errorf("%d bytes: Scan = %+v, %v, want context.Canceled", size, v, err)
		}
		<-left
	}
	ctx, cancel := context.WithCancel(t.Context())
	address := fake(t, func(conn net.Conn) {
		cancel()
		io.Copy(io.Discard, conn)
	})
	if err := open(t, address).Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ping = %v, want context.Canceled", err)
	}
}

// A source that fails must not look like one that ended. A body that was cut off
// fails with io.ErrUnexpectedEOF.
func TestClamdSourceFails(t *testing.T) {
	for _, cause := range []error{errSource, io.ErrUnexpectedEOF} {
		got := make(chan error, 1)
		address := fake(t, func(conn net.Conn) {
			_, _, err := receive(conn)
			got <- err
		})
		v, err := open(t, address).Scan(t.Context(), "f", broken(100_000, cause))
		if v != (scan.Verdict{}) || !errors.Is(err, cause) {
			t.Errorf("Scan = %+v, %v, want %v", v, err, cause)
		}
		if err := <-got; err == nil {
			t.Errorf("after %v clamd got a stream with an end", cause)
		}
	}
}

func TestClamdPing(t *testing.T) {
	for _, test := range []struct {
		reply string
		ok    bool
	}{{"PONG\x00", true}, {"PONG", false}, {"UNKNOWN COMMAND\x00", false}, {"", false}} {
		address := fake(t, func(conn net.Conn) {
			if command, err := bufio.NewReader(conn).ReadString(0); command != "zPING\x00" || err != nil {
				t.Errorf("got command %q, %v", command, err)
			}
			io.WriteString(conn, test.reply)
		})
		if err := open(t, address).Ping(t.Context()); (err == nil) != test.ok {
			t.Errorf("Ping after %q = %v", test.reply, err)
		}
	}
}

func TestClamdMemory(t *testing.T) {
	address := fake(t, func(conn net.Conn) {
		io.CopyN(io.Discard, conn, 64<<20+1024*4+10+4) // chunks of 64 KiB
		io.WriteString(conn, "stream: OK\x00")
	})
	s := open(t, address)
	allocates(t, 1<<20, func() {
		if v, err := s.Scan(t.Context(), "f", zeros(64<<20)); err != nil || !v.Clean {
			t.Errorf("Scan = %+v, %v", v, err)
		}
	})
}

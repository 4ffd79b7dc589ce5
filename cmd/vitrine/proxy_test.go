package main

import (
	"net"
	"strconv"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// breaking is a proxy that breaks its first connections.
type breaking struct {
	to    string
	mode  string // "request", "answer" or "download"
	after int64  // bytes
	left  atomic.Int64
	world *world
}

func proxy(ts *testscript.TestScript, w *world, args []string) error {
	after, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	times, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.proxies = append(w.proxies, l)
	b := &breaking{to: w.address, mode: args[0], after: after, world: w}
	b.left.Store(times)
	w.serving.Go(func() { b.serve(l) })
	ts.Setenv("VITRINE_SERVER", "http://"+l.Addr().String())
	return nil
}

func (b *breaking) serve(l net.Listener) {
	for {
		down, err := l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", b.to)
		if err != nil {
			down.Close()
			continue
		}
		b.world.serving.Go(func() { b.pass(down, up) })
	}
}

// pass copies both ways until one side ends, or it is time to break.
func (b *breaking) pass(down, up net.Conn) {
	stop := func() { down.Close(); up.Close() }
	var asked atomic.Int64
	b.world.serving.Go(func() {
		defer stop()
		forward(up, down, func(n int64) bool {
			asked.Add(n)
			return b.mode == "request" && asked.Load() > b.after && b.take()
		})
	})
	defer stop()
	var answered int64
	forward(down, up, func(n int64) bool {
		answered += n
		return (b.mode == "answer" && asked.Load() > b.after || b.mode == "download" && answered > b.after) && b.take()
	})
}

// take uses up one break.
func (b *breaking) take() bool { return b.left.Add(-1) >= 0 }

// forward copies until an end is reached or breaks, asked with the bytes of
// each piece before it goes on, says so.
func forward(to, from net.Conn, breaks func(int64) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if breaks(int64(n)) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

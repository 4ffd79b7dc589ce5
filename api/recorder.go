package api

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// recorder is the ResponseWriter of every handler. It notes what was answered,
// cuts off a client that does not read or is let in no longer (cut.go), and
// hides nothing of what it wraps: files still go out by sendfile.
type recorder struct {
	http.ResponseWriter
	stall    time.Duration // that one write may take; 0 is any
	due      time.Time     // when the write deadline is to be moved
	status   int           // 0 until the header is written
	bytes    int64
	hijacked bool
	pattern  string // of the route, once one is found
	secret   bool
	caller   *artifact.Caller // who asks, once that is known, also if the answer is no
	shutOut  func() error     // why the client is let in no longer; nil where it cannot come to that
	brief    bool             // the answer may be written to its end all the same
	cut      error            // why it was not
	leaving  []func()         // what ends with the request
}

// recorderOf returns the recorder at or below w, or nil.
func recorderOf(w http.ResponseWriter) *recorder {
	for {
		switch v := w.(type) {
		case *recorder:
			return v
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}

// route notes which route serves the request.
func (rec *recorder) route(rt route) {
	if rec != nil {
		rec.pattern, rec.secret = rt.pattern, rt.secret
	}
}

// begun reports whether an answer has started, so that none other can be given.
func (rec *recorder) begun() bool { return rec.status != 0 || rec.hijacked }

// Unwrap lets http.ResponseController reach the connection.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// moving puts the write deadline off, because something is about to be written.
// The one of an earlier answer on the connection must not hit this one.
func (rec *recorder) moving() {
	now, stall := time.Now(), rec.stall
	if rec.shutOut != nil && rec.shutOut() != nil {
		stall = cutWithin
	} else if now.Before(rec.due) {
		return
	}
	if stall == 0 || rec.hijacked {
		return
	}
	rec.due = now.Add(stall / 8)
	_ = http.NewResponseController(rec.ResponseWriter).SetWriteDeadline(now.Add(stall)) // not every connection has one
}

// WriteHeader notes the status; informational ones only pass through.
func (rec *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		rec.begin(status)
	}
	rec.moving()
	rec.ResponseWriter.WriteHeader(status)
}

// begin notes the status of the answer, which is the first that was given. It is
// the last answer on the connection if its client is let in no longer.
func (rec *recorder) begin(status int) {
	if rec.status != 0 {
		return
	}
	rec.status = status
	if rec.shutOut != nil && rec.shutOut() != nil {
		rec.Header().Set("Connection", "close")
	}
}

// Write counts what is written.
func (rec *recorder) Write(p []byte) (n int, err error) {
	rec.moving()
	if err := rec.refusal(); err != nil {
		return 0, err
	}
	rec.begin(http.StatusOK)
	n, err = rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	if err != nil && rec.refusal() != nil {
		err = rec.cut
	}
	return n, err
}

// sendPiece is how much of a file is sent under one write deadline.
const sendPiece = 256 << 10

// ReadFrom hands the source through, so that a file is sent without copying it
// through this process: in pieces, each with a deadline of its own.
func (rec *recorder) ReadFrom(src io.Reader) (n int64, err error) {
	if err := rec.refusal(); err != nil {
		return 0, err
	}
	rec.begin(http.StatusOK)
	whole, limited := src.(*io.LimitedReader) // what http.ServeContent hands in
	if !limited {
		whole = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for err == nil && whole.N > 0 {
		rec.moving()
		if err = rec.refusal(); err != nil {
			break
		}
		piece := &io.LimitedReader{R: whole.R, N: min(whole.N, sendPiece)} // not nested: sendfile looks one level deep
		var sent int64
		sent, err = io.Copy(rec.ResponseWriter, piece)
		n += sent
		whole.N -= sent
		if piece.N > 0 {
			break // the source has come to its end
		}
	}
	rec.bytes += n
	if err != nil && rec.refusal() != nil {
		err = rec.cut
	}
	return n, err
}

// Flush sends what is buffered. Prefer http.ResponseController, which tells errors.
func (rec *recorder) Flush() { _ = rec.FlushError() }

// FlushError sends what is buffered.
func (rec *recorder) FlushError() error {
	rec.begin(http.StatusOK)
	rec.moving()
	return http.NewResponseController(rec.ResponseWriter).Flush()
}

// Hijack takes the connection over, as WebSockets do.
func (rec *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(rec.ResponseWriter).Hijack()
	if err == nil {
		rec.hijacked = true
		rec.leave()
	}
	return conn, buf, err
}

package api

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// recorder is the ResponseWriter of every handler. It notes what was answered
// and hides nothing of what it wraps: files still go out by sendfile.
type recorder struct {
	http.ResponseWriter
	status   int // 0 until the header is written
	bytes    int64
	hijacked bool
	pattern  string // of the route, once one is found
	secret   bool
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

// WriteHeader notes the status; informational ones only pass through.
func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) implicit() {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
}

// Write counts what is written.
func (rec *recorder) Write(p []byte) (int, error) {
	rec.implicit()
	n, err := rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	return n, err
}

// ReadFrom hands the source through, so that a file is sent without copying it
// through this process.
func (rec *recorder) ReadFrom(src io.Reader) (int64, error) {
	rec.implicit()
	n, err := io.Copy(rec.ResponseWriter, src)
	rec.bytes += n
	return n, err
}

// Flush sends what is buffered. Prefer http.ResponseController, which tells errors.
func (rec *recorder) Flush() { _ = rec.FlushError() }

// FlushError sends what is buffered.
func (rec *recorder) FlushError() error {
	rec.implicit()
	return http.NewResponseController(rec.ResponseWriter).Flush()
}

// Hijack takes the connection over, as WebSockets do.
func (rec *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(rec.ResponseWriter).Hijack()
	if err == nil {
		rec.hijacked = true
	}
	return conn, buf, err
}

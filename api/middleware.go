package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// CorrelationHeader names a request in the logs and in the answer.
const CorrelationHeader = "X-Correlation-ID"

type correlationKey struct{}

type requestKey struct{}

// requestID returns the id that this server gave the request of ctx, or "".
// Unlike the correlation id no client chooses it.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// correlationID returns the id of the request that ctx belongs to, or "".
func correlationID(ctx context.Context) string {
	id, _ := ctx.Value(correlationKey{}).(string)
	return id
}

// Outcome is how a request ended, for the log and for metrics.
type Outcome struct {
	Method  string
	Pattern string // of the route; empty when none was found
	Status  int    // 0 when nothing was answered
	Bytes   int64  // of the body
	Took    time.Duration
	Aborted bool // the connection was broken off
}

// surround returns next behind the middleware that every request passes:
// correlation id, access log, recovery, guard, and the check of the path, in
// this order, so that the log tells the 500 of a panic and the id of a refusal.
// ended, if not nil, hears of every request.
func surround(next http.Handler, d *dialect, g *guard, ended func(Outcome)) http.Handler {
	return observe(d, ended, d.recovered(g.wrap(d.cleanPaths(next))))
}

// observe gives the request its id and writes one line to the log when it is
// over: neither query, headers nor contents, and no path that is a capability.
func observe(d *dialect, ended func(Outcome), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		own := newUUID()
		id := r.Header.Get(CorrelationHeader)
		if !validCorrelationID(id) {
			id = own
		}
		w.Header().Set(CorrelationHeader, id)
		w.Header().Set(RequestHeader, own)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		rec := &recorder{ResponseWriter: w, stall: d.stall}
		if r.ContentLength != 0 && d.body > 0 {
			// Also for a body that no handler reads, because net/http reads it
			// before it answers. Uploads move the deadline.
			_ = http.NewResponseController(w).SetReadDeadline(start.Add(d.body))
		}
		r = r.WithContext(context.WithValue(context.WithValue(r.Context(), requestKey{}, own), correlationKey{}, id))
		if r.ContentLength != 0 {
			r.Body = &incoming{ReadCloser: r.Body, rec: rec}
		}
		returned := false
		defer func() {
			o := Outcome{Method: r.Method, Pattern: rec.pattern, Status: rec.status, Bytes: rec.bytes,
				Took: time.Since(start), Aborted: !returned}
			if returned && o.Status == 0 && !rec.hijacked {
				o.Status = http.StatusOK
			}
			d.logEnd(r, rec, o, id, own)
			if ended != nil {
				ended(o)
			}
		}()
		next.ServeHTTP(rec, r)
		returned = true
	})
}

// logEnd writes the line of a request that is over. Of its caller it tells the
// tenant and the id of what was shown, never the thing itself.
func (d *dialect) logEnd(r *http.Request, rec *recorder, o Outcome, id, own string) {
	var room [12]slog.Attr
	attrs := append(room[:0], slog.String("id", id), slog.String("method", o.Method),
		slog.String("route", o.Pattern), slog.String("path", loggedPath(rec, r.URL.Path)),
		slog.Int("status", o.Status), slog.Int64("bytes", o.Bytes), slog.Float64("took_ms", float64(o.Took.Microseconds())/1000),
		slog.String("remote", d.remoteOf(rec, r)), slog.Bool("aborted", o.Aborted))
	if c := rec.caller; c != nil && c.Tenant != "" {
		attrs = append(attrs, slog.String("tenant", c.Tenant), slog.String("actor", c.Actor()))
	}
	if own != id {
		attrs = append(attrs, slog.String("request_id", own))
	}
	d.log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
}

// remoteOf returns the address that a request comes from, also of one that was
// refused before anybody asked for it.
func (d *dialect) remoteOf(rec *recorder, r *http.Request) string {
	switch {
	case rec.caller != nil:
		return rec.caller.Remote
	case d.remote != nil:
		return d.remote(r)
	}
	return r.RemoteAddr
}

// slip is what looks like the token of a share, wherever it was put by mistake.
var slip = regexp.MustCompile(`(?i)shr_[^/.]*\.[^/]*`)

// loggedPath returns what the log may show of a path. Where no route was found
// the path may still be a share with a slip in it.
func loggedPath(rec *recorder, path string) string {
	if rec.secret {
		return rec.pattern
	}
	if rec.pattern == "" {
		if i := strings.Index(strings.ToLower(path), "/s/"); i >= 0 {
			path = path[:i] + "/s/…"
		}
	}
	path = slip.ReplaceAllString(path, "shr_…")
	if len(path) > 1024 {
		path = strings.ToValidUTF8(path[:1024], "") + "…"
	}
	return path
}

func validCorrelationID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._:-", rune(c)) {
			return false
		}
	}
	return true
}

// newUUID returns a random UUID of version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// recovered answers 500 to what panics below it.
func (d *dialect) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, _ := v.(error); errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			d.log.ErrorContext(r.Context(), "panic", "id", correlationID(r.Context()), "value", fmt.Sprint(v),
				"stack", string(debug.Stack()))
			d.fail(w, r, &problem{http.StatusInternalServerError, "INTERNAL_ERROR", problems[artifact.Internal].msg})
		}()
		next.ServeHTTP(w, r)
	})
}

// cleanPaths refuses paths that do not say plainly what they name. It looks at
// the escaped path and before the mux, which would redirect to what it resolves.
func (d *dialect) cleanPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !plainPath(r.URL.EscapedPath()) {
			d.fail(w, r, &artifact.Error{Kind: artifact.Invalid, Msg: "Invalid path", Field: "path"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// plainPath reports whether an escaped path is absolute and has neither "//",
// dot segments nor encoded slashes and backslashes.
func plainPath(escaped string) bool {
	lower := strings.ToLower(escaped)
	if !strings.HasPrefix(lower, "/") || strings.Contains(lower, "//") ||
		strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.Contains(lower, `\`) {
		return false
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(lower, "%2e", "."), "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

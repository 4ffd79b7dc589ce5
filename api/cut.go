package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// cutWithin is how long a write may still take after what let the client in was
// revoked. Other nodes hear of that half a second later, and all of it is to be
// over within one.
const cutWithin = 250 * time.Millisecond

// letIn returns the request as that of a caller. When something is revoked that
// c came with, its context ends, its body cannot be read on, and what is left of
// a long answer does not leave. That a token expires ends streams only, see
// [Server.following].
func (s *Server) letIn(w http.ResponseWriter, r *http.Request, c *artifact.Caller) *http.Request {
	rec := recorderOf(w)
	rec.caller = c
	ctx := artifact.WithCaller(r.Context(), c)
	if c.Tenant == "" { // nobody, of whom nothing can be revoked
		return r.WithContext(ctx)
	}
	ctx, forget := s.Accounts.Watch(ctx, c)
	body, _ := r.Body.(*incoming)
	rec.onLeave(forget)
	rec.onLeave(rec.tie(ctx, body))
	return r.WithContext(ctx)
}

// tie makes the answer, and the body if it is not nil, end with ctx, if that ends
// because its caller is let in no longer. Untie it before the connection is
// anybody else's. A body that is over is left alone: from then on net/http reads
// ahead, and takes a deadline for the end of the connection, also of requests
// that are still to come on it. An answer that begins after ctx has ended is the
// last one, because a body might have come to its end at that moment.
func (rec *recorder) tie(ctx context.Context, body *incoming) (untie func()) {
	rec.shutOut = func() error { return artifact.ShutOut(ctx) }
	rc := http.NewResponseController(rec.ResponseWriter)
	var (
		mu   sync.Mutex
		late *time.Timer // for who does not read what is being written
		over bool
	)
	cut := func(what func(time.Time) error) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			_ = what(time.Now()) // a connection without deadlines is cut between two pieces
		}
	}
	stop := context.AfterFunc(ctx, func() {
		if artifact.ShutOut(ctx) == nil {
			return // the client left
		}
		if body != nil && !body.over.Load() {
			cut(rc.SetReadDeadline)
		}
		mu.Lock()
		defer mu.Unlock()
		late = time.AfterFunc(cutWithin, func() { cut(rc.SetWriteDeadline) })
	})
	return func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
		if late != nil {
			late.Stop()
		}
	}
}

// onLeave has f called when the request is over, or its connection is no longer
// ours. What came last is called first.
func (rec *recorder) onLeave(f func()) { rec.leaving = append(rec.leaving, f) }

// leave ends what goes on for the sake of the request.
func (rec *recorder) leave() {
	for i := len(rec.leaving) - 1; i >= 0; i-- {
		rec.leaving[i]()
	}
	rec.leaving = nil
}

// refusal returns why the rest of the answer must not leave, or nil.
func (rec *recorder) refusal() error {
	if rec.shutOut == nil || rec.brief {
		return nil
	}
	if err := rec.shutOut(); err != nil {
		rec.cut = err
		return err
	}
	return nil
}

// endsSoon says that the answer may be written to its end, also by who is let in
// no longer: it is in memory, or a stream that ends by itself.
func endsSoon(w http.ResponseWriter) {
	if rec := recorderOf(w); rec != nil {
		rec.brief = true
	}
}

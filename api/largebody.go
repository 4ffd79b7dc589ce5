package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// What is done with bodies of JSON that are not small.
const (
	largeBody  = 1 << 20 // from which a body is kept on the disk until all of it came
	heldBodies = 4 * maxSaveBody
	roomWithin = 10 * time.Second // in which a large body has to find room in memory
)

// readLargeObject is [readObject] for a route that takes large bodies. Such a
// body waits on the disk while it comes, and may take as long as an upload:
// only those that are whole take memory, and of that there is a bound. Until
// release is called what was read counts there. Where no room is found the
// error is Unavailable.
func (s *Server) readLargeObject(w http.ResponseWriter, r *http.Request) (o *object, release func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= largeBody {
		o, err = readObject(r)
		return o, func() {}, err
	}
	body := s.body(w, r)
	f, n, err := s.depot.Spool(r.Context(), body, 0) // the route has bounded it
	if body.err != nil {
		return nil, nil, unread(body.err)
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // only read from now on
	if release, err = s.room(r.Context(), n); err != nil {
		return nil, nil, err
	}
	text := make([]byte, n)
	if _, err = io.ReadFull(io.NewSectionReader(f, 0, n), text); err != nil {
		err = fmt.Errorf("read a body back: %w", err)
	} else {
		o, err = parseObject(text)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return o, release, nil
}

// room waits for n bytes of what large bodies may take of the memory.
func (s *Server) room(ctx context.Context, n int64) (release func(), err error) {
	soon, cancel := context.WithTimeout(ctx, roomWithin)
	defer cancel()
	err = s.bodies.Acquire(soon, n)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		e := artifact.Wrap(artifact.Unavailable, err, "Too many large bodies at a time; try again in a moment")
		e.Facts = map[string]any{"retry_after": int(roomWithin / time.Second)}
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	return func() { s.bodies.Release(n) }, nil
}

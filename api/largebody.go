package api

import (
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/vitrine-hq/vitrine/depot"
)

// What is done with bodies of JSON that are not small.
const (
	largeBody  = 1 << 20         // from which a body is kept on the disk until all of it came
	heldBodies = 4 * maxSaveBody // bytes in memory
	comingMost = 32              // of one tenant, on the disk
)

// coming counts the large bodies that tenants are sending.
type coming struct {
	mu sync.Mutex
	n  map[string]int
}

// one counts one more of a tenant, unless there are too many.
func (c *coming) one(tenant string) (gone func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[tenant] >= comingMost {
		return nil, depot.Busy("large bodies")
	}
	c.n[tenant]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.n[tenant]--; c.n[tenant] == 0 {
			delete(c.n, tenant)
		}
	}, nil
}

// readLargeObject is [readObject] for a route that takes large bodies. Such a
// body waits on the disk while it comes, and may take as long as an upload:
// only those that are whole take memory, and of that there is a bound. Until
// release is called what was read counts there. Where there are too many the
// error is Unavailable.
func (s *Server) readLargeObject(w http.ResponseWriter, r *http.Request) (o *object, release func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= largeBody {
		o, err = readObject(r)
		return o, func() {}, err
	}
	gone, err := s.coming.one(s.tenant(r))
	if err != nil {
		return nil, nil, err
	}
	defer gone()
	body := s.body(w, r)
	f, n, err := s.depot.Spool(r.Context(), body, 0) // the route has bounded it
	if body.err != nil {
		return nil, nil, unread(body.err)
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // only read from now on
	if release, err = depot.Turn(r.Context(), s.bodies, n, "large bodies"); err != nil {
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

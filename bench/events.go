package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// lostAfter is when an entry that has not arrived everywhere counts as lost.
const lostAfter = 10 * time.Second

func events(ctx context.Context, b *bed) error {
	for _, transport := range transports {
		for _, n := range b.o.Followers {
			if err := b.deliver(ctx, transport, n); err != nil {
				return fmt.Errorf("%d followers by %s: %w", n, transport, err)
			}
			b.settle(ctx)
		}
	}
	return nil
}

// hall is where one publisher and its audience meet.
type hall struct {
	audience
	sent    atomic.Int64  // when the current upload began, in ns after zero
	pending atomic.Int64  // followers that have not received it
	all     chan struct{} // they all have
	failed  chan error
	zero    time.Time
}

// listen receives until the follower's connection ends.
func (h *hall) listen(f *follower) {
	for {
		n, err := f.next()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				select {
				case h.failed <- err:
				default: // one is enough
				}
			}
			return
		}
		if n == 0 {
			continue
		}
		f.took = append(f.took, time.Since(h.zero)-time.Duration(h.sent.Load()))
		if h.pending.Add(-1) == 0 {
			h.all <- struct{}{}
		}
	}
}

// publish uploads, and waits until everybody was told. It returns how long the
// upload took to be answered.
func (h *hall) publish(ctx context.Context, c *conn, request []byte) (time.Duration, error) {
	h.pending.Store(int64(len(h.audience)))
	begin := time.Since(h.zero)
	h.sent.Store(int64(begin))
	if err := c.do(request); err != nil {
		return 0, err
	}
	acked := time.Since(h.zero) - begin
	select {
	case <-h.all:
		return acked, nil
	case err := <-h.failed:
		return 0, fmt.Errorf("follow: %w", err)
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(lostAfter):
		return 0, fmt.Errorf("%d followers were not told", h.pending.Load())
	}
}

// deliver measures how long an upload takes to be told to n followers. The next
// upload begins when all have been told of the last.
func (b *bed) deliver(ctx context.Context, transport string, n int) error {
	session, err := b.create(ctx)
	if err != nil {
		return err
	}
	c, err := dial(ctx, b.addr)
	if err != nil {
		return err
	}
	defer c.close()
	all, err := b.audience(ctx, transport, session, n)
	if err != nil {
		return err
	}
	h := &hall{audience: all, all: make(chan struct{}, 1), failed: make(chan error, 1), zero: time.Now()}
	var listening sync.WaitGroup
	defer listening.Wait()
	defer all.close()
	for _, f := range all {
		listening.Go(func() { h.listen(f) })
	}
	request := c.request("PUT", "/api/uploads/"+session+"/said.txt", "something happened\n", "Content-Type: text/plain")
	for range 5 {
		if _, err := h.publish(ctx, c, request); err != nil {
			return err
		}
	}
	for _, f := range all { // they all wait
		f.took = nil
	}
	var acked spans
	m := b.meter()
	uploads := 300 / (1 + n/120) // fewer where each is many deliveries
	for range pick(b.o.Quick, uploads/5+5, uploads+10) {
		took, err := h.publish(ctx, c, request)
		if err != nil {
			return err
		}
		acked = append(acked, took)
	}
	u := m.stop()
	var took spans
	for _, f := range all {
		took = slices.Concat(took, f.took)
	}
	name := fmt.Sprintf("%s, %d", transport, n)
	b.note(name, took.percentiles("delivery ")...)
	b.note(name, b.cpuPer("delivery", "µs", u, float64(len(took)))...)
	b.note(name, value{"answer p50", "ms", acked.quantile(.5)})
	return nil
}

// idle measures what followers weigh while nothing happens.
func idle(ctx context.Context, b *bed) error {
	if !b.server.known() {
		return nil // memory is all there is to it
	}
	for _, transport := range transports {
		session, err := b.create(ctx)
		if err != nil {
			return err
		}
		warm, err := b.audience(ctx, transport, session, 1)
		if err != nil {
			return err
		}
		before := b.rest(ctx)
		all, err := b.audience(ctx, transport, session, b.o.Idle)
		if err != nil {
			warm.close()
			return err
		}
		b.settle(ctx)
		grown := b.server.memory("VmRSS") - before
		m := b.meter()
		wait(ctx, pick(b.o.Quick, 300*time.Millisecond, 2*time.Second))
		u := m.stop()
		all.close()
		warm.close()
		b.note(fmt.Sprintf("%s, %d", transport, b.o.Idle), value{"RSS/follower", "KiB", grown / 1024 / float64(b.o.Idle)},
			value{"CPU of a core", "%", 100 * u.server.Seconds() / u.wall.Seconds()})
		b.settle(ctx)
	}
	return nil
}

// uploadOne uploads one file and returns where it can be read.
func (b *bed) uploadOne(ctx context.Context, session string, content []byte) (string, error) {
	c, err := dial(ctx, b.addr)
	if err != nil {
		return "", err
	}
	defer c.close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	request := c.open("PUT", "/api/uploads/"+session+"/file.bin", int64(len(content)), content, "Content-Type: application/octet-stream")
	if _, err := c.Write(request); err != nil {
		return "", fmt.Errorf("send request: %w", err)
	}
	a, err := c.head()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(c.body(a))
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	var is struct {
		AttachmentID string `json:"attachment_id"`
	}
	if err := json.Unmarshal(text, &is); err != nil || is.AttachmentID == "" {
		return "", fmt.Errorf("upload: status %d: %.200s", a.status, text)
	}
	return "/api/sessions/" + session + "/artifacts/" + is.AttachmentID + "?mode=stream", nil
}

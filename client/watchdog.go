package client

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// watchdog ends a request on which nothing comes for a while: a peer that
// vanished without closing the connection would otherwise be waited for without
// end.
type watchdog struct {
	limit  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
	bitten atomic.Bool
}

// newWatchdog returns a running watchdog of the request that cancel ends.
func newWatchdog(limit time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() {
		w.bitten.Store(true)
		cancel(nil)
	})
	return w
}

func (w *watchdog) stop() { w.timer.Stop() }

// explain returns the reason for err where that was the watchdog.
func (w *watchdog) explain(err error) error {
	if err != nil && err != io.EOF && w.bitten.Load() {
		return fmt.Errorf("nothing came for %s", w.limit)
	}
	return err
}

// reader returns body, watched during each Read. Between them the caller may
// take its time. Close ends the request.
func (w *watchdog) reader(body io.ReadCloser) io.ReadCloser {
	return &watched{body, w}
}

type watched struct {
	body io.ReadCloser
	w    *watchdog
}

func (r *watched) Read(p []byte) (int, error) {
	r.w.timer.Reset(r.w.limit)
	n, err := r.body.Read(p)
	r.w.timer.Stop()
	return n, r.w.explain(err)
}

func (r *watched) Close() error {
	r.w.stop()
	err := r.body.Close()
	r.w.cancel(nil)
	return err
}

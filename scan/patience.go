package scan

import (
	"context"
	"errors"
	"io"
	"time"
)

// patience is how long a scanner may take without moving. A clamd ends a scan
// after MaxScanTime, which is two minutes unless it is configured.
var patience = 5 * time.Minute

var errStalled = errors.New("the scanner stood still")

// A pump moves bytes to a scanner and ends its context when the scanner stands still.
type pump struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func newPump(ctx context.Context) (context.Context, pump) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := pump{cancel: cancel, limit: patience}
	p.timer = time.AfterFunc(p.limit, func() { cancel(errStalled) })
	return ctx, p
}

// stop ends the context without a reason of its own.
func (p pump) stop() {
	p.timer.Stop()
	p.cancel(nil)
}

// feed writes to w what r has. It tells apart which of the two failed. While r
// is read the clock stands: a slow source is no fault of the scanner.
func (p pump) feed(w io.Writer, r io.Reader) (readErr, writeErr error) {
	buf := make([]byte, 64<<10)
	for {
		p.timer.Stop()
		n, err := r.Read(buf)
		p.timer.Reset(p.limit)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}

// whyEnded returns why ctx ended, or err if it has not.
func whyEnded(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

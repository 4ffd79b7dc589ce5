package depot

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vitrine-hq/vitrine/artifact"
)

// TurnWithin is how long work waits for its turn at something that is scarce.
const TurnWithin = 10 * time.Second

// Turn waits for n of what a semaphore gives out, until release is called. Who
// does not get it within [TurnWithin] gets an Unavailable error with what is
// scarce, a plural, and when to come again.
func Turn(ctx context.Context, s *semaphore.Weighted, n int64, what string) (release func(), err error) {
	soon, cancel := context.WithTimeout(ctx, TurnWithin)
	defer cancel()
	err = s.Acquire(soon, n)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, Busy(what)
	}
	if err != nil {
		return nil, err
	}
	return func() { s.Release(n) }, nil
}

// Busy is the Unavailable error that there are too many of something.
func Busy(what string) error {
	e := artifact.Errorf(artifact.Unavailable, "Too many %s at a time; try again in a moment", what)
	e.Facts = map[string]any{"retry_after": int(TurnWithin / time.Second)}
	return e
}

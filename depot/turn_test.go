package depot

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Who does not get a turn is sent away, and told when to come again.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := semaphore.NewWeighted(10)
		release, err := Turn(t.Context(), s, 6, "x")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = Turn(t.Context(), s, 5, "x")
		if waited := time.Since(began); artifact.KindOf(err) != artifact.Unavailable || waited != TurnWithin {
			t.Errorf("%v after %v", err, waited)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = Turn(gone, s, 5, "x"); artifact.KindOf(err) == artifact.Unavailable {
			t.Errorf("a client that is gone: %v", err)
		}
		go func() {
			<-time.After(TurnWithin / 2)
			release()
		}()
		if release, err = Turn(t.Context(), s, 10, "x"); err != nil {
			t.Fatal(err)
		}
		release()
	})
}

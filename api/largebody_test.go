package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vitrine-hq/vitrine/artifact"
)

// A large body that finds no room is sent away, and told when to come again.
func TestNoRoomForLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{bodies: semaphore.NewWeighted(10)}
		release, err := s.room(t.Context(), 6)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = s.room(t.Context(), 5)
		if waited := time.Since(began); artifact.KindOf(err) != artifact.Unavailable || waited != roomWithin {
			t.Errorf("%v after %v", err, waited)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = s.room(gone, 5); artifact.KindOf(err) == artifact.Unavailable {
			t.Errorf("a client that is gone: %v", err)
		}
		go func() {
			<-time.After(roomWithin / 2)
			release()
		}()
		if release, err = s.room(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		release()
	})
}

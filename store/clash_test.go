package store

import (
	"sync"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store/storetest"
)

// Two nodes come to the same rows in opposite orders: PostgreSQL ends one of the
// transactions, and both are answered well.
func TestNodesThatWaitForEachOther(t *testing.T) {
	url := storetest.Postgres(t)
	var nodes [2]*DB
	for i := range nodes {
		db, err := OpenPostgres(t.Context(), url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		nodes[i] = db
	}
	one, two := newSession(t, nodes[0], "one").Key, newSession(t, nodes[1], "two").Key
	other := make(chan struct{}) // closed when the second node holds a row
	first := make(chan struct{}) // closed when the first does
	var once [2]sync.Once
	entry := func() *artifact.Entry { return &artifact.Entry{Type: "note", Data: []byte("{}")} }
	var wg sync.WaitGroup
	wg.Go(func() {
		err := nodes[0].Tx(t.Context(), func(tx *Tx) error {
			if err := tx.Append(one, entry()); err != nil {
				return err
			}
			once[0].Do(func() { close(first) })
			select {
			case <-other:
			case <-time.After(5 * time.Second): // it was tried again, and the other is through
			}
			return tx.Append(two, entry())
		})
		if err != nil {
			t.Errorf("first node: %v", err)
		}
	})
	<-first
	err := nodes[1].Tx(t.Context(), func(tx *Tx) error {
		if err := tx.Append(two, entry()); err != nil {
			return err
		}
		once[1].Do(func() { close(other) })
		return tx.Append(one, entry())
	})
	if err != nil {
		t.Errorf("second node: %v", err)
	}
	wg.Wait()
}

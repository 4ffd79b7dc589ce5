package account

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// many runs add n times, in transactions that are not too long.
func (h *house) many(n int, add func(tx *store.Tx, i int) error) {
	h.Helper()
	for from := 0; from < n; from += 1000 {
		err := h.db.Tx(h.Context(), func(tx *store.Tx) error {
			for i := from; i < min(n, from+1000); i++ {
				if err := add(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			h.Fatal(err)
		}
	}
}

// TestUnusedClientsAreBounded: who registers without end pushes out what nobody
// uses, and nothing else.
func TestUnusedClientsAreBounded(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		used, waited, asked := h.client(a), h.client(a), h.client(a)
		if _, err := h.approved(a, used.ID, "read", h.person(k), false); err != nil {
			h.Fatal(err)
		}
		d := h.device(a, waited.ID, "read")
		h.pass(time.Second)
		name := func(i int) string { return fmt.Sprintf("dyn_of_nobody_%05d", i) }
		h.many(maxUnused, func(tx *store.Tx, i int) error { return tx.CreateClient(store.Client{ID: name(i), Metadata: "{}"}) })
		h.pass(time.Second)
		is := func(when, id string, there bool) {
			h.Helper()
			if _, err := a.Client(h.Context(), id); (err == nil) != there || err != nil && !errors.Is(err, ErrUnknownClient) {
				h.Errorf("%s, %s: %v, want it to be there: %v", when, id, err, there)
			}
		}
		is("before", asked.ID, true)
		b := h.node(h.more())
		last := h.client(b)
		is("the oldest", asked.ID, false)
		is("the first of many that are too many", name(0), false)
		is("the last of them", name(trimEvery), false)
		is("the first after them", name(trimEvery+1), true)
		for range trimEvery {
			is("after a few more", name(trimEvery+1), true)
			h.client(b)
		}
		is("after many more", name(2*trimEvery), false)
		for _, id := range []string{last.ID, used.ID, waited.ID, name(2*trimEvery + 1), name(maxUnused - 1)} {
			is("in the end", id, true)
		}
		if _, err := a.DecideDevice(h.Context(), h.person(k), d.UserCode, Decision{Approve: true}); err != nil {
			h.Errorf("the device that waited: %v", err)
		}
		if _, err := a.PollDevice(h.Context(), waited.ID, d.Code); err != nil {
			h.Errorf("and its tokens: %v", err)
		}
	})
}

// TestDevicesAreBounded: requests that wait for a person are counted by client
// and in all, and make room when they expire.
func TestDevicesAreBounded(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		_, k := h.member(home, artifact.Read)
		c, other := h.client(a), h.client(a)
		limited := func(client string, wait time.Duration) {
			h.Helper()
			_, err := a.StartDevice(h.Context(), client, "read")
			if e, _ := errors.AsType[*artifact.Error](err); e == nil || e.Kind != artifact.Limited || e.Facts["retry_after"] != int(math.Ceil(wait.Seconds())) {
				h.Errorf("one device more: %v %+v, want Limited for %v", err, e, wait)
			}
		}
		first := h.device(a, c.ID, "read")
		h.pass(time.Minute)
		for range maxClientDevices - 1 {
			h.device(a, c.ID, "read")
		}
		limited(c.ID, deviceLife-time.Minute)
		mine := h.device(a, other.ID, "read")
		// What is answered does not wait.
		if _, err := a.DecideDevice(h.Context(), h.person(k), first.UserCode, Decision{}); err != nil {
			h.Fatal(err)
		}
		h.device(a, c.ID, "read")
		limited(c.ID, deviceLife)
		n := maxDevices - maxClientDevices - 1
		h.many(n, func(tx *store.Tx, i int) error {
			return tx.CreateDeviceCode(store.DeviceCode{
				Hash: fmt.Sprint("h", i), UserCode: fmt.Sprint("u", i), Client: fmt.Sprint("dyn_", i/maxClientDevices), Expires: tx.Now().Add(deviceLife),
			})
		})
		limited(other.ID, deviceLife)
		if _, err := a.DecideDevice(h.Context(), h.person(k), mine.UserCode, Decision{Approve: true}); err != nil {
			h.Errorf("a device that waited before: %v", err)
		}
		h.pass(deviceLife)
		h.device(a, c.ID, "read")
		if _, err := h.db.DeviceCode(h.Context(), "h0"); err != nil {
			h.Errorf("one that has just expired: %v", err)
		}
		h.pass(deviceLife + time.Second)
		for range n/500 + 2 { // a few are cleared at once
			h.device(a, other.ID, "read")
		}
		for i := range n {
			if _, err := h.db.DeviceCode(h.Context(), fmt.Sprint("h", i)); !errors.Is(err, store.ErrNoCode) {
				h.Fatalf("request %d is kept: %v", i, err)
			}
		}
	})
}

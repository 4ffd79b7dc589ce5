package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

func TestClients(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		c := Client{ID: "dyn_1", Metadata: `{"client_name":"Ü"}`}
		c.Created = change(t, db, func(tx *Tx) error {
			return errors.Join(tx.CreateClient(c), tx.CreateClient(Client{ID: "dyn_2", Metadata: "{}"}))
		})
		got, err := db.Client(ctx, "dyn_1")
		if d := cmp.Diff(c, got); d != "" || err != nil {
			t.Errorf("Client, %v (-want +got):\n%s", err, d)
		}
		c.Used = change(t, db, func(tx *Tx) error { return tx.UseClient("dyn_1") })
		for _, id := range []string{"dyn_3", ""} {
			if _, err := db.Client(ctx, id); !errors.Is(err, ErrNoClient) {
				t.Errorf("client %q: %v, want ErrNoClient", id, err)
			}
			if err := db.Tx(ctx, func(tx *Tx) error { return tx.UseClient(id) }); !errors.Is(err, ErrNoClient) {
				t.Errorf("use client %q: %v, want ErrNoClient", id, err)
			}
		}
		change(t, db, func(tx *Tx) error {
			_, err := tx.Prune(StaleClients, tx.Now().Add(time.Hour))
			return err
		})
		got, err = db.Client(ctx, "dyn_1")
		if d := cmp.Diff(c, got); d != "" || err != nil {
			t.Errorf("the client that was used, %v (-want +got):\n%s", err, d)
		}
		if _, err := db.Client(ctx, "dyn_2"); !errors.Is(err, ErrNoClient) {
			t.Errorf("the client that was not: %v, want ErrNoClient", err)
		}
	})
}

// TestTrimClients keeps who was let in, who a device waits for, and the newest of
// the others.
func TestTrimClients(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		const n = 600
		now := change(t, db, func(tx *Tx) error {
			for i := range n {
				if err := tx.CreateClient(Client{ID: fmt.Sprintf("dyn_%03d", i), Metadata: "{}"}); err != nil {
					return err
				}
			}
			return errors.Join(tx.UseClient("dyn_000"),
				tx.CreateDeviceCode(DeviceCode{Hash: "h1", UserCode: "a", Client: "dyn_001", Expires: tx.Now().Add(time.Hour)}),
				tx.CreateDeviceCode(DeviceCode{Hash: "h2", UserCode: "b", Client: "dyn_001", Expires: tx.Now().Add(time.Minute)}),
				tx.CreateDeviceCode(DeviceCode{Hash: "h3", UserCode: "c", Client: "dyn_002", Expires: tx.Now().Add(-time.Second)}))
		})
		left := func() (ids []string) {
			for i := range n {
				if _, err := db.Client(t.Context(), fmt.Sprintf("dyn_%03d", i)); err == nil {
					ids = append(ids, fmt.Sprintf("dyn_%03d", i))
				} else if !errors.Is(err, ErrNoClient) {
					t.Fatal(err)
				}
			}
			return ids
		}
		for _, row := range []struct{ most, left int }{{n, n}, {n - 1, n}, {n - 2, n - 1}, {3, n - 1 - maxPruned}, {3, 4}, {3, 4}, {0, 2}} {
			change(t, db, func(tx *Tx) error { return tx.TrimClients(row.most) })
			ids := left()
			if len(ids) != row.left || ids[0] != "dyn_000" || ids[1] != "dyn_001" || row.left == 4 && ids[3] != "dyn_599" {
				t.Errorf("at most %d: %d are left, want %d: %v", row.most, len(ids), row.left, ids[:min(4, len(ids))])
			}
		}
		// Of who waits, the end counts.
		for _, row := range []struct {
			before time.Duration
			left   int
		}{{time.Hour, 2}, {time.Hour + time.Microsecond, 1}} {
			change(t, db, func(tx *Tx) error {
				_, err := tx.Prune(StaleClients, now.Add(row.before))
				return err
			})
			if ids := left(); len(ids) != row.left {
				t.Errorf("before %v: %v are left, want %d", row.before, ids, row.left)
			}
		}
	})
}

// decided answers a request, and reports whether it waited.
func decided(t *testing.T, db *DB, c DeviceCode) (ok bool, err error) {
	t.Helper()
	err = db.Tx(t.Context(), func(tx *Tx) (err error) { ok, err = tx.DecideDeviceCode(c); return err })
	return ok, err
}

func TestDevicesPending(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		now := change(t, db, func(tx *Tx) error {
			for i, c := range []DeviceCode{
				{Client: "dyn_1", Expires: tx.Now().Add(-time.Second)}, {Client: "dyn_1", Expires: tx.Now()}, {Client: "dyn_1", Expires: tx.Now().Add(3 * time.Second)},
				{Client: "dyn_1", Expires: tx.Now().Add(2 * time.Second)}, {Client: "dyn_2", Expires: tx.Now().Add(time.Second)}, {Client: "dyn_2", Expires: tx.Now().Add(time.Second)},
			} {
				c.Hash, c.UserCode = fmt.Sprint("h", i), fmt.Sprint("u", i)
				if err := tx.CreateDeviceCode(c); err != nil {
					return err
				}
			}
			return nil
		})
		if ok, err := decided(t, db, DeviceCode{UserCode: "u5", State: DeviceApproved}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for client, want := range map[string]struct {
			n     int
			first time.Duration
		}{"dyn_1": {2, 2 * time.Second}, "dyn_2": {1, time.Second}, "": {3, time.Second}} {
			n, first, err := db.DevicesPending(t.Context(), client, now)
			if n != want.n || first.Sub(now) != want.first || err != nil {
				t.Errorf("of %q %d wait, the first until %v, %v; want %+v", client, n, first, err, want)
			}
		}
		if n, first, err := db.DevicesPending(t.Context(), "dyn_3", now); n != 0 || !first.IsZero() || err != nil {
			t.Errorf("of nobody %d wait, %v, %v", n, first, err)
		}
	})
}

// one counts how many of 20 who try at once succeed.
func one(t *testing.T, db *DB, try func(*Tx) (bool, error)) {
	t.Helper()
	var wg sync.WaitGroup
	var won atomic.Int32
	for range 20 {
		wg.Go(func() {
			ok := false
			if err := db.Tx(t.Context(), func(tx *Tx) (err error) { ok, err = try(tx); return err }); err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d succeed, want one", won.Load())
	}
}

// none fails the test unless try reports false.
func none(t *testing.T, db *DB, what string, try func(*Tx) (bool, error)) {
	t.Helper()
	change(t, db, func(tx *Tx) error {
		if ok, err := try(tx); ok || err != nil {
			return fmt.Errorf("%s: %v, %w; want false", what, ok, err)
		}
		return nil
	})
}

func TestDeviceCodes(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx, end := t.Context(), fromMicros(1<<60)
		c := DeviceCode{Hash: "h1", UserCode: "WDJB-MJHT", Client: "dyn_1", Scopes: artifact.Scopes{artifact.Read, artifact.Write}, Expires: end, Pause: 5 * time.Second, State: DevicePending}
		old := DeviceCode{Hash: "h2", UserCode: "BBBB-BBBB", Client: "dyn_1", Expires: fromMicros(1)}
		c.Created = change(t, db, func(tx *Tx) error { return errors.Join(tx.CreateDeviceCode(c), tx.CreateDeviceCode(old)) })
		want := func(what string) {
			t.Helper()
			got, err := db.DeviceCode(ctx, "h1")
			same, errOf := db.DeviceCodeOf(ctx, "WDJB-MJHT")
			if d := cmp.Diff(c, got) + cmp.Diff(c, same); d != "" || err != nil || errOf != nil {
				t.Errorf("%s, %v, %v (-want +got):\n%s", what, err, errOf, d)
			}
		}
		want("a new one")
		if err := db.Tx(ctx, func(tx *Tx) error {
			return tx.CreateDeviceCode(DeviceCode{Hash: "h3", UserCode: "WDJB-MJHT", Expires: end})
		}); err == nil {
			t.Error("two requests have one user code")
		}
		c.Polled = change(t, db, func(tx *Tx) error { return tx.PollDeviceCode("h1") })
		want("polled")
		none(t, db, "spend what waits", func(tx *Tx) (bool, error) { return tx.SpendDeviceCode("h1", "g1") })
		none(t, db, "decide what has expired", func(tx *Tx) (bool, error) {
			return tx.DecideDeviceCode(DeviceCode{UserCode: "BBBB-BBBB", State: DeviceApproved})
		})
		none(t, db, "decide what is not there", func(tx *Tx) (bool, error) {
			return tx.DecideDeviceCode(DeviceCode{UserCode: "CCCC-CCCC", State: DeviceApproved})
		})
		c.State, c.Scopes, c.Tenant, c.Owner, c.Key = DeviceApproved, artifact.Scopes{artifact.Read}, "pf_a", "usr_1", "key_1"
		one(t, db, func(tx *Tx) (bool, error) { return tx.DecideDeviceCode(c) })
		want("approved")
		none(t, db, "deny what is approved", func(tx *Tx) (bool, error) {
			return tx.DecideDeviceCode(DeviceCode{UserCode: "WDJB-MJHT", State: DeviceDenied})
		})
		c.Grant = "g1"
		one(t, db, func(tx *Tx) (bool, error) { return tx.SpendDeviceCode("h1", "g1") })
		want("exchanged")
		if _, err := db.DeviceCode(ctx, "h4"); !errors.Is(err, ErrNoCode) {
			t.Errorf("no code: %v, want ErrNoCode", err)
		}
		change(t, db, func(tx *Tx) error { _, err := tx.Prune(StaleDeviceCodes, tx.Now()); return err })
		if _, err := db.DeviceCode(ctx, "h2"); !errors.Is(err, ErrNoCode) {
			t.Errorf("the code that has ended: %v, want ErrNoCode", err)
		}
		want("after pruning")
	})
}

func TestAuthCodes(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		c := AuthCode{
			Hash: "h1", Client: "dyn_1", RedirectURI: "http://localhost:1/cb?a=b", Challenge: "c", Resource: "https://v.example", Scopes: artifact.Scopes{artifact.Read},
			Tenant: "pf_a", Owner: "usr_1", Key: "key_1", Expires: fromMicros(1 << 60),
		}
		change(t, db, func(tx *Tx) error {
			return errors.Join(tx.CreateAuthCode(c), tx.CreateAuthCode(AuthCode{Hash: "h2", Expires: fromMicros(1)}))
		})
		one(t, db, func(tx *Tx) (bool, error) { return tx.SpendAuthCode("h1", "g1") })
		c.Grant = "g1"
		got, err := db.AuthCode(ctx, "h1")
		if d := cmp.Diff(c, got); d != "" || err != nil {
			t.Errorf("AuthCode, %v (-want +got):\n%s", err, d)
		}
		none(t, db, "spend what has expired", func(tx *Tx) (bool, error) { return tx.SpendAuthCode("h2", "g2") })
		none(t, db, "spend what is not there", func(tx *Tx) (bool, error) { return tx.SpendAuthCode("h3", "g3") })
		if _, err := db.AuthCode(ctx, "h3"); !errors.Is(err, ErrNoCode) {
			t.Errorf("no code: %v, want ErrNoCode", err)
		}
		change(t, db, func(tx *Tx) error { _, err := tx.Prune(StaleCodes, tx.Now()); return err })
		if _, err := db.AuthCode(ctx, "h2"); !errors.Is(err, ErrNoCode) {
			t.Errorf("the code that has ended: %v, want ErrNoCode", err)
		}
	})
}

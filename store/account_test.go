package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// change runs f in a transaction that has to succeed, and returns its time.
func change(t *testing.T, db *DB, f func(*Tx) error) time.Time {
	t.Helper()
	var now time.Time
	err := db.Tx(t.Context(), func(tx *Tx) error {
		now = tx.Now().UTC()
		return f(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestKeys(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		if made, err := db.AnyKey(ctx); made || err != nil {
			t.Errorf("AnyKey of nothing = %v, %v", made, err)
		}
		k := Key{ID: "key_1", Tenant: "pf_a", Owner: "usr_1", Name: "Build", Hash: "abc", Scopes: artifact.Scopes{artifact.Read, artifact.Run}, Expires: fromMicros(1 << 60)}
		other := Key{ID: "key_2", Tenant: "pf_a", Owner: "usr_2", Hash: "def"}
		k.Created = change(t, db, func(tx *Tx) error { return errors.Join(tx.CreateKey(k), tx.CreateKey(other)) })
		got, err := db.KeyByHash(ctx, "abc")
		if d := cmp.Diff(k, got); d != "" || err != nil {
			t.Errorf("KeyByHash, %v (-want +got):\n%s", err, d)
		}
		if _, err := db.Key(ctx, "pf_b", "key_1"); !errors.Is(err, ErrNoKey) {
			t.Errorf("the key in another tenant: %v, want ErrNoKey", err)
		}
		if err := db.Tx(ctx, func(tx *Tx) error { return tx.CreateKey(Key{ID: "key_3", Tenant: "pf_b", Hash: "abc"}) }); err == nil {
			t.Error("two keys have one hash")
		}
		k.LastUsed = change(t, db, func(tx *Tx) error { return tx.UseKey("key_1", tx.Now()) })
		change(t, db, func(tx *Tx) error { return tx.UseKey("key_1", k.LastUsed.Add(-time.Minute)) })
		if got, err := db.Key(ctx, "pf_a", "key_1"); err != nil || !got.LastUsed.Equal(k.LastUsed) {
			t.Errorf("last use %v, %v; want %v", got.LastUsed, err, k.LastUsed)
		}
		change(t, db, func(tx *Tx) error { return tx.RevokeKey("pf_a", "key_1") })
		for _, tenant := range []string{"pf_a", "pf_b"} {
			if err := db.Tx(ctx, func(tx *Tx) error { return tx.RevokeKey(tenant, "key_1") }); !errors.Is(err, ErrNoKey) {
				t.Errorf("revoke again as %s: %v, want ErrNoKey", tenant, err)
			}
		}
		if list, err := db.Keys(ctx, "pf_a"); err != nil || len(list) != 1 || list[0].ID != "key_2" {
			t.Errorf("Keys = %v, %v; want key_2", list, err)
		}
		change(t, db, func(tx *Tx) error {
			if n, err := tx.RevokeKeysOf("pf_a", "usr_2"); n != 1 || err != nil {
				return fmt.Errorf("revoked %d keys, %w", n, err)
			}
			return nil
		})
		if made, err := db.AnyKey(ctx); !made || err != nil {
			t.Errorf("AnyKey after all were revoked = %v, %v", made, err)
		}
	})
}

// TestReadsOfTx asks within a transaction, for a client that has left.
func TestReadsOfTx(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		left, leave := context.WithCancel(t.Context())
		leave()
		change(t, db, func(tx *Tx) error {
			if err := tx.CreateUser(User{ID: "usr_1", Tenant: artifact.DefaultTenant}); err != nil {
				return err
			}
			_, err := tx.Reads().User(left, artifact.DefaultTenant, "usr_1")
			return err
		})
	})
}

func TestUsers(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		u := User{ID: "usr_1", Tenant: "pf_a", Name: "Ada"}
		u.Created = change(t, db, func(tx *Tx) error { return tx.CreateUser(u) })
		list, err := db.Users(ctx, "pf_a")
		if d := cmp.Diff([]User{u}, list); d != "" || err != nil {
			t.Errorf("Users, %v (-want +got):\n%s", err, d)
		}
		if err := db.Tx(ctx, func(tx *Tx) error { return tx.RemoveUser("pf_b", "usr_1") }); !errors.Is(err, ErrNoUser) {
			t.Errorf("remove by another tenant: %v, want ErrNoUser", err)
		}
		u.Removed = change(t, db, func(tx *Tx) error { return tx.RemoveUser("pf_a", "usr_1") })
		got, err := db.User(ctx, "pf_a", "usr_1")
		if d := cmp.Diff(u, got); d != "" || err != nil {
			t.Errorf("User, %v (-want +got):\n%s", err, d)
		}
		if list, err := db.Users(ctx, "pf_a"); err != nil || len(list) != 0 {
			t.Errorf("Users = %v, %v; want none", list, err)
		}
	})
}

// TestRotateGrant lets many rotate one generation at once.
func TestRotateGrant(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		end := fromMicros(1 << 60)
		g := Grant{ID: "g1", Tenant: "pf_a", Owner: "usr_1", Key: "key_1", Client: "dyn_1", Scopes: artifact.Scopes{artifact.Read}, Expires: end}
		g.Created = change(t, db, func(tx *Tx) error { return tx.CreateGrant(g) })
		g.Rotated = g.Created
		got, err := db.Grant(ctx, "g1")
		if d := cmp.Diff(g, got); d != "" || err != nil {
			t.Errorf("Grant, %v (-want +got):\n%s", err, d)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := 0
		for range 20 {
			wg.Go(func() {
				ok := false
				err := db.Tx(ctx, func(tx *Tx) (err error) { ok, err = tx.RotateGrant("g1", 0, end.Add(time.Hour)); return err })
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if ok {
					won++
				}
			})
		}
		wg.Wait()
		got, err = db.Grant(ctx, "g1")
		if won != 1 || err != nil || got.Generation != 1 || !got.Expires.Equal(end.Add(time.Hour)) {
			t.Errorf("%d won, grant %+v, %v; want one and generation 1", won, got, err)
		}
		for _, want := range []bool{true, false} {
			change(t, db, func(tx *Tx) error {
				if ok, err := tx.RevokeGrant("g1"); ok != want || err != nil {
					return fmt.Errorf("revoke grant = %v, %w; want %v", ok, err, want)
				}
				if ok, err := tx.RotateGrant("g1", 1, end); ok || err != nil {
					return fmt.Errorf("rotate what was revoked = %v, %w", ok, err)
				}
				return nil
			})
		}
		if _, err := db.Grant(ctx, "g2"); !errors.Is(err, ErrNoGrant) {
			t.Errorf("no grant: %v, want ErrNoGrant", err)
		}
	})
}

// TestRevocationsHaveNoGaps reads on from where it was while others write, some
// of which fail.
func TestRevocationsHaveNoGaps(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					err := db.Tx(t.Context(), func(tx *Tx) error {
						if err := tx.Revoke("key", fmt.Sprint(w, "/", i), fromMicros(1)); err != nil || i%5 > 0 {
							return err
						}
						return artifact.Errorf(artifact.Invalid, "no")
					})
					if err != nil && artifact.KindOf(err) != artifact.Invalid {
						t.Error(err)
					}
				}
			})
		}
		finished := make(chan struct{})
		go func() { wg.Wait(); close(finished) }()
		cursor := int64(0)
		for last := false; ; {
			list, err := db.Revocations(t.Context(), cursor, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range list {
				if v.Seq != cursor+1 {
					t.Fatalf("revocation %d follows %d", v.Seq, cursor)
				}
				cursor = v.Seq
			}
			if last && len(list) == 0 {
				break
			}
			select {
			case <-finished:
				last = true
			default:
			}
		}
		if want := int64(writers * each * 4 / 5); cursor != want {
			t.Errorf("saw %d revocations, want %d", cursor, want)
		}
	})
}

func TestSigningKeysAndShares(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		keys := []SigningKey{{"a", []byte{0, 255}, fromMicros(5)}, {"b", []byte("x"), fromMicros(6)}}
		change(t, db, func(tx *Tx) error {
			return errors.Join(tx.Alone(), tx.CreateSigningKey(keys[1]), tx.CreateSigningKey(keys[0]))
		})
		got, err := db.SigningKeys(ctx)
		if d := cmp.Diff(keys, got); d != "" || err != nil {
			t.Errorf("SigningKeys, %v (-want +got):\n%s", err, d)
		}
		change(t, db, func(tx *Tx) error { return tx.DeleteSigningKey("a") })
		if got, err := db.SigningKeys(ctx); err != nil || len(got) != 1 {
			t.Errorf("SigningKeys = %v, %v; want one", got, err)
		}
		end := fromMicros(1 << 60)
		s := Share{ID: "shr_1", Tenant: "pf_a", Session: 7, Kind: "zip", Artifact: "e", Position: 3, Creator: "key:k", Key: "k", Owner: "usr_1", Expires: end}
		if at, err := db.OldestShare(ctx, end.Add(-1)); !at.IsZero() || err != nil {
			t.Errorf("oldest of no share %v, %v", at, err)
		}
		s.Created = change(t, db, func(tx *Tx) error { return tx.CreateShare(s) })
		list, err := db.Shares(ctx, "pf_a", 7, end.Add(-time.Microsecond))
		if d := cmp.Diff([]Share{s}, list); d != "" || err != nil {
			t.Errorf("Shares, %v (-want +got):\n%s", err, d)
		}
		if at, err := db.OldestShare(ctx, s.Created); !at.Equal(s.Created) || err != nil {
			t.Errorf("oldest share %v, %v; want %v", at, err, s.Created)
		}
		if list, err := db.Shares(ctx, "pf_a", 7, end); err != nil || len(list) != 0 {
			t.Errorf("Shares at their end = %v, %v; want none", list, err)
		}
		if err := db.Tx(ctx, func(tx *Tx) error { return tx.RevokeShare("pf_b", 7, "shr_1") }); !errors.Is(err, ErrNoShare) {
			t.Errorf("revoke by another tenant: %v, want ErrNoShare", err)
		}
		s.Revoked = change(t, db, func(tx *Tx) error { return tx.RevokeShare("pf_a", 7, "shr_1") })
		one, err := db.Share(ctx, "shr_1")
		if d := cmp.Diff(s, one); d != "" || err != nil {
			t.Errorf("Share, %v (-want +got):\n%s", err, d)
		}
	})
}

// Shares end with the key or the user that made them, and no others.
func TestRevokeShares(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		later := fromMicros(1 << 60)
		shares := []Share{
			{ID: "shr_1", Tenant: "pf_a", Key: "key_1", Owner: "usr_1", Expires: later},
			{ID: "shr_2", Tenant: "pf_a", Key: "key_2", Owner: "usr_1", Expires: later},
			{ID: "shr_3", Tenant: "pf_b", Key: "key_1", Owner: "usr_1", Expires: later},
			{ID: "shr_4", Tenant: "pf_a", Owner: "usr_1", Expires: later},
			{ID: "shr_5", Tenant: "pf_a", Expires: later},
			{ID: "shr_6", Tenant: "pf_a", Key: "key_1", Owner: "usr_1", Expires: fromMicros(1)},
		}
		change(t, db, func(tx *Tx) (err error) {
			for _, s := range shares {
				err = errors.Join(err, tx.CreateShare(s))
			}
			return err
		})
		for _, step := range []struct {
			by   func(*Tx) (int64, error)
			n    int64
			left string
		}{
			{func(tx *Tx) (int64, error) { return tx.RevokeSharesOfKey("pf_a", "") }, 0, "123456"},
			{func(tx *Tx) (int64, error) { return tx.RevokeSharesOf("pf_a", "") }, 0, "123456"},
			{func(tx *Tx) (int64, error) { return tx.RevokeSharesOfKey("pf_a", "key_1") }, 1, "23456"},
			{func(tx *Tx) (int64, error) { return tx.RevokeSharesOf("pf_a", "usr_1") }, 2, "356"},
			{func(tx *Tx) (int64, error) { return tx.RevokeSharesOf("pf_a", "usr_1") }, 0, "356"},
		} {
			change(t, db, func(tx *Tx) error {
				if n, err := step.by(tx); n != step.n || err != nil {
					return fmt.Errorf("%d shares were revoked, want %d, %w", n, step.n, err)
				}
				return nil
			})
			left := ""
			for i, s := range shares {
				got, err := db.Share(t.Context(), s.ID)
				if err != nil {
					t.Fatal(err)
				}
				if got.Revoked.IsZero() {
					left += fmt.Sprint(i + 1)
				}
			}
			if left != step.left {
				t.Errorf("left are %s, want %s", left, step.left)
			}
		}
	})
}

// Who revokes a key does not wait for all shares to be read.
func TestSharesOfAKeyHaveAnIndex(t *testing.T) {
	db, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "vitrine.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for whose, want := range map[string]string{madeWith: "USING INDEX shares_key (key_id=?)", madeBy: "USING INDEX shares_owner (owner=?)"} {
		plan := ""
		err := db.q.rows(t.Context(), "EXPLAIN QUERY PLAN UPDATE shares SET revoked = ? WHERE "+whose+goodShare, []any{1, "k", "pf_a", 1}, func(scan func(...any) error) error {
			var id, parent, unused int
			var line string
			err := scan(&id, &parent, &unused, &line)
			plan += line + "\n"
			return err
		})
		if err != nil || !strings.Contains(plan, want) {
			t.Errorf("%s: %v, plan:\n%s", whose, err, plan)
		}
	}
}

func TestPrune(t *testing.T) {
	eachDB(t, func(t *testing.T, db *DB) {
		early, late := fromMicros(1000), fromMicros(1<<60)
		change(t, db, func(tx *Tx) error {
			for i := range maxPruned + 1 {
				if err := tx.CreateGrant(Grant{ID: fmt.Sprint("old", i), Expires: early}); err != nil {
					return err
				}
			}
			for _, insert := range []string{
				"INSERT INTO clients (id, metadata, created, used) VALUES ('old', '', 1000, 0), ('used', '', 1000, 1), ('new', '', 2000, 0)",
				"INSERT INTO replays (tenant, name, request, answer, created) VALUES ('pf_a', 'old', '', '', 1000), ('pf_b', 'old', '', '', 2000)",
				"INSERT INTO device_codes (hash, user_code, client, scopes, created, expires, pause, state) VALUES ('old', 'a', '', '', 0, 1000, 5, ''), ('new', 'b', '', '', 0, 2000, 5, '')",
				"INSERT INTO auth_codes (hash, client, redirect_uri, challenge, resource, scopes, tenant, owner, key_id, expires) VALUES ('old', '', '', '', '', '', '', '', '', 1000), ('new', '', '', '', '', '', '', '', '', 2000)",
			} {
				if _, err := tx.exec(insert); err != nil {
					return err
				}
			}
			return errors.Join(tx.CreateGrant(Grant{ID: "new", Expires: late}),
				tx.Revoke("key", "a", early), tx.Revoke("key", "b", late),
				tx.CreateShare(Share{ID: "a", Expires: early}), tx.CreateShare(Share{ID: "b", Expires: late}))
		})
		var done []bool
		change(t, db, func(tx *Tx) error {
			for _, what := range []Stale{StaleGrants, StaleGrants, StaleDeviceCodes, StaleCodes, StaleClients, StaleRevocations, StaleShares, StaleReplays} {
				d, err := tx.Prune(what, early.Add(time.Microsecond))
				if err != nil {
					return err
				}
				done = append(done, d)
			}
			return nil
		})
		if want := []bool{false, true, true, true, true, true, true, true}; !slices.Equal(done, want) {
			t.Errorf("done = %v, want %v", done, want)
		}
		for table, want := range map[string]int{"clients": 2, "replays": 1, "device_codes": 1, "auth_codes": 1} {
			var n int
			if err := db.q.row(t.Context(), "SELECT COUNT(*) FROM "+table, nil, &n); err != nil || n != want {
				t.Errorf("%d rows of %s are left, %v; want %d", n, table, err, want)
			}
		}
		if _, err := db.Grant(t.Context(), "new"); err != nil {
			t.Errorf("the grant that is still good: %v", err)
		}
		if _, err := db.Grant(t.Context(), "old0"); !errors.Is(err, ErrNoGrant) {
			t.Errorf("the grant that has ended: %v, want ErrNoGrant", err)
		}
		if list, err := db.Revocations(t.Context(), 0, 9); err != nil || len(list) != 1 || list[0].Target != "b" {
			t.Errorf("revocations %v, %v; want that of b", list, err)
		}
		if _, err := db.Share(t.Context(), "a"); !errors.Is(err, ErrNoShare) {
			t.Errorf("the share that has ended: %v, want ErrNoShare", err)
		}
	})
}

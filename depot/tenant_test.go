package depot

import (
	"errors"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

func TestDeletedTenantLeavesNothingButItsAuditLog(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	other := "pf_other"
	must := func(f func(tx *store.Tx) error) {
		t.Helper()
		if err := s.db.Tx(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	must(func(tx *store.Tx) error { return tx.CreateTenant(other, "") })
	s.mustPut("/a", "theirs", func(ask *Save) { ask.Tenant = other })
	s.mustPut("/a", "ours")
	if _, err := s.CreateSession(t.Context(), other, "one", nil); err != nil {
		t.Fatal(err)
	}
	must(func(tx *store.Tx) error { return tx.DeleteTenant(other) })
	if _, err := s.put("/b", "late", func(ask *Save) { ask.Tenant = other }); artifact.KindOf(err) != artifact.Denied {
		t.Errorf("save of a deleted tenant: %v, want Denied", err)
	}
	for range 2 { // it can be done again
		if err := s.DeleteTenant(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.File(t.Context(), other, "/a", 0); !errors.Is(err, ErrNoFile) {
		t.Errorf("its artifact: %v", err)
	}
	if _, err := s.Session(t.Context(), other, "one"); !errors.Is(err, store.ErrNoSession) {
		t.Errorf("its session: %v", err)
	}
	if s.text("/a", 0) != "ours" {
		t.Error("another tenant's artifact is gone")
	}
	log, err := s.Audit(t.Context(), other)
	if err != nil || log.LastSeq < 3 {
		t.Errorf("its audit log ends at %d, %v", log.LastSeq, err)
	}
	s.clean()
}

func TestFollowersHaveAQuota(t *testing.T) {
	s := newLight(t, Options{})
	limit := int64(2)
	if err := s.db.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetQuota(tenant, nil, nil, nil, &limit) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Library(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	follow := func() (*Follower, error) { return s.Follow(t.Context(), tenant, artifact.LibraryLog, Cursor{}) }
	one, err1 := follow()
	two, err2 := follow()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := follow(); artifact.KindOf(err) != artifact.Full {
		t.Errorf("a third follower: %v, want Full", err)
	}
	one.Close()
	three, err := follow()
	if err != nil || s.FollowersOf(tenant) != 2 {
		t.Fatalf("after one has left: %v, %d", err, s.FollowersOf(tenant))
	}
	two.Close()
	three.Close()
	if n := s.FollowersOf(tenant); n != 0 {
		t.Errorf("%d are left", n)
	}
}

package account

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

func (h *house) session(tenant string, id artifact.SessionID) artifact.Session {
	h.Helper()
	var s artifact.Session
	err := h.db.Tx(h.Context(), func(tx *store.Tx) (err error) {
		s, err = tx.CreateSession(tenant, id, nil, false)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return s
}

func TestShare(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.node(h.db), h.node(h.more())
		s := h.session(home, "demo")
		ask := Share{Tenant: home, Session: s.Key, Kind: ShareArtifact, Artifact: "evt_1", Position: 7, Expires: h.Now().Add(time.Hour)}
		made, token, err := a.CreateShare(h.Context(), ask)
		if err != nil {
			h.Fatal(err)
		}
		want := ask
		want.ID, want.Creator, want.Created = made.ID, "system", h.Now()
		if d := cmp.Diff(want, made); d != "" || made.ID == "" {
			h.Errorf("CreateShare (-want +got):\n%s", d)
		}
		got, err := b.Share(h.Context(), token)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			h.Errorf("Share, %v (-want +got):\n%s", err, d)
		}
		list, err := b.Shares(h.Context(), home, s.Key)
		if d := cmp.Diff([]Share{want}, list); d != "" || err != nil {
			h.Errorf("Shares, %v (-want +got):\n%s", err, d)
		}
		_, other, err := a.CreateShare(h.Context(), Share{Tenant: home, Session: s.Key, Kind: ShareZip, Expires: h.Now().Add(2 * time.Hour)})
		if err != nil {
			h.Fatal(err)
		}
		stream, cancel := b.Watch(h.Context(), got.Caller())
		defer cancel()
		for _, try := range []struct {
			tenant  string
			session int64
			id      string
		}{{"pf_b", s.Key, made.ID}, {home, s.Key + 1, made.ID}, {home, s.Key, "shr_none"}} {
			if err := a.RevokeShare(h.Context(), try.tenant, try.session, try.id); artifact.KindOf(err) != artifact.NotFound {
				h.Errorf("RevokeShare%v: %v, want NotFound", try, err)
			}
		}
		if err := a.RevokeShare(h.Context(), home, s.Key, made.ID); err != nil {
			h.Fatal(err)
		}
		h.eventually("the stream of the share ends", func() bool { return stream.Err() != nil })
		if err := context.Cause(stream); artifact.KindOf(err) != artifact.Unauthorized {
			h.Errorf("it ended for %v", err)
		}
		mac := token[strings.LastIndex(token, ".")+1:]
		for name, bad := range map[string]string{
			"empty": "", "revoked": token, "no mac": other[:strings.LastIndex(other, ".")], "changed": other[:len(other)-1] + "-",
			"mac of another": other[:strings.LastIndex(other, ".")+1] + mac, "longer": other + ".x",
			"id of another": made.ID + other[strings.Index(other, "."):], "unknown key": made.ID + ".nokey." + mac,
		} {
			if _, err := b.Share(h.Context(), bad); err == nil || err.Error() != store.ErrNoShare.Error() {
				h.Errorf("%s: %v, want %v", name, err, store.ErrNoShare)
			}
		}
		if _, err := b.Share(h.Context(), other); err != nil {
			h.Errorf("the other share: %v", err)
		}
		if err := a.SuspendTenant(h.Context(), home); err != nil {
			h.Fatal(err)
		}
		if _, err := b.Share(h.Context(), other); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("share of a suspended tenant: %v, want NotFound", err)
		}
		if err := a.ResumeTenant(h.Context(), home); err != nil {
			h.Fatal(err)
		}
		h.pass(2 * time.Hour)
		if _, err := a.Share(h.Context(), other); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("share after its end: %v, want NotFound", err)
		}
		told := []string{
			"share.create ok by system", "share.create ok by system", "share.revoke ok by system",
			"tenant.suspend ok by system", "tenant.resume ok by system",
		}
		if d := cmp.Diff(told, h.told(home)); d != "" {
			h.Errorf("audit log (-want +got):\n%s", d)
		}
	})
}

func TestCreateShareRefuses(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		s := h.session(home, "demo")
		hour := h.Now().Add(time.Hour)
		for name, c := range map[string]struct {
			ask  Share
			want artifact.Kind
		}{
			"kind":            {Share{Tenant: home, Session: s.Key, Kind: "all", Expires: hour}, artifact.Invalid},
			"no artifact":     {Share{Tenant: home, Session: s.Key, Kind: ShareArtifact, Expires: hour}, artifact.Invalid},
			"artifact in zip": {Share{Tenant: home, Session: s.Key, Kind: ShareZip, Artifact: "e", Expires: hour}, artifact.Invalid},
			"never ends":      {Share{Tenant: home, Session: s.Key, Kind: ShareZip}, artifact.Invalid},
			"over":            {Share{Tenant: home, Session: s.Key, Kind: ShareZip, Expires: h.Now()}, artifact.Invalid},
			"too long":        {Share{Tenant: home, Session: s.Key, Kind: ShareZip, Expires: h.Now().Add(maxShareLife + 1)}, artifact.Invalid},
			"other tenant":    {Share{Tenant: "pf_b", Session: s.Key, Kind: ShareZip, Expires: hour}, artifact.NotFound},
			"no session":      {Share{Tenant: home, Session: s.Key + 1, Kind: ShareZip, Expires: hour}, artifact.NotFound},
		} {
			if _, token, err := a.CreateShare(h.Context(), c.ask); artifact.KindOf(err) != c.want || token != "" {
				h.Errorf("%s: %v, want kind %d", name, err, c.want)
			}
		}
	})
}

// TestPruneKeepsWhatIsGood lets time pass over everything that ends by itself.
func TestPruneKeepsWhatIsGood(t *testing.T) {
	each(t, func(h *house) {
		a := h.node(h.db)
		s := h.session(home, "demo")
		secret, _ := h.member(home, artifact.Read)
		first, err := a.Exchange(h.Context(), secret)
		if err != nil {
			h.Fatal(err)
		}
		_, token, err := a.CreateShare(h.Context(), Share{Tenant: home, Session: s.Key, Kind: ShareSession, Expires: h.Now().Add(60 * 24 * time.Hour)})
		if err != nil {
			h.Fatal(err)
		}
		if err := a.RotateSigningKey(h.Context()); err != nil {
			h.Fatal(err)
		}
		if _, k := h.member(home); a.RevokeKey(h.Context(), home, k.ID) != nil {
			h.Error("cannot revoke a key")
		}
		left := func() (keys, revocations int) {
			h.Helper()
			if err := a.Prune(h.Context()); err != nil {
				h.Fatal(err)
			}
			k, err := h.db.SigningKeys(h.Context())
			if err != nil {
				h.Fatal(err)
			}
			r, err := h.db.Revocations(h.Context(), 0, 10)
			if err != nil {
				h.Fatal(err)
			}
			if len(r) != len(a.revoked.ended) {
				h.Errorf("%d revocations in rows, %d in memory", len(r), len(a.revoked.ended))
			}
			return len(k), len(r)
		}
		h.pass(29 * 24 * time.Hour)
		if keys, revocations := left(); keys != 2 || revocations != 0 {
			h.Errorf("after 29 days %d keys and %d revocations, want 2 and 0", keys, revocations)
		}
		if _, err := a.Refresh(h.Context(), first.Refresh); err != nil {
			h.Errorf("refresh after 29 days: %v", err)
		}
		h.pass(30 * 24 * time.Hour)
		if keys, _ := left(); keys != 2 {
			h.Errorf("%d signing keys while a share of the first is good, want 2", keys)
		}
		if _, err := a.Share(h.Context(), token); err != nil {
			h.Errorf("share after 59 days: %v", err)
		}
		h.pass(49 * time.Hour)
		if keys, _ := left(); keys != 1 {
			h.Errorf("%d signing keys after all, want 1", keys)
		}
		if _, err := h.db.Share(h.Context(), token[:strings.Index(token, ".")]); artifact.KindOf(err) != artifact.NotFound {
			h.Errorf("the share's row: %v, want NotFound", err)
		}
		if _, err := a.Exchange(h.Context(), secret); err != nil {
			h.Errorf("the key after all: %v", err)
		}
	})
}

package client_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/client"
)

func TestKeyOnServer(t *testing.T) {
	w := realServer(t, false)
	ctx := t.Context()
	tokens, err := w.client(client.Options{Key: w.key}).Tokens(ctx)
	if err != nil || tokens.Tenant != artifact.DefaultTenant || tokens.Refresh == "" || time.Until(tokens.Expires) < 71*time.Hour {
		t.Fatalf("tokens: %+v, %v", tokens, err)
	}
	// Another program goes on with them, though the access token is no longer good.
	old := tokens
	tokens.Access += "x"
	c := w.client(client.Options{Tokens: tokens})
	if _, err := c.CreateSession(ctx, "s", nil); err != nil {
		t.Errorf("after a renewal: %v", err)
	}
	if now, err := c.Tokens(ctx); err != nil || now.Access == tokens.Access || now.Refresh == tokens.Refresh {
		t.Errorf("tokens after a renewal: %+v, %v", now, err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Error(err)
	}
	for _, gone := range []client.Tokens{{}, {Access: old.Access}, old} {
		if _, err := w.client(client.Options{Tokens: gone}).Session(ctx, "s"); !errors.Is(err, client.ErrUnauthorized) {
			t.Errorf("after logging out: %v", err)
		}
	}
	_, err = w.client(client.Options{Key: w.key[:len(w.key)-1] + "!"}).Session(ctx, "s")
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != "AUTH_INVALID_CREDENTIALS" {
		t.Errorf("with a wrong key: %v", err)
	}
}

// Revoking a key ends who follows by it, and soon.
func TestRevokedKeyEndsFollowers(t *testing.T) {
	w := realServer(t, false)
	ctx := t.Context()
	key, info, err := w.accounts.CreateKey(ctx, artifact.DefaultTenant, account.KeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	c := w.client(client.Options{Key: key, Backoff: func(int) time.Duration { return time.Millisecond }})
	if _, err := c.PutFile(ctx, "s", client.File{Name: "a", Size: 0}, nil); err != nil {
		t.Fatal(err)
	}
	var revoked time.Time
	for _, err := range c.Follow(ctx, "s", client.Following{}) {
		if revoked.IsZero() {
			if err != nil {
				t.Fatal(err)
			}
			revoked = time.Now()
			if err := w.accounts.RevokeKey(ctx, artifact.DefaultTenant, info.ID); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if took := time.Since(revoked); !errors.Is(err, client.ErrUnauthorized) || took > time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	}
}

// A person approves at the page; then the program is in, and can renew its
// login and end it.
func TestDeviceOnServer(t *testing.T) {
	w := realServer(t, false)
	ctx := t.Context()
	c := w.client(client.Options{})
	approve := func(d client.Device) {
		if d.Whole != w.url+"/device?user_code="+d.Code || time.Until(d.Expires) < 10*time.Minute {
			t.Errorf("shown %+v", d)
		}
		resp, err := http.PostForm(d.Address, url.Values{"user_code": {d.Code}, "api_key": {w.key}, "action": {"approve"}})
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("the page answers %s", resp.Status)
		}
	}
	tokens, err := c.LoginByDevice(ctx, client.DeviceLogin{Name: "a test", Show: approve})
	if err != nil || tokens.Client == "" || tokens.Refresh == "" || tokens.Scope != "read write offline_access" {
		t.Fatalf("login: %+v, %v", tokens, err)
	}
	if _, err := c.Save(ctx, "/a.md", "a", client.SaveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.AuditEvents(ctx, client.EventQuery{}); err == nil || errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("what it has no scope for: %v", err)
	}
	stale := tokens
	stale.Access += "x"
	later := w.client(client.Options{Tokens: stale})
	if _, err := later.Retrieve(ctx, "/a.md", 0); err != nil {
		t.Errorf("after a renewal: %v", err)
	}
	if err := later.Logout(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.Retrieve(ctx, "/a.md", 0); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("after logging out: %v", err)
	}
}

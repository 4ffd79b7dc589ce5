package client_test

import (
	"errors"
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

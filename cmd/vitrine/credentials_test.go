package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/client"
)

// tempCredentials returns credentials with a login to http://x.
func tempCredentials(t *testing.T, tokens client.Tokens) *credentials {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "config"))
	cr, err := openCredentials()
	if err != nil {
		t.Fatal(err)
	}
	err = cr.change(t.Context(), func(servers map[string]client.Tokens) error {
		servers["http://x"], servers["http://other"] = tokens, client.Tokens{Access: "o"}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cr
}

func TestCredentialsAreForTheirOwner(t *testing.T) {
	cr := tempCredentials(t, client.Tokens{Access: "a"})
	if want := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "vitrine", "credentials.json"); cr.file != want {
		t.Errorf("kept in %s, want %s", cr.file, want)
	}
	for name, want := range map[string]fs.FileMode{cr.file: 0o600, filepath.Dir(cr.file): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(cr.file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := cr.read(); err == nil || !strings.Contains(err.Error(), "open to others") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	t.Setenv("XDG_CONFIG_HOME", "relative") // which the specification says to ignore
	t.Setenv("HOME", "/home/somebody")
	if cr, err := openCredentials(); err != nil || cr.file != "/home/somebody/.config/vitrine/credentials.json" {
		t.Errorf("kept in %+v, %v", cr, err)
	}
}

func TestCredentialsThatAreBroken(t *testing.T) {
	cr := tempCredentials(t, client.Tokens{})
	for _, text := range []string{"", "{", `{"servers":[]}`} {
		if err := os.WriteFile(cr.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cr.read(); err == nil {
			t.Errorf("%q was read", text)
		}
		err := cr.change(t.Context(), func(map[string]client.Tokens) error { return nil })
		if left, rerr := os.ReadFile(cr.file); err == nil || rerr != nil || string(left) != text {
			t.Errorf("%q became %q, %v", text, left, rerr)
		}
	}
}

// Commands that run at the same time renew one login once, whoever is first:
// a refresh token that comes twice would end it for all.
func TestCommandsShareRenewals(t *testing.T) {
	hour := time.Now().Add(time.Hour)
	cr := tempCredentials(t, client.Tokens{Access: "a1", Refresh: "r1", Expires: hour})
	var renewals atomic.Int64
	next := func(_ context.Context, used client.Tokens) (client.Tokens, error) {
		if used.Refresh != "r1" {
			return client.Tokens{}, fmt.Errorf("renewed by %q", used.Refresh)
		}
		renewals.Add(1)
		return client.Tokens{Access: "a2", Refresh: "r2", Expires: hour}, nil
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			got, err := cr.renew("http://x")(t.Context(), client.Tokens{Access: "a1", Refresh: "r1"}, next)
			if err != nil || got.Access != "a2" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	all.Wait()
	k, err := cr.read()
	if err != nil || renewals.Load() != 1 || k.Servers["http://x"].Refresh != "r2" || k.Servers["http://other"].Access != "o" {
		t.Errorf("%d renewals, kept %+v, %v", renewals.Load(), k, err)
	}
	// What is kept and has ended is renewed, not handed out.
	cr = tempCredentials(t, client.Tokens{Access: "a3", Refresh: "r1", Expires: time.Now()})
	if got, err := cr.renew("http://x")(t.Context(), client.Tokens{Access: "a1"}, next); err != nil || got.Access != "a2" {
		t.Errorf("got %+v, %v", got, err)
	}
	// Nothing is written when it fails, or when somebody has logged out.
	failing := func(context.Context, client.Tokens) (client.Tokens, error) {
		return client.Tokens{Access: "no"}, errSilent
	}
	if _, err := cr.renew("http://x")(t.Context(), client.Tokens{Access: "a2"}, failing); !errors.Is(err, errSilent) {
		t.Errorf("got %v", err)
	}
	if _, err := cr.renew("http://gone")(t.Context(), client.Tokens{Access: "a2"}, failing); !errors.Is(err, errSilent) {
		t.Errorf("got %v", err)
	}
	if k, err := cr.read(); err != nil || k.Servers["http://x"].Access != "a2" || len(k.Servers) != 2 {
		t.Errorf("kept %+v, %v", k, err)
	}
}

func TestLockWaits(t *testing.T) {
	cr := tempCredentials(t, client.Tokens{})
	ctx, cancel := context.WithCancel(t.Context())
	err := cr.change(t.Context(), func(map[string]client.Tokens) error {
		cancel()
		return cr.change(ctx, func(map[string]client.Tokens) error { return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it waited until it was interrupted", err)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vitrine-hq/vitrine/client"
)

// credentials are the logins of a person, by server. Several commands may use
// one login at the same time.
type credentials struct {
	file string
}

// openCredentials says where the logins are. Nothing is made before it is kept.
func openCredentials() (*credentials, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // as the XDG specification wants it
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find the credentials file: %w", err)
		}
		dir = filepath.Join(home, ".config")
	}
	return &credentials{filepath.Join(dir, "vitrine", "credentials.json")}, nil
}

// kept is the file.
type kept struct {
	Servers map[string]client.Tokens `json:"servers"`
}

// read returns what is kept. A file that others can read is refused: who has it
// is logged in.
func (c *credentials) read() (kept, error) {
	k := kept{Servers: map[string]client.Tokens{}}
	f, err := os.Open(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, fmt.Errorf("open credentials: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return k, fmt.Errorf("look at credentials: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return k, withHint(fmt.Errorf("%s is open to others", c.file), `close it with "chmod 600 %s", and log in anew if somebody may have read it`, c.file)
	}
	if err := json.NewDecoder(f).Decode(&k); err != nil {
		return k, withHint(fmt.Errorf("read %s: %w", c.file, err), "remove it and log in anew")
	}
	if k.Servers == nil {
		k.Servers = map[string]client.Tokens{}
	}
	return k, nil
}

// change reads, changes and writes the file while no other command does. What f
// returns without an error is written in one step, if it changed.
func (c *credentials) change(ctx context.Context, f func(servers map[string]client.Tokens) error) (err error) {
	dir := filepath.Dir(c.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of credentials: %w", err)
	}
	lock, err := waitForLock(ctx, filepath.Join(dir, "credentials.lock"))
	if err != nil {
		return fmt.Errorf("lock credentials: %w", err)
	}
	defer lock.Close() // which gives the lock back
	k, err := c.read()
	if err != nil {
		return err
	}
	before, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode credentials: %w", err)
	}
	if err := f(k.Servers); err != nil {
		return err
	}
	after, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode credentials: %w", err)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open folder of credentials: %w", err)
	}
	defer root.Close()
	return writeFile(root, filepath.Base(c.file), 0o600, func(f *os.File) error {
		_, err := f.Write(append(after, '\n'))
		return err
	})
}

// waitForLock returns the file once no other process has it locked.
func waitForLock(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = pause(ctx, 20*time.Millisecond)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
}

// renew stands around the renewals of a client: what another command got in the
// meantime is taken, what is new is kept for others.
func (c *credentials) renew(server string) func(context.Context, client.Tokens, func(context.Context, client.Tokens) (client.Tokens, error)) (client.Tokens, error) {
	return func(ctx context.Context, used client.Tokens, next func(context.Context, client.Tokens) (client.Tokens, error)) (got client.Tokens, err error) {
		err = c.change(ctx, func(servers map[string]client.Tokens) error {
			now := servers[server]
			switch {
			case now.Access == "": // logged out meanwhile
				got, err = next(ctx, client.Tokens{})
				return err
			case now.Access != used.Access && time.Until(now.Expires) > time.Minute:
				got = now
				return nil
			}
			if got, err = next(ctx, now); err == nil {
				servers[server] = got
			}
			return err
		})
		return got, err
	}
}

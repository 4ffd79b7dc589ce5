package client_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/client"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/store"
)

// world is a real server on a temporary directory.
type world struct {
	t         *testing.T
	url       string
	wareHouse string // the folder of its sessions
	key       string // with all permissions
	accounts  *account.Accounts
}

// realServer starts a server, open or not.
func realServer(t *testing.T, open bool) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, wareHouse: filepath.Join(dir, "WareHouse")}
	if err := os.Mkdir(w.wareHouse, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "vitrine.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	driver, err := fileblob.Open(filepath.Join(dir, "blobs"), fileblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := depot.Open(t.Context(), db, blob.New(driver), depot.Options{WareHouse: w.wareHouse, Implicit: true})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	w.url = "http://" + front.Listener.Addr().String()
	w.accounts, err = account.Open(t.Context(), db, account.Options{Issuer: w.url, DeviceInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if w.key, err = w.accounts.Bootstrap(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{
		Depot: d, Accounts: w.accounts, Access: api.Access{Required: !open}, PublicURL: w.url, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = server.Handler()
	front.Start()
	t.Cleanup(func() {
		server.Drain()
		front.Close()
		if err := errors.Join(w.accounts.Close(), d.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// client returns a client of the server.
func (w *world) client(opt client.Options) *client.Client {
	w.t.Helper()
	c, err := client.New(w.url, opt)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// TestServer takes a session through its life on a real server, open and with
// accounts: what the client says and what the server means are the same.
func TestServer(t *testing.T) {
	t.Run("open", func(t *testing.T) {
		w := realServer(t, true)
		testServer(t, w.client(client.Options{}), w.wareHouse)
	})
	t.Run("accounts", func(t *testing.T) {
		w := realServer(t, false)
		testServer(t, w.client(client.Options{Key: w.key}), w.wareHouse)
		if _, err := w.client(client.Options{}).Session(t.Context(), "other"); !errors.Is(err, client.ErrUnauthorized) {
			t.Errorf("without a key: %v", err)
		}
	})
}

func testServer(t *testing.T, c *client.Client, wareHouse string) {
	t.Helper()
	ctx := t.Context()
	if err := c.Health(ctx); err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateSession(ctx, "life", map[string]any{"k": "v"})
	if err != nil || made.ID != "life" || made.Metadata["k"] != "v" || made.Created.IsZero() {
		t.Fatalf("create: %+v, %v", made, err)
	}
	if _, err := c.CreateSession(ctx, "life", nil); !errors.Is(err, client.ErrExists) {
		t.Errorf("create again: %v", err)
	}
	stored, err := c.Upload(ctx, "life", []client.File{
		{Name: "a.txt", Size: 1, Content: strings.NewReader("a")}, {Name: "é b.png", Size: -1, Content: strings.NewReader("b")},
	}, nil)
	if err != nil || len(stored) != 2 || stored[1].Name != "é b.png" || stored[0].MIME != "text/plain" || stored[0].ID == "" {
		t.Fatalf("upload: %+v, %v", stored, err)
	}
	put, err := c.PutFile(ctx, "life", client.File{Name: "c d?.md", Size: 2, Content: strings.NewReader("cc")}, nil)
	if err != nil || put.Name != "c d?.md" || put.Size != 2 {
		t.Fatalf("put: %+v, %v", put, err)
	}
	workspace := filepath.Join(wareHouse, "session_life", "code_workspace")
	if err := os.WriteFile(filepath.Join(workspace, "out.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Scan(ctx, "life"); err != nil {
		t.Fatal(err)
	}
	state, err := c.State(ctx, "life", 0)
	if err != nil || state.Cursor != 4 || state.LogID == "" || state.Session.ID != "life" {
		t.Fatalf("state: %+v, %v", state, err)
	}
	if diff := cmp.Diff([]string{"a.txt", "é b.png", "c d?.md", "out.json"}, fileNames(state.Files)); diff != "" {
		t.Error(diff)
	}
	if then, err := c.State(ctx, "life", 1); err != nil || len(then.Files) != 1 {
		t.Errorf("state at 1: %+v, %v", then, err)
	}
	list, err := c.Uploads(ctx, "life")
	if diff := cmp.Diff(fileNames(state.Files), fileNames(list)); diff != "" || err != nil {
		t.Errorf("uploads: %v\n%s", err, diff)
	}
	page, err := c.Events(ctx, "life", client.EventQuery{Filter: artifact.Filter{Ext: []string{"json"}}})
	if err != nil || len(page.Events) != 1 || page.Events[0].Path != "out.json" || page.Next != 4 || page.LogID != state.LogID {
		t.Errorf("events: %+v, %v", page, err)
	}
	checkContents(t, c, &state)
	checkLog(t, c, &state)
}

func fileNames(files []client.Artifact) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Name)
	}
	return list
}

// checkContents reads one file in every way.
func checkContents(t *testing.T, c *client.Client, state *client.State) {
	t.Helper()
	f := state.Files[2]
	for _, id := range []string{f.ID, f.Attachment, f.EventID} {
		var out bytes.Buffer
		got, err := c.Download(t.Context(), "life", id, &out, client.Transfer{SHA256: f.SHA256})
		if err != nil || out.String() != "cc" || got.Name != "c d?.md" {
			t.Errorf("download %s: %q, %+v, %v", id, out.String(), got, err)
		}
		meta, err := c.Artifact(t.Context(), "life", id)
		meta.Kind = "" // which listings leave out
		if diff := cmp.Diff(f, meta); diff != "" || err != nil {
			t.Errorf("meta %s: %v\n%s", id, err, diff)
		}
	}
	rest, err := c.Open(t.Context(), "life", f.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	if text, err := io.ReadAll(rest); err != nil || string(text) != "c" || rest.Size != 2 || rest.SHA256 != f.SHA256 {
		t.Errorf("from 1: %q, %+v, %v", text, rest, err)
	}
	if _, err := c.Download(t.Context(), "life", "art_no", io.Discard, client.Transfer{}); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("download of nothing: %v", err)
	}
	body, err := c.Zip(t.Context(), "life", client.ZipQuery{IDs: []string{f.ID}})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zip.NewReader(bytes.NewReader(all), int64(len(all))); err != nil {
		t.Errorf("zip: %v", err)
	}
}

// checkLog follows the session until it is deleted, and meets every way in
// which following ends.
func checkLog(t *testing.T, c *client.Client, state *client.State) {
	t.Helper()
	ctx := t.Context()
	var types []string
	for e, err := range c.Follow(ctx, "life", client.Following{From: client.Cursor{After: 1, LogID: state.LogID}}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := (client.Cursor{After: artifact.Seq(len(types)) + 2, LogID: state.LogID}); e.Cursor() != want {
			t.Errorf("cursor %v, want %v", e.Cursor(), want)
		}
		if types = append(types, e.Type); e.Seq == 4 {
			if err := c.DeleteSession(ctx, "life"); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{artifact.TypeUpload, artifact.TypeUpload, artifact.TypeArtifact, artifact.TypeDeleted}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Error(diff)
	}
	for _, err := range c.Follow(ctx, "life", client.Following{}) {
		if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("follow a deleted session: %v", err)
		}
	}
	if _, err := c.CreateSession(ctx, "other", nil); err != nil {
		t.Fatal(err)
	}
	for _, from := range []client.Cursor{{After: 9}, {LogID: "other"}} {
		for _, err := range c.Follow(ctx, "other", client.Following{From: from}) {
			if e, ok := errors.AsType[*client.Expired](err); !ok || e.Oldest != 0 || e.Last != 0 {
				t.Errorf("follow from %v: %v", from, err)
			}
		}
	}
}

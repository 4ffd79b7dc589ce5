package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Who is let in no longer while their request is worked on, whose body has come
// whole, costs nobody a request that comes later on the same connection: with a
// deadline, net/http would have ended that before it began.
func TestCutSparesWhatComesLater(t *testing.T) {
	d, _ := testDialect()
	cut := func(w http.ResponseWriter, r *http.Request) (any, error) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		rec := recorderOf(w)
		rec.onLeave(rec.tie(ctx, r.Body.(*incoming)))
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		if r.Header.Get("Begun") != "" {
			w.WriteHeader(http.StatusOK)
		}
		cancel(artifact.Errorf(artifact.Unauthorized, "revoked"))
		select {
		case <-r.Context().Done(): // of the connection
			t.Error("net/http takes the cut for the end of the connection")
		case <-time.After(20 * time.Millisecond):
		}
		endsSoon(w)
		return "cut", nil
	}
	later := func(_ http.ResponseWriter, r *http.Request) (any, error) { return "later", r.Context().Err() }
	server := httptest.NewServer(surround(table{
		{method: "POST", pattern: "/api/v2/cut", h: cut, body: bodyRaw},
		{method: "GET", pattern: "/api/v2/later", h: later},
	}.mux(d), d, &guard{d: d}, nil))
	defer server.Close()
	for _, begun := range []string{"", "yes"} {
		for range 5 {
			r, err := http.NewRequest("POST", server.URL+"/api/v2/cut", strings.NewReader("a body"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Begun", begun)
			first, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, first.Body); err != nil {
				t.Fatal(err)
			}
			first.Body.Close()
			if !first.Close && begun == "" {
				t.Fatal("the connection of who is let in no longer is kept")
			}
			next, err := server.Client().Get(server.URL + "/api/v2/later")
			if err != nil || next.StatusCode != 200 {
				t.Fatalf("the next request: %v, %v", next, err)
			}
			next.Body.Close()
		}
	}
}

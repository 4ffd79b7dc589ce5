package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// A task is the same before and after its way to the server that does it.
func TestTaskTravels(t *testing.T) {
	n := int64(0)
	for _, want := range []task{
		{Name: "check", Deep: true}, {Name: "backup", Dir: "/x"}, {Name: "sweep", DryRun: true},
		{Name: "key-create", Tenant: "pf_a", Called: "x", Scopes: artifact.Scopes{artifact.Read}, Expires: time.Now().UTC().Round(0)},
		{Name: "key-revoke", ID: "key_1"}, {Name: "tenant-quota", Limits: map[string]*int64{"bytes": &n, "files": nil}},
	} {
		req, err := want.request(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := task{Name: strings.TrimPrefix(req.URL.Path, "/admin/")}
		if err := json.NewDecoder(req.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", want.Name, diff)
		}
	}
}

func TestAdminRefuses(t *testing.T) {
	for path, tt := range map[string]struct {
		method, body string
		status       int
		text         string
	}{
		"/admin/backup":  {"POST", `{"dir":"relative"}`, http.StatusBadRequest, "dir is not an absolute path"},
		"/admin/check":   {"POST", `{`, http.StatusBadRequest, "the task is not understood"},
		"/admin/sweep":   {"GET", "", http.StatusMethodNotAllowed, ""},
		"/admin/nothing": {"POST", `{}`, http.StatusOK, `no task is called \"nothing\"`},
	} {
		rec := httptest.NewRecorder()
		adminHandler(holdings{}).ServeHTTP(rec, httptest.NewRequest(tt.method, path, strings.NewReader(tt.body)))
		if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.text) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}

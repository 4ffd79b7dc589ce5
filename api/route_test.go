package api

import (
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRouting(t *testing.T) {
	d, _ := testDialect()
	all := table{
		{method: "GET", pattern: "/a/{id}", h: answer("get", nil)},
		{method: "DELETE", pattern: "/a/{id}", h: answer("delete", nil)},
		{method: "POST", pattern: "/a/{id}/go", h: answer("go", nil)},
		{method: "HEAD", pattern: "/h", h: answer("head", nil)},
	}
	mux := all.mux(d)
	for _, c := range []struct {
		method, path string
		status       int
		allow, msg   string
	}{
		{"GET", "/a/1", 200, "", ""},
		{"HEAD", "/a/1", 200, "", ""},
		{"DELETE", "/a/1", 200, "", ""},
		{"PUT", "/a/1", 405, "DELETE, GET, HEAD", "Method Not Allowed"},
		{"OPTIONS", "/a/1", 405, "DELETE, GET, HEAD", "Method Not Allowed"},
		{"GET", "/a/1/go", 405, "POST", "Method Not Allowed"},
		{"HEAD", "/a/1/go", 405, "POST", "Method Not Allowed"},
		{"GET", "/h", 405, "HEAD", "Method Not Allowed"},
		{"GET", "/a/", 404, "", "Not Found"},
		{"POST", "/", 404, "", "Not Found"},
		{"GET", "/a/1/", 404, "", "Not Found"},
	} {
		w := do(mux, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", c.method, c.path, w.Code, w.Header().Get("Allow"), c.status, c.allow)
		}
		if c.msg != "" {
			if m := decodeBody(t, w); m["detail"] != c.msg {
				t.Errorf("%s %s: detail %v, want %q", c.method, c.path, m["detail"], c.msg)
			}
		}
	}
	want := []Operation{{"GET", "/a/{id}"}, {"DELETE", "/a/{id}"}, {"POST", "/a/{id}/go"}, {"HEAD", "/h"}}
	if diff := cmp.Diff(want, all.operations()); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

func TestRouteGivenTwicePanics(t *testing.T) {
	d, _ := testDialect()
	for _, bad := range []table{
		{{method: "GET", pattern: "/a"}, {method: "GET", pattern: "/a"}},
		{{method: "GET", pattern: "example.com/a"}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("mux of %v did not panic", bad.operations())
				}
			}()
			bad.mux(d)
		}()
	}
}

package main

import (
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/store"
)

func TestScanMetrics(t *testing.T) {
	scanner, err := scan.Open("exec:false") // it finds something in whatever there is
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "vitrine.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d, err := depot.Open(t.Context(), db, blob.New(blob.NewMem()), depot.Options{WareHouse: t.TempDir(), Scanner: scanner})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m := newMetrics()
	m.watchScans(d)
	save := depot.Save{Tenant: artifact.DefaultTenant, Path: "/a"}
	if _, _, err := d.SaveFile(t.Context(), save, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for late := time.After(10 * time.Second); d.Verdicts().Found == 0; {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatal("the scanner said nothing")
		}
	}
	request := httptest.NewRequest("GET", "/metrics", nil)
	request.Host = "127.0.0.1"
	rec := httptest.NewRecorder()
	m.handler(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}).ServeHTTP(rec, request)
	for _, want := range []string{
		`vitrine_scans_total{verdict="clean"} 0`, `vitrine_scans_total{verdict="found"} 1`, `vitrine_scans_total{verdict="failed"} 0`, "vitrine_scan_queue 0",
	} {
		if !strings.Contains(rec.Body.String(), want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

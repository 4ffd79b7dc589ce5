package api_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/fault"
)

const (
	sessionPath  = "/api/sessions/{session_id}"
	artifactPath = sessionPath + "/artifacts/{artifact_id}"
	formPath     = "/api/uploads/{session_id}"
	rawPath      = "/api/uploads/{session_id}/{name}"
)

// notDriven are answers that this test cannot bring about. Package store shows
// what a full disk does to rows.
var notDriven = []string{
	"PATCH " + sessionPath + " 507", "DELETE " + sessionPath + " 507", "POST " + sessionPath + "/scan 507",
}

// Every operation is driven to every status that the document gives it, and
// every answer is as described.
func TestAnswersAreAsDescribed(t *testing.T) {
	d := describe(t)
	h := open(t, func(s *setup) {
		s.depot.MaxUpload = 1 << 20
		s.depot.KeepEvents = 0
		s.api.UploadIdle = 300 * time.Millisecond
	})
	driveServer(h, d)
	driveSessions(h, d)
	driveUploads(h, d)
	driveLog(h, d)
	driveArtifacts(h, d)
	driveLibrary(h, d)
	driveAccounts(h, d)
	driveShares(h, d)
	driveOAuth(h, d)
	driveFullDisk(t, d)
	driveTooLarge(t, d)
	driveUnknown(t, d)
	driveLimited(t, d)
	driveFull(t, d)
	driveHeld(t, d)
	driveDenied(h, d)
	driveDrained(h, d)
	for _, op := range d.operations() {
		method, path, _ := strings.Cut(op, " ")
		o, _ := d.at("paths", path, strings.ToLower(method))
		for status := range asMap(o["responses"]) {
			key := op + " " + status
			if !d.seen[key] && !slices.Contains(notDriven, key) {
				t.Errorf("%s was never answered", key)
			}
		}
	}
}

func driveServer(h *house, d *description) {
	d.check("GET /", h.ok(h.get("/")))
	d.check("GET /openapi.json", h.ok(h.get("/openapi.json")))
	d.check("GET /health", h.ok(h.get("/health")))
	d.check("GET /health/live", h.ok(h.get("/health/live")))
	d.check("GET /health/ready", h.ok(h.get("/health/ready")))
	d.check("GET /ws", h.want(h.get("/ws"), 426, ""))
	d.check("GET /ws", h.want(h.get("/ws?after=x"), 422, ""))
	socket := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	d.check("GET /ws", h.want(h.get("/ws?session_id=a/b", socket...), 400, ""))
	h.ok(h.post("dead", part{name: "a", content: "a"}))
	h.ok(h.do("DELETE", "/api/sessions/dead", nil))
	d.check("GET /ws", h.want(h.get("/ws?session_id=dead", socket...), 404, ""))
	conn := h.dial("/ws")
	d.seen["GET /ws 101"] = true
	conn.CloseNow()
}

func driveSessions(h *house, d *description) {
	const list, one = "/api/sessions", sessionPath
	d.check("POST "+list, h.want(h.ask("POST", list, `{"session_id":"demo","metadata":{"a":[1,{"b":null}]}}`), 201, ""))
	d.check("POST "+list, h.want(h.ask("POST", list, ``), 201, ""))
	d.check("POST "+list, h.want(h.ask("POST", list, `{"session_id":"session_demo"}`), 409, ""))
	d.check("POST "+list, h.want(h.ask("POST", list, `{"session_id":"a b"}`), 400, ""))
	d.check("POST "+list, h.want(h.ask("POST", list, `{"session_id":7}`), 422, ""))
	d.check("POST "+list, h.want(h.ask("POST", list, `{"metadata":{"a":"`+strings.Repeat("x", 70<<10)+`"}}`), 413, ""))
	d.check("POST "+list, h.want(h.do("POST", list, strings.NewReader("{}"), "Content-Type", "text/plain"), 415, ""))
	d.check("GET "+list, h.ok(h.get(list+"?limit=1")))
	d.check("GET "+list, h.ok(h.get(list+"?q=nothing-like-it&status=idle")))
	d.check("GET "+list, h.want(h.get(list+"?limit=0"), 422, ""))
	d.check("GET "+one, h.ok(h.get(list+"/demo")))
	d.check("GET "+one, h.want(h.get(list+"/a.b"), 400, ""))
	d.check("GET "+one, h.want(h.get(list+"/nobody"), 404, ""))
	d.check("PATCH "+one, h.ok(h.ask("PATCH", list+"/demo", `{"metadata":{"b":true}}`)))
	d.check("PATCH "+one, h.want(h.ask("PATCH", list+"/a.b", `{"metadata":{}}`), 400, ""))
	d.check("PATCH "+one, h.want(h.ask("PATCH", list+"/nobody", `{"metadata":{}}`), 404, ""))
	d.check("PATCH "+one, h.want(h.ask("PATCH", list+"/demo", `{}`), 422, ""))
	d.check("PATCH "+one, h.want(h.ask("PATCH", list+"/demo", `{"metadata":{"a":"`+strings.Repeat("x", 70<<10)+`"}}`), 413, ""))
	d.check("PATCH "+one, h.want(h.do("PATCH", list+"/demo", strings.NewReader("x"), "Content-Type", "text/plain"), 415, ""))
	d.check("DELETE "+one, h.ok(h.do("DELETE", list+"/demo", nil)))
	d.check("DELETE "+one, h.want(h.do("DELETE", list+"/demo", nil), 404, ""))
	d.check("DELETE "+one, h.want(h.do("DELETE", list+"/a.b", nil), 400, ""))
}

func driveUploads(h *house, d *description) {
	d.check("POST "+formPath, h.ok(h.post("up", part{name: "a.md", content: "a"})))
	d.check("POST "+formPath, h.ok(h.post("up", part{name: "a.md", content: "a"}, part{name: "b.png", content: "b"})))
	d.check("POST "+formPath, h.want(h.post("a.b", part{name: "a", content: "a"}), 400, ""))
	d.check("POST "+formPath, h.want(h.post("dead", part{name: "a", content: "a"}), 404, ""))
	d.check("POST "+formPath, h.want(h.post("up", part{name: "a", content: strings.Repeat("a", 2<<20)}), 413, ""))
	d.check("POST "+formPath, h.want(h.ask("POST", "/api/uploads/up", `{}`), 415, ""))
	d.check("POST "+formPath, h.want(h.post("up", part{field: "other", name: "a", content: "a"}), 422, ""))
	head := "POST /api/uploads/up HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
	a, err := h.raw(head+"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhalf", false)
	if err != nil {
		h.Fatal(err)
	}
	d.check("POST "+formPath, h.want(a, 408, ""))
	const raw = "/api/uploads/up/a.txt"
	d.check("PUT "+rawPath, h.ok(h.do("PUT", raw, strings.NewReader("a"))))
	d.check("PUT "+rawPath, h.want(h.do("PUT", raw, strings.NewReader("a"), "Content-Digest", "sha-256=:AAAA:"), 400, ""))
	d.check("PUT "+rawPath, h.want(h.do("PUT", "/api/uploads/dead/a", strings.NewReader("a")), 404, ""))
	d.check("PUT "+rawPath, h.want(h.do("PUT", raw, strings.NewReader(strings.Repeat("a", 2<<20))), 413, ""))
	if a, err = h.raw("PUT "+raw+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\nhalf", false); err != nil {
		h.Fatal(err)
	}
	d.check("PUT "+rawPath, h.want(a, 408, ""))
	h.change("up", "out/pic.png", "\x89PNG\r\n\x1a\n")
	d.check("GET "+formPath, h.ok(h.get("/api/uploads/up")))
	d.check("GET "+formPath, h.want(h.get("/api/uploads/nobody"), 400, "Session not connected"))
	d.check("GET "+formPath, h.want(h.get("/api/uploads/dead"), 404, "Session not found"))
}

func driveLog(h *house, d *description) {
	const one = "/api/sessions/up"
	h.write("up", "log.txt", "1")
	d.check("POST "+sessionPath+"/scan", h.ok(h.do("POST", one+"/scan", nil)))
	for _, op := range []string{"POST " + sessionPath + "/scan", "GET " + sessionPath + "/state", "GET " + sessionPath + "/events",
		"GET " + sessionPath + "/artifact-events", "GET " + sessionPath + "/download"} {
		method, path, _ := strings.Cut(op, " ")
		d.check(op, h.want(h.do(method, strings.Replace(path, "{session_id}", "nobody", 1), nil), 404, ""))
		d.check(op, h.want(h.do(method, strings.Replace(path, "{session_id}", "a.b", 1), nil), 400, ""))
	}
	d.check("GET "+sessionPath+"/state", h.ok(h.get(one+"/state")))
	d.check("GET "+sessionPath+"/state", h.ok(h.get(one+"/state?at=2")))
	d.check("GET "+sessionPath+"/state", h.want(h.get(one+"/state?at=999"), 410, "The cursor is ahead of the log"))
	d.check("GET "+sessionPath+"/state", h.want(h.get(one+"/state?at=x"), 422, ""))
	d.check("GET "+sessionPath+"/events", h.want(h.get(one+"/events?after=999"), 410, ""))
	d.check("GET "+sessionPath+"/events", h.want(h.get(one+"/events?after=1&log_id=other"), 410, ""))
	d.check("GET "+sessionPath+"/events", h.want(h.get(one+"/events?max_size=0"), 422, ""))
	d.check("GET "+sessionPath+"/events", h.want(h.get(one+"/events", "Last-Event-ID", "x"), 422, ""))
	d.check("GET "+sessionPath+"/artifact-events", h.ok(h.get(one+"/artifact-events")))
	d.check("GET "+sessionPath+"/artifact-events", h.ok(h.get(one+"/artifact-events?wait_seconds=0&after=999")))
	d.check("GET "+sessionPath+"/artifact-events", h.want(h.get(one+"/artifact-events?limit=101"), 422, ""))
	for _, path := range []string{"/events", "/state?follow=1"} {
		s := h.stream("up", path)
		for range 4 {
			s.next()
		}
		d.stream("GET "+sessionPath+strings.TrimSuffix(path, "?follow=1"), s)
	}
}

func driveArtifacts(h *house, d *description) {
	const op, zip = "GET " + artifactPath, "GET " + sessionPath + "/download"
	v := h.up("art", "a.txt", "0123456789")
	base := "/api/sessions/art/artifacts/" + fmt.Sprint(v["artifact_id"])
	d.check(op, h.ok(h.get(base)))
	d.check(op, h.ok(h.get(base+"?mode=stream")))
	d.check(op, h.want(h.get(base+"?mode=stream", "Range", "bytes=2-3"), 206, ""))
	d.check(op, h.want(h.get(base+"?mode=stream", "If-None-Match", `"`+fmt.Sprint(v["sha256"])+`"`), 304, ""))
	d.check(op, h.want(h.get("/api/sessions/a.b/artifacts/x"), 400, ""))
	d.check(op, h.want(h.get("/api/sessions/art/artifacts/x"), 404, "Artifact not found"))
	d.check(op, h.want(h.get(base+"?mode=stream", "If-Match", `"other"`), 412, ""))
	d.check(op, h.want(h.get(base+"?mode=stream", "Range", "bytes=50-60"), 416, ""))
	d.check(op, h.want(h.get(base+"?mode=other"), 422, ""))
	d.check(zip, h.ok(h.get("/api/sessions/art/download")))
	d.check(zip, h.want(h.get("/api/sessions/art/download?ids=x"), 404, ""))
	d.check(zip, h.want(h.get("/api/sessions/art/download?at=999"), 410, ""))
	d.check(zip, h.want(h.get("/api/sessions/art/download?at=x"), 422, ""))
}

// A full disk keeps nothing and says so.
func driveFullDisk(t *testing.T, d *description) {
	h := open(t, func(s *setup) {
		s.files = fileblob.Options{FS: fault.New(fileblob.OS, func(op fault.Op) error {
			if op.Name == "write" {
				return syscall.ENOSPC
			}
			return nil
		})}
	})
	big := strings.Repeat("a", 100<<10)
	h.leavesNoTrace(func() {
		d.check("POST "+formPath, h.want(h.post("s", part{name: "a", content: "small"}, part{name: "b", content: big}), 507, ""))
		d.check("PUT "+rawPath, h.want(h.do("PUT", "/api/uploads/s/a", strings.NewReader(big)), 507, ""))
	})
}

// driveDenied sends every operation what a foreign page would send.
func driveDenied(h *house, d *description) {
	w := furnish(h, d)
	h.leavesNoTrace(func() {
		for _, op := range d.operations() {
			q := w.request(op)
			d.check(op, h.want(w.send(q, "Origin", "https://evil.example"), 403, ""))
			d.check(op, h.want(w.send(q, "Host", "evil.example"), 403, ""))
		}
	})
}

// drained are operations that are 503 on a server on its way down.
var drained = []string{"GET /health/ready", "GET /ws", "GET " + sessionPath + "/artifact-events", "GET " + library + "/events", "GET /api/v2/audit"}

// driveDrained asks a server that is on its way down.
func driveDrained(h *house, d *description) {
	h.server.Drain()
	d.check("GET /health/ready", h.want(h.get("/health/ready"), 503, ""))
	d.check("GET "+sessionPath+"/artifact-events", h.want(h.get("/api/sessions/up/artifact-events?after=6&include_ext=none"), 503, ""))
	socket := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	d.check("GET /ws", h.want(h.get("/ws?session_id=up", socket...), 503, ""))
	for _, path := range []string{library + "/events", "/api/v2/audit"} {
		d.check("GET "+path, h.want(h.get(path+"?types=none&wait_seconds=1"), 503, "SYS_SERVICE_UNAVAILABLE"))
	}
}

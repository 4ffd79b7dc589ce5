package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/depot"
)

const (
	libraryOp = " " + library
	rawOp     = " " + library + "/raw/{path}"
	memoryOp  = " /api/v2/memories/{memory_id}"
)

// at returns the query that names a path.
func at(path string, more ...string) string {
	return library + "?path=" + url.QueryEscape(path) + strings.Join(more, "")
}

// edit sends a PATCH of the artifact at a path.
func (h *house) edit(path, body string, headers ...string) answer {
	h.Helper()
	return h.do("PATCH", at(path), strings.NewReader(body), append(headers, "Content-Type", "application/json")...)
}

// put sends a PUT of the bytes of an artifact.
func (h *house) put(path, content string, headers ...string) answer {
	h.Helper()
	return h.do("PUT", library+"/raw"+path, strings.NewReader(content), headers...)
}

func driveLibrary(h *house, d *description) {
	const save, get, remove, edit = "POST" + libraryOp, "GET" + libraryOp, "DELETE" + libraryOp, "PATCH" + libraryOp
	const other = `"sha256:00"`
	d.check(save, h.ok(h.save("/d/a.md", "one")))
	d.check(save, h.ok(h.save("/d/a.md", "one two", `,"overwrite":true,"metadata":{"n":1},"content_type":7`)))
	d.check(save, h.want(h.save("d/a.md", "one"), 400, "VAL_FIELD_INVALID"))
	d.check(save, h.want(h.save("/d/a.md", "one"), 409, "RES_ALREADY_EXISTS"))
	d.check(save, h.want(h.do("POST", library, strings.NewReader(saveBody(h, "/d/a.md", "x")), "If-Match", other), 412, "RES_PRECONDITION_FAILED"))
	d.check(save, h.want(h.save("/d/b.md", strings.Repeat("a", depot.MaxText+1)), 413, "VAL_FIELD_TOO_LONG"))
	d.check(save, h.want(h.do("POST", library, strings.NewReader("{}"), "Content-Type", "text/plain"), 415, "VAL_VALIDATION_FAILED"))
	d.check(save, h.want(h.ask("POST", library, `{"path":"/d/b.md"}`), 422, "VAL_FIELD_REQUIRED"))

	h.want(h.put("/d/pic", "\xff\xfe"), 201, "")
	d.check(get, h.ok(h.artifactAt("/d/a.md", "&version=1")))
	d.check(get, h.want(h.artifactAt("/d/../a.md"), 400, "VAL_FIELD_INVALID"))
	d.check(get, h.want(h.artifactAt("/d/none.md"), 404, "RES_NOT_FOUND"))
	d.check(get, h.want(h.artifactAt("/d/pic"), 415, "VAL_VALIDATION_FAILED"))
	d.check(get, h.want(h.get(library), 422, "VAL_FIELD_REQUIRED"))

	d.check(edit, h.ok(h.edit("/d/a.md", `{"edits":[{"old":"two","new":"2"}],"append":"!"}`)))
	d.check(edit, h.want(h.edit("//", `{"append":"!"}`), 400, "VAL_FIELD_INVALID"))
	d.check(edit, h.want(h.edit("/d/none.md", `{"append":"!"}`), 404, "RES_NOT_FOUND"))
	d.check(edit, h.want(h.edit("/d/a.md", `{"edits":[{"old":"two","new":"2"}]}`), 409, "RES_EDIT_ABSENT"))
	d.check(edit, h.want(h.edit("/d/a.md", `{"edits":[{"old":"","new":"2"}]}`), 422, "VAL_FIELD_INVALID"))
	d.check(edit, h.want(h.edit("/d/a.md", `{"append":"!"}`, "If-Match", other), 412, ""))
	d.check(edit, h.want(h.edit("/d/pic", `{"append":"!"}`), 415, ""))
	d.check(edit, h.want(h.edit("/d/a.md", `{}`), 422, "VAL_FIELD_REQUIRED"))

	d.check(remove, h.want(h.do("DELETE", at("/d/a.md"), nil, "If-Match", other), 412, ""))
	d.check(remove, h.want(h.do("DELETE", at(""), nil), 400, "VAL_FIELD_INVALID"))
	d.check(remove, h.want(h.do("DELETE", library, nil), 422, "VAL_FIELD_REQUIRED"))
	d.check(remove, h.ok(h.do("DELETE", at("/d/pic"), nil)))
	d.check(remove, h.want(h.do("DELETE", at("/d/pic"), nil), 404, "RES_NOT_FOUND"))

	const list, versions = "GET" + libraryOp + "/list", "GET" + libraryOp + "/versions"
	d.check(list, h.ok(h.get(library+"/list?prefix=/d&limit=1")))
	d.check(list, h.ok(h.get(library+"/list?recursive=true&limit=1")))
	d.check(list, h.want(h.get(library+"/list?prefix=d"), 400, "VAL_FIELD_INVALID"))
	d.check(list, h.want(h.get(library+"/list?recursive=true&cursor=?"), 422, "VAL_FIELD_INVALID"))
	d.check(list, h.want(h.get(library+"/list?limit=0"), 422, "VAL_FIELD_INVALID"))
	d.check(versions, h.ok(h.get(library+"/versions?path=/d/a.md")))
	d.check(versions, h.want(h.get(library+"/versions?path=/d/"), 400, "VAL_FIELD_INVALID"))
	d.check(versions, h.want(h.get(library+"/versions?path=/d/none"), 404, "RES_NOT_FOUND"))
	d.check(versions, h.want(h.get(library+"/versions"), 422, "VAL_FIELD_REQUIRED"))
	driveArranging(h, d)
	driveRaw(h, d)
	driveRecords(h, d)
}

// driveArranging drives what works on artifacts that are there.
func driveArranging(h *house, d *description) {
	const restore, move, copied, promote, checkout = "POST" + libraryOp + "/restore", "POST" + libraryOp + "/move", "POST" + libraryOp + "/copy",
		"POST" + libraryOp + "/promote", "POST" + libraryOp + "/checkout"
	upload := h.up("shelf", "up.md", "from a session")
	taken := `"artifact_id":"` + fmt.Sprint(upload["artifact_id"]) + `","session_id":"shelf"`
	for op, body := range map[string]string{
		restore: `{"path":"/d/a.md","version":1}`, move: `{"from":"/d/a.md","to":"/d/b.md"}`, copied: `{"from":"/d/b.md","to":"/d/c.md"}`,
		promote: `{` + taken + `,"path":"/d/p.md"}`, checkout: `{"path":"/d/c.md","session_id":"shelf"}`,
	} {
		path := strings.TrimPrefix(op, "POST ")
		d.check(op, h.want(h.ask("POST", path, `{"pad":"`+strings.Repeat("x", 64<<10)+`"}`), 413, "VAL_FIELD_TOO_LONG"))
		d.check(op, h.want(h.do("POST", path, strings.NewReader(body), "Content-Type", "text/plain"), 415, "VAL_VALIDATION_FAILED"))
		d.check(op, h.want(h.ask("POST", path, `{}`), 422, "VAL_FIELD_REQUIRED"))
		d.check(op, h.want(h.ask("POST", path, strings.ReplaceAll(body, `"/d/`, `"d/`)), 400, "VAL_FIELD_INVALID"))
		if op != promote {
			d.check(op, h.want(h.ask("POST", path, strings.ReplaceAll(body, `"/d/`, `"/none/`)), 404, "RES_NOT_FOUND"))
		}
		if op == restore || op == move || op == promote {
			headers := []string{"If-Match", `"sha256:00"`, "Content-Type", "application/json"}
			d.check(op, h.want(h.do("POST", path, strings.NewReader(body), headers...), 412, ""))
		}
	}
	d.check(restore, h.ok(h.ask("POST", library+"/restore", `{"path":"/d/a.md","version":1}`)))
	d.check(move, h.ok(h.ask("POST", library+"/move", `{"from":"/d/a.md","to":"/d/b.md"}`)))
	d.check(copied, h.ok(h.ask("POST", library+"/copy", `{"from":"/d/b.md","to":"/d/c.md","version":1}`)))
	d.check(copied, h.want(h.ask("POST", library+"/copy", `{"from":"/d/b.md","to":"/d/c.md"}`), 409, "RES_ALREADY_EXISTS"))
	d.check(move, h.want(h.ask("POST", library+"/move", `{"from":"/d/b.md","to":"/d/c.md"}`), 409, "RES_ALREADY_EXISTS"))
	d.check(promote, h.ok(h.ask("POST", library+"/promote", `{`+taken+`,"path":"/d/p.md"}`)))
	d.check(promote, h.want(h.ask("POST", library+"/promote", `{`+taken+`,"path":"/d/p.md"}`), 409, "RES_ALREADY_EXISTS"))
	d.check(promote, h.want(h.ask("POST", library+"/promote", `{"artifact_id":"x","session_id":"shelf","path":"/d/q.md"}`), 404, "RES_NOT_FOUND"))
	d.check(checkout, h.ok(h.ask("POST", library+"/checkout", `{"path":"/d/c.md","session_id":"shelf","version":1}`)))
}

// driveRaw drives bytes and archives.
func driveRaw(h *house, d *description) {
	const get, put, export, take = "GET" + rawOp, "PUT" + rawOp, "GET" + libraryOp + "/archive", "POST" + libraryOp + "/archive"
	raw := library + "/raw/d/raw.txt"
	d.check(put, h.want(h.put("/d/raw.txt", "0123456789", "Idempotency-Key", "first"), 201, ""))
	d.check(put, h.ok(h.put("/d/raw.txt", "9876543210")))
	d.check(put, h.want(h.put("/d/.hidden", "x"), 400, "VAL_FIELD_INVALID"))
	d.check(put, h.want(h.put("/d/raw.txt", "x", "If-None-Match", "*"), 412, "RES_PRECONDITION_FAILED"))
	d.check(put, h.want(h.put("/d/raw.txt", strings.Repeat("x", 2<<20)), 413, "VAL_FIELD_TOO_LONG"))
	d.check(put, h.want(h.put("/d/raw.txt", "another", "Idempotency-Key", "first"), 422, ""))
	for op, line := range map[string]string{put: "PUT " + raw, take: "POST " + library + "/archive"} {
		a, err := h.raw(line+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+h.bearer+"\r\nContent-Length: 500\r\n\r\nhalf", false)
		if err != nil || a.StatusCode != 408 {
			h.Fatalf("%s stops in the middle: %v, %v", op, a.Response, err)
		}
		d.check(op, a)
	}
	etag := h.ok(h.get(raw)).Header.Get("ETag")
	d.check(get, h.ok(h.get(raw+"?version=1&download=true")))
	d.check(get, h.want(h.get(raw, "Range", "bytes=2-3"), 206, ""))
	d.check(get, h.want(h.get(raw, "If-None-Match", etag), 304, ""))
	d.check(get, h.want(h.get(library+"/raw/"), 400, "VAL_FIELD_INVALID"))
	d.check(get, h.want(h.get(library+"/raw/d/none"), 404, "RES_NOT_FOUND"))
	d.check(get, h.want(h.get(raw, "If-Match", `"sha256:00"`), 412, "RES_PRECONDITION_FAILED"))
	d.check(get, h.want(h.get(raw, "Range", "bytes=50-60"), 416, "RES_RANGE_NOT_SATISFIABLE"))
	d.check(get, h.want(h.get(raw+"?version=0"), 422, "VAL_FIELD_INVALID"))

	d.check(export, h.ok(h.get(library+"/archive?prefix=/d")))
	d.check(export, h.want(h.get(library+"/archive?prefix=d"), 400, "VAL_FIELD_INVALID"))
	archive := string(zipped(h, "in.md", "taken in"))
	d.check(take, h.ok(h.do("POST", library+"/archive?prefix=/in", strings.NewReader(archive))))
	d.check(take, h.ok(h.do("POST", library+"/archive?prefix=/in", strings.NewReader(archive))))
	d.check(take, h.want(h.do("POST", library+"/archive", strings.NewReader("no zip")), 400, "VAL_FIELD_INVALID"))
	d.check(take, h.want(h.do("POST", library+"/archive", strings.NewReader(strings.Repeat("x", 2<<20))), 413, "VAL_FIELD_TOO_LONG"))
	d.check(take, h.want(h.do("POST", library+"/archive?overwrite=maybe", strings.NewReader(archive)), 422, "VAL_FIELD_INVALID"))
}

// driveRecords drives the log of the library and the records of artifacts.
func driveRecords(h *house, d *description) {
	const events = "GET" + libraryOp + "/events"
	d.check(events, h.ok(h.get(library+"/events")))
	d.check(events, h.ok(h.get(library+"/events?after=9999")))
	d.check(events, h.want(h.get(library+"/events?%zz"), 400, "VAL_FIELD_INVALID"))
	d.check(events, h.want(h.get(library+"/events?after=9999", "Accept", "text/event-stream"), 410, "RES_CURSOR_EXPIRED"))
	d.check(events, h.want(h.get(library+"/events?limit=0"), 422, "VAL_FIELD_INVALID"))
	s := h.streamAt(library + "/events")
	for range 8 {
		s.next()
	}
	d.stream(events, s)

	record := h.data(h.save("/d/record.md", "remembered"))["artifact_id"]
	const nobody = "/api/v2/memories/00000000-0000-0000-0000-000000000000"
	d.check("GET"+memoryOp, h.ok(h.get("/api/v2/memories/"+fmt.Sprint(record))))
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		d.check(method+memoryOp, h.want(h.do(method, nobody, nil), 404, "RES_NOT_FOUND"))
		d.check(method+memoryOp, h.want(h.do(method, "/api/v2/memories/nobody", nil), 422, "VAL_UUID_INVALID"))
		if method != "GET" {
			d.check(method+memoryOp, h.want(h.do(method, "/api/v2/memories/"+fmt.Sprint(record), nil), 403, "AUTH_FORBIDDEN"))
		}
	}
}

// driveTooLarge keeps what is too large to be told as JSON.
func driveTooLarge(t *testing.T, d *description) {
	h := open(t)
	h.want(h.put("/big.txt", strings.Repeat("a", depot.MaxText+1)), 201, "")
	d.check("GET"+libraryOp, h.want(h.artifactAt("/big.txt"), 413, "VAL_FIELD_TOO_LONG"))
	d.check("PATCH"+libraryOp, h.want(h.edit("/big.txt", `{"append":"!"}`), 413, "VAL_FIELD_TOO_LONG"))
}

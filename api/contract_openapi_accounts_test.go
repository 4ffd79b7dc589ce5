package api_test

import (
	"fmt"
	"strings"
)

func driveAccounts(h *house, d *description) {
	const v2 = "/api/v2/"
	const token, refresh, verify, login, logout = "POST /api/v2/auth/token", "POST /api/v2/auth/refresh", "GET /api/v2/auth/verify", "POST /api/v2/auth/login", "POST /api/v2/auth/logout"
	tokens := h.data(d.check(token, h.ok(h.do("POST", v2+"auth/token", nil, "Authorization", "Bearer "+h.key))))
	d.check(token, h.want(h.do("POST", v2+"auth/token", nil), 401, "AUTH_UNAUTHORIZED"))
	d.check(refresh, h.ok(h.ask("POST", v2+"auth/refresh", `{"refresh_token":"`+fmt.Sprint(tokens["refresh_token"])+`"}`)))
	d.check(refresh, h.want(h.ask("POST", v2+"auth/refresh", `{"refresh_token":"x"}`), 401, "AUTH_TOKEN_INVALID"))
	d.check(verify, h.ok(h.get(v2+"auth/verify")))
	d.check(login, h.ok(h.ask("POST", v2+"auth/login", `{"api_key":"`+h.key+`"}`)))
	d.check(login, h.want(h.ask("POST", v2+"auth/login", `{"api_key":"x"}`), 401, "AUTH_INVALID_CREDENTIALS"))
	d.check(logout, h.ok(h.do("POST", v2+"auth/logout", nil, "Authorization", "Bearer "+fmt.Sprint(tokens["access_token"]))))

	driveLogins(h, d)

	const keys, members = "/api/v2/keys", "/api/v2/members"
	made := asMap(d.check("POST "+keys, h.want(h.ask("POST", keys, `{"name":"ci","permissions":["read"],"expires_in":60}`), 201, "")).json["data"])
	d.check("POST "+keys, h.want(h.ask("POST", keys, `{}`), 201, ""))
	d.check("POST "+keys, h.want(h.ask("POST", keys, `{"permissions":["fly"]}`), 400, "VAL_FIELD_INVALID"))
	d.check("GET "+keys, h.ok(h.get(keys)))
	d.check("DELETE "+keys+"/{key_id}", h.ok(h.do("DELETE", keys+"/"+fmt.Sprint(made["id"]), nil)))
	d.check("DELETE "+keys+"/{key_id}", h.want(h.do("DELETE", keys+"/"+fmt.Sprint(made["id"]), nil), 404, "RES_NOT_FOUND"))
	owner := objects(h.data(d.check("GET "+members, h.ok(h.get(members))))["members"])[0]
	d.check("DELETE "+members+"/{member_id}", h.want(h.do("DELETE", members+"/"+fmt.Sprint(owner["id"]), nil), 400, "VAL_FIELD_INVALID"))
	made = asMap(d.check("POST "+members, h.want(h.ask("POST", members, `{"name":"Ada"}`), 201, "")).json["data"])
	d.check("POST "+members, h.want(h.ask("POST", members, `{"name":" "}`), 400, "VAL_FIELD_INVALID"))
	d.check("DELETE "+members+"/{member_id}", h.ok(h.do("DELETE", members+"/"+fmt.Sprint(made["id"]), nil)))
	d.check("DELETE "+members+"/{member_id}", h.want(h.do("DELETE", members+"/"+fmt.Sprint(made["id"]), nil), 404, "RES_NOT_FOUND"))
	for op, bad := range map[string]string{refresh: `{}`, login: `{}`, "POST " + keys: `{"permissions":"read"}`, "POST " + members: `{"name":7}`} {
		path := strings.TrimPrefix(op, "POST ")
		d.check(op, h.want(h.ask("POST", path, bad), 422, ""))
		d.check(op, h.want(h.ask("POST", path, `{"name":"`+strings.Repeat("x", 64<<10)+`"}`), 413, "VAL_FIELD_TOO_LONG"))
		d.check(op, h.want(h.do("POST", path, strings.NewReader(`{}`), "Content-Type", "text/plain"), 415, "VAL_VALIDATION_FAILED"))
	}
	d.check("GET /api/v2/tenant", h.ok(h.get("/api/v2/tenant")))
	driveAudit(h, d)
}

func driveLogins(h *house, d *description) {
	const logins = "/api/v2/auth/logins"
	h.letIn(h.client(), h.key, "read offline_access")
	of := objects(h.data(d.check("GET "+logins, h.ok(h.get(logins))))["logins"])[0]
	d.check("GET "+logins, h.ok(h.get(logins+"?limit=1")))
	d.check("GET "+logins, h.want(h.get(logins+"?cursor=x"), 422, "VAL_FIELD_INVALID"))
	d.check("DELETE "+logins+"/{login_id}", h.ok(h.do("DELETE", logins+"/"+fmt.Sprint(of["id"]), nil)))
	d.check("DELETE "+logins+"/{login_id}", h.want(h.do("DELETE", logins+"/"+fmt.Sprint(of["id"]), nil), 404, "RES_NOT_FOUND"))
}

func driveAudit(h *house, d *description) {
	const audit = "GET /api/v2/audit"
	d.check(audit, h.ok(h.get("/api/v2/audit?limit=1000")))
	d.check(audit, h.ok(h.get("/api/v2/audit?after=99999")))
	lines := d.check(audit, h.ok(h.get("/api/v2/audit", "Accept", "application/jsonl")))
	for line := range strings.Lines(string(lines.body)) {
		d.holds("line of the audit log", []byte(line), "components", "schemas", "AuditEntry")
	}
	d.check(audit, h.want(h.get("/api/v2/audit?%zz"), 400, "VAL_FIELD_INVALID"))
	d.check(audit, h.want(h.get("/api/v2/audit?after=99999", "Accept", "application/jsonl"), 410, "RES_CURSOR_EXPIRED"))
	d.check(audit, h.want(h.get("/api/v2/audit?wait_seconds=61"), 422, "VAL_FIELD_INVALID"))
}

func driveShares(h *house, d *description) {
	const shares = sessionPath + "/shares"
	up := h.up("shared", "up.txt", "0123456789")
	h.change("shared", "out/made.png", "\x89PNG\r\n\x1a\n")
	version := `"artifact_id":"` + fmt.Sprint(up["artifact_id"]) + `"`
	one := "/api/sessions/shared/shares"
	of := func(more string) string {
		h.Helper()
		return "/s/" + tokenIn(d.check("POST "+shares, h.want(h.ask("POST", one, `{"expires_in":60`+more+`}`), 201, "")).json)
	}
	session, artifact, zip, then := of(``), of(`,`+version), of(`,"kind":"zip"`), of(`,"at":1`)
	d.check("POST "+shares, h.want(h.ask("POST", one, `{"expires_in":60,"kind":"all"}`), 400, ""))
	d.check("POST "+shares, h.want(h.ask("POST", one, `{"expires_in":60,"artifact_id":"x"}`), 404, "Artifact not found"))
	d.check("POST "+shares, h.want(h.ask("POST", one, `{"expires_in":60,"kind":"`+strings.Repeat("x", 64<<10)+`"}`), 413, ""))
	d.check("POST "+shares, h.want(h.do("POST", one, strings.NewReader("{}"), "Content-Type", "text/plain"), 415, ""))
	d.check("POST "+shares, h.want(h.ask("POST", one, `{}`), 422, ""))
	list := d.check("GET "+shares, h.ok(h.get(one)))
	for _, op := range []string{"GET " + shares, "POST " + shares, "DELETE " + shares + "/{share_id}"} {
		method, path, _ := strings.Cut(strings.Replace(op, "{share_id}", "x", 1), " ")
		body := strings.NewReader(`{"expires_in":60}`)
		d.check(op, h.want(h.do(method, strings.Replace(path, "{session_id}", "a.b", 1), body, "Content-Type", "application/json"), 400, ""))
		body.Seek(0, 0)
		d.check(op, h.want(h.do(method, strings.Replace(path, "{session_id}", "nobody", 1), body, "Content-Type", "application/json"), 404, "Session not found"))
	}
	revoked := fmt.Sprint(objects(list.json["shares"])[0]["id"])
	const show = "GET /s/{share}"
	d.check(show, h.ok(h.get(session)))
	d.check(show, h.ok(h.get(then)))
	d.check(show, h.ok(h.get(session, "Accept", "text/html")))
	d.check(show, h.ok(h.get(zip)))
	d.check(show, h.want(h.get("/s/x"), 404, "Share not found"))
	d.check(show, h.want(h.get(session+"?log_id=other"), 410, ""))
	driveShownVersion(h, d, show, artifact)
	driveShownVersion(h, d, show+"/artifacts/{artifact_id}", session+"/artifacts/"+fmt.Sprint(up["artifact_id"])+"?mode=stream")
	d.check(show+"/artifacts/{artifact_id}", h.ok(h.get(session+"/artifacts/"+fmt.Sprint(up["artifact_id"]))))
	for op, path := range map[string]string{show + "/state": "/state", show + "/events": "/events", show + "/download": "/download"} {
		d.check(op, h.want(h.get("/s/x"+path), 404, "Share not found"))
	}
	d.check(show+"/artifacts/{artifact_id}", h.want(h.get("/s/x/artifacts/x"), 404, "Share not found"))
	d.check(show+"/state", h.ok(h.get(session+"/state")))
	d.check(show+"/state", h.want(h.get(session+"/state?log_id=other"), 410, ""))
	d.check(show+"/state", h.want(h.get(session+"/state?follow=x"), 422, ""))
	d.check(show+"/events", h.want(h.get(session+"/events?after=999"), 410, ""))
	d.check(show+"/events", h.want(h.get(session+"/events?after=x"), 422, ""))
	d.check(show+"/download", h.ok(h.get(session+"/download")))
	for _, path := range []string{"/events", "/state?follow=1"} {
		s := h.streamAt(session + path + map[string]string{"/events": "?after=0"}[path])
		for range 2 {
			s.next()
		}
		d.stream(show+strings.TrimSuffix(path, "?follow=1"), s)
	}
	d.check("DELETE "+shares+"/{share_id}", h.ok(h.do("DELETE", one+"/"+revoked, nil)))
}

// driveShownVersion drives an address that shows the bytes of a version.
func driveShownVersion(h *house, d *description, op, path string) {
	etag := d.check(op, h.ok(h.get(path))).Header.Get("ETag")
	d.check(op, h.want(h.get(path, "Range", "bytes=2-3"), 206, ""))
	d.check(op, h.want(h.get(path, "If-None-Match", etag), 304, ""))
	d.check(op, h.want(h.get(path, "If-Match", `"other"`), 412, ""))
	d.check(op, h.want(h.get(path, "Range", "bytes=50-60"), 416, ""))
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	d.check(op, h.want(h.get(path+sep+"download=maybe"), 422, ""))
}

package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
)

// behindAccounts makes a server that lets nobody in without a token.
func behindAccounts(s *setup) { s.api.Access.Required = true }

// answers lists the operations that the document gives a status.
func (d *description) answers(status string) []string {
	var list []string
	for _, op := range d.operations() {
		method, path, _ := strings.Cut(op, " ")
		o, _ := d.at("paths", path, strings.ToLower(method), "responses")
		if o[status] != nil {
			list = append(list, op)
		}
	}
	return list
}

// scopeOf returns the scope that an operation needs, "" where a token alone will
// do, and whether it can be used without one behind accounts.
func (d *description) scopeOf(op string) (scope string, public bool) {
	d.Helper()
	method, path, _ := strings.Cut(op, " ")
	o, _ := d.at("paths", path, strings.ToLower(method))
	list, given := o["security"].([]any)
	if !given {
		d.Fatalf("%s does not say who may use it", op)
	}
	for _, item := range list {
		scopes, bearer := asMap(item)["bearer"].([]any)
		if bearer && len(scopes) > 0 {
			return fmt.Sprint(scopes[0]), false
		}
		if bearer {
			// Where a token only helps there is one alternative more: none.
			return "", slices.ContainsFunc(list, func(v any) bool { return len(asMap(v)) == 0 })
		}
	}
	return "", true
}

// driveUnknown comes to a server with accounts without a token.
func driveUnknown(t *testing.T, d *description) {
	w := furnish(open(t, behindAccounts), d)
	for _, op := range d.answers("401") {
		if _, public := d.scopeOf(op); !public {
			d.check(op, w.want(w.send(w.request(op), "Authorization", ""), 401, ""))
		}
	}
}

// driveLimited asks more often than a server lets anybody.
func driveLimited(t *testing.T, d *description) {
	h := open(t, behindAccounts)
	w := furnish(h, d)
	h.setup.api.Rates = api.RateLimits{Tenant: 1, Login: 1}
	h.restart()
	w.house = h
	for _, op := range d.answers("429") {
		a := w.send(w.request(op))
		for range 3 { // one may pass, and takes what there is
			if a.StatusCode != 429 {
				a = w.send(w.request(op))
			}
		}
		d.check(op, w.want(a, 429, ""))
	}
}

// driveFull asks for more than the quotas of a tenant allow.
func driveFull(t *testing.T, d *description) {
	h := open(t)
	w := furnish(h, d)
	used, err := h.accounts.Tenant(context.Background(), "pf_default")
	if err != nil {
		t.Fatal(err)
	}
	one := int64(1)
	limits := account.Limits{Bytes: &used.Bytes, Files: &used.Files, Sessions: &used.Sessions, Followers: &one}
	if err := h.accounts.SetQuota(context.Background(), "pf_default", limits); err != nil {
		t.Fatal(err)
	}
	h.stream("plans", "/events").next()                             // the one follower
	h.streamAt(fmt.Sprintf("/s/%v/events", w.values["path share"])) // and the one of shares
	fresh := w.with(map[string]any{"body path": "/more.md", "body session_id": "more", "path path": "more.md", "path session_id": "plans",
		"GET " + sessionPath + "/state query follow": "true", "query wait_seconds": "1", "GET /s/{share}/state query follow": "true",
		"POST " + library + "/restore body path": "/secret/plan.md", "POST " + library + "/promote body session_id": "plans",
		"POST " + library + "/checkout body path": "/secret/plan.md", "POST " + library + "/checkout body session_id": "plans"})
	for _, op := range d.answers("507") {
		if slices.Contains(notDriven, op+" 507") {
			continue
		}
		q := fresh.request(op)
		if op == "GET /s/{share}" {
			q = fresh.with(map[string]any{"GET /s/{share} path share": w.values["path share"]}).request(op)
			q.query.Set("follow", "true")
		}
		d.check(op, w.want(w.send(q), 507, ""))
	}
}

// driveHeld asks for contents that a scanner is still to look at, as somebody
// else than their owner.
func driveHeld(t *testing.T, d *description) {
	h, _ := scanning(t)
	w := furnish(h, d)
	w.house, _ = h.another()
	w.values["query mode"], w.values["POST "+library+"/promote body path"] = "stream", "/more.md"
	for _, op := range d.answers("503") {
		if slices.Contains(drained, op) {
			continue
		}
		q := w.request(op)
		q.query.Del("at")
		d.check(op, w.want(w.send(q), 503, ""))
	}
}

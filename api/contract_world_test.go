package api_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

// secret is in everything that a world holds, told in what is asked of it.
const (
	secret = "hush-7c1e"
	told   = "said by whoever asks"
)

// plain are parameters and fields that name nothing of anybody's. All others
// have something that stands for them.
var plain = strings.Fields("limit cursor status follow types include_mime include_ext max_size include_uploads mode download wait_seconds name_pattern recursive " +
	"overwrite content_type kind scope state resource run csrf token_type_hint client_name grant_types response_types token_endpoint_auth_method client_uri logo_uri " +
	"tos_uri policy_uri contacts software_id software_version code_verifier code_challenge code_challenge_method response_type")

// world is a tenant that has one of everything. It knows what stands for each
// parameter of the document, so that every operation can be asked for.
type world struct {
	*house
	d *description
	// values are by place and name, such as "path session_id". What stands for
	// it in one operation only has that before it: "GET /s/{share} path share".
	values map[string]any
}

// tenant makes another tenant on the same server and returns the house as that
// uses it.
func (h *house) tenant(id string) *house {
	h.Helper()
	ctx := context.Background()
	if _, err := h.accounts.CreateTenant(ctx, id, id); err != nil {
		h.Fatal(err)
	}
	everything := artifact.Scopes{artifact.Read, artifact.Write, artifact.Delete, artifact.Run, artifact.Admin}
	key, _, err := h.accounts.CreateKey(ctx, id, account.KeyRequest{Name: "first", Scopes: everything})
	if err != nil {
		h.Fatal(err)
	}
	c := *h
	c.key, c.bearer = key, h.tokenOf(key)
	return &c
}

// limit gives the first tenant a quota.
func (h *house) limit(bytes, files, sessions int64) {
	h.Helper()
	limits := account.Limits{Bytes: &bytes, Files: &files, Sessions: &sessions}
	if err := h.accounts.SetQuota(context.Background(), artifact.DefaultTenant, limits); err != nil {
		h.Fatal(err)
	}
}

// furnish gives the tenant of h one of everything.
func furnish(h *house, d *description) *world {
	h.Helper()
	w := &world{house: h, d: d, values: map[string]any{
		"path name": "more.md", "path path": "secret/plan.md",
		"query q": "plans", "query version": 1, "query after": 0, "query at": 1, "query user_code": "BBBB-BBBB",
		"body content": told, "body append": told, "body metadata": map[string]any{"is": told}, "body edits": []any{map[string]any{"old": "first", "new": told}},
		"body device_code": "made-up", "body code": "made-up", "query redirect_uri": callback,
		"body name": "more", "body permissions": []any{"read"}, "body expires_in": 3600, "body at": 1, "body version": 1,
		"body api_key": h.key, "body action": "deny", "body user_code": "BBBB-BBBB", "body grant_type": "refresh_token", "body response_type": "code",
		"body redirect_uri": callback, "body code_challenge": challenge, "body code_challenge_method": "S256", "body redirect_uris": []any{callback},
	}}
	w.put("session_id", "plans")
	uploaded := h.up("plans", "upload.md", secret)
	w.put("artifact_id", uploaded["artifact_id"])
	w.values["query ids"] = uploaded["artifact_id"]
	h.change("plans", "out/made.txt", secret)
	w.put("path", "/secret/plan.md")
	w.values["path path"] = "secret/plan.md"
	w.values["query prefix"], w.values["query path_prefix"] = "/secret", "/secret"
	w.values["body from"], w.values["body to"] = "/secret/plan.md", "/secret/next.md"
	saved := h.data(h.save("/secret/plan.md", "first "+secret, `,"metadata":{"is":"`+secret+`"}`))
	w.values["path memory_id"] = saved["artifact_id"]
	h.data(h.save("/secret/plan.md", "the first, again: "+secret, `,"overwrite":true`))
	w.values["path key_id"] = h.made("/api/v2/keys", `{"name":"`+secret+`","permissions":["read"]}`)["id"]
	w.put("member_id", h.made("/api/v2/members", `{"name":"`+secret+`"}`)["id"])
	share := h.share("plans", ``)
	w.values["path share_id"], w.values["path share"] = share["id"], tokenIn(share)
	w.values["GET /s/{share} path share"] = tokenIn(h.share("plans", `,"artifact_id":"`+fmt.Sprint(uploaded["artifact_id"])+`"`))
	tokens := h.data(h.do("POST", "/api/v2/auth/token", nil, "Authorization", "Bearer "+h.key))
	w.values["body refresh_token"], w.values["body token"] = tokens["refresh_token"], tokens["access_token"]
	w.put("client_id", h.client())
	h.tokenOf(h.key) // a login that nothing else in the world came by
	w.values["path login_id"] = objects(h.data(h.get("/api/v2/auth/logins"))["logins"])[0]["id"]
	w.values["query log_id"] = h.list("?recursive=true")["log_id"]
	return w
}

// put enters what stands for a name wherever it is.
func (w *world) put(name string, value any) {
	for _, place := range []string{"path ", "query ", "body "} {
		w.values[place+name] = value
	}
}

// made sends what makes something and returns its data.
func (h *house) made(path, body string) map[string]any {
	h.Helper()
	return asMap(h.want(h.ask("POST", path, body), 201, "").json["data"])
}

// share makes a share of a session; more are further fields.
func (h *house) share(session, more string) map[string]any {
	h.Helper()
	return h.want(h.ask("POST", "/api/sessions/"+session+"/shares", `{"expires_in":3600`+more+`}`), 201, "").json
}

// tokenIn returns what the address of a share ends with.
func tokenIn(share map[string]any) string {
	text := fmt.Sprint(share["url"])
	return text[strings.LastIndexByte(text, '/')+1:]
}

// with returns the world with some values replaced.
func (w *world) with(values map[string]any) *world {
	c := *w
	c.values = maps.Clone(w.values)
	maps.Copy(c.values, values)
	return &c
}

// request is one that the document describes.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	headers      []string
}

// send sends a request, with more headers.
func (w *world) send(q request, headers ...string) answer {
	w.Helper()
	path := q.path
	if len(q.query) > 0 {
		path += "?" + q.query.Encode()
	}
	return w.do(q.method, path, bytes.NewReader(q.body), append(slices.Clone(q.headers), headers...)...)
}

// value returns what stands for a parameter of an operation.
func (w *world) value(op, key string) (any, bool) {
	if v, ok := w.values[op+" "+key]; ok {
		return v, true
	}
	v, ok := w.values[key]
	return v, ok
}

// request returns a request of an operation, in which something of the world
// stands for every parameter. One that nothing stands for fails the test: a new
// operation has to say here, and in furnish, what it speaks of.
func (w *world) request(op string) request {
	w.Helper()
	method, path, _ := strings.Cut(op, " ")
	q := request{method: method, path: path, query: url.Values{}}
	for key, p := range w.d.parametersOf(op) {
		place, name, _ := strings.Cut(key, " ")
		value, known := w.value(op, key)
		switch {
		case !known && p["required"] == true:
			w.Fatalf("%s: nothing stands for %q; let furnish make something", op, key)
		case known && place == "path":
			q.path = strings.Replace(q.path, "{"+name+"}", fmt.Sprint(value), 1)
		case known && place == "query":
			q.query.Set(name, fmt.Sprint(value))
		case !known && place == "query" && !slices.Contains(plain, name):
			w.Fatalf("%s: nothing stands for the parameter %q; let furnish make something, or say that it is plain", op, name)
		}
	}
	if op == "GET /ws" {
		q.headers = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	}
	o, _ := w.d.at("paths", path, strings.ToLower(method))
	content := asMap(asMap(o["requestBody"])["content"])
	for kind := range content {
		schema, _ := w.d.at("paths", path, strings.ToLower(method), "requestBody", "content", kind, "schema")
		q.body, kind = w.body(op, kind, schema)
		q.headers = append(q.headers, "Content-Type", kind)
	}
	if len(content) > 1 {
		w.Fatalf("%s takes several kinds of bodies: say here which", op)
	}
	return q
}

// body returns a body of an operation, and its media type.
func (w *world) body(op, kind string, schema map[string]any) (body []byte, full string) {
	w.Helper()
	switch kind {
	case "*/*":
		return []byte(told), "text/plain"
	case "multipart/form-data":
		return form(part{name: "more.md", content: told})
	case "application/zip":
		return zipped(w, "more.md", told), kind
	}
	object := w.object(op, schema)
	if kind == "application/x-www-form-urlencoded" {
		fields := url.Values{}
		for name, value := range object {
			fields.Set(name, fmt.Sprint(value))
		}
		return []byte(fields.Encode()), kind
	}
	if kind != "application/json" {
		w.Fatalf("%s takes %s: say here how to make one", op, kind)
	}
	text, err := json.Marshal(object)
	if err != nil {
		w.Fatal(err)
	}
	return text, kind
}

// object returns the fields of a body for which something stands.
func (w *world) object(op string, schema map[string]any) map[string]any {
	w.Helper()
	object := make(map[string]any)
	for name := range asMap(schema["properties"]) {
		value, known := w.value(op, "body "+name)
		switch {
		case known:
			object[name] = value
		case !slices.Contains(plain, name):
			w.Fatalf("%s: nothing stands for the field %q; let furnish make something, or say that it is plain", op, name)
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, known := object[fmt.Sprint(name)]; !known {
			w.Fatalf("%s: nothing stands for the field %q; let furnish make something", op, name)
		}
	}
	return object
}

// zipped returns a zip with these names and contents, in turn.
func zipped(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := zw.Create(files[i])
		if err == nil {
			_, err = f.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

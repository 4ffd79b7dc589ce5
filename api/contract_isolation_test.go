package api_test

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
)

// intruder is somebody whom nothing of a tenant is for.
type intruder struct {
	name, authorization string
	code                string // of the 401
}

// intruders returns who is refused everywhere.
func (w *world) intruders(t *testing.T) []intruder {
	t.Helper()
	everything := artifact.Caller{Tenant: "pf_default", Scopes: artifact.Scopes{artifact.Read, artifact.Write, artifact.Delete, artifact.Run, artifact.Admin}}
	parts := strings.Split(w.bearer, ".")
	theirs := strings.Split(w.tenant("pf_tamper").bearer, ".")
	claims, err := base64.RawURLEncoding.DecodeString(theirs[1])
	if err != nil {
		t.Fatal(err)
	}
	forged := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(claims), "pf_tamper", "pf_default", 1)))
	tokens := w.data(w.exchange(w.key))
	now := w.account.Now()
	return []intruder{
		{"no token", "", "AUTH_UNAUTHORIZED"},
		{"an expired token", "Bearer " + w.signed(everything, now.Add(-2*time.Hour), now.Add(-time.Hour)), "AUTH_TOKEN_EXPIRED"},
		{"a token with another tenant written in", "Bearer " + theirs[0] + "." + forged + "." + theirs[2], "AUTH_TOKEN_INVALID"},
		{"a token with another's signature", "Bearer " + parts[0] + "." + parts[1] + "." + theirs[2], "AUTH_TOKEN_INVALID"},
		{"alg none", "Bearer " + unsigned(parts[1]), "AUTH_TOKEN_INVALID"},
		{"a refresh token", "Bearer " + fmt.Sprint(tokens["refresh_token"]), "AUTH_TOKEN_INVALID"},
		{"an API key", "Bearer " + w.key, "AUTH_INVALID_CREDENTIALS"},
		{"another server's token", "Bearer " + open(t, behindAccounts).bearer, "AUTH_TOKEN_INVALID"},
	}
}

// spoiled returns the world in which what opens something by itself is
// counterfeit: shares, refresh tokens, keys.
func (w *world) spoiled() *world {
	c := w.with(nil)
	for name, value := range c.values {
		switch field := name[strings.LastIndexByte(name, ' ')+1:]; field {
		case "share", "refresh_token", "token", "api_key":
			text := fmt.Sprint(value)
			last := "A"
			if strings.HasSuffix(text, "A") {
				last = "E"
			}
			c.values[name] = text[:len(text)-1] + last
		}
	}
	return c
}

// guessed returns the world as somebody imagines it: the same, but that nothing
// in it is there. Every name is as long as the real one.
func (w *world) guessed() *world {
	c := w.with(nil)
	session, id, path := "plane", "art_0000000000000001"+fmt.Sprintf("%016x", time.Now().UnixNano()), "/secret/plot.md"
	for name := range c.values {
		switch field := name[strings.LastIndexByte(name, ' ')+1:]; field {
		case "session_id", "q":
			c.values[name] = session
		case "artifact_id", "ids":
			c.values[name] = id
		case "path":
			c.values[name] = path
			if name == "path path" {
				c.values[name] = path[1:]
			}
		case "prefix", "path_prefix":
			c.values[name] = "/sekret"
		case "from":
			c.values[name] = path
		case "memory_id":
			c.values[name] = uuid.NewString()
		case "key_id":
			c.values[name] = auth.NewID("key_")
		case "member_id":
			c.values[name] = auth.NewID("usr_")
		case "login_id":
			c.values[name] = auth.NewID("")
		case "share_id":
			c.values[name] = auth.NewID("shr_")
		case "share":
			parts := strings.Split(fmt.Sprint(w.values[name]), ".")
			c.values[name] = auth.NewID("shr_") + "." + parts[1] + "." + parts[2]
		case "refresh_token":
			parts := strings.SplitN(fmt.Sprint(w.values[name]), "_", 3)
			c.values[name] = parts[0] + "_" + auth.NewID("") + "_" + parts[2]
		case "api_key":
			c.values[name] = "tm_pf_nothing_ak_" + fmt.Sprint(w.values[name])[len("tm_pf_default_ak_"):]
		}
	}
	return c
}

// What is another one each time it is made or told.
var (
	varying = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}` + // UUIDs
		`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z?|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [0-9:]{8} GMT` + // times
		`|"(created_at|updated_at|expires_at|timestamp|at)":[0-9.e+]+` +
		`|"id":"[a-z0-9]{26}"` + // of logins
		`|\b(art|att|key|usr|shr|dyn)_[a-z0-9]{20,}|grant:[a-z0-9]+|\b[0-9a-f]{32}\b|eyJ[A-Za-z0-9_.-]+|vrt_[A-Za-z0-9_-]+|\bpf_[a-z0-9]+|[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}` +
		`|"device_code":"[^"]+"|"device_code=[^"]+"|name="csrf" value="[^"]*"|tm_[A-Za-z0-9_-]+`)
	personal = []string{"Date", "X-Request-Id", "X-Correlation-Id", "Content-Length", "Last-Modified"}
)

// told returns an answer without what is another one each time, and without
// what only repeats the request.
func (w *world) told(a answer) string {
	headers := maps.Clone(a.Header)
	for _, name := range personal {
		delete(headers, name)
	}
	var lines []string
	for name, values := range headers {
		lines = append(lines, name+": "+strings.Join(values, ", "))
	}
	sort.Strings(lines)
	text := fmt.Sprint(a.StatusCode, "\n", strings.Join(lines, "\n"), "\n\n", string(a.body))
	names := slices.SortedFunc(maps.Keys(w.values), func(a, b string) int {
		return cmp.Or(len(fmt.Sprint(w.values[b]))-len(fmt.Sprint(w.values[a])), strings.Compare(a, b))
	})
	for _, name := range names {
		if value, ok := w.values[name].(string); ok && len(value) > 4 {
			text = strings.ReplaceAll(text, value, "‹"+name[strings.LastIndexByte(name, ' ')+1:]+"›")
		}
	}
	return varying.ReplaceAllString(text, "‹…›")
}

// own stands for the token of the house that asks.
const own = "own"

// alike asks for something that is there and for the same where it is not, and
// fails the test unless the answers are the same, and give nothing away.
func (w *world) alike(op, who string, guessed *world, first, second *house, authorization string) answer {
	w.Helper()
	asks := func(world *world, h *house, method string) answer {
		c := *world
		c.house = h
		q := c.request(op)
		q.method = method
		if authorization == own {
			return c.send(q, "Authorization", "Bearer "+h.bearer)
		}
		return c.send(q, "Authorization", authorization)
	}
	method, _, _ := strings.Cut(op, " ")
	a, b := asks(w, first, method), asks(guessed, second, method)
	if diff := gocmp.Diff(guessed.told(b), w.told(a)); diff != "" {
		w.Errorf("%s by %s tells what is there (-absent +there):\n%s", op, who, diff)
	}
	if text := fmt.Sprint(a.Header, string(a.body)); strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
		w.Errorf("%s by %s gives away: %.300s", op, who, text)
	}
	if method == http.MethodGet && a.StatusCode != http.StatusSwitchingProtocols {
		if head := asks(w, first, "HEAD"); head.StatusCode != a.StatusCode || len(head.body) != 0 {
			w.Errorf("HEAD of %s by %s: %d, GET %d", op, who, head.StatusCode, a.StatusCode)
		}
	}
	return a
}

// Nothing of a tenant can be read or changed by anybody else, or told from what
// is not there: by any operation of the document, so that a new one is included
// by itself.
func TestIsolation(t *testing.T) {
	now := time.Now()
	d := describe(t)
	h := open(t, behindAccounts, func(s *setup) { s.account.Now = func() time.Time { return now } })
	whole := furnish(h, d)
	w := whole.spoiled()
	guessed := w.guessed()
	for range 20 { // so that user codes are refused to strangers all the time
		h.get("/device?user_code=BBBB-BBBB", "Authorization", "")
	}
	intruders := w.intruders(t)
	lacking := map[string]*house{}
	for _, scope := range []string{"read", "write", "delete", "run", "admin"} {
		others := slices.DeleteFunc([]string{"read", "write", "delete", "run", "admin"}, func(s string) bool { return s == scope })
		key, _ := h.newKey(`"permissions":["` + strings.Join(others, `","`) + `"]`)
		lacking[scope] = h.with(h.tokenOf(key))
	}
	before := whole.state()
	if text := fmt.Sprint(before); strings.Count(text, secret) < 15 || len(before) < 25 {
		t.Fatalf("the world is poorly furnished: %d answers, %v", len(before), slices.Sorted(maps.Keys(before)))
	}
	for i, op := range d.operations() {
		scope, public := d.scopeOf(op)
		for _, who := range intruders {
			if op == "POST /api/v2/auth/token" && who.name == "an API key" {
				continue // it is what the operation is for
			}
			a := w.alike(op, who.name, guessed, h, h, who.authorization)
			if public {
				continue
			}
			if w.want(a, 401, ""); strings.Contains(op, " /api/v2/") {
				w.wantEnveloped(a, who.code)
			}
		}
		theirs, others := h.tenant(fmt.Sprintf("pf_a%d", i)), h.tenant(fmt.Sprintf("pf_b%d", i))
		w.alike(op, "another tenant", guessed, theirs, others, own)
		if scope == "" {
			continue
		}
		a := w.want(w.alike(op, "a token without "+scope, guessed, lacking[scope], lacking[scope], own), 403, "")
		e := asMap(a.json["error"])
		if got := fmt.Sprint(asMap(e["details"])["required_scopes"]); got != "["+scope+"]" || e["message"] != "Insufficient permissions. Required scope(s): "+scope {
			t.Errorf("%s without %s: %s", op, scope, a.body)
		}
	}
	if diff := gocmp.Diff(before, whole.state()); diff != "" {
		t.Errorf("something was changed:\n%s", diff)
	}
	whole.data(whole.refresh(whole.values["body refresh_token"]))
}

// Another tenant's WebSocket on a session of that name is on its own.
func TestIsolationOfSockets(t *testing.T) {
	h := open(t, behindAccounts)
	furnish(h, describe(t))
	other := h.tenant("pf_other")
	c := other.dial("/ws?session_id=plans&after=0")
	if f := c.await("connection"); f.Data["cursor"] != 0.0 {
		t.Errorf("%v", f)
	}
	h.up("plans", "more.md", secret)
	other.up("plans", "own.md", "own")
	if f := c.await("attachment_uploaded"); f.Seq != 1 || f.Data["name"] != "own.md" {
		t.Errorf("%v", f)
	}
}

// state returns everything that the tenant has, by its own token.
func (w *world) state() map[string]string {
	w.Helper()
	all := map[string]string{}
	see := func(path string, headers ...string) answer {
		w.Helper()
		a := w.ok(w.get(path, headers...))
		text := string(a.body)
		if data, ok := a.json["data"]; ok {
			b, err := json.Marshal(data)
			if err != nil {
				w.Fatal(err)
			}
			text = string(b)
		}
		all[path] = text
		return a
	}
	for _, s := range objects(see("/api/sessions?limit=1000").json["sessions"]) {
		one := "/api/sessions/" + fmt.Sprint(s["session_id"])
		see(one)
		see(one + "/shares")
		see(one + "/artifact-events?wait_seconds=0&include_uploads=1&limit=100")
		see("/api/uploads/" + fmt.Sprint(s["session_id"]))
		for _, f := range objects(see(one + "/state").json["files"]) {
			see(fmt.Sprintf("%s/artifacts/%v", one, f["artifact_id"]))
			see(fmt.Sprintf("%s/artifacts/%v?mode=stream", one, f["artifact_id"]))
		}
	}
	for _, f := range objects(asMap(see(library + "/list?recursive=true").json["data"])["files"]) {
		path := fmt.Sprint(f["path"])
		see(library + "?path=" + path)
		see(library + "/raw" + path)
		see(library + "/raw" + path + "?version=1")
		see(library + "/versions?path=" + path)
		see("/api/v2/memories/" + fmt.Sprint(f["artifact_id"]))
	}
	for _, path := range []string{library + "/list", library + "/archive", library + "/events?limit=1000", "/api/v2/keys", "/api/v2/members", "/api/v2/tenant", "/api/v2/auth/verify", "/api/v2/auth/logins"} {
		see(path)
	}
	see("/s/" + fmt.Sprint(w.values["GET /s/{share} path share"]))
	see("/s/" + fmt.Sprint(w.values["path share"]) + "/state")
	var changes []string
	for line := range strings.Lines(string(w.ok(w.get("/api/v2/audit", "Accept", "application/jsonl")).body)) {
		if !strings.Contains(line, `"login.failed"`) { // which a tenant is to be told of
			changes = append(changes, line[strings.Index(line, `"at"`):])
		}
	}
	all["audit"] = strings.Join(changes, "")
	return all
}

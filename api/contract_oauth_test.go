package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/artifact"
)

// The doors of OAuth as clients know them (contract, auth §5).

const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // of RFC 7636, appendix B
	challenge   = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	callback    = "http://localhost:5001/cb"
)

// fields sends a form of names and values.
func (h *house) fields(path string, pairs ...string) answer {
	h.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return h.do("POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// wantOAuth fails the test unless the answer has the status and the code of an
// error of OAuth, in its form. An empty code is any.
func (h *house) wantOAuth(a answer, status int, code string) answer {
	h.Helper()
	if a.StatusCode != status {
		h.Fatalf("%s %s: status %d, want %d: %.300s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
	}
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" || a.Header.Get(api.CorrelationHeader) == "" {
		h.Errorf("%s: headers %v", a.Request.URL.Path, a.Header)
	}
	description, _ := a.json["error_description"].(string)
	if got, _ := a.json["error"].(string); len(a.json) != 2 || got == "" || description == "" || code != "" && got != code {
		h.Errorf("%s %s: %s, want the error %s and its description", a.Request.Method, a.Request.URL.Path, a.body, code)
	}
	return a
}

// oauthOK is ok for answers of OAuth: bare, and not to be kept.
func (h *house) oauthOK(a answer, status int) answer {
	h.Helper()
	h.want(a, status, "")
	if _, data := a.json["data"]; data || a.Header.Get("Cache-Control") != "no-store" || a.json == nil {
		h.Errorf("%s: %s, Cache-Control %q", a.Request.URL.Path, a.body, a.Header.Get("Cache-Control"))
	}
	return a
}

// client registers a client and returns its id.
func (h *house) client() string {
	h.Helper()
	a := h.oauthOK(h.ask("POST", "/oauth/register", `{"client_name":"Robot","redirect_uris":["http://localhost:0/cb"]}`), 201)
	return fmt.Sprint(a.json["client_id"])
}

// device begins the device flow.
func (h *house) device(client, scope string) (deviceCode, userCode string) {
	h.Helper()
	a := h.oauthOK(h.fields("/oauth/device_authorization", "client_id", client, "scope", scope), 200)
	return fmt.Sprint(a.json["device_code"]), fmt.Sprint(a.json["user_code"])
}

func TestDiscovery(t *testing.T) {
	h := open(t)
	const base = testIssuer
	for path, want := range map[string]string{
		"/.well-known/oauth-authorization-server": `{"issuer":"` + base + `","authorization_endpoint":"` + base + `/oauth/authorize","token_endpoint":"` + base + `/oauth/token",
			"device_authorization_endpoint":"` + base + `/oauth/device_authorization","registration_endpoint":"` + base + `/oauth/register","revocation_endpoint":"` + base + `/oauth/revoke",
			"token_endpoint_auth_methods_supported":["none"],"revocation_endpoint_auth_methods_supported":["none"],
			"response_types_supported":["code"],"response_modes_supported":["query"],
			"grant_types_supported":["authorization_code","refresh_token","` + deviceGrant + `"],
			"code_challenge_methods_supported":["S256"],"scopes_supported":["read","write","run","profile","offline_access"],
			"authorization_response_iss_parameter_supported":true,"service_documentation":"` + base + `/openapi.json"}`,
		"/.well-known/oauth-protected-resource": `{"resource":"` + base + `","resource_name":"Vitrine","authorization_servers":["` + base + `"],
			"scopes_supported":["read","write","run","profile","offline_access"],"bearer_methods_supported":["header"],
			"resource_signing_alg_values_supported":["HS256"],"resource_documentation":"` + base + `/openapi.json"}`,
	} {
		a := h.oauthOK(h.get(path), 200)
		var expected map[string]any
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(expected, a.json); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
}

// What two clients that exist send, to the letter.
func TestRegisterGolden(t *testing.T) {
	h := open(t)
	for name, row := range map[string]struct{ request, echo string }{
		"TypeScript": {
			`{"client_name":"Plugin","redirect_uris":["http://localhost:8080/callback"],"grant_types":["` + deviceGrant + `","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"read write offline_access"}`,
			`{"client_name":"Plugin","redirect_uris":["http://localhost:8080/callback"],"grant_types":["` + deviceGrant + `","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"read write offline_access"}`,
		},
		"Python": {
			`{"client_name":"Agent","redirect_uris":["http://localhost:0/callback"],"grant_types":["` + deviceGrant + `","refresh_token"],"token_endpoint_auth_method":"none"}`,
			`{"client_name":"Agent","redirect_uris":["http://localhost:0/callback"],"grant_types":["` + deviceGrant + `","refresh_token"],"token_endpoint_auth_method":"none"}`,
		},
		"one with more": {
			`{"redirect_uris":["https://a.example/cb"],"application_type":"web","jwks":{"keys":[]},"client_name#de":"Ü","logo_uri":null,"contacts":["a@a.example"]}`,
			`{"redirect_uris":["https://a.example/cb"],"grant_types":["authorization_code","refresh_token","` + deviceGrant + `"],"response_types":["code"],"token_endpoint_auth_method":"none","contacts":["a@a.example"]}`,
		},
	} {
		a := h.oauthOK(h.ask("POST", "/oauth/register", row.request), 201)
		id, _ := a.json["client_id"].(string)
		issued, _ := a.json["client_id_issued_at"].(float64)
		if !strings.HasPrefix(id, "dyn_") || issued < 1e9 {
			t.Errorf("%s: %s", name, a.body)
		}
		delete(a.json, "client_id")
		delete(a.json, "client_id_issued_at")
		var want map[string]any
		if err := json.Unmarshal([]byte(row.echo), &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, a.json); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for body, code := range map[string]string{
		``:                                       "invalid_client_metadata",
		`{`:                                      "invalid_client_metadata",
		`[]`:                                     "invalid_client_metadata",
		`"x"`:                                    "invalid_client_metadata",
		`{"client_name":1}`:                      "invalid_client_metadata",
		`{"redirect_uris":"https://a.example"}`:  "invalid_client_metadata",
		`{"redirect_uris":[1]}`:                  "invalid_client_metadata",
		`{"scope":"read","scope":"write"}`:       "invalid_client_metadata",
		`{"client_name":"\ud800"}`:               "invalid_client_metadata",
		`{"grant_types":["client_credentials"]}`: "invalid_client_metadata",
		`{"token_endpoint_auth_method":"client_secret_post"}`: "invalid_client_metadata",
		`{"redirect_uris":["http://a.example/cb"]}`:           "invalid_redirect_uri",
		`{"redirect_uris":["javascript:alert(1)"]}`:           "invalid_redirect_uri",
		`{"redirect_uris":["https://a.example/#x"]}`:          "invalid_redirect_uri",
		`{"grant_types":["authorization_code"]}`:              "invalid_redirect_uri",
	} {
		h.wantOAuth(h.ask("POST", "/oauth/register", body), 400, code)
	}
	h.wantOAuth(h.do("POST", "/oauth/register", strings.NewReader("{}"), "Content-Type", "text/plain"), 415, "invalid_request")
	const longest = 8 << 10
	filled := func(n int) string { return `{"x":"` + strings.Repeat("x", n-len(`{"x":""}`)) + `"}` }
	h.oauthOK(h.ask("POST", "/oauth/register", filled(longest)), 201)
	h.wantOAuth(h.ask("POST", "/oauth/register", filled(longest+1)), 413, "invalid_request")
	unannounced := io.MultiReader(strings.NewReader(filled(longest + 1)))
	h.wantOAuth(h.do("POST", "/oauth/register", unannounced, "Content-Type", "application/json"), 413, "invalid_request")
}

// The device flow as both clients go through it, with one POST for the person.
func TestDeviceFlowGolden(t *testing.T) {
	h := open(t)
	client := h.client()
	a := h.oauthOK(h.fields("/oauth/device_authorization", "client_id", client, "scope", "read write offline_access"), 200)
	code, user := fmt.Sprint(a.json["device_code"]), fmt.Sprint(a.json["user_code"])
	if !regexp.MustCompile(`^[A-Z]{4}-[A-Z]{4}$`).MatchString(user) || len(code) < 32 {
		t.Errorf("codes %q and %q", code, user)
	}
	want := map[string]any{"device_code": code, "user_code": user, "verification_uri": testIssuer + "/device",
		"verification_uri_complete": testIssuer + "/device?user_code=" + user, "expires_in": 900.0, "interval": 5.0}
	if d := cmp.Diff(want, a.json); d != "" {
		t.Errorf("device (-want +got):\n%s", d)
	}
	poll := func(client string) answer {
		return h.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client)
	}
	h.wantOAuth(poll(client), 400, "authorization_pending")
	h.wantOAuth(poll(client), 400, "slow_down")
	h.wantOAuth(poll(h.client()), 400, "invalid_grant")
	h.wantOAuth(poll("dyn_x"), 401, "invalid_client")
	typed := strings.ToLower(strings.ReplaceAll(user, "-", ""))
	if a := h.fields("/device", "user_code", typed, "api_key", h.key, "action", "approve"); a.StatusCode != 200 {
		t.Fatalf("approve: %d %s", a.StatusCode, a.body)
	}
	a = h.oauthOK(poll(client), 200)
	access, refresh := fmt.Sprint(a.json["access_token"]), fmt.Sprint(a.json["refresh_token"])
	if !strings.HasPrefix(access, "eyJ") || !strings.HasPrefix(refresh, "vrt_") {
		t.Errorf("tokens %s", a.body)
	}
	want = map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 259200.0, "refresh_token": refresh, "scope": "read write offline_access"}
	if d := cmp.Diff(want, a.json); d != "" {
		t.Errorf("tokens (-want +got):\n%s", d)
	}
	who, err := h.accounts.Authenticate(t.Context(), access)
	if err != nil || who.Kind != artifact.CallerOAuth || who.Client != client || who.Tenant != artifact.DefaultTenant {
		t.Errorf("the token is of %+v, %v", who, err)
	}
	h.wantOAuth(poll(client), 400, "invalid_grant")
	renew := func(pairs ...string) answer {
		return h.fields("/oauth/token", append([]string{"grant_type", "refresh_token", "refresh_token", refresh}, pairs...)...)
	}
	h.wantOAuth(renew("client_id", client, "scope", "read run"), 400, "invalid_scope")
	h.wantOAuth(renew("client_id", h.client()), 400, "invalid_grant")
	a = h.oauthOK(renew("client_id", client, "scope", "read"), 200)
	if a.json["scope"] != "read" || a.json["expires_in"] != 259200.0 || a.json["refresh_token"] == refresh || a.json["refresh_token"] == nil {
		t.Errorf("narrowed: %s", a.body)
	}
	// Two that refresh at once get the same.
	if again := renew("client_id", client, "scope", "read"); string(again.body) != string(a.body) {
		t.Errorf("again: %s, want %s", again.body, a.body)
	}
	for _, token := range []string{"garbage", fmt.Sprint(a.json["access_token"]), fmt.Sprint(a.json["access_token"])} {
		if a := h.fields("/oauth/revoke", "token", token, "client_id", client); a.StatusCode != 200 || len(a.body) > 0 || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("revoke: %d %q", a.StatusCode, a.body)
		}
	}
	if _, err := h.accounts.Authenticate(t.Context(), access); err == nil {
		t.Error("an access token outlives its grant")
	}
	h.wantOAuth(renew("client_id", client), 400, "invalid_grant")
}

// TestManyDevices: who starts without end is told when there will be room.
func TestManyDevices(t *testing.T) {
	h := open(t)
	client := h.client()
	for range 100 {
		h.device(client, "read")
	}
	a := h.wantOAuth(h.fields("/oauth/device_authorization", "client_id", client), 429, "temporarily_unavailable")
	if wait, _ := strconv.Atoi(a.Header.Get("Retry-After")); wait < 800 || wait > 900 {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	h.device(h.client(), "read")
}

func TestDeviceDenied(t *testing.T) {
	h := open(t)
	client := h.client()
	code, user := h.device(client, "read offline_access")
	if a := h.fields("/device", "user_code", user, "api_key", h.key, "action", "deny"); a.StatusCode != 200 {
		t.Fatalf("deny: %d %s", a.StatusCode, a.body)
	}
	h.wantOAuth(h.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client), 400, "access_denied")
	if a := h.fields("/device", "user_code", user, "api_key", h.key, "action", "approve"); a.StatusCode != 404 {
		t.Errorf("approve what was denied: %d", a.StatusCode)
	}
}

// Everything that the token endpoint and its neighbours refuse.
func TestOAuthErrors(t *testing.T) {
	h := open(t)
	client := h.client()
	onlyCode := fmt.Sprint(h.ask("POST", "/oauth/register", `{"redirect_uris":["`+callback+`"],"grant_types":["authorization_code"]}`).json["client_id"])
	onlyDevice := fmt.Sprint(h.ask("POST", "/oauth/register", `{}`).json["client_id"])
	for _, row := range []struct {
		path   string
		form   string
		status int
		code   string
	}{
		{"token", "", 400, "invalid_request"},
		{"token", "client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=password&client_id=" + client, 400, "unsupported_grant_type"},
		{"token", "grant_type=client_credentials&client_id=" + client, 400, "unsupported_grant_type"},
		{"token", "grant_type=refresh_token&refresh_token=x", 400, "invalid_request"},
		{"token", "grant_type=refresh_token&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=refresh_token&refresh_token=x&client_id=" + client, 400, "invalid_grant"},
		{"token", "grant_type=refresh_token&refresh_token=x&client_id=dyn_x", 401, "invalid_client"},
		{"token", "grant_type=refresh_token&refresh_token=x&refresh_token=x&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=refresh_token&refresh_token=x&resource=https://a.example&client_id=" + client, 400, "invalid_target"},
		{"token", "grant_type=" + deviceGrant + "&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=" + deviceGrant + "&device_code=x&client_id=" + client, 400, "invalid_grant"},
		{"token", "grant_type=" + deviceGrant + "&device_code=x&client_id=" + onlyCode, 400, "unauthorized_client"},
		{"token", "grant_type=" + deviceGrant + "&device_code=x&client_id=dyn_x", 401, "invalid_client"},
		{"token", "grant_type=authorization_code&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=authorization_code&code=x&redirect_uri=x&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=authorization_code&code=x&code_verifier=" + verifier + "&client_id=" + client, 400, "invalid_request"},
		{"token", "grant_type=authorization_code&code=x&redirect_uri=x&code_verifier=" + verifier + "&client_id=" + client, 400, "invalid_grant"},
		{"token", "grant_type=authorization_code&code=x&redirect_uri=x&code_verifier=" + verifier + "&client_id=" + onlyDevice, 400, "unauthorized_client"},
		{"token", "grant_type=authorization_code&code=x&redirect_uri=x&code_verifier=" + verifier + "&resource=x&client_id=" + client, 400, "invalid_target"},
		{"token", "%zz", 400, "invalid_request"},
		{"token", "grant_type=%ff", 400, "invalid_request"},
		{"token", "grant_type=a%00", 400, "invalid_request"},
		{"device_authorization", "", 400, "invalid_request"},
		{"device_authorization", "client_id=dyn_x", 401, "invalid_client"},
		{"device_authorization", "client_id=" + onlyCode, 400, "unauthorized_client"},
		{"device_authorization", "scope=delete&client_id=" + client, 400, "invalid_scope"},
		{"device_authorization", "scope=read&scope=write&client_id=" + client, 400, "invalid_request"},
		{"revoke", "", 400, "invalid_request"},
		{"revoke", "token=x&token=y", 400, "invalid_request"},
	} {
		a := h.do("POST", "/oauth/"+row.path, strings.NewReader(row.form), "Content-Type", "application/x-www-form-urlencoded")
		if a.StatusCode != row.status || a.json["error"] != row.code {
			t.Errorf("%s with %s: %d %s, want %d %s", row.path, row.form, a.StatusCode, a.body, row.status, row.code)
			continue
		}
		h.wantOAuth(a, row.status, row.code)
	}
	for _, path := range []string{"token", "device_authorization", "revoke"} {
		h.wantOAuth(h.ask("POST", "/oauth/"+path, `{"grant_type":"refresh_token"}`), 415, "invalid_request")
		h.wantOAuth(h.fields("/oauth/"+path, "x", strings.Repeat("x", 65<<10)), 413, "invalid_request")
		h.wantOAuth(h.get("/oauth/"+path), 405, "invalid_request")
	}
	// Some clients name themselves in a header, to which a secret belongs.
	for _, row := range []struct {
		user, password, form string
		status               int
		code                 string
	}{
		{client, "", "", 400, "invalid_grant"},
		{client, "", "&client_id=" + client, 400, "invalid_grant"},
		{client, "", "&client_id=dyn_x", 400, "invalid_request"},
		{client, "secret", "", 401, "invalid_client"},
		{"", "", "&client_id=" + client, 400, "invalid_grant"},
		{"", "", "", 400, "invalid_request"},
		{"dyn_x", "", "", 401, "invalid_client"},
	} {
		a := h.do("POST", "/oauth/token", strings.NewReader("grant_type=refresh_token&refresh_token=x"+row.form), "Content-Type", "application/x-www-form-urlencoded",
			"Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(row.user+":"+row.password)))
		h.wantOAuth(a, row.status, row.code)
	}
	h.wantOAuth(h.get("/oauth/nothing"), 404, "not_found")
	h.wantOAuth(h.get("/.well-known/nothing"), 404, "not_found")
}

// FuzzTokenForm: whatever is sent, nothing breaks and nobody gets a token.
func FuzzTokenForm(f *testing.F) {
	shared := open(f)
	client := shared.client()
	code, user := shared.device(client, "read offline_access")
	shared.fields("/device", "user_code", user, "api_key", shared.key, "action", "approve")
	tokens := shared.oauthOK(shared.fields("/oauth/token", "grant_type", deviceGrant, "device_code", code, "client_id", client), 200)
	refresh := fmt.Sprint(tokens.json["refresh_token"])
	waiting, _ := shared.device(client, "read")
	for _, s := range []string{
		"", "grant_type=", "grant_type=refresh_token&refresh_token=" + refresh + "x&client_id=" + client,
		"grant_type=refresh_token&refresh_token=" + strings.Replace(refresh, "_0_", "_1_", 1) + "&client_id=" + client,
		"grant_type=" + deviceGrant + "&client_id=" + client + "&device_code=" + waiting,
		"grant_type=" + deviceGrant + "&client_id=" + client + "&device_code=" + code,
		"grant_type=authorization_code&client_id=" + client + "&code=x&redirect_uri=" + callback + "&code_verifier=" + verifier,
		"grant_type=a;b&c", "%", "a=%00", "a=%ff", strings.Repeat("a=b&", 1000), "grant_type=client_credentials&client_secret=x", "{}", "&&&=&=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if strings.Contains(body, refresh) && !strings.Contains(body, refresh+"x") {
			return // that one is good
		}
		h := shared.in(t)
		for _, path := range []string{"token", "device_authorization", "revoke"} {
			a := h.do("POST", "/oauth/"+path, strings.NewReader(body), "Content-Type", "application/x-www-form-urlencoded")
			switch {
			case a.StatusCode >= 500, path == "token" && a.StatusCode < 400, strings.Contains(string(a.body), "access_token"):
				t.Fatalf("%s answers %d %s", path, a.StatusCode, a.body)
			case a.StatusCode >= 400:
				h.wantOAuth(a, a.StatusCode, "")
			}
		}
	})
}

// driveOAuth brings about what the doors of OAuth can answer.
func driveOAuth(h *house, d *description) {
	d.check("GET /.well-known/oauth-authorization-server", h.oauthOK(h.get("/.well-known/oauth-authorization-server"), 200))
	d.check("GET /.well-known/oauth-protected-resource", h.oauthOK(h.get("/.well-known/oauth-protected-resource"), 200))
	const register, device, token, revoke = "POST /oauth/register", "POST /oauth/device_authorization", "POST /oauth/token", "POST /oauth/revoke"
	client := fmt.Sprint(d.check(register, h.oauthOK(h.ask("POST", "/oauth/register", `{"client_name":"R","redirect_uris":["`+callback+`"]}`), 201)).json["client_id"])
	d.check(register, h.wantOAuth(h.ask("POST", "/oauth/register", `{"scope":1}`), 400, ""))
	d.check(register, h.wantOAuth(h.ask("POST", "/oauth/register", strings.Repeat(" ", 9<<10)), 413, ""))
	d.check(register, h.wantOAuth(h.fields("/oauth/register"), 415, ""))
	started := d.check(device, h.oauthOK(h.fields("/oauth/device_authorization", "client_id", client, "scope", "read offline_access"), 200))
	code, user := fmt.Sprint(started.json["device_code"]), fmt.Sprint(started.json["user_code"])
	d.check(device, h.wantOAuth(h.fields("/oauth/device_authorization", "client_id", client, "scope", "none"), 400, ""))
	d.check(device, h.wantOAuth(h.fields("/oauth/device_authorization", "client_id", "dyn_x"), 401, ""))
	poll := []string{"grant_type", deviceGrant, "device_code", code, "client_id", client}
	d.check(token, h.wantOAuth(h.fields("/oauth/token", poll...), 400, "authorization_pending"))
	drivePages(h, d, client, user)
	tokens := d.check(token, h.oauthOK(h.fields("/oauth/token", poll...), 200))
	d.check(token, h.wantOAuth(h.fields("/oauth/token", "grant_type", "refresh_token", "refresh_token", "x", "client_id", "dyn_x"), 401, ""))
	d.check(revoke, h.want(h.fields("/oauth/revoke", "token", fmt.Sprint(tokens.json["access_token"])), 200, ""))
	d.check(revoke, h.wantOAuth(h.fields("/oauth/revoke"), 400, ""))
	for _, op := range []string{device, token, revoke, "POST /device", "POST /oauth/authorize"} {
		path := strings.TrimPrefix(op, "POST ")
		d.check(op, h.want(h.fields(path, "x", strings.Repeat("x", 65<<10)), 413, ""))
		d.check(op, h.want(h.ask("POST", path, "{}"), 415, ""))
	}
}

func drivePages(h *house, d *description, client, user string) {
	page := func(op string, a answer, status int) answer {
		h.Helper()
		h.wantPage(a, status)
		return d.check(op, a)
	}
	const show, decide, ask, answer = "GET /device", "POST /device", "GET /oauth/authorize", "POST /oauth/authorize"
	page(show, h.get("/device?user_code="+user), 200)
	page(show, h.get("/device?user_code=x"), 404)
	page(decide, h.fields("/device", "user_code", user, "api_key", h.key), 400)
	page(decide, h.fields("/device", "user_code", user, "action", "approve"), 401)
	page(decide, h.fields("/device", "user_code", "x", "action", "deny", "api_key", h.key), 404)
	page(decide, h.fields("/device", "user_code", user, "action", "approve", "api_key", h.key), 200)
	for a := h.get("/device?user_code=BBBB-BBBB"); ; a = h.get("/device?user_code=BBBB-BBBB") {
		if a.StatusCode == 429 {
			page(show, a, 429)
			break
		}
	}
	for a := h.fields("/device", "user_code", "BBBB-BBBB", "action", "deny", "api_key", h.key); ; {
		if a.StatusCode == 429 {
			page(decide, a, 429)
			break
		}
		a = h.fields("/device", "user_code", "BBBB-BBBB", "action", "deny", "api_key", h.key)
	}
	form := hidden(h.wantPage(page(ask, h.get(authorize(client)), 200), 200))
	page(ask, h.get(authorize("dyn_x")), 400)
	site := fmt.Sprint(h.ask("POST", "/oauth/register", `{"redirect_uris":["https://a.example/cb"]}`).json["client_id"])
	page(ask, h.get(authorize(site, "redirect_uri", "https://a.example/cb", "code_challenge", "")), 400)
	d.check(ask, h.want(h.get(authorize(client, "code_challenge", "")), 302, ""))
	page(answer, h.fields("/oauth/authorize", form...), 400)
	page(answer, h.fields("/oauth/authorize", append(form, "action", "deny")...), 401)
	d.check(answer, h.want(h.fields("/oauth/authorize", append(form, "action", "approve", "api_key", h.key)...), 302, ""))
}

package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vitrine-hq/vitrine/openapi"
)

// description checks answers against the OpenAPI document, and notes what it
// has seen.
type description struct {
	testing.TB
	doc  map[string]any
	c    *jsonschema.Compiler
	seen map[string]bool // operation and status, "GET /health 200"
}

func describe(t testing.TB) *description {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.JSON()))
	if err != nil {
		t.Fatal(err)
	}
	d := &description{TB: t, doc: doc.(map[string]any), c: jsonschema.NewCompiler(), seen: make(map[string]bool)}
	strict(d.doc)
	if err := d.c.AddResource("vitrine.json", d.doc); err != nil {
		t.Fatal(err)
	}
	return d
}

// strict forbids members that the document does not name, unless it says that
// there may be others. Clients must not be so strict; the document's test must.
func strict(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, lists := v["properties"].(map[string]any)
		if _, given := v["additionalProperties"]; lists && !given && v["type"] != nil {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			strict(x)
		}
	case []any:
		for _, x := range v {
			strict(x)
		}
	}
}

// schema compiles the schema at a place of the document.
func (d *description) schema(place ...string) *jsonschema.Schema {
	d.Helper()
	pointer := "vitrine.json#"
	for _, p := range place {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", "*", "%2A").Replace(p)
	}
	s, err := d.c.Compile(pointer)
	if err != nil {
		d.Fatalf("schema %s: %v", pointer, err)
	}
	return s
}

// at returns what stands at a place, following one reference.
func (d *description) at(place ...string) (map[string]any, []string) {
	m := d.doc
	for i, p := range place {
		next, ok := m[p].(map[string]any)
		if !ok {
			return nil, nil
		}
		if ref, ok := next["$ref"].(string); ok {
			to := strings.Split(strings.TrimPrefix(ref, "#/"), "/")
			return d.at(append(to, place[i+1:]...)...)
		}
		m = next
	}
	return m, place
}

// holds fails the test unless text is what the schema at a place describes.
func (d *description) holds(what string, text []byte, place ...string) {
	d.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		d.Errorf("%s is no JSON: %v: %.200q", what, err, text)
		return
	}
	if err := d.schema(place...).Validate(value); err != nil {
		d.Errorf("%s is not as described: %v\n%.600s", what, err, text)
	}
}

// check holds an answer against the operation "METHOD /path/{of}/document".
func (d *description) check(operation string, a answer) answer {
	d.Helper()
	method, path, _ := strings.Cut(operation, " ")
	status := fmt.Sprint(a.StatusCode)
	d.seen[operation+" "+status] = true
	found, place := d.at("paths", path, strings.ToLower(method), "responses", status)
	if found == nil {
		d.Errorf("%s answers %s, which is not described: %.200s", operation, status, a.body)
		return a
	}
	d.headers(operation+" "+status, a, place)
	content, _ := found["content"].(map[string]any)
	if content == nil {
		if len(a.body) > 0 {
			d.Errorf("%s %s has a body, which is not described: %.200q", operation, status, a.body)
		}
		return a
	}
	got, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		d.Errorf("%s %s: Content-Type %q", operation, status, a.Header.Get("Content-Type"))
		return a
	}
	if _, ok := content[got]; !ok {
		if _, all := content["*/*"]; !all {
			d.Errorf("%s %s: Content-Type %q is not described", operation, status, got)
		}
		return a
	}
	if got == "application/json" && a.Request.Method != "HEAD" {
		d.holds(operation+" "+status, a.body, append(slices.Clone(place), "content", got, "schema")...)
	}
	return a
}

// headers holds the headers of an answer against those that are described.
func (d *description) headers(what string, a answer, place []string) {
	d.Helper()
	found, _ := d.at(place...)
	for name, described := range asMap(found["headers"]) {
		header := asMap(described)
		given := a.Header.Get(name)
		switch {
		case header["schema"] == nil:
			d.Errorf("%s: header %s has no schema", what, name)
		case given == "" && header["required"] == true:
			d.Errorf("%s: header %s is missing", what, name)
		case given != "":
			var value any = given
			if asMap(header["schema"])["type"] == "integer" {
				value = json.Number(given)
			}
			if err := d.schema(append(slices.Clone(place), "headers", name, "schema")...).Validate(value); err != nil {
				d.Errorf("%s: header %s is %q: %v", what, name, given, err)
			}
		}
	}
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// operations lists the document's, as "METHOD /path".
func (d *description) operations() []string {
	var list []string
	for path, item := range asMap(d.doc["paths"]) {
		for method := range asMap(item) {
			if method != "parameters" {
				list = append(list, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Every operation of the server is described and every described one is there.
func TestEveryOperationIsDescribed(t *testing.T) {
	d, h := describe(t), open(t)
	var served []string
	for _, op := range h.server.Operations() {
		served = append(served, op.Method+" "+strings.NewReplacer("{$}", "", "...}", "}").Replace(op.Pattern))
	}
	slices.Sort(served)
	if described := d.operations(); !slices.Equal(served, described) {
		t.Errorf("served:\n%s\ndescribed:\n%s", strings.Join(served, "\n"), strings.Join(described, "\n"))
	}
	a := d.check("GET /openapi.json", h.ok(h.get("/openapi.json")))
	if !bytes.Equal(a.body, openapi.JSON()) {
		t.Error("/openapi.json is not the document")
	}
}

// The document keeps to the rules that its readers rely on.
func TestDocumentIsSound(t *testing.T) {
	d := describe(t)
	ids := map[string]bool{}
	for _, op := range d.operations() {
		method, path, _ := strings.Cut(op, " ")
		o, _ := d.at("paths", path, strings.ToLower(method))
		id, _ := o["operationId"].(string)
		if id == "" || ids[id] {
			t.Errorf("%s: operationId %q is missing or taken", op, id)
		}
		ids[id] = true
		if o["summary"] == nil || len(asMap(o["responses"])) == 0 {
			t.Errorf("%s has no summary or no responses", op)
		}
		named := d.parametersOf(op)
		for segment := range strings.SplitSeq(path, "/") {
			if name, ok := strings.CutPrefix(segment, "{"); ok && named["path "+strings.TrimSuffix(name, "}")] == nil {
				t.Errorf("%s: parameter %s is not described", op, name)
			}
		}
		for status := range asMap(o["responses"]) {
			found, place := d.at("paths", path, strings.ToLower(method), "responses", status)
			for kind := range asMap(found["content"]) {
				d.schema(append(slices.Clone(place), "content", kind, "schema")...)
			}
		}
	}
	for name, s := range asMap(asMap(d.doc["components"])["schemas"]) {
		example, ok := asMap(s)["example"]
		if !ok {
			continue
		}
		text, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		d.holds("example of "+name, text, "components", "schemas", name)
	}
}

// seeded are the operations of /api/v2 that other servers of the contract have.
var seeded = []string{
	"POST " + library, "GET " + library, "DELETE " + library, "GET " + library + "/list",
	"POST /api/v2/auth/token", "POST /api/v2/auth/refresh", "GET /api/v2/auth/verify",
	"GET /api/v2/memories/{memory_id}", "PUT /api/v2/memories/{memory_id}", "DELETE /api/v2/memories/{memory_id}",
}

// What is ours is marked, and what of it all answers of /api/v2 have in common
// is described.
func TestExtensionsAreMarked(t *testing.T) {
	d := describe(t)
	for _, op := range d.operations() {
		method, path, _ := strings.Cut(op, " ")
		if !strings.HasPrefix(path, "/api/v2/") {
			continue
		}
		o, _ := d.at("paths", path, strings.ToLower(method))
		if ours := o["x-extension"] == true; ours == slices.Contains(seeded, op) {
			t.Errorf("%s: x-extension is %v", op, ours)
		}
		for status := range asMap(o["responses"]) {
			r, _ := d.at("paths", path, strings.ToLower(method), "responses", status)
			if asMap(asMap(r["headers"])["X-Request-ID"])["required"] != true {
				t.Errorf("%s %s does not tell of X-Request-ID", op, status)
			}
		}
	}
}

// parametersOf returns the parameters of an operation, and of its path, by "in name".
func (d *description) parametersOf(op string) map[string]map[string]any {
	method, path, _ := strings.Cut(op, " ")
	item, _ := d.at("paths", path)
	o, _ := d.at("paths", path, strings.ToLower(method))
	named := d.parameters(item["parameters"])
	maps.Copy(named, d.parameters(o["parameters"]))
	return named
}

// parameters returns those of a list by "in name".
func (d *description) parameters(list any) map[string]map[string]any {
	out := make(map[string]map[string]any)
	items, _ := list.([]any)
	for _, p := range items {
		m := asMap(p)
		if ref, ok := m["$ref"].(string); ok {
			m, _ = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
		out[fmt.Sprint(m["in"], " ", m["name"])] = m
	}
	return out
}

// Every bound of a query parameter that the document names is the server's:
// the bound itself is taken, what lies beyond is 422.
func TestBoundsAreDescribed(t *testing.T) {
	d := describe(t)
	w := furnish(open(t), d)
	tried := 0
	for _, op := range d.operations() {
		if !strings.HasPrefix(op, "GET ") || op == "GET /ws" {
			continue
		}
		for key, p := range d.parametersOf(op) {
			name, isQuery := strings.CutPrefix(key, "query ")
			schema := asMap(p["schema"])
			if ref, ok := schema["$ref"].(string); ok {
				schema, _ = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
			for _, value := range beyond(schema) {
				if !isQuery {
					continue
				}
				q := w.request(op)
				q.query.Set(name, value)
				a := d.check(op, w.want(w.send(q), 422, ""))
				if got := faultyField(a); got != name {
					t.Errorf("%s: %s=%s is said to be the fault of %s", op, name, value, got)
				}
				tried++
			}
		}
	}
	if tried < 60 {
		t.Errorf("only %d values were tried", tried)
	}
}

// faultyField returns which parameter a 422 complains of.
func faultyField(a answer) string {
	if list := objects(a.json["detail"]); len(list) > 0 {
		loc, _ := list[0]["loc"].([]any)
		return fmt.Sprint(loc[len(loc)-1])
	}
	return fmt.Sprint(asMap(asMap(a.json["error"])["details"])["field"])
}

// beyond returns values of a query parameter that its schema does not allow.
func beyond(schema map[string]any) []string {
	var out []string
	number := func(key string, add int64) {
		if n, ok := schema[key].(json.Number); ok {
			i, _ := n.Int64()
			out = append(out, fmt.Sprint(i+add))
		}
	}
	number("minimum", -1)
	number("maximum", 1)
	number("exclusiveMinimum", 0)
	switch schema["type"] {
	case "integer":
		out = append(out, "x", "1.5", "99999999999999999999")
	case "number":
		out = append(out, "x", "NaN", "Infinity")
	case "boolean":
		out = append(out, "maybe")
	}
	if schema["enum"] != nil {
		out = append(out, "none-of-these")
	}
	return out
}

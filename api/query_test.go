package api

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// page is what the test handler reads: one parameter of each kind.
type page struct {
	Limit int64
	Wait  float64
	Max   int64
	Down  bool
	Mode  string
	Name  string
	Ext   []string
}

func readPage(r *http.Request) (page, error) {
	q := parseQuery(r)
	p := page{
		Limit: q.integer("limit", 25, atLeast(1), atMost(100)),
		Wait:  q.number("wait_seconds", 25, atLeast(0), atMost(60)),
		Max:   q.integer("max_size", -1, above(0)),
		Down:  q.truth("download"),
		Mode:  q.oneOf("mode", "meta", "meta", "stream", "raw"),
		Name:  q.text("q"),
		Ext:   q.list("ext"),
	}
	return p, q.err()
}

func requestWith(rawQuery string) *http.Request {
	r := httptest.NewRequest("GET", "/x", nil)
	r.URL.RawQuery = rawQuery
	return r
}

func TestQueryTaken(t *testing.T) {
	absent := page{Limit: 25, Wait: 25, Max: -1, Mode: "meta"}
	with := func(change func(p *page)) page { p := absent; change(&p); return p }
	for query, want := range map[string]page{
		"":                     absent,
		"unknown=1&other=x":    absent,
		"limit=1":              with(func(p *page) { p.Limit = 1 }),
		"limit=+7":             with(func(p *page) { p.Limit = 7 }), // a space
		"limit=%2B7":           with(func(p *page) { p.Limit = 7 }),
		"limit=0&limit=100":    with(func(p *page) { p.Limit = 100 }),
		"wait_seconds=0":       with(func(p *page) { p.Wait = 0 }),
		"wait_seconds=.5":      with(func(p *page) { p.Wait = 0.5 }),
		"wait_seconds=6e1":     with(func(p *page) { p.Wait = 60 }),
		"max_size=99999999999": with(func(p *page) { p.Max = 99999999999 }),
		"download=YES":         with(func(p *page) { p.Down = true }),
		"download=t":           with(func(p *page) { p.Down = true }),
		"download=Off":         absent,
		"mode=raw":             with(func(p *page) { p.Mode = "raw" }),
		"q=%E5%A0%B1+%3Cb%3E":  with(func(p *page) { p.Name = "報 <b>" }),
		"ext=.md,+,png+,,":     with(func(p *page) { p.Ext = []string{".md", "png"} }),
		"ext=":                 absent,
	} {
		got, err := readPage(requestWith(query))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: error %v, page (-want +got):\n%s", query, err, diff)
		}
	}
}

func TestQueryRefused(t *testing.T) {
	for _, c := range []struct{ query, name, input, kind, msg string }{
		{"limit=0", "limit", "0", "greater_than_equal", "Input should be greater than or equal to 1"},
		{"limit=101", "limit", "101", "less_than_equal", "Input should be less than or equal to 100"},
		{"limit=", "limit", "", "int_parsing", "Input should be a valid integer, unable to parse string as an integer"},
		{"limit=1.5", "limit", "1.5", "int_parsing", "Input should be a valid integer, unable to parse string as an integer"},
		{"limit=0x10", "limit", "0x10", "int_parsing", "Input should be a valid integer, unable to parse string as an integer"},
		{"limit=9&limit=x", "limit", "x", "int_parsing", "Input should be a valid integer, unable to parse string as an integer"},
		{"limit=99999999999999999999", "limit", "99999999999999999999", "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size"},
		{"max_size=0", "max_size", "0", "greater_than", "Input should be greater than 0"},
		{"wait_seconds=-0.1", "wait_seconds", "-0.1", "greater_than_equal", "Input should be greater than or equal to 0"},
		{"wait_seconds=60.5", "wait_seconds", "60.5", "less_than_equal", "Input should be less than or equal to 60"},
		{"wait_seconds=soon", "wait_seconds", "soon", "float_parsing", "Input should be a valid number, unable to parse string as a number"},
		{"wait_seconds=0x1p2", "wait_seconds", "0x1p2", "float_parsing", "Input should be a valid number, unable to parse string as a number"},
		{"wait_seconds=nan", "wait_seconds", "nan", "finite_number", "Input should be a finite number"},
		{"wait_seconds=-Infinity", "wait_seconds", "-Infinity", "finite_number", "Input should be a finite number"},
		{"wait_seconds=1e999", "wait_seconds", "1e999", "finite_number", "Input should be a finite number"},
		{"download=maybe", "download", "maybe", "bool_parsing", "Input should be a valid boolean, unable to interpret input"},
		{"download=", "download", "", "bool_parsing", "Input should be a valid boolean, unable to interpret input"},
		{"mode=Meta", "mode", "Meta", "literal_error", "Input should be 'meta', 'stream' or 'raw'"},
		{"q=a%00b", "q", "a\x00b", "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string"},
		{"ext=a%ff", "ext", "a\xff", "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string"},
	} {
		_, err := readPage(requestWith(c.query))
		list, ok := errors.AsType[faults](err)
		if !ok || artifact.KindOf(err) != artifact.Malformed {
			t.Errorf("%q: error %v, want Malformed faults", c.query, err)
			continue
		}
		for i := range list {
			list[i].Ctx = nil
		}
		want := faults{{Type: c.kind, Loc: []string{"query", c.name}, Msg: c.msg, Input: c.input}}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("%q: faults (-want +got):\n%s", c.query, diff)
		}
	}
}

func TestAllFaultsInOneAnswer(t *testing.T) {
	d, _ := testDialect()
	h := func(w http.ResponseWriter, r *http.Request) (any, error) { return readPage(r) }
	w := do(table{{method: "GET", pattern: "/x", h: h}}.mux(d), requestWith("limit=0&download=x&a;b=1"))
	want := []any{
		map[string]any{"type": "query_parsing", "loc": []any{"query"}, "msg": "Query string should be valid", "input": nil},
		map[string]any{"type": "greater_than_equal", "loc": []any{"query", "limit"}, "msg": "Input should be greater than or equal to 1",
			"input": "0", "ctx": map[string]any{"ge": 1.0}},
		map[string]any{"type": "bool_parsing", "loc": []any{"query", "download"},
			"msg": "Input should be a valid boolean, unable to interpret input", "input": "x"},
	}
	if diff := cmp.Diff(any(want), decodeBody(t, w)["detail"]); w.Code != 422 || diff != "" {
		t.Errorf("status %d, detail (-want +got):\n%s", w.Code, diff)
	}
}

func TestQueryHas(t *testing.T) {
	q := parseQuery(requestWith("after="))
	if !q.has("after") || q.has("limit") {
		t.Errorf("has(after) = %v, has(limit) = %v", q.has("after"), q.has("limit"))
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"limit=5&wait_seconds=1", "limit=0;&%zz", "wait_seconds=NaN&q=%ff", "download=on&mode=x&ext=a,b", "max_size=1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := readPage(requestWith(raw))
		if err != nil {
			list, ok := errors.AsType[faults](err)
			if !ok || len(list) == 0 || artifact.KindOf(err) != artifact.Malformed {
				t.Fatalf("%q: error %v, want Malformed faults", raw, err)
			}
			for _, one := range list {
				if one.Type == "" || one.Msg == "" || len(one.Loc) == 0 || one.Loc[0] != "query" {
					t.Errorf("%q: fault %+v", raw, one)
				}
			}
		}
		if p.Limit < 1 || p.Limit > 100 || p.Wait < 0 || p.Wait > 60 || math.IsNaN(p.Wait) || p.Max == 0 || p.Max < -1 {
			t.Errorf("%q: page %+v out of bounds", raw, p)
		}
		if _, bad := url.ParseQuery(raw); bad != nil && err == nil {
			t.Errorf("%q was taken for a query", raw)
		}
	})
}

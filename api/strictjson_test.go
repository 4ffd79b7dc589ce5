package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// objectOf reads body as a request's.
func objectOf(body string) (*object, error) {
	return readObject(httptest.NewRequest("POST", "/x", strings.NewReader(body)))
}

// faultsIn returns the faults of a Malformed error, "place: message" each.
func faultsIn(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	list, ok := errors.AsType[faults](err)
	if !ok || artifact.KindOf(err) != artifact.Malformed {
		t.Fatalf("error %T %v, want a Malformed one", err, err)
	}
	return strings.Split(list.Error(), "; ")
}

func TestTextThatIsKeptAsItIs(t *testing.T) {
	for written, want := range map[string]string{
		`"plain"`:                    "plain",
		`""`:                         "",
		`"\"\\\/\b\f\n\r\t"`:         "\"\\/\b\f\n\r\t",
		`"\u00e9é\u00E9"`:            "ééé",
		`"a\u0000b"`:                 "a\x00b",
		`"\ud83d\ude00😀"`:            "😀😀",
		`"\uD83D\uDE00\udbff\udfff"`: "😀\U0010ffff",
		"\"\u2028\u2029\ufeff\"":     "\u2028\u2029\ufeff",
		`"cafe\u0301 \ufffd"`:        "cafe\u0301 \ufffd",
		`"\ufffe\uffff"`:             "\ufffe\uffff",
		"\"\x7f\"":                   "\x7f",
	} {
		o, err := objectOf(`{"a":` + written + `}`)
		if err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		if got := o.text("a"); got != want || o.err() != nil {
			t.Errorf("%s: read %q, %v; want %q", written, got, o.err(), want)
		}
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	deep := func(n int) string {
		return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
	}
	if _, err := objectOf(deep(64)); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	for body, want := range map[string]string{
		"":                           "body: Body should not be empty",
		" ":                          "body: JSON decode error",
		"{":                          "body: JSON decode error",
		`{"a":1,}`:                   "body: JSON decode error",
		`{"a" 1}`:                    "body: JSON decode error",
		`{a:1}`:                      "body: JSON decode error",
		`{"a":}`:                     "body: JSON decode error",
		`{"a":[1,]}`:                 "body: JSON decode error",
		`{"a":[1 2]}`:                "body: JSON decode error",
		`{"a":"b`:                    "body: JSON decode error",
		`{"a":"\`:                    "body: JSON decode error",
		`{"a":"\x"}`:                 "body: JSON decode error",
		`{"a":"\u00e"}`:              "body: JSON decode error",
		`{"a":"\u00eg"}`:             "body: JSON decode error",
		"{\"a\":\"\n\"}":             "body: JSON decode error",
		"{\"a\":\"\x00\"}":           "body: JSON decode error",
		`{"a":01}`:                   "body: JSON decode error",
		`{"a":1.}`:                   "body: JSON decode error",
		`{"a":1e}`:                   "body: JSON decode error",
		`{"a":-}`:                    "body: JSON decode error",
		`{"a":+1}`:                   "body: JSON decode error",
		`{"a":NaN}`:                  "body: JSON decode error",
		`{"a":tru}`:                  "body: JSON decode error",
		`{"a":True}`:                 "body: JSON decode error",
		"\ufeff{}":                   "body: JSON decode error",
		"{} {}":                      "body: Unexpected text after the JSON value",
		"{}x":                        "body: Unexpected text after the JSON value",
		"{}\x00":                     "body: Unexpected text after the JSON value",
		"{\"a\":\"\xff\"}":           "body: JSON should be valid UTF-8",
		"{\"a\":\"\xc0\x80\"}":       "body: JSON should be valid UTF-8",
		"{\"a\":\"\xed\xa0\x80\"}":   "body: JSON should be valid UTF-8",
		"{\"a\":\"\xc3":              "body: JSON should be valid UTF-8",
		`{"a":"\ud83d"}`:             "body: A string has half of a surrogate pair, which is no character",
		`{"a":"\ude00"}`:             "body: A string has half of a surrogate pair, which is no character",
		`{"a":"\ude00\ud83d"}`:       "body: A string has half of a surrogate pair, which is no character",
		`{"a":"\ud83d\ud83d\ude00"}`: "body: A string has half of a surrogate pair, which is no character",
		`{"a":"\ud83d\n"}`:           "body: A string has half of a surrogate pair, which is no character",
		`{"a":{"b":["\ud83dx"]}}`:    "body: A string has half of a surrogate pair, which is no character",
		`{"\ud83d":1}`:               "body: A string has half of a surrogate pair, which is no character",
		deep(65):                     "body: JSON should be nested at most 64 levels deep",
		strings.Repeat("[", 1<<20):   "body: JSON should be nested at most 64 levels deep",
		`[]`:                         "body: Input should be an object",
		`"{}"`:                       "body: Input should be an object",
		`null`:                       "body: Input should be an object",
		`1`:                          "body: Input should be an object",
		`{"a":1,"b":2,"\u0061":1}`:   "body.a: Field should be given once",
		`{"":1,"":1}`:                "body.: Field should be given once",
	} {
		_, err := objectOf(body)
		if diff := cmp.Diff([]string{want}, faultsIn(t, err)); diff != "" {
			t.Errorf("%.60q (-want +got):\n%s", body, diff)
		}
	}
	if _, err := objectOf(`{"a":{"b":1,"b":2}}`); err != nil {
		t.Errorf("a key given twice further down, where nothing reads it: %v", err)
	}
	var many strings.Builder
	for i := range maxFields + 1 {
		many.WriteString(`,"` + strconv.Itoa(i) + `":1`)
	}
	if _, err := objectOf("{" + many.String()[1:] + "}"); len(faultsIn(t, err)) != 1 {
		t.Errorf("%d fields: %v", maxFields+1, err)
	}
}

func TestFieldsOfAnObject(t *testing.T) {
	o, err := objectOf(` { "text":"t", "yes":true, "no":false, "n":-12, "null":null, "raw":{"b": 12345678901234567890.10},
		"list":["a","\u00e9"], "edits":[{"old":"x"},{"old":"y","new":"z"}], "unknown":[[]] } `)
	if err != nil {
		t.Fatal(err)
	}
	edits := o.objects("edits", 2)
	got := []any{
		o.text("text"), o.optionalText("text", "d"), o.optionalText("absent", "d"), o.optionalText("null", "d"),
		o.truth("yes", false), o.truth("no", true), o.truth("absent", true), o.truth("null", true),
		o.integer("n", 7, atLeast(-12)), o.integer("absent", 7, atLeast(8)), o.integer("null", 7),
		string(o.raw("raw")), o.raw("absent") == nil, o.raw("null") == nil,
		o.texts("list", 2), len(o.texts("absent", 2)), len(edits), edits[0].text("old"), edits[1].text("new"), edits[0].optionalText("new", ""),
		o.has("null"), o.has("text"),
	}
	want := []any{"t", "t", "d", "d", true, false, true, true, int64(-12), int64(7), int64(7),
		`{"b": 12345678901234567890.10}`, true, true, []string{"a", "é"}, 0, 2, "x", "z", "", false, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if o.err() != nil {
		t.Errorf("faults: %v", o.err())
	}
}

func TestFaultsOfAnObjectAreToldTogether(t *testing.T) {
	o, err := objectOf(`{"null":null,"n":1.5,"big":12345678901234567890,"t":"x","l":["a",1],"e":[{"old":1},2,{"a":1,"a":1}]}`)
	if err != nil {
		t.Fatal(err)
	}
	o.text("absent")
	o.text("null")
	o.text("n")
	o.optionalText("n", "")
	o.truth("t", false)
	o.integer("n", 0)
	o.integer("big", 0)
	o.integer("t", 0)
	o.texts("l", 2)
	o.texts("l", 1)
	o.texts("t", 1)
	o.refuse("t", "value_error", "Odd")
	for _, e := range o.objects("e", 3) {
		e.text("old")
	}
	want := []string{
		"body.absent: Field required",
		"body.null: Input should be a valid string",
		"body.n: Input should be a valid string",
		"body.n: Input should be a valid string",
		"body.t: Input should be a valid boolean",
		"body.n: Input should be a valid integer",
		"body.big: Input should be a valid integer",
		"body.t: Input should be a valid integer",
		"body.l.1: Input should be a valid string",
		"body.l: List should have at most 1 items",
		"body.t: Input should be a valid list",
		"body.t: Odd",
		"body.e.1: Input should be an object",
		"body.e.2.a: Field should be given once",
		"body.e.0.old: Input should be a valid string",
		"body.e.1.old: Field required",
		"body.e.2.old: Field required",
	}
	if diff := cmp.Diff(want, faultsIn(t, o.err())); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	o, _ = objectOf(`{"n":7}`)
	o.integer("n", 0, atLeast(1), atMost(6))
	if diff := cmp.Diff([]string{"body.n: Input should be less than or equal to 6"}, faultsIn(t, o.err())); diff != "" {
		t.Errorf("a number out of bounds (-want +got):\n%s", diff)
	}
}

func TestBodiesThatDoNotCome(t *testing.T) {
	for _, c := range []struct {
		cause error
		want  artifact.Kind
	}{
		{io.ErrUnexpectedEOF, artifact.Invalid},
		{os.ErrDeadlineExceeded, artifact.TimedOut},
	} {
		_, err := readObject(httptest.NewRequest("POST", "/x", io.MultiReader(strings.NewReader(`{"a`), iotest.ErrReader(c.cause))))
		if artifact.KindOf(err) != c.want || !errors.Is(err, c.cause) {
			t.Errorf("body that ends with %v: %v, want kind %d", c.cause, err, c.want)
		}
	}
	for n, ok := range map[int64]bool{7: true, 6: false} {
		r := httptest.NewRequest("POST", "/x", strings.NewReader(`{"a":1}`))
		r.Body = http.MaxBytesReader(nil, r.Body, n)
		_, err := readObject(r)
		if _, large := errors.AsType[*http.MaxBytesError](err); large == ok || (err == nil) != ok {
			t.Errorf("7 bytes under a limit of %d: %v", n, err)
		}
	}
}

// Bodies of every length come whole, announced or not.
func TestBodiesOfEveryLength(t *testing.T) {
	for _, n := range []int{0, 20, smallBody - 9, smallBody - 8, smallBody - 7, 1 << 20} {
		for _, announced := range []bool{true, false} {
			r := httptest.NewRequest("POST", "/x", iotest.HalfReader(strings.NewReader(`{"a":"`+strings.Repeat("x", n)+`"}`)))
			r.ContentLength = -1
			if announced {
				r.ContentLength = int64(n + 8)
			}
			o, err := readObject(r)
			if err != nil || len(o.text("a")) != n {
				t.Errorf("%d bytes, announced %v: %v", n, announced, err)
			}
		}
	}
}

// The largest body of the contract: every character of 10 MiB is escaped.
func TestLargestBody(t *testing.T) {
	const chars = 10 << 20
	body := `{"path":"/a.md","content":"` + strings.Repeat(`\u00e9`, chars) + `"}`
	text := []byte(body)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	o, err := parseObject(text)
	if err != nil {
		t.Fatal(err)
	}
	content := o.text("content")
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if content != strings.Repeat("é", chars) {
		t.Errorf("content of %d bytes is not what was written", len(content))
	}
	if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(len(body)/5+2*chars+1<<20); used > limit {
		t.Errorf("took %d MiB, more than %d", used>>20, limit>>20)
	}
	if took > 10*time.Second { // 0.3 s on a quiet machine
		t.Errorf("took %v", took)
	}
}

func BenchmarkReadObject(b *testing.B) {
	body := `{"path":"/a.md","content":"` + strings.Repeat(`\u00e9`, 10<<20) + `"}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		o, err := parseObject([]byte(body))
		if err != nil || len(o.text("content")) != 20<<20 {
			b.Fatal(err)
		}
	}
}

// replaced reports whether encoding/json reads a replacement character in a
// text, also in a member that it overwrites with another.
func replaced(text []byte) bool {
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := token.(string); ok && strings.Contains(s, "\ufffd") {
			return true
		}
	}
}

// Whatever is accepted means the same to encoding/json, which loses nothing of
// it; what is refused, encoding/json refuses or alters.
func FuzzStrictJSON(f *testing.F) {
	for _, text := range []string{`{"a":"\u00e9\ud83d\ude00","b":[1,-2.5e+7,true,null,{"c":""}]}`, `{}`, ` { "a" : 1 } `, `{"a":1,"\u0061":2}`,
		`{"a":"\ud83d"}`, "{\"a\":\"\xff\"}", `{"a":"\ude00\ud83d"}`, `{"a":"\ud83d","a":1}`, `{} x`, `[`, `"x"`, `{"a":01}`, `{"\/":"\/"}`, `{"a":"` + "\u2028\x7f" + `"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o := &object{fields: make(map[string]jsonValue), loc: []string{"body"}, faults: new(faults)}
		v, err := parseJSON(text, o.add)
		if errors.Is(err, errAmbiguous) {
			return // what encoding/json makes of it is what it should not
		}
		if err != nil {
			var theirs any
			if json.Unmarshal(text, &theirs) != nil || errors.Is(err, errUTF8) || errors.Is(err, errDepth) {
				return
			}
			if !errors.Is(err, errSurrogate) || !replaced(text) {
				t.Fatalf("%q: refused with %v", text, err)
			}
			return
		}
		var theirs any
		if err := json.Unmarshal(text, &theirs); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
			t.Fatalf("%q: accepted, but encoding/json says %v", text, err)
		}
		if !v.is('{') {
			return
		}
		object, _ := theirs.(map[string]any)
		for key, value := range o.fields {
			if !value.is('"') {
				continue
			}
			got := o.text(key)
			if got != object[key] || o.err() != nil {
				t.Fatalf("%q: field %q is %q, encoding/json has %q", text, key, got, object[key])
			}
			var back string
			if again, err := json.Marshal(got); err != nil || json.Unmarshal(again, &back) != nil || back != got || len(got) != value.size {
				t.Fatalf("%q: field %q of %d bytes is %q, and %q when encoded again", text, key, value.size, got, back)
			}
		}
		if object != nil && len(o.fields) != len(object) {
			t.Fatalf("%q: %d fields, encoding/json has %d", text, len(o.fields), len(object))
		}
	})
}

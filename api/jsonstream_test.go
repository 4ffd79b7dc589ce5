package api

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

// What is written piece by piece reads as what it was.
func TestStreamedText(t *testing.T) {
	var all strings.Builder
	for c := range rune(0x500) {
		all.WriteRune(c)
	}
	for _, want := range []string{"", `"`, `a\`, "<b>&\u2028", all.String(), strings.Repeat("\x00é\"", 40_000), strings.Repeat("日本", 30_000)} {
		w := httptest.NewRecorder()
		out := newJSONStream(w)
		if err := out.text(iotest.HalfReader(strings.NewReader(want))); err != nil {
			t.Fatal(err)
		}
		if err := out.flush(); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got != want {
			t.Errorf("%.40q: came back as %.40q, %v", want, got, err)
		}
		if size := out.buf.Cap(); size > 256<<10 {
			t.Errorf("%.40q: %d bytes were held", want, size)
		}
	}
	if err := newJSONStream(httptest.NewRecorder()).text(iotest.ErrReader(iotest.ErrTimeout)); err == nil {
		t.Error("content that cannot be read is told of as whole")
	}
}

package api

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// jsonStream writes a JSON document piece by piece; the first error sticks.
type jsonStream struct {
	w   http.ResponseWriter
	buf bytes.Buffer
	err error
}

// newJSONStream sets the headers of a JSON answer of unknown length.
func newJSONStream(w http.ResponseWriter) *jsonStream {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return &jsonStream{w: w}
}

func (j *jsonStream) raw(text string) {
	j.buf.WriteString(text)
	j.spill(32 << 10)
}

func (j *jsonStream) comma(n int) {
	if n > 0 {
		j.buf.WriteByte(',')
	}
}

func (j *jsonStream) value(v any) {
	b, err := json.Marshal(v)
	if err != nil && j.err == nil {
		j.err = err
	}
	j.buf.Write(b)
	j.spill(32 << 10)
}

func (j *jsonStream) spill(limit int) {
	if j.err == nil && j.buf.Len() > limit {
		_, j.err = j.w.Write(j.buf.Bytes())
		j.buf.Reset()
	}
}

// flush writes what is left and returns the first error.
func (j *jsonStream) flush() error {
	j.spill(0)
	return j.err
}

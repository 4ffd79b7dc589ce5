package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// text writes what r has as a string. It must be valid UTF-8, of which only what
// JSON cannot have in a string is escaped.
func (j *jsonStream) text(r io.Reader) error {
	piece := make([]byte, 4<<10) // each byte may become six
	j.raw(`"`)
	for j.err == nil {
		n, err := r.Read(piece)
		j.escape(piece[:n])
		j.spill(32 << 10)
		if err == io.EOF {
			j.raw(`"`)
			return j.err
		}
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
	}
	return j.err
}

func (j *jsonStream) escape(text []byte) {
	plain := 0 // where what is not written yet begins
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		j.buf.Write(text[plain:i])
		plain = i + 1
		switch c {
		case '"', '\\':
			j.buf.Write([]byte{'\\', c})
		case '\n':
			j.buf.WriteString(`\n`)
		case '\r':
			j.buf.WriteString(`\r`)
		case '\t':
			j.buf.WriteString(`\t`)
		default:
			fmt.Fprintf(&j.buf, `\u%04x`, c)
		}
	}
	j.buf.Write(text[plain:])
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

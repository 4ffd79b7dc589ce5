package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object that came with a request. Its methods read fields
// and note what is wrong with them; err tells of all of it in one answer.
// Unknown fields are ignored, and null stands for an optional field left out.
type object struct {
	fields map[string]jsonValue
	loc    []string // where it stands: "body", or further down
	faults *faults
}

// maxFields bounds the fields of an object, which are kept apart in memory.
const maxFields = 256

// readObject returns the object that is the body of r. The route has bounded
// how long it may be. A body that is none, or that would not be kept as it was
// written, is a Malformed error.
func readObject(r *http.Request) (*object, error) {
	text, err := readBody(r)
	if err != nil {
		return nil, err
	}
	return parseObject(text)
}

// parseObject returns the object that is the text of a body.
func parseObject(text []byte) (*object, error) {
	if len(text) == 0 {
		return nil, malformed(fault{Type: "json_invalid", Loc: []string{"body"}, Msg: "Body should not be empty"})
	}
	o := &object{fields: make(map[string]jsonValue), loc: []string{"body"}, faults: new(faults)}
	v, err := parseJSON(text, o.add)
	if bad, ok := errors.AsType[badJSON](err); ok {
		return nil, malformed(fault{Type: "json_invalid", Loc: []string{"body"}, Msg: bad.Error()})
	}
	if err == nil && !v.is('{') {
		o.note("dict_type", "Input should be an object", nil)
	}
	if err := o.err(); err != nil {
		return nil, err
	}
	return o, nil
}

// errAmbiguous ends the reading of an object whose fault is noted.
var errAmbiguous = errors.New("an ambiguous object")

// add takes in a member.
func (o *object) add(key string, value jsonValue) error {
	_, twice := o.fields[key]
	o.fields[key] = value
	switch {
	case twice:
		o.refuse(cut(key, 128), "json_duplicate", "Field should be given once")
		return errAmbiguous
	case len(o.fields) > maxFields:
		o.note("too_long", "Object should have at most "+strconv.Itoa(maxFields)+" fields", nil)
		return errAmbiguous
	}
	return nil
}

// below returns the object v that stands in o. One that is none, or is
// ambiguous, is a fault and has no fields.
func (o *object) below(v jsonValue, names ...string) *object {
	n := &object{fields: make(map[string]jsonValue), loc: append(slices.Clone(o.loc), names...), faults: o.faults}
	if !v.is('{') {
		n.note("dict_type", "Input should be an object", nil)
	} else if v.members(n.add) != nil {
		clear(n.fields)
	}
	return n
}

// err returns a Malformed error with every fault found so far, or nil.
func (o *object) err() error {
	if len(*o.faults) == 0 {
		return nil
	}
	return malformed(*o.faults...)
}

// note adds a fault of the field below the object that names are given of, or
// of the object itself.
func (o *object) note(kind, msg string, ctx map[string]any, names ...string) {
	loc := append(slices.Clone(o.loc), names...)
	*o.faults = append(*o.faults, fault{Type: kind, Loc: loc, Msg: msg, Ctx: ctx})
}

// refuse notes a fault of a field that a handler found.
func (o *object) refuse(name, kind, msg string) { o.note(kind, msg, nil, name) }

// has reports whether a field is given and not null.
func (o *object) has(name string) bool {
	v, ok := o.fields[name]
	return ok && !v.is('n')
}

// isList reports whether a field is an array.
func (o *object) isList(name string) bool {
	v, ok := o.fields[name]
	return ok && v.is('[')
}

// text returns a string that must be given. It may hold any characters, NUL
// among them.
func (o *object) text(name string) string {
	v, ok := o.fields[name]
	if !ok {
		o.refuse(name, "missing", "Field required")
		return ""
	}
	return o.decoded(v, name)
}

// optionalText returns a string, or absent.
func (o *object) optionalText(name, absent string) string {
	if !o.has(name) {
		return absent
	}
	return o.decoded(o.fields[name], name)
}

func (o *object) decoded(v jsonValue, names ...string) string {
	if !v.is('"') {
		o.note("string_type", "Input should be a valid string", nil, names...)
		return ""
	}
	return v.decode()
}

// truth returns true or false, or absent.
func (o *object) truth(name string, absent bool) bool {
	if !o.has(name) {
		return absent
	}
	v := o.fields[name]
	if !v.is('t') && !v.is('f') {
		o.refuse(name, "bool_type", "Input should be a valid boolean")
	}
	return v.is('t')
}

// integer returns a whole number within the bounds, or absent.
func (o *object) integer(name string, absent int64, bounds ...bound) int64 {
	if !o.has(name) {
		return absent
	}
	n, err := strconv.ParseInt(string(o.fields[name].text), 10, 64)
	if err != nil {
		o.refuse(name, "int_type", "Input should be a valid integer")
		return absent
	}
	for _, b := range bounds {
		if !b.holds(float64(n), b.limit) {
			o.note(b.kind, b.message(), map[string]any{b.key: b.limit}, name)
			return absent
		}
	}
	return n
}

// raw returns the JSON of a field as it was written, or nil. Nothing in it is
// decoded, so that numbers keep their digits.
func (o *object) raw(name string) json.RawMessage {
	if !o.has(name) {
		return nil
	}
	return bytes.Clone(o.fields[name].text) // the rest of the body may go
}

// texts returns the strings of an array of at most so many, or nil.
func (o *object) texts(name string, most int) []string {
	var all []string
	o.array(name, most, func(v jsonValue, place string) {
		all = append(all, o.decoded(v, name, place))
	})
	return all
}

// objects returns the objects of an array of at most so many, or nil. Their
// faults are among those of o.
func (o *object) objects(name string, most int) []*object {
	var all []*object
	o.array(name, most, func(v jsonValue, place string) {
		all = append(all, o.below(v, name, place))
	})
	return all
}

// array calls f with each item of an optional array and its place.
func (o *object) array(name string, most int, f func(v jsonValue, place string)) {
	if !o.has(name) {
		return
	}
	v := o.fields[name]
	if !v.is('[') {
		o.refuse(name, "list_type", "Input should be a valid list")
		return
	}
	n := 0
	_ = v.items(func(item jsonValue) error { // an error is ours, and noted
		if n == most {
			o.note("too_long", "List should have at most "+strconv.Itoa(most)+" items", map[string]any{"max_length": most}, name)
			return errAmbiguous
		}
		f(item, strconv.Itoa(n))
		n++
		return nil
	})
}

// cut returns at most n bytes of text, whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

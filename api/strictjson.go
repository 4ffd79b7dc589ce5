package api

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The JSON of /api/v2 is read by code of our own, because encoding/json alters
// text without saying so: it turns bytes that are no UTF-8, and halves of
// surrogate pairs, into U+FFFD, and of a key given twice it takes the last.

// maxDepth is how deep objects and arrays may be nested.
const maxDepth = 64

// badJSON says what is wrong with text that is refused.
type badJSON string

// Error returns the message for the client.
func (e badJSON) Error() string { return string(e) }

const (
	errSyntax    badJSON = "JSON decode error"
	errUTF8      badJSON = "JSON should be valid UTF-8"
	errSurrogate badJSON = "A string has half of a surrogate pair, which is no character"
	errDepth     badJSON = "JSON should be nested at most 64 levels deep"
	errTrailing  badJSON = "Unexpected text after the JSON value"
)

// jsonValue is one value, checked but not decoded.
type jsonValue struct {
	text []byte // as it was written
	size int    // of a string: bytes of what it decodes to
}

// parseJSON checks text, which may have white space around one value. If that
// is an object, f is called with its members on the way, as by [jsonValue.members].
func parseJSON(text []byte, f func(key string, value jsonValue) error) (jsonValue, error) {
	if !utf8.Valid(text) {
		return jsonValue{}, errUTF8
	}
	s := jsonScanner{text: text}
	v, err := s.value(0, f)
	if err != nil {
		return jsonValue{}, err
	}
	if s.next() != 0 || s.at < len(text) {
		return jsonValue{}, errTrailing
	}
	return v, nil
}

// is reports whether the value is of the type that begins with c: an object
// with '{', an array with '[', a string with '"', null with 'n', and so on.
func (v jsonValue) is(c byte) bool { return len(v.text) > 0 && v.text[0] == c }

// decode returns the characters of a string.
func (v jsonValue) decode() string {
	rest := v.text[1 : len(v.text)-1]
	if len(rest) == v.size { // every escape is longer than what it stands for
		return string(rest)
	}
	var b strings.Builder
	b.Grow(v.size)
	for len(rest) > 0 {
		if rest[0] == '\\' {
			r, n, _ := unescape(rest)
			b.WriteRune(r)
			rest = rest[n:]
			continue
		}
		n := bytes.IndexByte(rest, '\\')
		if n < 0 {
			n = len(rest)
		}
		b.Write(rest[:n])
		rest = rest[n:]
	}
	return b.String()
}

// members calls f with every member of an object, in order.
func (v jsonValue) members(f func(key string, value jsonValue) error) error {
	s := jsonScanner{text: v.text}
	return s.object(0, f)
}

// items calls f with every item of an array, in order.
func (v jsonValue) items(f func(value jsonValue) error) error {
	s := jsonScanner{text: v.text}
	return s.array(0, f)
}

// errTwice ends the reading of an object that names a member twice.
const errTwice badJSON = "An object has two members of one name"

// once returns errTwice where an object in v names a member twice: whoever
// decodes it keeps one of the two.
func (v jsonValue) once() error {
	seen := make(map[string]bool)
	switch {
	case v.is('{'):
		return v.members(func(key string, member jsonValue) error {
			if seen[key] {
				return errTwice
			}
			seen[key] = true
			return member.once()
		})
	case v.is('['):
		return v.items(jsonValue.once)
	}
	return nil
}

// jsonScanner goes over valid UTF-8 once.
type jsonScanner struct {
	text []byte
	at   int
}

// next skips white space and returns the byte behind it, 0 at the end.
func (s *jsonScanner) next() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// value reads a value that stands below so many objects and arrays. f may be nil.
func (s *jsonScanner) value(above int, f func(string, jsonValue) error) (v jsonValue, err error) {
	c := s.next()
	start := s.at
	switch c {
	case '"':
		v.size, err = s.quoted()
	case '{':
		err = s.object(above, f)
	case '[':
		err = s.array(above, nil)
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	default:
		err = s.number()
	}
	v.text = s.text[start:s.at]
	return v, err
}

// object reads an object and calls f, if there is one, with each member.
func (s *jsonScanner) object(above int, f func(string, jsonValue) error) error {
	return s.list(above, '}', func() error {
		if s.next() != '"' {
			return errSyntax
		}
		key := jsonValue{}
		start := s.at
		var err error
		if key.size, err = s.quoted(); err != nil {
			return err
		}
		key.text = s.text[start:s.at]
		if s.next() != ':' {
			return errSyntax
		}
		s.at++
		v, err := s.value(above+1, nil)
		if err != nil || f == nil {
			return err
		}
		return f(key.decode(), v)
	})
}

// array reads an array and calls f, if there is one, with each item.
func (s *jsonScanner) array(above int, f func(jsonValue) error) error {
	return s.list(above, ']', func() error {
		v, err := s.value(above+1, nil)
		if err != nil || f == nil {
			return err
		}
		return f(v)
	})
}

// list reads what stands between brackets, with item for each between commas.
func (s *jsonScanner) list(above int, end byte, item func() error) error {
	if above >= maxDepth {
		return errDepth
	}
	s.at++
	if s.next() == end {
		s.at++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		c := s.next()
		if c != ',' && c != end {
			return errSyntax
		}
		s.at++
		if c == end {
			return nil
		}
	}
}

func (s *jsonScanner) word(w string) error {
	if !bytes.HasPrefix(s.text[s.at:], []byte(w)) {
		return errSyntax
	}
	s.at += len(w)
	return nil
}

func (s *jsonScanner) number() error {
	s.skip('-')
	if !s.skip('0') && s.digits() == 0 {
		return errSyntax
	}
	if s.skip('.') && s.digits() == 0 {
		return errSyntax
	}
	if s.skip('e') || s.skip('E') {
		if !s.skip('+') {
			s.skip('-')
		}
		if s.digits() == 0 {
			return errSyntax
		}
	}
	return nil
}

func (s *jsonScanner) skip(c byte) bool {
	if s.at == len(s.text) || s.text[s.at] != c {
		return false
	}
	s.at++
	return true
}

func (s *jsonScanner) digits() (n int) {
	for ; s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9'; s.at++ {
		n++
	}
	return n
}

// quoted reads a string and returns how many bytes it decodes to.
func (s *jsonScanner) quoted() (size int, err error) {
	s.at++
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return size, nil
		case c < ' ':
			return 0, errSyntax
		case c == '\\':
			r, n, err := unescape(s.text[s.at:])
			if err != nil {
				return 0, err
			}
			s.at += n
			size += utf8.RuneLen(r)
		default:
			s.at++
			size++
		}
	}
	return 0, errSyntax
}

var shortEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape reads the escape that text begins with, a surrogate pair whole, and
// returns its character and length.
func unescape(text []byte) (r rune, n int, err error) {
	if len(text) < 2 {
		return 0, 0, errSyntax
	}
	if c := shortEscapes[text[1]]; c != 0 {
		return rune(c), 2, nil
	}
	r, ok := fourHex(text)
	if !ok {
		return 0, 0, errSyntax
	}
	if !utf16.IsSurrogate(r) {
		return r, 6, nil
	}
	low, ok := fourHex(text[6:])
	if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
		return pair, 12, nil
	}
	return 0, 0, errSurrogate
}

// hexDigits has the value of every hexadecimal digit, plus one.
var hexDigits = [256]byte{
	'0': 1, '1': 2, '2': 3, '3': 4, '4': 5, '5': 6, '6': 7, '7': 8, '8': 9, '9': 10,
	'a': 11, 'b': 12, 'c': 13, 'd': 14, 'e': 15, 'f': 16, 'A': 11, 'B': 12, 'C': 13, 'D': 14, 'E': 15, 'F': 16,
}

// fourHex reads \uXXXX.
func fourHex(text []byte) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		x := hexDigits[c]
		if x == 0 {
			return 0, false
		}
		r = r<<4 | rune(x-1)
	}
	return r, true
}

package api

import (
	"encoding/base64"
	"errors"
	"strings"
)

var errDictionary = errors.New("malformed dictionary")

// member is the value of a dictionary's key as it was written, without its
// parameters.
type member string

// bytes returns the value if it is a byte sequence, which stands between colons.
func (m member) bytes() ([]byte, bool) {
	if len(m) < 2 || m[0] != ':' || m[len(m)-1] != ':' {
		return nil, false
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(string(m[1:len(m)-1]), "="))
	return b, err == nil
}

// parseDictionary splits a dictionary of structured fields (RFC 9651, §4.2.2)
// into its members. Of values it checks no more than is needed to find their end.
func parseDictionary(text string) (map[string]member, error) {
	s := scanner(strings.Trim(text, " "))
	dict := make(map[string]member)
	for s != "" {
		key := s.take(keyChars)
		if key == "" || strings.IndexByte(lowerAlpha+"*", key[0]) < 0 {
			return nil, errDictionary
		}
		value := member("?1")
		if s.skip('=') {
			var ok bool
			if value, ok = s.value(); !ok {
				return nil, errDictionary
			}
		}
		if !s.parameters() {
			return nil, errDictionary
		}
		dict[key] = value
		s.take(" \t")
		if s == "" {
			break
		}
		if !s.skip(',') {
			return nil, errDictionary
		}
		s.take(" \t")
		if s == "" { // a comma at the end
			return nil, errDictionary
		}
	}
	return dict, nil
}

const (
	lowerAlpha = "abcdefghijklmnopqrstuvwxyz"
	digit      = "0123456789"
	keyChars   = lowerAlpha + digit + "_-.*"
	tokenChars = lowerAlpha + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digit + "!#$%&'*+-.^_`|~:/"
	base64Char = lowerAlpha + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digit + "+/="
)

// scanner is the text that is left to read.
type scanner string

// take removes and returns the longest prefix made of chars.
func (s *scanner) take(chars string) string {
	rest := strings.TrimLeft(string(*s), chars)
	taken := string(*s)[:len(*s)-len(rest)]
	*s = scanner(rest)
	return taken
}

// skip removes c if it comes next.
func (s *scanner) skip(c byte) bool {
	if *s == "" || (*s)[0] != c {
		return false
	}
	*s = (*s)[1:]
	return true
}

// value reads an item or an inner list.
func (s *scanner) value() (member, bool) {
	if !s.skip('(') {
		return s.bare()
	}
	for {
		s.take(" ")
		if s.skip(')') {
			return "()", true
		}
		if _, ok := s.bare(); !ok || !s.parameters() {
			return "", false
		}
		if *s == "" || (*s)[0] != ' ' && (*s)[0] != ')' {
			return "", false
		}
	}
}

// bare reads an item without parameters.
func (s *scanner) bare() (member, bool) {
	start := *s
	if start == "" {
		return "", false
	}
	ok := true
	switch c := start[0]; {
	case c == ':':
		s.skip(':')
		s.take(base64Char)
		ok = s.skip(':')
	case c == '"':
		ok = s.quoted()
	case c == '?':
		s.skip('?')
		ok = s.skip('0') || s.skip('1')
	case c == '-' || c == '@' || c >= '0' && c <= '9':
		*s = (*s)[1:]
		s.take(digit + ".")
	case c == '*' || strings.IndexByte(tokenChars[:52], c) >= 0:
		s.take(tokenChars)
	default:
		ok = false
	}
	return member(start[:len(start)-len(*s)]), ok
}

// quoted reads a string.
func (s *scanner) quoted() bool {
	s.skip('"')
	for *s != "" {
		c := (*s)[0]
		*s = (*s)[1:]
		switch {
		case c == '"':
			return true
		case c == '\\':
			if !s.skip('"') && !s.skip('\\') {
				return false
			}
		case c < 0x20 || c > 0x7e:
			return false
		}
	}
	return false
}

// parameters reads what may follow an item; none of it counts here.
func (s *scanner) parameters() bool {
	for s.skip(';') {
		s.take(" ")
		if s.take(keyChars) == "" {
			return false
		}
		if s.skip('=') {
			if _, ok := s.bare(); !ok {
				return false
			}
		}
	}
	return true
}

package artifact

import (
	"strings"
	"unicode/utf8"
)

const (
	maxSessionID = 128 // characters, after the prefix is gone
	maxFileName  = 255 // bytes: what file systems take
)

// SessionPrefix begins the name of a session's directory. One of it is
// stripped from ids, so "x" and "session_x" are the same session.
const SessionPrefix = "session_"

// ParseSessionID returns the id named by s, without one leading "session_",
// or an Invalid error (contract, sessions §1).
func ParseSessionID(s string) (SessionID, error) {
	id := strings.TrimPrefix(s, SessionPrefix)
	if id == "" || len(id) > maxSessionID {
		return "", badSessionID()
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return "", badSessionID()
		}
	}
	return SessionID(id), nil
}

func badSessionID() error {
	return &Error{
		Kind:  Invalid,
		Msg:   "Invalid session_id: only letters, digits, underscores, and hyphens are allowed",
		Field: "path.session_id",
		Facts: map[string]any{"max_length": maxSessionID},
	}
}

// CleanName turns a client's file name into one that is safe as the last
// segment of a path and in a header: the part after the last slash or
// backslash, without control and direction-changing characters, at most 255
// bytes of valid UTF-8. What leaves nothing becomes "upload.bin"
// (contract, sessions §2).
func CleanName(name string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r < 0x20, r >= 0x7f && r < 0xa0, // C0, DEL, C1
			r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c, // direction
			r == 0x2028, r == 0x2029, r == 0xfeff: // line ends, byte order mark
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, "\ufffd"))
	name = strings.TrimSpace(name)
	if name == "" || name == "." || name == ".." {
		return "upload.bin"
	}
	return shorten(name)
}

// shorten cuts name to maxFileName bytes at a character, keeping a short extension.
func shorten(name string) string {
	if len(name) <= maxFileName {
		return name
	}
	ext := ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 32 {
		ext = name[i:]
	}
	stem := name[:maxFileName-len(ext)]
	for len(stem) > 0 && !utf8.ValidString(stem) {
		stem = stem[:len(stem)-1]
	}
	return stem + ext
}

package artifact

import (
	"strings"
	"unicode/utf8"
)

// Path is a checked absolute path of the library: of an artifact, from
// [ParsePath], or of a directory, from [ParsePrefix]. It is a key, told apart
// by case, and is never resolved against anything.
type Path string

// Root is the directory that holds all others. No artifact is called so.
const Root Path = "/"

// What a path may have (contract, artifacts §4).
const (
	maxSegments   = 10   // the name of the file is one of them
	maxSegment    = 255  // bytes
	maxPath       = 1024 // bytes
	maxShownValue = 128  // bytes of a refused path that an answer repeats
)

// ParsePath returns the path of an artifact, or an Invalid error whose facts
// name the first rule that s breaks.
func ParsePath(s string) (Path, error) {
	var reason string
	switch {
	case s == "":
		reason = "empty"
	case s[0] != '/':
		reason = "no_leading_slash"
	case s[len(s)-1] == '/':
		reason = "not_a_file"
	default:
		reason = brokenRule(s)
	}
	if reason != "" {
		return "", badPath("path", s, reason)
	}
	return Path(s), nil
}

// ParsePrefix returns the directory that a listing asks for, or an Invalid
// error like that of [ParsePath]. Empty text is the root, and one slash may
// stand at the end.
func ParsePrefix(s string) (dir Path, err error) {
	if s == "" || Path(s) == Root {
		return Root, nil
	}
	reason := "no_leading_slash"
	if s[0] == '/' {
		reason = brokenRule(s)
	}
	if reason != "" {
		return "", badPath("prefix", s, reason)
	}
	return Path(strings.TrimSuffix(s, "/")), nil
}

// brokenRule returns the first rule that text with a slash before it breaks, or "".
// One slash at the end breaks none.
func brokenRule(s string) string {
	dir := strings.TrimSuffix(s, "/")
	switch {
	case strings.Contains(s, "//"):
		return "double_slash"
	case strings.Contains(s, ".."):
		return "traversal"
	case strings.Contains(s, "/."):
		return "hidden"
	case !onlyPathBytes(s):
		return "bad_character"
	case strings.Count(dir, "/") > maxSegments:
		return "too_deep"
	case len(dir) > maxPath:
		return "too_long"
	}
	for segment := range strings.SplitSeq(dir, "/") {
		if len(segment) > maxSegment {
			return "too_long"
		}
	}
	return ""
}

func onlyPathBytes(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' {
			return false
		}
	}
	return true
}

var pathRules = map[string]string{
	"empty":            "it is empty",
	"no_leading_slash": "it must begin with a slash",
	"not_a_file":       "it must end in the name of a file",
	"double_slash":     "two slashes stand together",
	"traversal":        `".." is not allowed, inside of names either`,
	"hidden":           "no name may begin with a dot",
	"bad_character":    "only the letters A to Z and a to z, digits, hyphens, underscores, dots and slashes are allowed",
	"too_deep":         "it has more than 10 levels, the name of the file included",
	"too_long":         "it has more than 1024 bytes, or a name of more than 255",
}

func badPath(field, value, reason string) *Error {
	e := Errorf(Invalid, "Invalid %s: %s", field, pathRules[reason])
	e.Code, e.Field = "VAL_FIELD_INVALID", field
	e.Facts = map[string]any{"field": field, "reason": reason, "value": shown(value)}
	return e
}

// shown returns what an answer repeats of text that was refused.
func shown(text string) string {
	var b strings.Builder
	for _, r := range text { // a byte that is no UTF-8 comes as U+FFFD
		if b.Len()+utf8.RuneLen(r) > maxShownValue {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Dir returns the directory that holds p. That of the root is the root.
func (p Path) Dir() Path {
	if i := strings.LastIndexByte(string(p), '/'); i > 0 {
		return p[:i]
	}
	return Root
}

// Name returns the last segment of p, which is empty for the root.
func (p Path) Name() string {
	return string(p[strings.LastIndexByte(string(p), '/')+1:])
}

// MediaType returns the type that the contract gives the name of p.
func (p Path) MediaType() string { return LibraryType(p.Name()) }

// TypeFor returns the media type of a new artifact. What the client declares
// counts where the contract's table does not know the name, and only if it is
// a plain type/subtype (contract, artifacts §11).
func TypeFor(p Path, declared string) string {
	known := p.MediaType()
	if known != OctetStream || !plainType(declared) {
		return known
	}
	return strings.ToLower(declared)
}

// maxDeclaredType is how long a declared media type may be.
const maxDeclaredType = 127

// plainType reports whether text is a media type without parameters, made of
// two restricted names (RFC 6838, §4.2).
func plainType(text string) bool {
	major, minor, found := strings.Cut(text, "/")
	return found && len(text) <= maxDeclaredType && restrictedName(major) && restrictedName(minor)
}

func restrictedName(s string) bool {
	for i := range len(s) {
		c := s[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !word && (i == 0 || strings.IndexByte("!#$&-^_.+", c) < 0) {
			return false
		}
	}
	return s != ""
}

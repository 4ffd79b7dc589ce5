package api

import (
	"fmt"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// These are the two dispositions of content.
const (
	dispositionInline     = "inline"
	dispositionAttachment = "attachment"
)

// contentDisposition returns the header for a file of any name (RFC 6266). What
// old clients read is ASCII without quotes, backslashes and percent signs, which
// they take in different ways; filename* has the whole name, and wins.
func contentDisposition(kind, name string) string {
	name = artifact.CleanName(name)
	var ascii, full strings.Builder
	for _, r := range name {
		if r < 0x20 || r > 0x7e || strings.ContainsRune(`"\%`, r) {
			r = '_'
		}
		ascii.WriteRune(r)
	}
	for i := range len(name) {
		if c := name[i]; attrChar(c) {
			full.WriteByte(c)
		} else {
			fmt.Fprintf(&full, "%%%02X", c)
		}
	}
	return kind + `; filename="` + ascii.String() + `"; filename*=UTF-8''` + full.String()
}

// attrChar reports whether c stands for itself in an extended value (RFC 8187).
func attrChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0
}

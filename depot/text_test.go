package depot

import (
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Text is looked at in pieces, which end within characters.
func TestTextInPieces(t *testing.T) {
	long := strings.Repeat("日本é😀", 10_000)
	for text, valid := range map[string]bool{
		"": true, "é": true, long: true, "a" + long: true, "ab" + long: true, long + "\xff": false, long + "\xe6\x97": false,
		"\xff" + long: false, long + "\xe6" + long: false, "\xed\xa0\x80": false,
	} {
		for name, r := range map[string]*strings.Reader{"whole": strings.NewReader(text), "bytes": strings.NewReader(text)} {
			err := checkText(r)
			if name == "bytes" {
				r.Reset(text)
				err = checkText(iotest.OneByteReader(r))
			}
			if (err == nil) != valid || err != nil && artifact.KindOf(err) != artifact.Unsupported {
				t.Errorf("%d bytes, %s: %v, want valid: %v", len(text), name, err, valid)
			}
		}
	}
	for text, want := range map[string]int{"": 0, "a": 1, "aé": 3, "a\xc3": 1, "a\xf0\x9f\x98": 1, "\xe6": 0, "\x80\x80\x80\x80\x80": 5, "a\xff": 2} {
		if got := whole(text); got != want {
			t.Errorf("whole(%q) = %d, want %d", text, got, want)
		}
	}
}

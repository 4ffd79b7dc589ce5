package api

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

func quote(sum []byte) string { return ":" + base64.StdEncoding.EncodeToString(sum) + ":" }

func TestDigests(t *testing.T) {
	const content = "hello"
	s256, s512 := sha256.Sum256([]byte(content)), sha512.Sum512([]byte(content))
	good, good512 := "sha-256="+quote(s256[:]), "sha-512="+quote(s512[:])
	wrong := sha256.Sum256([]byte("other"))
	bad := "sha-256=" + quote(wrong[:])
	for _, c := range []struct {
		name   string
		values []string
		fault  string // "", "parse" or "check"
	}{
		{"none", nil, ""},
		{"empty", []string{""}, ""},
		{"sha-256", []string{good}, ""},
		{"sha-512", []string{good512}, ""},
		{"both", []string{good + ", " + good512}, ""},
		{"two lines", []string{good, good512}, ""},
		{"tight", []string{good + "," + good512}, ""},
		{"unpadded", []string{strings.TrimSuffix(good, "=:") + ":"}, ""},
		{"parameters", []string{good + ";x;y=1;z=\"a\""}, ""},
		{"unknown only", []string{`md5=:AAAA:, unixsum=5, crc=token, s="a\"b", b=?1, l=(1 2;p "x"), f`}, ""},
		{"last of two counts", []string{bad + ", " + good}, ""},
		{"mismatch", []string{bad}, "check"},
		{"one of two wrong", []string{bad + ", " + good512}, "check"},
		{"not bytes", []string{`sha-256="abc"`}, "parse"},
		{"hex", []string{"sha-256=" + hex.EncodeToString(s256[:])}, "parse"},
		{"no value", []string{"sha-256"}, "parse"},
		{"too short", []string{"sha-256=:AAAA:"}, "parse"},
		{"wrong algorithm", []string{"sha-512=" + quote(s256[:])}, "parse"},
		{"bad base64", []string{"sha-256=:****:"}, "parse"},
		{"open", []string{"sha-256=:AAAA"}, "parse"},
		{"comma at the end", []string{good + ","}, "parse"},
		{"no comma", []string{good + " " + good512}, "parse"},
		{"upper case key", []string{"SHA-256=" + quote(s256[:])}, "parse"},
		{"old form", []string{"SHA-256=" + base64.StdEncoding.EncodeToString(s256[:])}, "parse"},
		{"lone equals", []string{"=:AAAA:"}, "parse"},
		{"open string", []string{`a="b`}, "parse"},
		{"open list", []string{`a=(1 2`}, "parse"},
		{"dense list", []string{`a=("x""y")`}, "parse"},
	} {
		for _, field := range []string{"Content-Digest", "Repr-Digest"} {
			d, err := parseDigests(http.Header{field: c.values})
			if c.fault == "parse" {
				if artifact.KindOf(err) != artifact.Invalid {
					t.Errorf("%s %s: error %v, want Invalid", field, c.name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", field, c.name, err)
				continue
			}
			got, err := io.ReadAll(d.reader(strings.NewReader(content)))
			if string(got) != content || err != nil {
				t.Errorf("%s %s: read %q, %v", field, c.name, got, err)
			}
			if err := d.check(); (err != nil) != (c.fault == "check") || err != nil && artifact.KindOf(err) != artifact.Invalid {
				t.Errorf("%s %s: check = %v", field, c.name, err)
			}
		}
	}
}

func TestDigestOfPartOfTheContentDoesNotMatch(t *testing.T) {
	sum := sha256.Sum256([]byte("hello"))
	d, err := parseDigests(http.Header{"Content-Digest": {"sha-256=" + quote(sum[:])}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "hell")
	if d.check() == nil {
		t.Error("check took the beginning for the whole")
	}
	fmt.Fprint(d, "o")
	if err := d.check(); err != nil {
		t.Errorf("check of the whole: %v", err)
	}
}

func TestReprDigest(t *testing.T) {
	sum := sha256.Sum256([]byte("hello"))
	text := reprDigest(hex.EncodeToString(sum[:]))
	if want := "sha-256=" + quote(sum[:]); text != want {
		t.Errorf("reprDigest = %q, want %q", text, want)
	}
	for _, bad := range []string{"", "zz", "abcd"} {
		if got := reprDigest(bad); got != "" {
			t.Errorf("reprDigest(%q) = %q, want none", bad, got)
		}
	}
}

func FuzzDigest(f *testing.F) {
	for _, seed := range []string{"", "sha-256=:AAAA:", "a=(1 2);p, b", `a="\\\""`, "a;b=?1", "*=@1", "a=-1.5,\tb=t/k"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dict, err := parseDictionary(text)
		if err != nil {
			return
		}
		// What was read, written again, reads the same.
		var members []string
		for key, value := range dict {
			if value == "()" { // inner lists are not kept
				return
			}
			members = append(members, key+"="+string(value))
		}
		again, err := parseDictionary(strings.Join(members, ", "))
		if diff := cmp.Diff(dict, again); err != nil || diff != "" {
			t.Errorf("%q: read again %v (-first +again):\n%s", text, err, diff)
		}
	})
}

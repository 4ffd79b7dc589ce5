package api

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// digests checks content against the digests that came with it (RFC 9530). It
// is an io.Writer of that content. One value is for one body or part.
type digests struct {
	expected []expectedDigest
}

type expectedDigest struct {
	field, algorithm string
	sum              []byte
	hash             hash.Hash
}

// hashes are the algorithms that count; others are ignored, as the RFC asks.
var hashes = map[string]func() hash.Hash{"sha-256": sha256.New, "sha-512": sha512.New}

// parseDigests reads Content-Digest and Repr-Digest of a request or of a part
// of a form, or returns an Invalid error. For content that is sent whole both
// cover the same bytes.
func parseDigests(header map[string][]string) (*digests, error) {
	d := &digests{}
	for _, field := range []string{"Content-Digest", "Repr-Digest"} {
		given, err := parseDictionary(strings.Join(header[field], ", "))
		if err != nil {
			return nil, invalidDigest(field, "%s is not a dictionary of digests", field)
		}
		for _, algorithm := range slices.Sorted(maps.Keys(given)) {
			newHash, known := hashes[algorithm]
			if !known {
				continue
			}
			h := newHash()
			sum, ok := given[algorithm].bytes()
			if !ok || len(sum) != h.Size() {
				return nil, invalidDigest(field, "%s: %s is not a digest of %d bytes between colons", field, algorithm, h.Size())
			}
			d.expected = append(d.expected, expectedDigest{field, algorithm, sum, h})
		}
	}
	return d, nil
}

func invalidDigest(field, format string, args ...any) *artifact.Error {
	e := artifact.Errorf(artifact.Invalid, format, args...)
	e.Field = "header." + strings.ToLower(field)
	return e
}

// Write adds content. It never fails.
func (d *digests) Write(p []byte) (int, error) {
	for _, e := range d.expected {
		e.hash.Write(p)
	}
	return len(p), nil
}

// reader returns r, with all that is read from it added. It costs nothing
// where no digest was given.
func (d *digests) reader(r io.Reader) io.Reader {
	if len(d.expected) == 0 {
		return r
	}
	return io.TeeReader(r, d)
}

// check returns an Invalid error unless the content added so far, which must be
// all of it, has every digest given. Nothing of it may be kept otherwise.
func (d *digests) check() error {
	for _, e := range d.expected {
		if subtle.ConstantTimeCompare(e.hash.Sum(nil), e.sum) != 1 {
			err := invalidDigest(e.field, "%s does not match the content", e.field)
			err.Facts = map[string]any{"algorithm": e.algorithm, "expected": hex.EncodeToString(e.sum),
				"actual": hex.EncodeToString(e.hash.Sum(nil))}
			return err
		}
	}
	return nil
}

// reprDigest returns the Repr-Digest of content by its SHA-256 in hex, or "".
func reprDigest(sha256hex string) string {
	sum, err := hex.DecodeString(sha256hex)
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":"
}

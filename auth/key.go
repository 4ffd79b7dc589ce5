package auth

import (
	"crypto/subtle"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// The form of an API key is tm_<tenant>_ak_<secret> (contract, auth §2;
// extensions §7). No tenant has an underscore, so the first mark ends it,
// whatever the secret looks like.
const (
	keyPrefix    = "tm_"
	keyMark      = "_ak_"
	minKeySecret = 32
	maxKey       = 512 // bytes
)

// Key is an API key, taken apart.
type Key struct{ Tenant, Secret string }

// NewKey returns a new API key of a tenant. It is shown once; only [HashKey] of
// it is kept.
func NewKey(tenant string) string { return keyPrefix + tenant + keyMark + NewSecret() }

// ParseKey takes an API key apart. It reports false for everything that does not
// have the form of one to the letter.
func ParseKey(s string) (Key, bool) {
	rest, found := strings.CutPrefix(s, keyPrefix+artifact.TenantPrefix) // pf_ak is a tenant too
	name, secret, marked := strings.Cut(rest, keyMark)
	if !found || !marked || len(s) > maxKey || len(secret) < minKeySecret || !all(secret, base64url) {
		return Key{}, false
	}
	tenant, err := artifact.ParseTenant(artifact.TenantPrefix + name)
	if err != nil {
		return Key{}, false
	}
	return Key{Tenant: tenant, Secret: secret}, true
}

// HashKey returns what is kept of an API key: the SHA-256 of all of it, in
// lower-case hexadecimal. A key is random, so the hash needs no salt.
func HashKey(s string) string { return HashSecret(s) }

// SameHash reports whether two hashes are equal, in a time that does not depend
// on where they differ.
func SameHash(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// LooksLikeKey reports whether somebody meant s as an API key, well formed or
// not: it tells a key that was sent where a token is due from any other text.
func LooksLikeKey(s string) bool {
	rest, found := strings.CutPrefix(s, keyPrefix)
	if !found || rest == "" {
		return false
	}
	_, secret, marked := strings.Cut(rest[1:], keyMark)
	return marked && secret != ""
}

// all reports whether every byte of s is one of a kind.
func all(s string, kind func(byte) bool) bool {
	for i := range len(s) {
		if !kind(s[i]) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func base64url(c byte) bool { return alphanumeric(c) || c == '-' || c == '_' }

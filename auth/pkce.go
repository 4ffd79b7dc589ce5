package auth

import (
	"crypto/sha256"
	"encoding/base64"
)

// ValidVerifier reports whether s can be a code verifier: 43 to 128 unreserved
// characters (RFC 7636 §4.1).
func ValidVerifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && all(s, func(c byte) bool {
		return base64url(c) || c == '.' || c == '~'
	})
}

// S256 returns the challenge that belongs to a verifier (RFC 7636 §4.2).
func S256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ValidChallenge reports whether s can be an S256 challenge.
func ValidChallenge(s string) bool { return len(s) == 43 && all(s, base64url) }

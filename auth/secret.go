package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// NewID returns the prefix and 26 random lower-case letters and digits, which
// nobody can guess and no two calls share.
func NewID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// NewSecret returns 32 random bytes as 43 characters of base64url.
func NewSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// HashSecret returns the SHA-256 of a random secret, in lower-case hexadecimal.
func HashSecret(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// The letters of a user code: no vowels, so that no words arise, and none that
// is taken for a digit (RFC 8628 §6.1).
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

// NewUserCode returns what a person types into the page that approves a device,
// such as "WDJB-MJHT".
func NewUserCode() string {
	const fair = 256 / len(userCodeLetters) * len(userCodeLetters)
	code := make([]byte, 0, userCodeLength)
	var b [16]byte
	for len(code) < userCodeLength {
		rand.Read(b[:]) // never fails
		for _, c := range b {
			// The bytes above fair would make the first letters likelier.
			if int(c) < fair && len(code) < userCodeLength {
				code = append(code, userCodeLetters[int(c)%len(userCodeLetters)])
			}
		}
	}
	return dashed(code)
}

// CleanUserCode returns the code that a person meant: case, spaces and dashes do
// not count. It reports false for what cannot be one.
func CleanUserCode(s string) (string, bool) {
	code := make([]byte, 0, userCodeLength)
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		switch {
		case c == ' ', c == '-':
			continue
		case strings.IndexByte(userCodeLetters, c) < 0, len(code) == userCodeLength:
			return "", false
		}
		code = append(code, c)
	}
	if len(code) != userCodeLength {
		return "", false
	}
	return dashed(code), true
}

func dashed(code []byte) string {
	return string(code[:userCodeLength/2]) + "-" + string(code[userCodeLength/2:])
}

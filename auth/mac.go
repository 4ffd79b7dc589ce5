package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

// MAC returns a code that proves that we wrote the parts for the purpose, and
// the id of the newest key, which made it. Other purposes and other cuts of the
// same text have other codes. The purpose "refresh" is taken.
func (s *Signer) MAC(purpose string, parts ...string) (kid, mac string) {
	k := s.ring.Load().newest
	return k.id, k.code(purpose, parts...)
}

// CheckMAC reports whether MAC returned this key and code for the purpose and
// the parts, now or before the keys changed.
func (s *Signer) CheckMAC(kid, mac, purpose string, parts ...string) bool {
	k := s.ring.Load().byID[kid]
	if k == nil {
		return false
	}
	// Texts are compared, not bytes, so that a code has one spelling.
	return subtle.ConstantTimeCompare([]byte(mac), []byte(k.code(purpose, parts...))) == 1
}

// code is an HMAC-SHA-256 over the purpose and the parts, each behind its
// length, in base64url.
func (k *derived) code(purpose string, parts ...string) string {
	h := hmac.New(sha256.New, k.mac)
	write := func(s string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	write(purpose)
	for _, part := range parts {
		write(part)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

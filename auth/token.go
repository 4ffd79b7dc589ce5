package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxToken = 8 << 10          // bytes of a JWT
	leeway   = 60 * time.Second // that clocks of nodes and issuers may differ by
)

// invalid is ErrTokenInvalid with a reason for the log.
func invalid(reason error) error { return fmt.Errorf("%w: %w", ErrTokenInvalid, reason) }

var (
	errNoJWT    = errors.New("not a signed JWT in compact form")
	errTooLong  = errors.New("longer than 8 KiB")
	errWrongTyp = errors.New("the header names another kind of token")
)

// parseJWT reads a JWT that is signed with one of the algorithms, which the
// caller chose for the issuer; the token has no say in it. Nothing is verified
// yet. Errors are ErrTokenInvalid.
func parseJWT(token string, algorithms ...jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	if _, err := split(token); err != nil {
		return nil, invalid(err)
	}
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, invalid(err)
	}
	// A JWT in a JWT has a content type; tokens for other ends, such as logout,
	// have a type of their own and may carry the same signature.
	extra := jws.Signatures[0].Protected.ExtraHeaders
	typ, isText := extra[jose.HeaderType].(string)
	_, nested := extra[jose.HeaderContentType]
	if _, given := extra[jose.HeaderType]; nested || given && (!isText || !accessType(typ)) {
		return nil, invalid(errWrongTyp)
	}
	return jws, nil
}

// accessType reports whether a header's typ is that of an access token
// (RFC 7519 §5.1, RFC 9068 §2.1).
func accessType(typ string) bool {
	return strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt")
}

// split returns the three parts of a signed JWT. It takes one spelling of each:
// decoders ignore line ends and the last bits of a part, so that a token could
// be changed and stay good.
func split(token string) ([3]string, error) {
	var parts [3]string
	if len(token) > maxToken {
		return parts, errTooLong
	}
	rest := token
	for i := range parts {
		part, after, more := strings.Cut(rest, ".")
		if part == "" || more != (i < 2) || !all(part, base64url) {
			return parts, errNoJWT
		}
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return parts, errNoJWT
		}
		parts[i], rest = part, after
	}
	return parts, nil
}

// UnverifiedIssuer returns the issuer that a JWT claims to be of, or "" for
// anything else. It only tells which issuer to ask: whoever wrote the token
// wrote this too.
func UnverifiedIssuer(token string) string {
	parts, err := split(token)
	if err != nil {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// span is when a token may be used. Zero times do not count, but expires must
// be there. Our own tokens end when they say, since they end with their key;
// those of another clock are good for a while longer.
type span struct {
	issued, notBefore, expires time.Time
	late                       time.Duration // after expires
}

// check returns ErrTokenExpired, or ErrTokenInvalid for a token of the future.
func (s span) check(now time.Time) error {
	switch {
	case s.expires.IsZero():
		return invalid(errors.New("never expires"))
	case !now.Before(s.expires.Add(s.late)): // at that second too (RFC 7519 §4.1.4)
		return fmt.Errorf("%w at %s", ErrTokenExpired, s.expires.UTC().Format(time.RFC3339))
	case s.issued.Sub(now) > leeway, s.notBefore.Sub(now) > leeway:
		return invalid(errors.New("not valid yet"))
	}
	return nil
}

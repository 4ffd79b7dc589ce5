package auth

import (
	"fmt"
	"net/http"
	"strings"
)

// Bearer returns the token of an Authorization header and whether there is such
// a header at all. Another scheme, no token behind the scheme, or more than one
// header is [ErrNoCredentials]. Whether the token is any good, it does not say.
func Bearer(h http.Header) (token string, present bool, err error) {
	lines := h.Values("Authorization")
	switch {
	case len(lines) == 0:
		return "", false, nil
	case len(lines) > 1:
		return "", true, fmt.Errorf("%w: several Authorization headers", ErrNoCredentials)
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", true, fmt.Errorf("%w: not a bearer token", ErrNoCredentials)
	}
	return token, true, nil
}

// SocketBearer returns the token that a page offers among the protocols of a
// WebSocket, since it can set no header there: as "bearer.<token>", or as
// "bearer" and "<token>" behind it. Two tokens are none.
//
// The protocol is the one to answer with, the first on offer that is no token;
// the token itself is never echoed. It may be empty, and browsers close a
// socket that was offered protocols and got none: a page offers "vitrine" too.
func SocketBearer(h http.Header) (token, protocol string) {
	tokens := 0
	behind := false // the next one is the token
	for _, offer := range strings.Split(strings.Join(h.Values("Sec-WebSocket-Protocol"), ","), ",") {
		offer = strings.TrimSpace(offer)
		joined, isToken := cutFold(offer, "bearer.")
		switch {
		case offer == "":
			continue
		case behind:
			token, tokens, behind = offer, tokens+1, false
			continue
		case isToken:
			token, tokens = joined, tokens+1
			continue
		}
		behind = strings.EqualFold(offer, "bearer")
		if protocol == "" {
			protocol = offer
		}
	}
	if tokens != 1 {
		return "", protocol
	}
	return token, protocol
}

// cutFold is strings.CutPrefix in any case of ASCII letters.
func cutFold(s, prefix string) (rest string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

package api

import (
	"encoding/base64"
	"net/http"
	"strings"
)

var errNoUpgrade = &problem{http.StatusUpgradeRequired, "UPGRADE_REQUIRED", "This address is for WebSockets"}

// opening returns an error unless r opens a WebSocket (RFC 6455 §4.2.1). It
// stands before everything that a WebSocket is given, so that a request which
// opens none leaves nothing behind.
func opening(w http.ResponseWriter, r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")))
	if r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket") &&
		r.Header.Get("Sec-WebSocket-Version") == "13" && len(r.Header.Values("Sec-WebSocket-Key")) == 1 && err == nil && len(key) == 16 {
		return nil
	}
	h := w.Header()
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Version", "13")
	return errNoUpgrade
}

// hasToken reports whether a header lists a token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

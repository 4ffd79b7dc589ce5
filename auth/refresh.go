package auth

import (
	"crypto/subtle"
	"errors"
	"strconv"
	"strings"
)

// A refresh token is vrt_<grant>_<generation>_<key>_<mac>. It says which turn of
// which grant it is and proves that we made it; whether that turn is still good,
// the grant's row knows. So the token that follows another one can be made again
// for a client that asks twice, and no secret is kept.
const (
	refreshMark    = "vrt"
	refreshPurpose = "refresh"
	maxRefresh     = 512 // bytes
)

var errNoRefresh = errors.New("not a refresh token of ours")

// Refresh returns the refresh token of a grant's generation, made with the
// newest key. The grant is named by letters and digits only.
func (s *Signer) Refresh(grant string, generation int64) string {
	return s.ring.Load().newest.refresh(grant, generation)
}

func (k *derived) refresh(grant string, generation int64) string {
	turn := strconv.FormatInt(generation, 10)
	return strings.Join([]string{refreshMark, grant, turn, k.id, k.code(refreshPurpose, grant, turn)}, "_")
}

// ParseRefresh returns what a refresh token of ours stands for. Errors are
// [ErrTokenInvalid], which may wrap [ErrUnknownKey].
func (s *Signer) ParseRefresh(token string) (grant string, generation int64, err error) {
	if len(token) > maxRefresh {
		return "", 0, invalid(errNoRefresh)
	}
	// The code comes last and is the only part that may have an underscore.
	parts := strings.SplitN(token, "_", 5)
	if len(parts) != 5 || parts[0] != refreshMark || parts[1] == "" || !all(parts[1], alphanumeric) {
		return "", 0, invalid(errNoRefresh)
	}
	grant = parts[1]
	generation, err = strconv.ParseInt(parts[2], 10, 64)
	if err != nil || generation < 0 {
		return "", 0, invalid(errNoRefresh)
	}
	k := s.ring.Load().byID[parts[3]]
	if k == nil {
		return "", 0, invalid(ErrUnknownKey)
	}
	// Compare all of it, so that a token has one spelling.
	if subtle.ConstantTimeCompare([]byte(token), []byte(k.refresh(grant, generation))) != 1 {
		return "", 0, invalid(errNoRefresh)
	}
	return grant, generation, nil
}

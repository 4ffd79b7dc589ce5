// Package auth makes and checks what callers show of themselves: API keys,
// access tokens of our own issuer and of another one, refresh tokens, and the
// small secrets of OAuth. It keeps nothing; which keys, grants and clients there
// are, package account knows. Start at [Signer].
package auth

import "github.com/vitrine-hq/vitrine/artifact"

// What is wrong with a credential (contract, auth §7). An error of this package
// wraps one of them, and the reason for the log.
var (
	ErrNoCredentials  = refused("AUTH_UNAUTHORIZED", "Authorization: Bearer <access token> is required")
	ErrNoKey          = refused("AUTH_UNAUTHORIZED", "Authorization: Bearer <API key> is required")
	ErrSuspended      = refused("AUTH_UNAUTHORIZED", "The tenant is suspended") // to who came without a credential
	ErrBadCredentials = refused("AUTH_INVALID_CREDENTIALS", "The API key is not valid here")
	ErrTokenInvalid   = refused("AUTH_TOKEN_INVALID", "The token is not valid")
	ErrTokenExpired   = refused("AUTH_TOKEN_EXPIRED", "The token has expired")
)

func refused(code, msg string) *artifact.Error {
	return &artifact.Error{Kind: artifact.Unauthorized, Code: code, Msg: msg}
}

package account

import (
	"context"
	"errors"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

const (
	codeLife = time.Minute // of an authorization code
	maxState = 4096        // bytes of what a client gets back
)

// CodeRequest is what a client asks for at the authorization endpoint (RFC 6749
// §4.1.1, RFC 7636 §4.3, RFC 8707 §2).
type CodeRequest struct {
	ResponseType, ResponseMode string
	ClientID, RedirectURI      string
	Scope, State               string
	Challenge, ChallengeMethod string
	Resource                   string
}

// Consent is a CodeRequest that is in order and waits for a person.
type Consent struct {
	Client Client
	Scopes artifact.Scopes // that are asked for
}

// CodeClient returns the client that asks. Its errors are for the person, who
// must not be sent anywhere: [ErrUnknownClient] and [ErrInvalidRedirect].
func (a *Accounts) CodeClient(ctx context.Context, ask *CodeRequest) (Client, error) {
	c, err := a.Client(ctx, ask.ClientID)
	if err == nil && !c.redirects(ask.RedirectURI) {
		err = because(ErrInvalidRedirect, "The client did not register this redirect URI")
	}
	return c, err
}

// CheckCode checks what a client asks for that [Accounts.CodeClient] knows. Its
// errors are for the client; their code is one of RFC 6749 §4.1.2.1 and RFC 8707.
func (a *Accounts) CheckCode(c Client, ask *CodeRequest) (Consent, error) {
	switch {
	case ask.ResponseType == "":
		return Consent{}, because(ErrInvalidRequest, "response_type is missing")
	case ask.ResponseType != responseTypeOne:
		return Consent{}, oauth("unsupported_response_type", "response_type is code")
	case ask.ResponseMode != "" && ask.ResponseMode != "query":
		return Consent{}, because(ErrInvalidRequest, "response_mode is query")
	case !c.may(GrantCode):
		return Consent{}, ErrUnauthorizedClient
	case ask.Challenge == "" || ask.ChallengeMethod != "S256":
		return Consent{}, because(ErrInvalidRequest, "code_challenge with the method S256 is required")
	case !auth.ValidChallenge(ask.Challenge):
		return Consent{}, because(ErrInvalidRequest, "code_challenge is no S256 challenge")
	case len(ask.State) > maxState:
		return Consent{}, because(ErrInvalidRequest, "state is too long")
	}
	if err := a.checkResource(ask.Resource); err != nil {
		return Consent{}, err
	}
	scopes, err := c.asks(ask.Scope)
	return Consent{Client: c, Scopes: scopes}, err
}

// DecideCode answers a request that CheckCode found in order. It returns the
// code for the client, or [ErrAccessDenied] if the person said no. Denied errors
// are for the person, who cannot decide or has nothing of what is asked.
func (a *Accounts) DecideCode(ctx context.Context, by *artifact.Caller, ask *CodeRequest, consent Consent, answer Decision) (string, error) {
	if !Decides(by) {
		return "", errNoDecision
	}
	code := auth.NewSecret()
	err := a.db.Tx(as(ctx, *by), func(tx *store.Tx) error {
		if !answer.Approve {
			return a.answered(tx, by, consent.Client.ID, "code", false, nil)
		}
		scopes, err := a.consents(ctx, tx.Reads(), consent.Scopes, by, answer.Run, tx.Now())
		if err != nil {
			return err
		}
		row := store.AuthCode{
			Hash: hashCode(code), Client: consent.Client.ID, RedirectURI: ask.RedirectURI, Challenge: ask.Challenge,
			Resource: ask.Resource, Scopes: scopes, Tenant: by.Tenant, Owner: by.User, Key: by.Key,
			Expires: tx.Now().Add(codeLife),
		}
		if err := tx.CreateAuthCode(row); err != nil {
			return err
		}
		return a.answered(tx, by, consent.Client.ID, "code", true, scopes)
	})
	if err == nil && !answer.Approve {
		err = ErrAccessDenied
	}
	return code, err
}

// CodeExchange is what a client shows for a code.
type CodeExchange struct {
	Client, Code, RedirectURI, Verifier, Resource string
}

// ExchangeCode returns the tokens for an authorization code. A code that comes
// again ends what it was exchanged for: somebody has it who should not. Errors
// are [ErrInvalidGrant], [ErrInvalidTarget], [ErrUnknownClient] and
// [ErrUnauthorizedClient].
func (a *Accounts) ExchangeCode(ctx context.Context, x CodeExchange) (Tokens, error) {
	if _, err := a.clientFor(ctx, x.Client, GrantCode); err != nil {
		return Tokens{}, err
	}
	if err := a.checkResource(x.Resource); err != nil {
		return Tokens{}, err
	}
	hash := hashCode(x.Code)
	c, err := a.db.AuthCode(ctx, hash)
	switch {
	case errors.Is(err, store.ErrNoCode):
		return Tokens{}, ErrInvalidGrant
	case err != nil:
		return Tokens{}, err
	case c.Client != x.Client, c.RedirectURI != x.RedirectURI, auth.S256(x.Verifier) != c.Challenge, !auth.ValidVerifier(x.Verifier):
		// It stays good, and so does what it was exchanged for: who knows no more
		// than the code, from a log or a history, ends nothing.
		return Tokens{}, ErrInvalidGrant
	case c.Grant == "":
		t, err := a.redeem(ctx, store.Grant{Tenant: c.Tenant, Owner: c.Owner, Key: c.Key, Client: c.Client, Scopes: c.Scopes}, "code",
			func(tx *store.Tx, grant string) (bool, error) { return tx.SpendAuthCode(hash, grant) })
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, ErrInvalidGrant) {
			return Tokens{}, err
		}
		// It has expired, or another request was faster.
		c, err = a.db.AuthCode(ctx, hash)
		switch {
		case err != nil:
			return Tokens{}, err
		case c.Grant == "":
			return Tokens{}, ErrInvalidGrant
		}
	}
	return Tokens{}, a.codeReused(ctx, &c)
}

// codeReused ends the grant of a code that came again.
func (a *Accounts) codeReused(ctx context.Context, c *store.AuthCode) error {
	g, err := a.db.Grant(ctx, c.Grant)
	if errors.Is(err, store.ErrNoGrant) {
		return ErrInvalidGrant
	}
	if err != nil {
		return err
	}
	err = a.revoke(as(ctx, holder(&g)), func(tx *store.Tx) error {
		tx.Audit(g.Tenant, artifact.AuditEntry{Action: "code.reuse", Object: "grant:" + g.ID, Outcome: "denied"})
		return a.endGrant(tx, g.ID)
	})
	if err != nil {
		return err
	}
	return ErrInvalidGrant
}

package account

import (
	"context"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/auth"
	"github.com/vitrine-hq/vitrine/store"
)

// ShareKind says what a share shows.
type ShareKind string

// The kinds of shares.
const (
	ShareArtifact ShareKind = "artifact" // one version of one file
	ShareZip      ShareKind = "zip"      // the files of a session, as a zip
	ShareSession  ShareKind = "session"  // a session, to read
)

// Share is a link for people without an account.
type Share struct {
	ID       string
	Tenant   string
	Session  int64 // key
	Kind     ShareKind
	Artifact string       // event id of the version, for ShareArtifact only
	Position artifact.Seq // of the log; 0 shows what there is now
	Creator  string       // as the audit log names it
	Key      string       // that it was made with and ends with, or empty
	Owner    string       // who that acts for, or empty
	Created  time.Time
	Expires  time.Time
}

// Caller returns who comes with the share. It names who made it, because with
// them the share ends.
func (s *Share) Caller() *artifact.Caller {
	return &artifact.Caller{
		Kind: artifact.CallerShare, Tenant: s.Tenant, User: s.Owner, Key: s.Key, Share: s.ID,
		Scopes: artifact.Scopes{artifact.Read}, Expires: s.Expires,
	}
}

func shareOf(s *store.Share) Share {
	return Share{
		ID: s.ID, Tenant: s.Tenant, Session: s.Session, Kind: ShareKind(s.Kind), Artifact: s.Artifact, Position: s.Position,
		Creator: s.Creator, Key: s.Key, Owner: s.Owner, Created: s.Created, Expires: s.Expires,
	}
}

const (
	maxShareLife = 366 * 24 * time.Hour
	sharePurpose = "share"
)

// CreateShare makes a share as s says, except for ID, Created and who made it,
// and returns the token that it is reached with. The token is a signature, so it
// is kept nowhere. Errors are NotFound for the session, Invalid, Denied for a
// share that would last longer than the caller's key, and Unauthorized where
// that is no longer good.
func (a *Accounts) CreateShare(ctx context.Context, s Share) (Share, string, error) {
	now := a.opt.Now()
	switch s.Kind {
	case ShareArtifact, ShareZip, ShareSession:
	default:
		return Share{}, "", invalid("kind", "A share shows an artifact, a zip or a session")
	}
	switch {
	case (s.Kind == ShareArtifact) != (s.Artifact != ""):
		return Share{}, "", invalid("artifact_id", "A share of an artifact, and no other, names it")
	case !s.Expires.After(now) || s.Expires.After(now.Add(maxShareLife)):
		return Share{}, "", invalid("expires_in", "A share lasts at most a year")
	}
	c := artifact.CallerOf(ctx)
	row := store.Share{
		ID: auth.NewID("shr_"), Tenant: s.Tenant, Session: s.Session, Kind: string(s.Kind), Artifact: s.Artifact, Position: s.Position,
		Creator: c.Actor(), Key: c.Key, Owner: c.User, Expires: s.Expires,
	}
	err := a.db.Tx(ctx, func(tx *store.Tx) error {
		limit, err := a.makerEnds(ctx, tx)
		if err == nil && outlasts(s.Expires, limit) {
			err = tooLate("share", limit)
		}
		if err != nil {
			return err
		}
		session, err := tx.Reads().SessionByKey(ctx, s.Session)
		if err == nil && session.Tenant != s.Tenant {
			err = store.ErrNoSession
		}
		if err != nil {
			return err
		}
		row.Created = tx.Now()
		tx.Audit(s.Tenant, artifact.AuditEntry{Action: "share.create", Object: "share:" + row.ID, Details: map[string]any{
			"session": session.ID, "kind": s.Kind, "artifact": s.Artifact, "expires": s.Expires.UTC(),
		}})
		return tx.CreateShare(row)
	})
	if err != nil {
		return Share{}, "", err
	}
	kid, mac := a.keys.at(now).MAC(sharePurpose, row.ID)
	return shareOf(&row), strings.Join([]string{row.ID, kid, mac}, "."), nil
}

// Share returns what a token shows. One that was made up, has expired or was
// revoked, and one of a tenant that is not let in, is NotFound.
func (a *Accounts) Share(ctx context.Context, token string) (Share, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !a.keys.all().CheckMAC(parts[1], parts[2], sharePurpose, parts[0]) {
		return Share{}, store.ErrNoShare
	}
	row, err := a.db.Share(ctx, parts[0])
	if err != nil {
		return Share{}, err
	}
	s := shareOf(&row)
	if !row.Revoked.IsZero() || over(s.Expires, a.opt.Now()) {
		return Share{}, store.ErrNoShare
	}
	if err := a.admitNow(ctx, s.Caller()); artifact.KindOf(err) == artifact.Unauthorized {
		return Share{}, store.ErrNoShare
	} else if err != nil {
		return Share{}, err
	}
	return s, nil
}

// RevokeShare ends a share of a session and the streams of those who came with
// it, or returns a NotFound error.
func (a *Accounts) RevokeShare(ctx context.Context, tenant string, session int64, id string) error {
	return a.revoke(ctx, func(tx *store.Tx) error {
		tx.Audit(tenant, artifact.AuditEntry{Action: "share.revoke", Object: "share:" + id})
		if err := tx.RevokeShare(tenant, session, id); err != nil {
			return err
		}
		return a.end(tx, ofShare, id) // for those who look now; the row says it for ever
	})
}

// Shares returns the shares of a session that are good, oldest first.
func (a *Accounts) Shares(ctx context.Context, tenant string, session int64) ([]Share, error) {
	rows, err := a.db.Shares(ctx, tenant, session, a.opt.Now())
	list := make([]Share, len(rows))
	for i := range rows {
		list[i] = shareOf(&rows[i])
	}
	return list, err
}

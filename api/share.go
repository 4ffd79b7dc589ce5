package api

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

// shareJSON is a share in an answer. The address is told once, when it is made.
type shareJSON struct {
	ID         string             `json:"id"`
	URL        string             `json:"url,omitempty"`
	Kind       account.ShareKind  `json:"kind"`
	SessionID  artifact.SessionID `json:"session_id"`
	ArtifactID string             `json:"artifact_id,omitempty"`
	At         artifact.Seq       `json:"at,omitempty"`
	Creator    string             `json:"creator"`
	CreatedAt  float64            `json:"created_at"`
	ExpiresAt  float64            `json:"expires_at"`
}

func showShare(s *account.Share, id artifact.SessionID) shareJSON {
	j := shareJSON{ID: s.ID, Kind: s.Kind, SessionID: id, At: s.Position, Creator: s.Creator,
		CreatedAt: artifact.UnixSeconds(s.Created), ExpiresAt: artifact.UnixSeconds(s.Expires)}
	if s.Artifact != "" {
		j.ArtifactID = "art_" + s.Artifact
	}
	return j
}

// ofSession returns the session that the path of a request names.
func (s *Server) ofSession(r *http.Request) (artifact.Session, error) {
	id, err := sessionID(r)
	if err != nil {
		return artifact.Session{}, err
	}
	return s.depot.Session(r.Context(), s.tenant(r), id)
}

// maxShareLife is how many seconds a share may last.
const maxShareLife = 366 * 24 * 3600

// createShare makes a link for people without an account.
func (s *Server) createShare(w http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		ExpiresIn  *int64  `json:"expires_in"`
		ArtifactID *string `json:"artifact_id"`
		At         *int64  `json:"at"`
		Kind       *string `json:"kind"`
	}
	if err := decode(w, r, &body); err != nil {
		return nil, err
	}
	if body.ExpiresIn == nil {
		return nil, malformed(missing("body", "expires_in"))
	}
	if *body.ExpiresIn < 1 || *body.ExpiresIn > maxShareLife {
		return nil, malformed(fault{Type: "greater_than", Loc: []string{"body", "expires_in"}, Msg: "Input should be between 1 and a year, in seconds"})
	}
	session, err := s.ofSession(r)
	if err != nil {
		return nil, err
	}
	ask := account.Share{Tenant: session.Tenant, Session: session.Key, Kind: account.ShareSession, Expires: time.Now().Add(time.Duration(*body.ExpiresIn) * time.Second)}
	if body.Kind != nil {
		ask.Kind = account.ShareKind(*body.Kind)
	}
	if body.At != nil {
		ask.Position = artifact.Seq(*body.At)
		if ask.Position < 1 || ask.Position > session.LastSeq {
			return nil, malformed(fault{Type: "value_error", Loc: []string{"body", "at"}, Msg: "Input should be a position of the log"})
		}
	}
	if body.ArtifactID != nil {
		v, err := s.depot.Version(r.Context(), session.Tenant, session.ID, versionName(*body.ArtifactID))
		if err != nil {
			return nil, err
		}
		ask.Kind, ask.Artifact = account.ShareArtifact, v.EventID
	}
	made, token, err := s.Accounts.CreateShare(r.Context(), ask)
	if err != nil {
		return nil, err
	}
	j := showShare(&made, session.ID)
	j.URL = s.base(r) + "/s/" + token
	w.Header().Set("Cache-Control", "no-store")
	return created(j), nil
}

// base returns the address of this server for links: the one it was given, or
// the one that it was asked at.
func (s *Server) base(r *http.Request) string {
	if s.dialect.base != "" {
		return s.dialect.base
	}
	return "http://" + r.Host
}

func (s *Server) listShares(_ http.ResponseWriter, r *http.Request) (any, error) {
	session, err := s.ofSession(r)
	if err != nil {
		return nil, err
	}
	list, err := s.Accounts.Shares(r.Context(), session.Tenant, session.Key)
	if err != nil {
		return nil, err
	}
	shares := make([]shareJSON, len(list))
	for i := range list {
		shares[i] = showShare(&list[i], session.ID)
	}
	return map[string]any{"shares": shares}, nil
}

func (s *Server) revokeShare(_ http.ResponseWriter, r *http.Request) (any, error) {
	session, err := s.ofSession(r)
	if err != nil {
		return nil, err
	}
	id := versionName(r.PathValue("share_id"))
	if err := s.Accounts.RevokeShare(r.Context(), session.Tenant, session.Key, id); err != nil {
		return nil, err
	}
	return map[string]any{"id": id, "revoked": true}, nil
}

// errNoShare is all that is told of a share that is not there or not good.
var errNoShare = artifact.Errorf(artifact.NotFound, "Share not found")

// shared returns a handler of a share's address. h is a handler of sessions: it
// gets the request as if the share's creator had made it, for that session and
// with no more than to read.
func (s *Server) shared(h handler, kinds ...account.ShareKind) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		share, err := s.Accounts.Share(r.Context(), r.PathValue("share"))
		if err != nil {
			return nil, err
		}
		session, err := s.depot.SessionByKey(r.Context(), share.Session)
		allowed := false
		for _, kind := range kinds {
			allowed = allowed || kind == share.Kind
		}
		if artifact.KindOf(err) == artifact.NotFound || err == nil && !allowed {
			return nil, errNoShare
		}
		if err != nil {
			return nil, err
		}
		c := *share.Caller()
		was := artifact.CallerOf(r.Context())
		c.Remote, c.Agent, c.Request = was.Remote, was.Agent, was.Request
		r = s.letIn(w, r.Clone(r.Context()), &c)
		r.SetPathValue("session_id", string(session.ID))
		given := parseQuery(r)
		if err := given.err(); err != nil {
			return nil, err
		}
		q := given.values
		q.Del("at") // what it shows is the creator's to say, not the holder's
		if share.Position != 0 {
			q.Set("at", strconv.FormatInt(int64(share.Position), 10))
			q.Del("follow")
		}
		if share.Kind == account.ShareZip {
			q.Del("ids")
		}
		if share.Kind == account.ShareArtifact {
			r.SetPathValue("artifact_id", "art_"+share.Artifact)
			q.Set("mode", "stream")
		}
		r.URL.RawQuery = q.Encode()
		head := w.Header()
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("X-Robots-Tag", "noindex")
		answer, err := h(w, r)
		if err != nil && artifact.ShutOut(r.Context()) != nil {
			err = errNoShare
		}
		return answer, err
	}
}

// sharedEvents follows the session of a share from now on, or from the cursor of
// a holder who comes back, unless it shows one moment only.
func (s *Server) sharedEvents(w http.ResponseWriter, r *http.Request) (any, error) {
	if r.URL.Query().Has("at") {
		return nil, errNoShare
	}
	if q := r.URL.Query(); !q.Has("after") && r.Header.Get("Last-Event-ID") == "" {
		session, err := s.ofSession(r)
		if err != nil {
			return nil, err
		}
		q.Set("after", strconv.FormatInt(int64(session.LastSeq), 10))
		q.Del("log_id")
		r.URL.RawQuery = q.Encode()
	}
	return s.events(w, r)
}

// sharedArtifact shows a version that stood at the share's moment: neither a
// later one nor one that had been superseded or deleted.
func (s *Server) sharedArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	session, err := s.ofSession(r)
	if err != nil {
		return nil, err
	}
	var at int64 // now
	if text := r.URL.Query().Get("at"); text != "" {
		if at, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, errNoShare
		}
	}
	v, err := s.depot.Standing(r.Context(), &session, versionName(r.PathValue("artifact_id")), artifact.Seq(at))
	if err != nil {
		return nil, err
	}
	r.SetPathValue("artifact_id", v.ID()) // and no later one
	return s.artifact(w, r)
}

// showShared is what a share's own address shows.
func (s *Server) showShared(w http.ResponseWriter, r *http.Request) (any, error) {
	share, err := s.Accounts.Share(r.Context(), r.PathValue("share"))
	if err != nil {
		return nil, err
	}
	switch share.Kind {
	case account.ShareArtifact:
		return s.shared(s.artifact, share.Kind)(w, r)
	case account.ShareZip:
		return s.shared(s.download, share.Kind)(w, r)
	}
	if accepts(r, "text/html") {
		return s.shared(s.sharedPage, share.Kind)(w, r)
	}
	return s.shared(s.state, share.Kind)(w, r)
}

// asOf makes of a session what may be told of it to the holder of a share that
// shows a moment: its files as they stood then, and nothing that is not told of
// moments.
func (s *Server) asOf(ctx context.Context, session *artifact.Session, at artifact.Seq) error {
	then := artifact.Session{Key: session.Key, Tenant: session.Tenant, ID: session.ID, Status: artifact.StatusIdle, FirstSeq: session.FirstSeq, LastSeq: at,
		Created: session.Created, Updated: session.Created, Metadata: json.RawMessage(`{}`)}
	for v, err := range s.depot.Files(ctx, session, at) {
		if err != nil {
			return err
		}
		if v.Upload() {
			then.Attachments++
		} else {
			then.Artifacts++
		}
		then.Bytes += v.Size
		if v.At.After(then.Updated) {
			then.Updated = v.At
		}
	}
	*session = then
	return nil
}

// sharedPage lists the files of a session for people.
func (s *Server) sharedPage(w http.ResponseWriter, r *http.Request) (any, error) {
	session, err := s.ofSession(r)
	if err != nil {
		return nil, err
	}
	at := session.LastSeq
	if text := r.URL.Query().Get("at"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errNoShare
		}
		at = artifact.Seq(n)
	}
	page := sharePage{Session: session.ID, Base: r.URL.EscapedPath()}
	for v, err := range s.depot.Files(r.Context(), &session, at) {
		if err != nil {
			return nil, err
		}
		if len(page.Files) == maxShown {
			page.More = true
			break
		}
		page.Files = append(page.Files, shownFile{v.ID(), name(v).Name, v.Path, v.MIME, v.Size, v.At.UTC().Format(time.DateTime)})
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	return nil, sharePages.Execute(w, &page)
}

// maxShown is how many files a page lists; the zip has all.
const maxShown = 2000

type sharePage struct {
	Session artifact.SessionID
	Base    string
	Files   []shownFile
	More    bool
}

type shownFile struct {
	ID, Name, Path, MIME string
	Size                 int64
	At                   string
}

var sharePages = template.Must(template.New("share").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">
<title>{{.Session}} · Vitrine</title>
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem;color:#1c1c1e;background:#fbfbfa}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35em .6em .35em 0;border-bottom:1px solid #ddd;vertical-align:top}
h1,td:nth-child(-n+2){overflow-wrap:anywhere}td:nth-child(-n+2){min-width:9em}td.n,th.n{text-align:right;white-space:nowrap}a{color:#0b57d0}
@media(max-width:36rem){th:nth-child(2),td:nth-child(2){display:none}body{margin:1.5rem auto}}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161618}th,td{border-color:#38383c}a{color:#8ab4ff}}</style>
<h1>{{.Session}}</h1>
<p>Files of a session, shared to read. <a href="{{.Base}}/download">Take all as a zip</a>.</p>
{{if .Files}}<table><thead><tr><th>File</th><th>Type</th><th class="n">Bytes</th><th>Time (UTC)</th></tr></thead><tbody>
{{$base := .Base}}{{range .Files}}<tr><td><a href="{{$base}}/artifacts/{{.ID}}?mode=stream" title="{{.Path}}">{{.Name}}</a></td><td>{{.MIME}}</td><td class="n">{{.Size}}</td><td>{{.At}}</td></tr>
{{end}}</tbody></table>{{else}}<p>There are no files.</p>{{end}}
{{if .More}}<p>There are more; the zip has all of them.</p>{{end}}
</html>
`))

package api

import (
	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/artifact"
)

const (
	socketPattern  = "/ws"
	sessionPattern = "/api/sessions/{session_id}"
	libraryPattern = "/api/v2/artifacts"
)

// table lists every operation, with what a caller needs for it.
func (s *Server) table() table {
	t := table{
		{method: "GET", pattern: "/{$}", h: s.landing, public: true},
		{method: "GET", pattern: "/openapi.json", h: s.openAPI, public: true},
		{method: "GET", pattern: "/health", h: s.health, public: true},
		{method: "GET", pattern: "/health/live", h: s.live, public: true},
		{method: "GET", pattern: "/health/ready", h: s.ready, public: true},
	}
	t = append(t, s.sessionTable()...)
	t = append(t, s.shareTable()...)
	t = append(t, s.libraryTable()...)
	t = append(t, s.accountTable()...)
	return append(t, s.oauthTable()...)
}

func (s *Server) sessionTable() table {
	const session = sessionPattern
	return table{
		{method: "GET", pattern: socketPattern, h: s.socket, scope: artifact.Read},
		{method: "GET", pattern: "/api/uploads/{session_id}", h: s.listUploads, scope: artifact.Read},
		{method: "POST", pattern: "/api/uploads/{session_id}", h: s.uploadForm, body: bodyForm, scope: artifact.Write},
		{method: "PUT", pattern: "/api/uploads/{session_id}/{name}", h: s.uploadRaw, body: bodyRaw, scope: artifact.Write},
		{method: "GET", pattern: "/api/sessions", h: s.listSessions, scope: artifact.Read},
		{method: "POST", pattern: "/api/sessions", h: s.createSession, body: bodyJSON, scope: artifact.Write},
		{method: "GET", pattern: session, h: s.showSession, scope: artifact.Read},
		{method: "PATCH", pattern: session, h: s.patchSession, body: bodyJSON, scope: artifact.Write},
		{method: "DELETE", pattern: session, h: s.deleteSession, scope: artifact.Write},
		{method: "POST", pattern: session + "/scan", h: s.scan, scope: artifact.Write},
		{method: "GET", pattern: session + "/state", h: s.state, scope: artifact.Read},
		{method: "GET", pattern: session + "/events", h: s.events, scope: artifact.Read},
		{method: "GET", pattern: session + "/artifact-events", h: s.artifactEvents, scope: artifact.Read},
		{method: "GET", pattern: session + "/artifacts/{artifact_id}", h: s.artifact, scope: artifact.Read},
		{method: "GET", pattern: session + "/download", h: s.download, scope: artifact.Read},
		{method: "GET", pattern: session + "/shares", h: s.listShares, scope: artifact.Read},
		{method: "POST", pattern: session + "/shares", h: s.createShare, body: bodyJSON, scope: artifact.Write},
		{method: "DELETE", pattern: session + "/shares/{share_id}", h: s.revokeShare, scope: artifact.Write},
	}
}

// shareTable has what the holder of a share can do. Its path is a capability.
func (s *Server) shareTable() table {
	const share = "/s/{share}"
	return table{
		{method: "GET", pattern: share, h: s.showShared, public: true, secret: true},
		{method: "GET", pattern: share + "/state", h: s.shared(s.state, account.ShareSession), public: true, secret: true},
		{method: "GET", pattern: share + "/events", h: s.shared(s.sharedEvents, account.ShareSession), public: true, secret: true},
		{method: "GET", pattern: share + "/artifacts/{artifact_id}", h: s.shared(s.sharedArtifact, account.ShareSession), public: true, secret: true},
		{method: "GET", pattern: share + "/download", h: s.shared(s.download, account.ShareSession), public: true, secret: true},
	}
}

func (s *Server) libraryTable() table {
	const library = libraryPattern
	return table{
		{method: "POST", pattern: library, h: s.saveArtifact, body: bodyJSON, limit: maxSaveBody, scope: artifact.Write},
		{method: "GET", pattern: library, h: s.getArtifact, scope: artifact.Read},
		{method: "DELETE", pattern: library, h: s.deleteArtifact, scope: artifact.Write},
		{method: "PATCH", pattern: library, h: s.patchArtifact, body: bodyJSON, limit: maxSaveBody, scope: artifact.Write},
		{method: "GET", pattern: library + "/list", h: s.listArtifacts, scope: artifact.Read},
		{method: "GET", pattern: library + "/versions", h: s.listVersions, scope: artifact.Read},
		{method: "POST", pattern: library + "/restore", h: s.restoreArtifact, body: bodyJSON, scope: artifact.Write},
		{method: "POST", pattern: library + "/move", h: s.moveArtifact, body: bodyJSON, scope: artifact.Write},
		{method: "POST", pattern: library + "/copy", h: s.copyArtifact, body: bodyJSON, scope: artifact.Write},
		{method: "POST", pattern: library + "/promote", h: s.promoteArtifact, body: bodyJSON, scope: artifact.Write},
		{method: "POST", pattern: library + "/checkout", h: s.checkoutArtifact, body: bodyJSON, scope: artifact.Write},
		{method: "GET", pattern: library + "/archive", h: s.exportLibrary, scope: artifact.Read},
		{method: "POST", pattern: library + "/archive", h: s.importLibrary, body: bodyRaw, scope: artifact.Write},
		{method: "GET", pattern: library + "/events", h: s.libraryEvents, scope: artifact.Read},
		{method: "GET", pattern: library + "/raw/{path...}", h: s.getRaw, scope: artifact.Read},
		{method: "PUT", pattern: library + "/raw/{path...}", h: s.putRaw, body: bodyRaw, scope: artifact.Write},
		{method: "GET", pattern: "/api/v2/memories/{memory_id}", h: s.getMemory, scope: artifact.Read},
		{method: "PUT", pattern: "/api/v2/memories/{memory_id}", h: s.protectMemory, scope: artifact.Write},
		{method: "DELETE", pattern: "/api/v2/memories/{memory_id}", h: s.protectMemory, scope: artifact.Delete},
	}
}

func (s *Server) accountTable() table {
	return table{
		{method: "POST", pattern: "/api/v2/auth/token", h: s.exchangeKey, public: true, login: true},
		{method: "POST", pattern: "/api/v2/auth/refresh", h: s.refreshTokens, body: bodyJSON, public: true, login: true},
		{method: "GET", pattern: "/api/v2/auth/verify", h: s.verifyToken},
		{method: "POST", pattern: "/api/v2/auth/login", h: s.login, body: bodyJSON, public: true, login: true},
		{method: "POST", pattern: "/api/v2/auth/logout", h: s.logout, leaving: true},
		{method: "GET", pattern: "/api/v2/auth/logins", h: s.listLogins},
		{method: "DELETE", pattern: "/api/v2/auth/logins/{login_id}", h: s.endLogin},
		{method: "GET", pattern: "/api/v2/keys", h: s.listKeys, scope: artifact.Admin},
		{method: "POST", pattern: "/api/v2/keys", h: s.createKey, body: bodyJSON, scope: artifact.Admin},
		{method: "DELETE", pattern: "/api/v2/keys/{key_id}", h: s.revokeKey, scope: artifact.Admin},
		{method: "GET", pattern: "/api/v2/members", h: s.listMembers, scope: artifact.Admin},
		{method: "POST", pattern: "/api/v2/members", h: s.addMember, body: bodyJSON, scope: artifact.Admin},
		{method: "DELETE", pattern: "/api/v2/members/{member_id}", h: s.removeMember, scope: artifact.Admin},
		{method: "GET", pattern: "/api/v2/tenant", h: s.showTenant, scope: artifact.Read},
		{method: "GET", pattern: "/api/v2/audit", h: s.audit, scope: artifact.Admin},
	}
}

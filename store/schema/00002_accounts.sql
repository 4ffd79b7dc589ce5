-- size counts the bytes of contents, extra those of what is kept with files
-- beside them: the data of their entries.
ALTER TABLE sessions ADD COLUMN extra BIGINT NOT NULL DEFAULT 0;
UPDATE sessions SET extra = (SELECT COALESCE(SUM(octet_length(e.data)), 0) FROM events e WHERE e.session = sessions.key AND e.attachment IS NOT NULL);

-- What a tenant may use and what it uses. A limit that is NULL is the server's
-- default, 0 is none. A tenant that was deleted keeps its row, so that nobody
-- gets its id.
CREATE TABLE tenants (
	id            TEXT {{ordered}} PRIMARY KEY,
	name          TEXT NOT NULL DEFAULT '',
	created       BIGINT NOT NULL,
	suspended     BIGINT NOT NULL DEFAULT 0,
	deleted       BIGINT NOT NULL DEFAULT 0,
	bytes         BIGINT NOT NULL DEFAULT 0,
	files         BIGINT NOT NULL DEFAULT 0,
	sessions      BIGINT NOT NULL DEFAULT 0,
	max_bytes     BIGINT,
	max_files     BIGINT,
	max_sessions  BIGINT,
	max_followers BIGINT
);
INSERT INTO tenants (id, created, bytes, files, sessions)
	SELECT tenant, MIN(created), SUM(size + extra), SUM(attachments + artifacts), COUNT(*) FROM sessions GROUP BY tenant;

CREATE TABLE users (
	id      TEXT PRIMARY KEY,
	tenant  TEXT {{ordered}} NOT NULL,
	name    TEXT NOT NULL,
	created BIGINT NOT NULL,
	removed BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX users_tenant ON users (tenant, id);

-- Of a key only the hash is kept.
CREATE TABLE api_keys (
	id        TEXT PRIMARY KEY,
	tenant    TEXT {{ordered}} NOT NULL,
	owner     TEXT NOT NULL,
	name      TEXT NOT NULL,
	hash      TEXT NOT NULL UNIQUE,
	scopes    TEXT NOT NULL,
	created   BIGINT NOT NULL,
	expires   BIGINT NOT NULL DEFAULT 0,
	last_used BIGINT NOT NULL DEFAULT 0,
	revoked   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX api_keys_tenant ON api_keys (tenant, id);

-- What refresh tokens stand for. A refresh token names the grant and its
-- generation; only the current one is good, and for a moment the one before.
-- key_id is set for grants of API keys, client for those of OAuth.
CREATE TABLE grants (
	id         TEXT PRIMARY KEY,
	tenant     TEXT {{ordered}} NOT NULL,
	owner      TEXT NOT NULL,
	key_id     TEXT NOT NULL,
	client     TEXT NOT NULL,
	scopes     TEXT NOT NULL,
	created    BIGINT NOT NULL,
	generation BIGINT NOT NULL DEFAULT 0,
	rotated    BIGINT NOT NULL,
	expires    BIGINT NOT NULL,
	revoked    BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX grants_expires ON grants (expires);
CREATE INDEX grants_of_tenant ON grants (tenant, created, id);

-- OAuth clients, as they registered themselves (RFC 7591). metadata is JSON;
-- held is how long devices may wait for one that nobody has let in.
CREATE TABLE clients (
	id       TEXT PRIMARY KEY,
	metadata TEXT NOT NULL,
	created  BIGINT NOT NULL,
	used     BIGINT NOT NULL DEFAULT 0,
	held     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX clients_unused ON clients (created, held) WHERE used = 0;

-- Requests of the device flow (RFC 8628). grant_id is set once the code was
-- exchanged.
CREATE TABLE device_codes (
	hash        TEXT PRIMARY KEY,
	user_code   TEXT NOT NULL UNIQUE,
	client      TEXT NOT NULL,
	scopes      TEXT NOT NULL,
	created     BIGINT NOT NULL,
	expires     BIGINT NOT NULL,
	polled      BIGINT NOT NULL DEFAULT 0,
	pause       BIGINT NOT NULL,
	state       TEXT NOT NULL,
	tenant      TEXT NOT NULL DEFAULT '',
	owner       TEXT NOT NULL DEFAULT '',
	key_id      TEXT NOT NULL DEFAULT '',
	grant_id    TEXT NOT NULL DEFAULT ''
);
CREATE INDEX device_codes_expires ON device_codes (expires, state);
CREATE INDEX device_codes_pending ON device_codes (client, expires) WHERE state = 'pending';

-- Authorization codes (RFC 6749, RFC 7636).
CREATE TABLE auth_codes (
	hash         TEXT PRIMARY KEY,
	client       TEXT NOT NULL,
	redirect_uri TEXT NOT NULL,
	challenge    TEXT NOT NULL,
	resource     TEXT NOT NULL,
	scopes       TEXT NOT NULL,
	tenant       TEXT NOT NULL,
	owner        TEXT NOT NULL,
	key_id       TEXT NOT NULL,
	expires      BIGINT NOT NULL,
	grant_id     TEXT NOT NULL DEFAULT ''
);
CREATE INDEX auth_codes_expires ON auth_codes (expires);

CREATE TABLE signing_keys (
	id      TEXT PRIMARY KEY,
	secret  {{bytes}} NOT NULL,
	created BIGINT NOT NULL
);

-- What was revoked, in order and without gaps, for nodes that read on from
-- where they were. After forget no token can be left that it would end.
CREATE TABLE revocations (
	seq    {{key}} PRIMARY KEY,
	kind   TEXT NOT NULL,
	target TEXT NOT NULL,
	at     BIGINT NOT NULL,
	forget BIGINT NOT NULL
);
CREATE TABLE counters (
	name  TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('revocations', 0);

-- Links for people without an account. session is the key, artifact an event
-- id or empty, position 0 where the link shows what there is now. key_id and
-- owner are those of who made it, with whom it ends; they may be empty.
CREATE TABLE shares (
	id       TEXT PRIMARY KEY,
	tenant   TEXT {{ordered}} NOT NULL,
	session  BIGINT NOT NULL,
	kind     TEXT NOT NULL,
	artifact TEXT NOT NULL,
	position BIGINT NOT NULL,
	creator  TEXT NOT NULL,
	key_id   TEXT NOT NULL,
	owner    TEXT NOT NULL,
	created  BIGINT NOT NULL,
	expires  BIGINT NOT NULL,
	revoked  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX shares_session ON shares (session, id);
CREATE INDEX shares_expires ON shares (expires);
CREATE INDEX shares_key ON shares (key_id) WHERE key_id > '';
CREATE INDEX shares_owner ON shares (owner) WHERE owner > '';

-- Answers of requests that carried an Idempotency-Key.
CREATE TABLE replays (
	tenant  TEXT {{ordered}} NOT NULL,
	name    TEXT NOT NULL,
	request TEXT NOT NULL,
	answer  TEXT NOT NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (tenant, name)
);
CREATE INDEX replays_created ON replays (created);

-- A tenant's library is the log with the id /library, its audit log the one
-- with the id /audit. version counts the versions of a library's artifact and
-- is NULL elsewhere. scan is what a scanner said of the content, NULL where none
-- was asked; owner is who may read the content before the scanner has said
-- anything. tenant is whose log it is, where a scanner was asked.
ALTER TABLE events ADD COLUMN version BIGINT;
ALTER TABLE events ADD COLUMN scan TEXT {{ordered}};
ALTER TABLE events ADD COLUMN owner TEXT;
ALTER TABLE events ADD COLUMN tenant TEXT {{ordered}};
CREATE INDEX events_version ON events (session, attachment, version) WHERE version IS NOT NULL;

-- What is pending, failed or found; 'clean' comes before them all.
CREATE INDEX events_scan ON events (scan, tenant, at, session, seq) WHERE scan > 'clean' AND blob > '';

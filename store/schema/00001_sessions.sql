-- Times are microseconds since 1970. {{ordered}} makes text compare by bytes,
-- {{bytes}} is the type of raw bytes, {{key}} that of an integer primary key.

CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);

-- Other tables refer to a session by its key, so that deleting it is one row.
CREATE TABLE sessions (
	key         {{key}} PRIMARY KEY,
	tenant      TEXT {{ordered}} NOT NULL,
	id          TEXT {{ordered}} NOT NULL,
	status      TEXT NOT NULL,
	created     BIGINT NOT NULL,
	updated     BIGINT NOT NULL,
	first_seq   BIGINT NOT NULL,
	last_seq    BIGINT NOT NULL,
	attachments BIGINT NOT NULL DEFAULT 0,
	artifacts   BIGINT NOT NULL DEFAULT 0,
	size        BIGINT NOT NULL DEFAULT 0,
	metadata    TEXT NOT NULL DEFAULT '{}',
	skipped     TEXT NOT NULL DEFAULT '{}',
	UNIQUE (tenant, id)
);
CREATE INDEX sessions_newest ON sessions (tenant, key);
CREATE INDEX sessions_updated ON sessions (updated);

-- One row for each deletion, for ever: an id that was deleted is not revived
-- by accident. purged = 0 while rows behind the old key are still to go.
CREATE TABLE tombstones (
	key      {{key}} PRIMARY KEY,
	tenant   TEXT {{ordered}} NOT NULL,
	id       TEXT {{ordered}} NOT NULL,
	last_seq BIGINT NOT NULL,
	deleted  BIGINT NOT NULL,
	purged   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX tombstones_id ON tombstones (tenant, id, key);
CREATE INDEX tombstones_pending ON tombstones (key) WHERE purged = 0;

-- The log. An entry that tells of a file is that version of the file: its
-- columns from attachment on are set, and until is the entry that superseded
-- it (the largest BIGINT while it stands, seq itself for a deletion), so the
-- state at position p is: seq <= p AND until > p.
CREATE TABLE events (
	session    BIGINT NOT NULL,
	seq        BIGINT NOT NULL,
	type       TEXT NOT NULL,
	at         BIGINT NOT NULL,
	data       TEXT NOT NULL,
	attachment TEXT,
	event_id   TEXT,
	change     TEXT,
	until      BIGINT,
	path       TEXT {{ordered}},
	mime       TEXT,
	source     TEXT,
	node       TEXT,
	size       BIGINT,
	sha256     TEXT,
	blob       TEXT {{ordered}},
	stat       TEXT,
	PRIMARY KEY (session, seq)
);
CREATE INDEX events_attachment ON events (session, attachment, seq) WHERE attachment IS NOT NULL;
CREATE UNIQUE INDEX events_live ON events (session, path) WHERE until = 9223372036854775807;
CREATE INDEX events_blob ON events (blob) WHERE blob > '' AND blob < 'row/';

-- Small contents. The key of a blob in this table is row/<owner>/<n>; keys of
-- the bucket are hex digits, so they come before, which events_blob relies on.
CREATE TABLE contents (
	owner BIGINT NOT NULL,
	n     BIGINT NOT NULL,
	bytes {{bytes}} NOT NULL,
	PRIMARY KEY (owner, n)
);

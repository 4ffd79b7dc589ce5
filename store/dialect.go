package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/vitrine-hq/vitrine/artifact"
)

// dialect holds everything in which the two engines differ.
type dialect struct {
	name     string
	begin    string            // starts a write transaction
	snapshot *sql.TxOptions    // of a read transaction that sees one state
	schema   *strings.Replacer // fills the gaps of schema/*.sql
	lock     string            // locks the row that a SELECT reads; one writer needs none
	numbered bool              // placeholders are $1, $2, …
	verdict  func(error) verdict
}

// verdict is what an error of the engine means for the transaction it hit.
type verdict uint8

const (
	broken     verdict = iota // the statement failed; the transaction must go
	constraint                // a rule of the schema; only the closure at fault must go
	full                      // no room on the disk; nothing was kept
	lost                      // the connection went away; a commit may have happened
	clash                     // two nodes waited for each other; nothing was kept, and it may be tried again
)

var sqliteDialect = &dialect{
	name:     "sqlite",
	begin:    "BEGIN IMMEDIATE",
	snapshot: &sql.TxOptions{ReadOnly: true},
	schema:   strings.NewReplacer("{{ordered}}", "", "{{bytes}}", "BLOB", "{{key}}", "INTEGER"),
	verdict: func(err error) verdict {
		e, ok := errors.AsType[*sqlite.Error](err)
		if !ok {
			return broken
		}
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT:
			return constraint
		case sqlite3.SQLITE_FULL:
			return full
		}
		if e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE || e.Code() == sqlite3.SQLITE_IOERR_SHMOPEN {
			return full // the index of the log could not grow
		}
		return broken
	},
}

var postgresDialect = &dialect{
	name:     "postgres",
	begin:    "BEGIN",
	snapshot: &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
	schema:   strings.NewReplacer("{{ordered}}", `COLLATE "C"`, "{{bytes}}", "BYTEA", "{{key}}", "BIGINT"),
	lock:     " FOR UPDATE",
	numbered: true,
	verdict: func(err error) verdict {
		if _, refused := errors.AsType[*pgconn.ConnectError](err); refused {
			return lost // whatever the reason: too many connections, none allowed, just starting
		}
		e, ok := errors.AsType[*pgconn.PgError](err)
		if !ok && connectionLost(err) {
			return lost
		}
		if !ok {
			return broken
		}
		switch {
		case strings.HasPrefix(e.Code, "23"):
			return constraint
		case e.Code == "53100": // disk_full
			return full
		case e.Code == "40P01", e.Code == "40001": // deadlock_detected, serialization_failure
			return clash
		case strings.HasPrefix(e.Code, "57P"), strings.HasPrefix(e.Code, "08"):
			return lost
		}
		return broken
	},
}

// connectionLost reports whether an error that is not the server's own comes
// from the way to it.
func connectionLost(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// undone reports whether the engine itself says that a commit which failed
// kept nothing. Otherwise nobody knows.
func (d *dialect) undone(err error) bool {
	if d == sqliteDialect {
		return d.verdict(err) == full
	}
	_, answered := errors.AsType[*pgconn.PgError](err)
	return answered && d.verdict(err) != lost
}

// bind rewrites the placeholders of a statement for the engine. No statement
// holds a question mark for any other purpose.
func (d *dialect) bind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r == '?' {
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// explain turns an error of the engine into one that callers understand.
func (d *dialect) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*artifact.Error](err); ok {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || d.verdict(err) == full {
		return artifact.Wrap(artifact.Full, err, "No space left on the server's disk")
	}
	if d.verdict(err) == lost {
		return artifact.Wrap(artifact.Unavailable, err, "The database cannot be reached; try again")
	}
	return err
}

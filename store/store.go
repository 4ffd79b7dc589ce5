// Package store keeps the rows of Vitrine: sessions, their logs, and small
// contents. All SQL is here, written once, and runs on SQLite and PostgreSQL.
// Bytes of large files are not here (package blob), nor is any rule about what
// a use case may do (package depot). Read schema/*.sql first, then writer.go.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers the driver

	"github.com/vitrine-hq/vitrine/artifact"
)

// Options are the seams of a DB. The zero value is good.
type Options struct {
	// Now replaces the clock. Times are kept to the microsecond.
	Now func() time.Time
	// Committed is told of each commit: how many transactions shared it and
	// how long the commit itself took. It must not block.
	Committed func(batch int, took time.Duration)
	// Quota is that of tenants which have none of their own.
	Quota artifact.Quota
	// FirstTenant is made in a database that has none; empty is
	// [artifact.DefaultTenant].
	FirstTenant string
}

// DB is a database with its waiters. It embeds Reads, whose methods see
// everything that is committed.
type DB struct {
	Reads
	waiters
	d       *dialect
	opt     Options
	write   *sql.DB // one connection, used by the writer only
	read    *sql.DB
	logID   string
	first   string // tenant
	file    string // of SQLite
	lastKey int64  // of a session, the last one given out; the writer's
	jobs    chan *job
	quit    chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has ended
	failed  chan struct{} // closed when no write can be trusted any more
	err     error         // why; read it only after failed is closed
	close   sync.Once
}

// OpenSQLite opens or makes the database in file, brings its schema up to date
// and starts its writer. Only one process may have it open for writing: the
// caller holds a lock on the directory.
func OpenSQLite(ctx context.Context, file string, opt Options) (*DB, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", file, err)
	}
	// SQLite gives the files beside it the mode of this one.
	f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	write, err := sql.Open("sqlite", sqliteDSN(abs, sqliteWriter...))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", abs, err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", sqliteDSN(abs, "query_only(1)"))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", abs, errors.Join(err, write.Close()))
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	if err := checkSQLiteVersion(ctx, write); err != nil {
		return nil, errors.Join(err, write.Close(), read.Close())
	}
	return open(ctx, sqliteDialect, write, read, abs, opt)
}

// sqliteWriter are the pragmas of a connection that writes. What is deleted is
// overwritten.
var sqliteWriter = []string{"synchronous(FULL)", "foreign_keys(1)", "fullfsync(1)", "checkpoint_fullfsync(1)", "secure_delete(1)"}

// sqliteDSN returns a data source name in which no character of the path is
// taken for syntax. Every connection of a pool gets the pragmas.
func sqliteDSN(file string, pragmas ...string) string {
	q := url.Values{"_txlock": {"deferred"}}
	for _, p := range append([]string{"busy_timeout(10000)", "journal_mode(WAL)"}, pragmas...) {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}).String()
}

// oldestSQLite is the first version without the WAL-reset corruption bug.
const oldestSQLite = "3.51.3"

func checkSQLiteVersion(ctx context.Context, db *sql.DB) error {
	var v string
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&v); err != nil {
		return fmt.Errorf("open database: %w", sqliteDialect.explain(err))
	}
	if versionLess(v, oldestSQLite) {
		return fmt.Errorf("SQLite %s can corrupt its log; %s or later is needed", v, oldestSQLite)
	}
	return nil
}

// versionLess compares dotted numbers.
func versionLess(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		var m, n big.Int
		m.SetString(x[i], 10)
		n.SetString(y[i], 10)
		if c := m.Cmp(&n); c != 0 {
			return c < 0
		}
	}
	return len(x) < len(y)
}

// OpenPostgres opens the database that url names, brings its schema up to date
// under an advisory lock and starts its writer.
func OpenPostgres(ctx context.Context, url string, opt Options) (*DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse database address: %w", err)
	}
	read, writing := stdlib.OpenDB(*cfg), cfg.Copy()
	// A node that stands still in the middle of its turn would stop all others.
	writing.RuntimeParams["idle_in_transaction_session_timeout"] = "30s"
	write := stdlib.OpenDB(*writing)
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(16)
	read.SetMaxIdleConns(16)
	return open(ctx, postgresDialect, write, read, "", opt)
}

func open(ctx context.Context, d *dialect, write, read *sql.DB, file string, opt Options) (*DB, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.FirstTenant == "" {
		opt.FirstTenant = artifact.DefaultTenant
	}
	if opt.Committed == nil {
		opt.Committed = func(int, time.Duration) {}
	}
	db := &DB{
		d: d, opt: opt, write: write, read: read, file: file,
		jobs: make(chan *job, maxBatch), quit: make(chan struct{}), done: make(chan struct{}), failed: make(chan struct{}),
	}
	db.Reads = Reads{d: d, q: newStatements(d, read), quota: opt.Quota}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, write.Close(), read.Close())
	}
	go db.writer()
	return db, nil
}

// prepare migrates the schema and reads, or makes, the id of the log and the
// first tenant.
func (db *DB) prepare(ctx context.Context) error {
	if err := migrate(ctx, db.d, db.write); err != nil {
		return fmt.Errorf("migrate database: %w", db.d.explain(err))
	}
	q := db.d.bind("INSERT INTO meta (name, value) VALUES ('log_id', ?) ON CONFLICT DO NOTHING")
	if _, err := db.write.ExecContext(ctx, q, newLogID()); err != nil {
		return fmt.Errorf("write log id: %w", db.d.explain(err))
	}
	err := db.write.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'log_id'").Scan(&db.logID)
	if err != nil {
		return fmt.Errorf("read log id: %w", db.d.explain(err))
	}
	q = db.d.bind("INSERT INTO tenants (id, created) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM tenants) ON CONFLICT DO NOTHING")
	if _, err := db.write.ExecContext(ctx, q, db.opt.FirstTenant, db.opt.Now().UnixMicro()); err != nil {
		return fmt.Errorf("make first tenant: %w", db.d.explain(err))
	}
	const first = "SELECT id FROM tenants ORDER BY CASE WHEN deleted = 0 THEN 0 ELSE 1 END, created, id LIMIT 1"
	if err := db.write.QueryRowContext(ctx, first).Scan(&db.first); err != nil {
		return fmt.Errorf("read first tenant: %w", db.d.explain(err))
	}
	return nil
}

func newLogID() string { return strings.ToLower(rand.Text()[:12]) }

// LogID names this log. A restored database gets a new one, so that cursors
// from the future that it lost can be told from its own.
func (db *DB) LogID() string { return db.logID }

// FirstTenant returns the oldest tenant, which an open server acts for. It may
// have another name than the options say: those only name it when it is made.
func (db *DB) FirstTenant() string { return db.first }

// Engine returns "sqlite" or "postgres".
func (db *DB) Engine() string { return db.d.name }

// Failed returns a channel that closes when a commit failed in a way that
// leaves unknown what is durable. The process must end then and start again
// from what is on the disk.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Err returns why Failed closed, or nil.
func (db *DB) Err() error {
	select {
	case <-db.failed:
		return db.err
	default:
		return nil
	}
}

// Ping reports whether the database answers and takes writes.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.Err(); err != nil {
		return err
	}
	var one int
	err := db.read.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	if err != nil && db.d.verdict(err) == lost {
		err = db.read.QueryRowContext(ctx, "SELECT 1").Scan(&one) // on another connection
	}
	return db.d.explain(err)
}

// Close finishes the transactions that were handed in and closes the database.
func (db *DB) Close() error {
	db.close.Do(func() { close(db.quit) })
	<-db.done
	rerr := db.read.Close()
	if err := db.write.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return rerr
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ErrBusy says that the log of the embedded database is being read.
var ErrBusy = errors.New("the log of the database is in use")

// Times of [DB.Forget].
const (
	forgetTries = 8
	forgetPause = 100 * time.Millisecond // after the first try; each doubles it
)

// Forget empties the write-ahead log of an embedded database, which otherwise
// keeps what was deleted until it has grown. While somebody reads what is in it,
// it is tried again for some seconds and is [ErrBusy] in the end. Writers go on
// meanwhile.
func (db *DB) Forget(ctx context.Context) error {
	if db.d != sqliteDialect {
		return nil
	}
	pool, err := sql.Open("sqlite", sqliteDSN(db.file, sqliteWriter...))
	if err != nil {
		return fmt.Errorf("open %s: %w", db.file, err)
	}
	defer pool.Close() // nothing is left to write
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", db.d.explain(err))
	}
	defer conn.Close()
	// While it waits for readers, writers wait for it.
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout(50)"); err != nil {
		return fmt.Errorf("empty the log of the database: %w", db.d.explain(err))
	}
	pause := forgetPause
	for range forgetTries {
		var busy, pages, moved int
		err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
		if err != nil {
			return fmt.Errorf("empty the log of the database: %w", db.d.explain(err))
		}
		if busy == 0 {
			return nil
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ErrBusy
}

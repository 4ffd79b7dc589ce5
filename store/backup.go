package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// ErrNotSQLite says that an operation is SQLite's only; PostgreSQL has tools
// of its own for it (pg_dump).
var ErrNotSQLite = errors.New("only the embedded database can do this")

// Backup writes a consistent copy of the database to a new file while the
// server goes on.
func (db *DB) Backup(ctx context.Context, file string) error {
	if db.d != sqliteDialect {
		return ErrNotSQLite
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", file, err)
	}
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA query_only(0)"); err != nil {
		return fmt.Errorf("back up database: %w", err)
	}
	defer func() { // the pool gets the connection back as it was
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA query_only(1)")
	}()
	if _, err := conn.ExecContext(ctx, "VACUUM INTO ?", abs); err != nil {
		return fmt.Errorf("back up database: %w", db.d.explain(err))
	}
	return nil
}

// RenewLogID gives the log a new id, after which cursors that carry the old
// one count as expired. A restored database calls it once.
func (db *DB) RenewLogID(ctx context.Context) error {
	id := newLogID()
	err := db.Tx(ctx, func(tx *Tx) error {
		return tx.oneRow("UPDATE meta SET value = ? WHERE name = 'log_id'", id)
	})
	if err == nil {
		db.logID = id
	}
	return err
}

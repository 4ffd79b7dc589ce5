package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
)

// Copy is a database that nobody writes to: what [DB.Backup] made.
type Copy struct {
	Reads
	pool *sql.DB
}

// OpenCopy opens a backup of an embedded database for reading. It changes
// nothing, not even files beside it.
func OpenCopy(ctx context.Context, file string) (*Copy, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", file, err)
	}
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"query_only(1)"}}
	pool, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", abs, err)
	}
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close() // nothing was written
		return nil, fmt.Errorf("open %s: %w", abs, sqliteDialect.explain(err))
	}
	return &Copy{Reads: Reads{d: sqliteDialect, q: newStatements(sqliteDialect, pool)}, pool: pool}, nil
}

// Close closes the copy.
func (c *Copy) Close() error {
	c.q.close()
	return c.pool.Close()
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// preparer is what statements are prepared on: a pool, a connection or a
// transaction.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// statements prepares each statement once and keeps it.
type statements struct {
	d     *dialect
	on    preparer
	whole bool // contexts do not cut a statement off, which would end the connection of all who share it
	mu    sync.Mutex
	m     map[string]*sql.Stmt
}

func newStatements(d *dialect, on preparer) *statements {
	return &statements{d: d, on: on, m: make(map[string]*sql.Stmt)}
}

// until returns the context that a statement runs under.
func (s *statements) until(ctx context.Context) context.Context {
	if s.whole {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

func (s *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st, ok := s.m[query]; ok {
		return st, nil
	}
	st, err := s.on.PrepareContext(ctx, s.d.bind(query))
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", err)
	}
	s.m[query] = st
	return st, nil
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.m {
		_ = st.Close() // its connection goes with it
	}
	clear(s.m)
}

func (s *statements) exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx = s.until(ctx)
	st, err := s.get(ctx, query)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *statements) row(ctx context.Context, query string, args []any, into ...any) error {
	ctx = s.until(ctx)
	st, err := s.get(ctx, query)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

// rows calls each for every row of the answer, with a function that scans it.
func (s *statements) rows(ctx context.Context, query string, args []any, each func(scan func(...any) error) error) error {
	ctx = s.until(ctx)
	st, err := s.get(ctx, query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

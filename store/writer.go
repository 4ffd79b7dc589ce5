package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
)

// maxBatch is the number of transactions that may share one commit.
const maxBatch = 256

// job is one closure on its way through the writer.
type job struct {
	f      func(*Tx) error
	caller *artifact.Caller
	err    error
	woken  []int64 // sessions it appended to
	answer chan struct{}
}

// Tx is a write transaction, valid only inside the closure given to [DB.Tx].
type Tx struct {
	db    *DB
	ctx   context.Context
	s     *statements
	now   time.Time
	woken []int64

	caller *artifact.Caller
	usage  map[string]Usage // by tenant: what the closure adds to it
	audit  []collected
	ledger *ledger // of the batch
}

// Now returns the time of the transaction, to the microsecond.
func (tx *Tx) Now() time.Time { return tx.now }

// Reads returns the queries as the transaction sees them. Their context does not
// cut them off.
func (tx *Tx) Reads() *Reads { return &Reads{d: tx.db.d, q: tx.s, quota: tx.db.opt.Quota} }

func (tx *Tx) exec(query string, args ...any) (int64, error) {
	return tx.s.exec(tx.ctx, query, args...)
}

// Tx runs f in a write transaction and returns once its outcome, whichever it
// is, is durable; then it wakes the waiters of each session f appended to.
//
// Transactions that wait at the same time share one commit. f therefore only
// issues SQL, touches at most 1,000 rows and may run more than once. An
// *artifact.Error or a violated constraint undoes f alone. ctx is only looked
// at before f is handed in: a write is never cut off half way.
func (db *DB) Tx(ctx context.Context, f func(*Tx) error) error {
	j := &job{f: f, caller: artifact.CallerOf(ctx), answer: make(chan struct{})}
	select {
	case db.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.quit:
		return artifact.Errorf(artifact.Unavailable, "The server is shutting down")
	case <-db.failed:
		return db.unavailable()
	}
	select {
	case <-j.answer:
		return db.d.explain(j.err)
	case <-db.done: // the writer ended before it came to this job
		select {
		case <-j.answer:
			return db.d.explain(j.err)
		default:
			return db.unavailable()
		}
	}
}

func (db *DB) unavailable() error {
	return artifact.Wrap(artifact.Unavailable, db.Err(), "The database takes no writes")
}

// writer commits batches until the database is closed or has failed.
func (db *DB) writer() {
	defer close(db.done)
	w := &session{db: db}
	defer w.close()
	for {
		var batch []*job
		select {
		case j := <-db.jobs:
			batch = append(batch, j)
		case <-db.quit:
			select {
			case j := <-db.jobs: // handed in before Close
				batch = append(batch, j)
			default:
				return
			}
		}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case j := <-db.jobs:
				batch = append(batch, j)
			default:
				more = false
			}
		}
		w.run(batch)
		for _, j := range batch {
			for _, key := range j.woken {
				db.wake(key)
			}
			close(j.answer)
		}
		for _, key := range w.woken {
			db.wake(key)
		}
		if db.Err() != nil {
			return
		}
	}
}

// session is the writer's connection with its prepared statements.
type session struct {
	db    *DB
	conn  *sql.Conn
	s     *statements
	woken []int64 // audit logs that the batch wrote to
}

func (w *session) connect() error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.db.write.Conn(context.Background())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	w.conn, w.s = conn, newStatements(w.db.d, conn)
	w.s.whole = true
	for _, q := range []string{w.db.d.begin, "SAVEPOINT one", "RELEASE SAVEPOINT one", "ROLLBACK TO SAVEPOINT one", "ROLLBACK", "COMMIT"} {
		// Now, because PostgreSQL prepares nothing inside a failed transaction.
		if _, err := w.s.get(context.Background(), q); err != nil {
			w.close()
			return err
		}
	}
	return nil
}

// close throws the connection away, and with it what it left open.
func (w *session) close() {
	if w.conn == nil {
		return
	}
	w.s.close()
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // so that the pool does not keep it
	_ = w.conn.Close()
	w.conn, w.s = nil, nil
}

// run gives every job of the batch its outcome.
func (w *session) run(batch []*job) {
	w.woken = w.woken[:0]
	err := w.try(batch)
	if err == nil {
		return
	}
	clash := w.db.d.verdict(err) == clash
	if w.db.Err() != nil || errors.Is(err, errUnknown) || len(batch) == 1 && !clash {
		for _, j := range batch {
			j.err, j.woken = err, nil
		}
		return
	}
	for _, j := range batch { // one of them is at fault: find out which
		w.alone(j)
	}
}

// clashes is how often a transaction that met one of another node is tried
// again. Each time one of them has gone on.
const clashes = 16

// alone gives one job its outcome.
func (w *session) alone(j *job) {
	var err error
	for range clashes {
		j.err, j.woken = nil, nil
		if err = w.try([]*job{j}); err == nil || w.db.d.verdict(err) != clash || errors.Is(err, errUnknown) {
			break
		}
	}
	if err != nil {
		j.err, j.woken = err, nil
	}
}

// errUnknown marks a commit whose outcome is not known; it is never repeated.
var errUnknown = errors.New("the outcome of the commit is unknown")

// begin starts a transaction. A connection that was lost while it was idle is
// replaced once: nothing was sent on it yet.
func (w *session) begin(ctx context.Context) error {
	for again := false; ; again = true {
		err := w.connect()
		if err == nil {
			_, err = w.s.exec(ctx, w.db.d.begin)
		}
		if err == nil {
			return nil
		}
		w.close()
		if again || w.db.d.verdict(err) != lost {
			return fmt.Errorf("begin: %w", err)
		}
	}
}

// try runs the jobs in one transaction. It returns an error when the whole
// transaction was undone; the errors of single jobs are in the jobs.
func (w *session) try(batch []*job) error {
	ctx := context.Background()
	if err := w.begin(ctx); err != nil {
		return err
	}
	now := w.db.opt.Now().Truncate(time.Microsecond)
	sums := &ledger{balances: make(map[string]*balance), audits: make(map[string][]audited)}
	for _, j := range batch {
		if err := w.closure(ctx, j, now, sums); err != nil {
			w.rollback(ctx)
			return err
		}
	}
	woken, err := (&Tx{db: w.db, ctx: ctx, s: w.s, now: now, ledger: sums}).settle()
	if err != nil {
		w.rollback(ctx)
		return fmt.Errorf("write usage and audit log: %w", err)
	}
	w.woken = append(w.woken, woken...)
	start := time.Now()
	if _, err := w.s.exec(ctx, "COMMIT"); err != nil {
		return w.commitFailed(ctx, err)
	}
	w.db.opt.Committed(len(batch), time.Since(start))
	return nil
}

// closure runs one job inside a savepoint. It returns an error only when the
// transaction around it cannot go on.
func (w *session) closure(ctx context.Context, j *job, now time.Time, sums *ledger) error {
	if _, err := w.s.exec(ctx, "SAVEPOINT one"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	tx := &Tx{db: w.db, ctx: ctx, s: w.s, now: now, caller: j.caller, ledger: sums}
	if j.err = call(j.f, tx); j.err == nil {
		j.err = tx.finish()
	}
	if j.err == nil {
		j.woken = tx.woken
		_, err := w.s.exec(ctx, "RELEASE SAVEPOINT one")
		return err
	}
	_, business := errors.AsType[*artifact.Error](j.err)
	_, panicked := errors.AsType[*panicError](j.err)
	if !business && !panicked && w.db.d.verdict(j.err) != constraint {
		return j.err
	}
	if _, err := w.s.exec(ctx, "ROLLBACK TO SAVEPOINT one"); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	_, err := w.s.exec(ctx, "RELEASE SAVEPOINT one")
	return err
}

// commitFailed decides what a failed commit means. Only where the engine says
// that nothing was kept may the server go on.
func (w *session) commitFailed(ctx context.Context, err error) error {
	err = fmt.Errorf("commit: %w", err)
	if w.db.d.undone(err) {
		w.rollback(ctx)
		return err
	}
	w.close()
	unknown := errors.Join(errUnknown, err)
	if w.db.d == postgresDialect {
		return artifact.Wrap(artifact.Unavailable, unknown, "The connection to the database was lost; whether this was saved is unknown")
	}
	w.db.err = err
	close(w.db.failed)
	return artifact.Wrap(artifact.Unavailable, unknown, "The database cannot write")
}

// rollback undoes the transaction; if even that fails, the connection goes and
// takes what it left open with it.
func (w *session) rollback(ctx context.Context) {
	if _, err := w.s.exec(ctx, "ROLLBACK"); err != nil {
		w.close()
	}
}

// panicError is a panic of a closure, which fails its caller only.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("panic in a transaction: %v\n%s", e.value, e.stack)
}

func call(f func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return f(tx)
}

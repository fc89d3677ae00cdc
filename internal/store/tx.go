package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Tx is a running transaction. SQL is written in PostgreSQL's form with $1, $2, ... placeholders. It belongs to the
// goroutine that runs the closure and ends with it.
//
// Arguments are strings, integers, floats, byte slices (nil is NULL), booleans (stored as 0 and 1) and named types of
// these. Text must be UTF-8 without NUL, and times are stored with [Micros], because one of the databases would not
// take them otherwise.
//
// A statement that fails ends the transaction, in both databases: no other statement runs, and Update returns fn's
// error, or the statement's if fn returned nil. Use ON CONFLICT where a conflict is no failure.
type Tx struct {
	q     querier
	whole bool      // the context is looked at between statements only: see sqliteConn
	rows  *sql.Rows // of the last Query
	err   error     // of the first statement that failed
	ended bool
	hooks []func()
}

// querier runs statements: a *sql.Tx, or a *sqliteConn inside BEGIN.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

var (
	errEnded    = errors.New("store: transaction has ended")
	errOpenRows = errors.New("store: statement while the rows of an earlier query are open: close them first")
)

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, args, err := tx.prepare(ctx, args)
	if err != nil {
		return 0, err
	}
	result, err := tx.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, tx.fail(err)
	}
	n, err := result.RowsAffected()
	return n, tx.fail(err)
}

// Query runs a query; the caller closes the rows before the next statement.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, args, err := tx.prepare(ctx, args)
	if err != nil {
		return nil, err
	}
	rows, err := tx.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, tx.fail(err)
	}
	tx.rows = rows
	return rows, nil
}

// QueryRow runs a query for one row; Scan gives sql.ErrNoRows when there is none. Scan is called before the next
// statement in any case: a row that is never scanned holds on to its connection, and Close waits for it.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	ctx, args, err := tx.prepare(ctx, args)
	if err != nil {
		return failedRow(err)
	}
	row := tx.q.QueryRowContext(ctx, query, args...)
	_ = tx.fail(row.Err())
	return row
}

// AfterCommit registers fn to run once the transaction is durable, before Update returns, on its goroutine and in the
// order of registration. It is dropped on failure. It may begin transactions of its own.
func (tx *Tx) AfterCommit(fn func()) { tx.hooks = append(tx.hooks, fn) }

// fail remembers that the transaction is over because of err.
func (tx *Tx) fail(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// prepare checks that a statement may run, and gives its arguments a form that means the same in both databases.
func (tx *Tx) prepare(ctx context.Context, args []any) (context.Context, []any, error) {
	if tx.ended {
		return nil, nil, errEnded
	}
	if tx.err != nil {
		return nil, nil, tx.err
	}
	if tx.rows != nil {
		if _, err := tx.rows.Columns(); err == nil { // closed rows have no columns
			return nil, nil, tx.fail(errOpenRows)
		}
		tx.rows = nil
	}
	if tx.whole {
		if err := ctx.Err(); err != nil {
			return nil, nil, tx.fail(err)
		}
		ctx = context.WithoutCancel(ctx)
	}
	values := make([]any, len(args))
	for i, arg := range args {
		v, err := value(arg)
		if err != nil {
			return nil, nil, tx.fail(fmt.Errorf("store: argument $%d: %w", i+1, err))
		}
		values[i] = v
	}
	return ctx, values, nil
}

// run calls fn and ends the transaction's use. It does not commit.
func (tx *Tx) run(fn func(*Tx) error) error {
	defer func() {
		tx.ended = true
		if tx.rows != nil {
			_ = tx.rows.Close() // the closure's own error, if any, says more
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return fmt.Errorf("store: a statement failed: %w", tx.err)
	}
	return nil
}

func value(arg any) (any, error) {
	v, err := driver.DefaultParameterConverter.ConvertValue(arg)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			return nil, errors.New("text is not UTF-8 without NUL: store it as bytes")
		}
	case []byte:
		if v == nil {
			return nil, nil
		}
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case time.Time:
		return nil, errors.New("times are stored as store.Micros")
	}
	return v, nil
}

// failedRow returns a row whose Scan gives err. database/sql has no constructor for one, but fills it with the error
// of a connection that cannot be made.
func failedRow(err error) *sql.Row {
	db := sql.OpenDB(unreachable{err})
	defer db.Close()
	return db.QueryRowContext(context.Background(), "")
}

type unreachable struct{ err error }

func (u unreachable) Connect(context.Context) (driver.Conn, error) { return nil, u.err }
func (u unreachable) Driver() driver.Driver                        { return nil }

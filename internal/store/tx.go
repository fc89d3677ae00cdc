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
	rows  *sql.Rows // of the last Query or QueryRow
	err   error     // of the first statement that failed
	ended bool
	hooks []func()
}

// querier runs statements: a *sql.Tx, or a *sqliteConn inside BEGIN.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
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

// QueryRow runs a query for one row; Scan gives sql.ErrNoRows when there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *Row {
	rows, err := tx.Query(ctx, query, args...)
	return &Row{tx, rows, err}
}

// Row is the answer to QueryRow. Unlike a *sql.Row, one that is never scanned holds nothing beyond its transaction.
type Row struct {
	tx   *Tx
	rows *sql.Rows
	err  error
}

// Scan copies the row's columns and is called before the next statement. Of several rows it takes the first.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return r.tx.fail(err)
		}
		return sql.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.tx.fail(r.rows.Close())
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
		if err := tx.endRows(); err != nil {
			return nil, nil, err
		}
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

// endRows closes the last query's rows. A query may fail after its first rows, and nobody need have looked.
func (tx *Tx) endRows() error {
	rows := tx.rows
	if tx.rows = nil; rows == nil {
		return nil
	}
	return tx.fail(errors.Join(rows.Err(), rows.Close()))
}

// run calls fn and ends the transaction's use. It does not commit.
func (tx *Tx) run(fn func(*Tx) error) error {
	defer func() {
		tx.ended = true
		_ = tx.endRows() // of a closure that panicked
	}()
	err := fn(tx)
	_ = tx.endRows() // in tx.err
	if err != nil {
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

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	postgresConns   = 20  // a node's connections at most
	postgresRetries = 200 // of a transaction that others keep getting in the way of
	// commitTimeout is how long a server may take over a commit before its connection is given up.
	commitTimeout = time.Minute
	// migrationLock is the advisory lock under which one node at a time migrates. The number is arbitrary.
	migrationLock = 0x6b657972
)

// postgresDB is the engine for a PostgreSQL database that any number of nodes share.
type postgresDB struct {
	db    *sql.DB
	fault func(string) error
	// retrying is held by the one transaction of this node that is tried again. Those that failed for getting in each
	// other's way would otherwise do so again and again.
	retrying chan struct{}
}

func openPostgres(ctx context.Context, o Options) (*postgresDB, error) {
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	for name, value := range map[string]string{
		"application_name":   "keyreel",
		"synchronous_commit": "on", // whatever the server's default is: Update promises it
	} {
		if _, ok := config.RuntimeParams[name]; !ok {
			config.RuntimeParams[name] = value
		}
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	p := &postgresDB{db: db, fault: o.Fault, retrying: make(chan struct{}, 1)}
	var encoding, fsync string
	err = db.QueryRowContext(ctx, "SELECT current_setting('server_encoding'), current_setting('fsync')").Scan(&encoding, &fsync)
	if err == nil && encoding != "UTF8" {
		err = fmt.Errorf("database has the encoding %s: create it with ENCODING 'UTF8'", encoding)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if fsync != "on" {
		o.Log.WarnContext(ctx, "PostgreSQL runs with fsync off: acknowledged changes do not survive power loss")
	}
	return p, nil
}

func (p *postgresDB) dialect() string { return "postgres" }

func (p *postgresDB) view(ctx context.Context, fn func(*Tx) error) error {
	_, err, _ := p.transact(ctx, sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, fn)
	return err
}

// migrate reads committed state anew with each statement, so it sees what another node did while this one waited for
// the lock.
func (p *postgresDB) migrate(ctx context.Context, fn func(*Tx) error) error {
	_, err, _ := p.transact(ctx, sql.TxOptions{Isolation: sql.LevelReadCommitted}, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
			return err
		}
		return fn(tx)
	})
	return err
}

func (p *postgresDB) update(ctx context.Context, fn func(*Tx) error) ([]func(), error) {
	options := sql.TxOptions{Isolation: sql.LevelSerializable}
	taken := false
	for try := 0; ; try++ {
		hooks, err, cause := p.transact(ctx, options, fn)
		// A key may be taken by a row that fn could not see, because it was committed while fn ran. Then fn decides
		// again, on a state in which it can.
		again := inTheWay(cause) || IsUnique(cause) && !taken
		taken = taken || IsUnique(cause)
		if !again || try == postgresRetries {
			return hooks, err
		}
		if try == 0 {
			select {
			case p.retrying <- struct{}{}:
				defer func() { <-p.retrying }()
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		select {
		case <-time.After(rand.N(time.Millisecond << min(try, 6))):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// transact runs fn in a transaction and ends it. cause is the database's error if that is why it was undone.
func (p *postgresDB) transact(ctx context.Context, o sql.TxOptions, fn func(*Tx) error) (_ []func(), err, cause error) {
	// The end of ctx undoes the transaction while fn runs, and not once it has returned: a commit that is cut off would
	// have no outcome that anybody knows.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	detach := context.AfterFunc(ctx, cancel)
	defer detach()
	sqlTx, err := p.begin(own, &o)
	if err != nil {
		return nil, fmt.Errorf("store: beginning: %w", cmp.Or(ctx.Err(), err)), nil
	}
	defer sqlTx.Rollback() // also when fn panics; does nothing after Commit
	tx := &Tx{q: sqlTx}
	if err := tx.run(fn); err != nil {
		return nil, err, tx.err
	}
	if !detach() {
		return nil, fmt.Errorf("store: %w", ctx.Err()), nil
	}
	defer time.AfterFunc(commitTimeout, cancel).Stop()
	if !o.ReadOnly {
		if err := p.fault("commit.before"); err != nil {
			return nil, err, nil
		}
	}
	if err := sqlTx.Commit(); err != nil {
		return nil, fmt.Errorf("store: committing: %w", err), err
	}
	if !o.ReadOnly {
		if err := p.fault("commit.after"); err != nil {
			return nil, err, nil
		}
	}
	return tx.hooks, nil, nil
}

// begin passes over the pool's connections that have died since they were used last, all of them when the server was
// started anew. Nothing has been done on them.
func (p *postgresDB) begin(ctx context.Context, o *sql.TxOptions) (tx *sql.Tx, err error) {
	for range postgresConns + 1 {
		tx, err = p.db.BeginTx(ctx, o)
		if _, unreachable := errors.AsType[*pgconn.ConnectError](err); err == nil || unreachable || ctx.Err() != nil {
			break
		}
	}
	return tx, err
}

// inTheWay reports whether err is PostgreSQL's serialization_failure or deadlock_detected.
func inTheWay(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

func (p *postgresDB) close() error { return p.db.Close() }

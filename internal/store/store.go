package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
)

// Options say which database to open and which tables it is to hold.
type Options struct {
	URL     string   // "sqlite:/path/keyreel.db" or "postgres://user@host/db?..."
	Schemas []Schema // applied in order; every service brings one
	Log     *slog.Logger

	// Fault is a seam for tests and nil in production. It is called around each commit that changes something; an
	// error that it returns becomes the error of every Update in that commit, or of Open when it migrates. At "commit.before" nothing has been
	// applied and nothing will be; at "commit.after" everything has been applied, as if the answer had been lost.
	Fault func(point string) error
}

// Schema is a service's numbered DDL: files NNNN_name.sqlite.sql and NNNN_name.postgres.sql, each applied once, in
// order, in a transaction. The files may lie in any folder of FS. Both dialects have the same numbers and names,
// counted from 0001 without a gap. A file that was applied and has changed since, and a database with files that the
// program does not know, refuse to open.
type Schema struct {
	Name string // the service's name; its tables begin with it
	FS   fs.FS
}

// ErrClosed is returned by View and Update after Close.
var ErrClosed = errors.New("store: database is closed")

// engine is a kind of database. Both engines give the same guarantees (see the package comment).
type engine interface {
	dialect() string
	view(ctx context.Context, fn func(*Tx) error) error
	// update returns the hooks to run when err is nil.
	update(ctx context.Context, fn func(*Tx) error) (hooks []func(), err error)
	// migrate is update with nobody else migrating at the same time.
	migrate(ctx context.Context, fn func(*Tx) error) error
	close() error
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	engine engine

	mu      sync.Mutex // guards closed, and running.Add against Close
	closed  bool
	running sync.WaitGroup
}

// Open opens the database, creates it when it is missing, and brings its schemas up to date. A SQLite database can
// be open once at a time, in one process: a second Open fails.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fault == nil {
		o.Fault = func(string) error { return nil }
	}
	var e engine
	var err error
	switch kind, rest, _ := strings.Cut(o.URL, ":"); kind {
	case "sqlite":
		e, err = openSQLite(ctx, strings.TrimPrefix(rest, "//"), o)
	case "postgres", "postgresql":
		e, err = openPostgres(ctx, o)
	default:
		return nil, errKind(kind)
	}
	if err != nil {
		return nil, fmt.Errorf("store: opening: %w", err)
	}
	if err := migrate(ctx, e, o.Schemas, o.Log); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), e.close())
	}
	return &DB{engine: e}, nil
}

// ErrReadOnly is returned by Update of a database that OpenReader has opened.
var ErrReadOnly = errors.New("store: the database was opened to be read")

// OpenReader opens a database that is there, to be read beside a process that may have it open: it takes no lock, changes
// no schema, and leaves the file as it is.
func OpenReader(ctx context.Context, url string) (*DB, error) {
	o := Options{URL: url, Log: slog.New(slog.DiscardHandler), Fault: func(string) error { return nil }}
	var e engine
	var err error
	switch kind, rest, _ := strings.Cut(url, ":"); kind {
	case "sqlite":
		e, err = openSQLiteReader(ctx, strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		if e, err = openPostgres(ctx, o); err == nil {
			e = readOnly{e}
		}
	default:
		return nil, errKind(kind)
	}
	if err != nil {
		return nil, fmt.Errorf("store: opening: %w", err)
	}
	return &DB{engine: e}, nil
}

// readOnly is an engine without its writing half.
type readOnly struct{ engine }

func (readOnly) update(context.Context, func(*Tx) error) ([]func(), error) { return nil, ErrReadOnly }
func (readOnly) migrate(context.Context, func(*Tx) error) error            { return ErrReadOnly }

func errKind(kind string) error {
	return fmt.Errorf("store: database URL of kind %q: use sqlite:/path/to/file or postgres://user@host/name", kind)
}

// Close waits for running transactions and closes the database. A second call does nothing.
func (db *DB) Close() error {
	db.mu.Lock()
	closed := db.closed
	db.closed = true
	db.mu.Unlock()
	if closed {
		return nil
	}
	db.running.Wait()
	return db.engine.close()
}

// begin holds Close back until the returned function is called.
func (db *DB) begin() (end func(), err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil, ErrClosed
	}
	db.running.Add(1)
	return db.running.Done, nil
}

// View runs fn once in a read-only transaction that sees one consistent state: everything that was committed before,
// nothing of what is committed while it runs.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	end, err := db.begin()
	if err != nil {
		return err
	}
	defer end()
	return db.engine.view(ctx, fn)
}

// Update runs fn in a transaction and returns when it is durable: after a nil error the change survives power loss.
// Transactions have the effect of running one after another, in both databases.
//
// fn may run more than once, so it must not touch anything but tx and variables that it sets anew each time. It runs
// on the caller's goroutine and must not call View or Update. An error from fn is returned as it is, and undoes fn's
// changes alone, though other updates share the same commit. So does an error of a statement: see [Tx].
//
// Any other error says that the outcome is unknown: the change may have become durable although its answer was lost,
// so what a caller does again must be idempotent. Once fn has returned, Update waits for the outcome even if ctx ends.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	end, err := db.begin()
	if err != nil {
		return err
	}
	defer end()
	hooks, err := db.engine.update(ctx, fn)
	if err != nil {
		return err
	}
	for _, hook := range hooks {
		hook()
	}
	return nil
}

// Kind is "sqlite" or "postgres".
func (db *DB) Kind() string { return db.engine.dialect() }

// Backup writes a copy of a SQLite database, as it is at one moment, to a new file. Updates and Views go on meanwhile.
// PostgreSQL has tools of its own for it.
func (db *DB) Backup(ctx context.Context, path string) error {
	end, err := db.begin()
	if err != nil {
		return err
	}
	defer end()
	s, ok := db.engine.(*sqliteDB)
	if !ok {
		return errors.New("store: backup of a PostgreSQL database: use pg_dump or the server's own backups")
	}
	if err := s.backup(ctx, path); err != nil {
		return fmt.Errorf("store: backing up: %w", err)
	}
	return nil
}

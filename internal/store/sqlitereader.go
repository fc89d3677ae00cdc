package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// sqliteReader is the reading half of the engine for one file, beside the process that writes it: SQLite lets any number
// of processes read while one writes.
type sqliteReader struct{ *sqliteDB }

func openSQLiteReader(ctx context.Context, path string) (_ engine, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if _, err := sqlite.OFDLocking(true); err != nil && !errors.Is(err, sqlite.ErrOFDLockingUnavailable) {
		return nil, err
	}
	s := sqliteReader{&sqliteDB{
		lock:  io.NopCloser(nil),
		slots: make(chan struct{}, readersOpen),
		idle:  make(chan *sqliteConn, readersKept),
	}}
	// The last connection to close would otherwise fold the log into the file.
	if s.reader, err = sql.Open("sqlite", sqliteDSN(path, true)+"&mode=ro"); err != nil {
		return nil, err
	}
	s.reader.SetMaxIdleConns(-1)
	err = s.view(ctx, func(tx *Tx) error {
		var n int
		return tx.QueryRow(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), s.close())
	}
	return readOnly{s}, nil
}

func (s sqliteReader) close() error { return s.closeFiles() }

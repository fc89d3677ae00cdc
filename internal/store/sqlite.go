package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"modernc.org/sqlite"
)

const (
	// sqliteFloor is the first version without the WAL-reset bug, in which a write that races a checkpoint can lose
	// committed transactions (all versions from 3.7.0 to 3.51.2).
	sqliteFloor = "3.51.3"

	groupSize     = 64          // closures that share a commit at most
	readersOpen   = 32          // Views that run at the same time; others wait
	readersKept   = readersOpen // connections that stay open between Views: to open one costs more than most Views
	statementsMax = 256
)

// sqliteDB is the engine for one file. One goroutine owns the only connection that writes: it begins a transaction,
// lends the connection to one waiting Update after the other, each inside a savepoint, and commits for all of them.
type sqliteDB struct {
	fault func(string) error
	lock  io.Closer

	writer  *sql.DB
	queue   chan *turn
	closing chan struct{}
	stopped chan struct{} // the writer has ended

	reader *sql.DB
	slots  chan struct{}    // a View holds one
	idle   chan *sqliteConn // readers between Views
}

// turn is one Update's place in the queue.
type turn struct {
	gone      <-chan struct{}  // the caller's context has ended
	conn      chan *sqliteConn // unbuffered: the writer lends its connection
	back      chan turnEnd     // the caller gives it back
	committed chan error       // how the shared transaction ended
}

// turnEnd says in what state the connection comes back.
type turnEnd struct {
	joined bool  // the closure's changes are part of the shared transaction
	broken error // the shared transaction cannot go on
}

func openSQLite(ctx context.Context, path string, o Options) (_ *sqliteDB, err error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, fmt.Errorf("sqlite URL %q names no file", o.URL)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	// Without this, any code in the process that opens and closes the file would drop SQLite's lock on it.
	if _, err := sqlite.OFDLocking(true); err != nil && !errors.Is(err, sqlite.ErrOFDLockingUnavailable) {
		return nil, err
	}
	if err := createFile(path); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &sqliteDB{
		fault:   o.Fault,
		lock:    lock,
		queue:   make(chan *turn),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
		slots:   make(chan struct{}, readersOpen),
		idle:    make(chan *sqliteConn, readersKept),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.writer, err = sql.Open("sqlite", sqliteDSN(path, false)); err != nil {
		return nil, err
	}
	if s.reader, err = sql.Open("sqlite", sqliteDSN(path, true)); err != nil {
		return nil, err
	}
	// A connection that is given up is closed: sqliteDB keeps those that are still good.
	s.writer.SetMaxIdleConns(-1)
	s.reader.SetMaxIdleConns(-1)
	conn, err := connect(ctx, s.writer)
	if err != nil {
		return nil, err
	}
	if err := checkSQLite(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.close())
	}
	go s.write(conn)
	return s, nil
}

// createFile makes the file, readable to its owner only, so that SQLite's companion files become that too.
func createFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(filepath.Dir(path)))
}

func sqliteDSN(path string, reader bool) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/folder/file
	}
	q := url.Values{"_pragma": {
		"busy_timeout(10000)", // a foreign tool that reads the file may hold it for a moment
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"fullfsync(1)", // macOS: past the disk's own cache
		"checkpoint_fullfsync(1)",
		"foreign_keys(1)",
		"journal_size_limit(67108864)",
		"temp_store(MEMORY)", // what a savepoint undoes is kept in memory: in a file it costs two system calls a page
	}, "_dqs": {"0"}} // "x" is a name, never a string, as in PostgreSQL
	if reader {
		q.Add("_pragma", "query_only(1)")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func checkSQLite(ctx context.Context, c *sqliteConn) error {
	var version, mode string
	tx := &Tx{q: c, whole: true}
	if err := tx.QueryRow(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return err
	}
	if !versionAtLeast(version, sqliteFloor) {
		return fmt.Errorf("SQLite %s can lose committed writes: build with %s or newer", version, sqliteFloor)
	}
	if err := tx.QueryRow(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("journal mode is %q: the file system must support a write-ahead log with shared memory", mode)
	}
	return nil
}

// versionAtLeast compares dotted numbers.
func versionAtLeast(version, floor string) bool {
	v, f := strings.Split(version, "."), strings.Split(floor, ".")
	for i := range min(len(v), len(f)) {
		a, errA := strconv.Atoi(v[i])
		b, errB := strconv.Atoi(f[i])
		if errA != nil || errB != nil {
			return false
		}
		if a != b {
			return a > b
		}
	}
	return len(v) >= len(f)
}

func (s *sqliteDB) dialect() string { return "sqlite" }

func (s *sqliteDB) migrate(ctx context.Context, fn func(*Tx) error) error {
	_, err := s.update(ctx, fn)
	return err
}

func (s *sqliteDB) view(ctx context.Context, fn func(*Tx) error) (err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var c *sqliteConn
	select {
	case c = <-s.idle:
	default:
		if c, err = connect(ctx, s.reader); err != nil {
			return fmt.Errorf("store: connecting: %w", err)
		}
	}
	if err := c.exec("BEGIN"); err != nil {
		return errors.Join(fmt.Errorf("store: beginning to read: %w", err), c.close())
	}
	defer func() {
		if c.exec("ROLLBACK") != nil { // nothing is lost with a connection that only reads
			_ = c.close()
			return
		}
		select {
		case s.idle <- c:
		default:
			_ = c.close()
		}
	}()
	return (&Tx{q: c, whole: true}).run(fn)
}

func (s *sqliteDB) update(ctx context.Context, fn func(*Tx) error) ([]func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := &turn{
		gone:      ctx.Done(),
		conn:      make(chan *sqliteConn),
		back:      make(chan turnEnd, 1),
		committed: make(chan error, 1),
	}
	select {
	case s.queue <- t:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case c := <-t.conn:
		hooks, err := t.run(c, fn)
		// The commit's error comes first: err may be about changes of others that it has undone.
		if committed := <-t.committed; committed != nil {
			return nil, committed
		}
		return hooks, err
	case err := <-t.committed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run calls fn inside a savepoint of the shared transaction. However fn ends, by return, panic or runtime.Goexit, the
// connection goes back to the writer.
func (t *turn) run(c *sqliteConn, fn func(*Tx) error) ([]func(), error) {
	var end turnEnd
	defer func() { t.back <- end }()
	if end.broken = c.exec("SAVEPOINT closure"); end.broken != nil {
		return nil, end.broken
	}
	defer func() {
		if !end.joined {
			end.broken = errors.Join(c.exec("ROLLBACK TO closure"), c.exec("RELEASE closure"))
		}
	}()
	tx := &Tx{q: c, whole: true}
	if err := tx.run(fn); err != nil {
		return nil, err
	}
	if err := c.exec("RELEASE closure"); err != nil {
		return nil, err
	}
	end.joined = true
	return tx.hooks, nil
}

// write is the writer's goroutine. c is nil after a failure, until the next transaction needs it.
func (s *sqliteDB) write(c *sqliteConn) {
	defer close(s.stopped)
	for {
		select {
		case t := <-s.queue:
			var err error
			if c == nil {
				if c, err = connect(context.Background(), s.writer); err != nil {
					t.committed <- fmt.Errorf("store: connecting: %w", err)
					continue
				}
			}
			if s.group(c, t) != nil {
				_ = c.close()
				c = nil
			}
		case <-s.closing:
			if c != nil {
				_ = c.close()
			}
			return
		}
	}
}

// group runs first and those who wait behind it in one transaction. An error says that c is no longer to be trusted.
func (s *sqliteDB) group(c *sqliteConn, first *turn) error {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		first.committed <- fmt.Errorf("store: beginning: %w", err)
		return err
	}
	var turns []*turn
	var changed bool
	var broken error
	for t := first; t != nil && broken == nil; t = s.next(len(turns)) {
		select {
		case t.conn <- c:
			end := <-t.back
			turns = append(turns, t)
			changed = changed || end.joined
			broken = end.broken
		case <-t.gone:
		}
	}
	outcome, broken := s.commit(c, changed, broken)
	for _, t := range turns {
		t.committed <- outcome
	}
	return broken
}

// next returns who waits in the queue, or nil when the transaction is to be committed.
func (s *sqliteDB) next(n int) *turn {
	if n >= groupSize {
		return nil
	}
	select {
	case t := <-s.queue:
		return t
	default:
		return nil
	}
}

// commit ends the transaction. outcome is for the callers.
func (s *sqliteDB) commit(c *sqliteConn, changed bool, broken error) (outcome, _ error) {
	if broken != nil {
		return fmt.Errorf("store: shared transaction broke: %w", broken), broken
	}
	if !changed {
		return nil, c.exec("ROLLBACK")
	}
	if err := s.fault("commit.before"); err != nil {
		return err, c.exec("ROLLBACK")
	}
	if err := c.exec("COMMIT"); err != nil {
		return fmt.Errorf("store: committing: %w", err), err
	}
	return s.fault("commit.after"), nil
}

// backup writes a compact copy to a new file. It reads like a View and holds up no writer.
func (s *sqliteDB) backup(ctx context.Context, path string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s exists already: %w", path, cmp.Or(err, os.ErrExist))
	}
	if err := createFile(path); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	c, err := connect(ctx, s.writer)
	if err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, "VACUUM INTO $1", path)
	if err := errors.Join(err, c.close()); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // SQLite does not sync the copy
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s *sqliteDB) close() error {
	close(s.closing)
	<-s.stopped
	return s.closeFiles()
}

// closeFiles closes the reading connections before the writer's pool, and gives up the lock last.
func (s *sqliteDB) closeFiles() error {
	var errs []error
	for len(s.idle) > 0 {
		errs = append(errs, (<-s.idle).close())
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

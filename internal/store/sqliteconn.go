package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// sqliteConn is a connection with its prepared statements. Each is prepared once, under its text in PostgreSQL's form.
//
// No statement is interrupted by its context. SQLite would undo the whole transaction with it, which on the writer's
// connection others share; and to be ready for it makes a point query half as slow again.
type sqliteConn struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

func connect(ctx context.Context, db *sql.DB) (*sqliteConn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &sqliteConn{conn: conn, statements: map[string]*sql.Stmt{}}, nil
}

func (c *sqliteConn) close() error {
	c.forget()
	if err := c.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		return err
	}
	return nil
}

func (c *sqliteConn) forget() {
	for _, s := range c.statements {
		_ = s.Close() // frees memory; it has no other outcome
	}
	clear(c.statements)
}

func (c *sqliteConn) statement(query string) (*sql.Stmt, error) {
	if s, ok := c.statements[query]; ok {
		return s, nil
	}
	s, err := c.conn.PrepareContext(context.Background(), positional(query))
	if err != nil {
		return nil, err
	}
	if len(c.statements) >= statementsMax { // texts that are put together at run time
		c.forget()
	}
	c.statements[query] = s
	return s, nil
}

// exec runs a statement without arguments, whatever the caller's context says.
func (c *sqliteConn) exec(query string) error {
	_, err := c.ExecContext(context.Background(), query)
	return err
}

func (c *sqliteConn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (c *sqliteConn) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// positional rewrites PostgreSQL's $1 to SQLite's ?1 (SQLite would take $1 for a name and count it by its first
// appearance). Strings, quoted names and comments stay as they are.
func positional(query string) string {
	if !strings.Contains(query, "$") {
		return query
	}
	out := []byte(query)
	for i := 0; i < len(query); i++ {
		switch rest := query[i:]; {
		case query[i] == '\'' || query[i] == '"':
			i += skip(rest[1:], rest[:1])
		case strings.HasPrefix(rest, "--"):
			i += skip(rest[1:], "\n")
		case strings.HasPrefix(rest, "/*"):
			i += 1 + skip(rest[2:], "*/")
		case query[i] == '$' && len(rest) > 1 && '0' <= rest[1] && rest[1] <= '9':
			out[i] = '?'
		}
	}
	return string(out)
}

// skip returns how many bytes of s lie up to the end of the next end, which may be missing.
func skip(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func openTest(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), Options{URL: "sqlite:" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestPositional(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query, want string }{
		{"none", "SELECT 1", "SELECT 1"},
		{"out of order and twice", "SELECT $2, $10, $2", "SELECT ?2, ?10, ?2"},
		{"string", "SELECT '$1', 'it''s $1', $1", "SELECT '$1', 'it''s $1', ?1"},
		{"quoted name", `SELECT "a$1", $1`, `SELECT "a$1", ?1`},
		{"name", "SELECT a$b, $x, $1 $", "SELECT a$b, $x, ?1 $"},
		{"line comment", "SELECT -- it's $1\n $1 -- $2", "SELECT -- it's $1\n ?1 -- $2"},
		{"block comment", "SELECT /* it's $1 */ $1 /* $2", "SELECT /* it's $1 */ ?1 /* $2"},
		{"short comment", "SELECT /**/ $1 - $2 / $3", "SELECT /**/ ?1 - ?2 / ?3"},
		{"unfinished string", "SELECT $1, '$2", "SELECT ?1, '$2"},
		{"empty", "$", "$"},
	}
	for _, test := range tests {
		if got := positional(test.query); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// The SQLite that is built in has no WAL-reset bug: see sqliteFloor.
func TestSQLiteVersion(t *testing.T) {
	t.Parallel()
	db := openTest(t, filepath.Join(t.TempDir(), "db"))
	var version string
	err := db.View(t.Context(), func(tx *Tx) error {
		return tx.QueryRow(t.Context(), "SELECT sqlite_version()").Scan(&version)
	})
	if err != nil || !versionAtLeast(version, sqliteFloor) {
		t.Errorf("SQLite %s (%v), want %s or newer", version, err, sqliteFloor)
	}
	for version, want := range map[string]bool{"3.51.3": true, "3.51.10": true, "3.54.1": true, "4.0.0": true, "3.51.2": false, "3.7.99": false, "3.51": false, "": false} {
		if versionAtLeast(version, "3.51.3") != want {
			t.Errorf("%q: want %v", version, want)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	db := openTest(t, filepath.Join(t.TempDir(), "db"))
	common := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"}
	check := func(tx *Tx) error {
		for name, want := range common {
			var got string
			if err := tx.QueryRow(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %s (%v), want %s", name, got, err, want)
			}
		}
		return nil
	}
	if err := db.Update(t.Context(), check); err != nil {
		t.Error(err)
	}
	if err := db.View(t.Context(), check); err != nil {
		t.Error(err)
	}
}

func TestOneProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new folder", "a?b#c%20 d.db")
	openTest(t, path)
	if _, err := Open(t.Context(), Options{URL: "sqlite:" + path}); err == nil || !strings.Contains(err.Error(), "another process has the database open") {
		t.Errorf("second Open: %v", err)
	}
	for _, name := range []string{path, path + "-wal", path + ".lock"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want only its owner to read it", name, info.Mode())
		}
	}
}

// SQL that is put together at run time does not fill the memory with prepared statements.
func TestManyStatements(t *testing.T) {
	t.Parallel()
	db := openTest(t, filepath.Join(t.TempDir(), "db"))
	ctx := t.Context()
	err := db.View(ctx, func(tx *Tx) error {
		for i := range 3 * statementsMax {
			var got int
			if err := tx.QueryRow(ctx, fmt.Sprintf("SELECT %d + $1", i), 1).Scan(&got); err != nil || got != i+1 {
				return fmt.Errorf("got %d: %w", got, err)
			}
		}
		if n := len(tx.q.(*sqliteConn).statements); n > statementsMax {
			t.Errorf("%d statements are kept, want at most %d", n, statementsMax)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Updates that wait for each other share commits; one that fails undoes itself alone, and a commit that fails is all its
// callers' error.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"good": nil, "failing": errors.New("fault")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				commits := -2 // the migration's and the table's
				db, err := Open(ctx, Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "db"), Fault: func(point string) error {
					if point != "commit.before" {
						return nil
					}
					if commits++; commits > 0 {
						return fault
					}
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if err := db.Update(ctx, func(tx *Tx) error {
					_, err := tx.Exec(ctx, "CREATE TABLE n (n INTEGER PRIMARY KEY)")
					return err
				}); err != nil {
					t.Fatal(err)
				}
				errNo := errors.New("no")
				const updates = groupSize + 36
				errs := make([]error, updates)
				var wg sync.WaitGroup
				hold := make(chan struct{})
				for n := range updates {
					wg.Go(func() {
						errs[n] = db.Update(ctx, func(tx *Tx) error {
							if n == 0 {
								<-hold
							}
							if _, err := tx.Exec(ctx, "INSERT INTO n (n) VALUES ($1)", n); err != nil {
								return err
							}
							if n%3 == 1 {
								return errNo
							}
							return nil
						})
					})
					synctest.Wait() // the first is inside, the others wait in the queue
				}
				close(hold)
				wg.Wait()
				if commits != 2 {
					t.Errorf("%d commits for %d updates, want 2", commits, updates)
				}
				want := 0
				for n, err := range errs {
					wantErr := fault
					if fault == nil && n%3 == 1 {
						wantErr = errNo
					} else if fault == nil {
						want++
					}
					if !errors.Is(err, wantErr) {
						t.Errorf("update %d: %v, want %v", n, err, wantErr)
					}
				}
				var count int
				err = db.View(ctx, func(tx *Tx) error { return tx.QueryRow(ctx, "SELECT count(*) FROM n WHERE n % 3 <> 1").Scan(&count) })
				if err != nil || count != want {
					t.Errorf("%d rows (%v), want %d", count, err, want)
				}
			})
		})
	}
}

// A connection that breaks in the middle of a shared transaction fails all its updates, and the next ones work.
func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openTest(t, filepath.Join(t.TempDir(), "db"))
	insert := func(statements ...string) error {
		return db.Update(ctx, func(tx *Tx) error {
			for _, s := range statements {
				if _, err := tx.Exec(ctx, s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := insert("CREATE TABLE n (n INTEGER PRIMARY KEY)", "INSERT INTO n (n) VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	// As SQLite does by itself when the disk is full: the savepoint is gone with the transaction.
	if err := insert("INSERT INTO n (n) VALUES (2)", "ROLLBACK"); err == nil || !strings.Contains(err.Error(), "shared transaction broke") {
		t.Errorf("update with a broken transaction: %v", err)
	}
	if err := insert("INSERT INTO n (n) VALUES (3)"); err != nil {
		t.Errorf("update after it: %v", err)
	}
	var sum int
	err := db.View(ctx, func(tx *Tx) error { return tx.QueryRow(ctx, "SELECT sum(n) FROM n").Scan(&sum) })
	if err != nil || sum != 4 {
		t.Errorf("sum %d (%v), want 1 + 3", sum, err)
	}
}

func TestBackup(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	db := openTest(t, filepath.Join(dir, "db"))
	update := func(statement string) {
		t.Helper()
		if err := db.Update(ctx, func(tx *Tx) error {
			_, err := tx.Exec(ctx, statement)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	update("CREATE TABLE n (n INTEGER PRIMARY KEY)")
	update("INSERT INTO n (n) VALUES (1)")
	copied := filepath.Join(dir, "copy")
	if err := db.Backup(ctx, copied); err != nil {
		t.Fatal(err)
	}
	update("INSERT INTO n (n) VALUES (2)")
	if err := db.Backup(ctx, copied); !errors.Is(err, os.ErrExist) {
		t.Errorf("backup to a file that exists: %v", err)
	}
	if err := db.Backup(ctx, filepath.Join(copied, "below a file")); err == nil {
		t.Error("backup to an impossible path succeeded")
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v; want only its owner to read it", err, info.Mode())
	}
	restored := openTest(t, copied)
	var sum int
	err := restored.View(ctx, func(tx *Tx) error { return tx.QueryRow(ctx, "SELECT sum(n) FROM n").Scan(&sum) })
	if err != nil || sum != 1 {
		t.Errorf("sum %d (%v), want 1", sum, err)
	}
}

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A server that was started anew has cut every connection of the pool. Nobody notices.
func TestConnectionsThatDied(t *testing.T) {
	t.Parallel()
	url := storetest.PostgresURL(t)
	db := open(t, url, nil)
	// As many connections at once as a node opens, twice: one that was reused a moment ago is trusted.
	const conns = 20
	for range 2 {
		var all, group sync.WaitGroup
		all.Add(conns)
		for range conns {
			group.Go(func() {
				if err := db.View(t.Context(), func(*store.Tx) error { all.Done(); all.Wait(); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	admin, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	const others = ` FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	var n int
	err = admin.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid))`+others).Scan(&n)
	if err != nil || n != conns {
		t.Fatalf("%d connections cut: %v", n, err)
	}
	for n > 0 && err == nil {
		err = admin.QueryRowContext(t.Context(), `SELECT count(*)`+others).Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "a", 1)
	want(t, db, map[string]int64{"a": 1})
}

// A connection that is cut in the middle undoes the update, and the next one has another.
func TestConnectionLostInTheMiddle(t *testing.T) {
	t.Parallel()
	db := open(t, storetest.PostgresURL(t), nil)
	ctx := t.Context()
	err := db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ('half', 1)"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
		return err
	})
	if err == nil {
		t.Error("nobody noticed")
	}
	put(t, db, "a", 1)
	want(t, db, map[string]int64{"a": 1})
}

// A query that fails after its first rows because of another transaction has the closure run again, whether the
// closure looks at the rows' error or not.
func TestQueryInTheWayAfterItsFirstRows(t *testing.T) {
	t.Parallel()
	for _, look := range []bool{true, false} {
		t.Run(fmt.Sprintf("look=%v", look), func(t *testing.T) {
			t.Parallel()
			db := open(t, storetest.PostgresURL(t), nil)
			ctx := t.Context()
			exec := func(statement string) {
				t.Helper()
				if err := db.Update(ctx, func(tx *store.Tx) error { _, err := tx.Exec(ctx, statement); return err }); err != nil {
					t.Fatal(err)
				}
			}
			exec(`CREATE SEQUENCE tries`) // a sequence goes on although its transaction is undone
			exec(`CREATE FUNCTION once() RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN
				IF nextval('tries') = 1 THEN RAISE 'in the way' USING ERRCODE = '40001'; END IF; RETURN 1; END $$`)
			runs := 0
			err := db.Update(ctx, func(tx *store.Tx) error {
				runs++
				rows, err := tx.Query(ctx, `SELECT CASE WHEN n = 3 THEN once() ELSE n END FROM generate_series(1, 5) n`)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				if look {
					return rows.Err()
				}
				return nil
			})
			if err != nil || runs != 2 {
				t.Errorf("%d runs, %v", runs, err)
			}
		})
	}
}

// Two closures that look for a name and take it when it is free never meet the database's own error, even if they run
// at once: the second sees what the first did.
func TestNameTakenMeanwhile(t *testing.T) {
	t.Parallel()
	db := open(t, storetest.PostgresURL(t), nil)
	ctx := t.Context()
	looked, taken := make(chan struct{}), make(chan struct{})
	var runs, found int
	var group sync.WaitGroup
	group.Go(func() {
		err := db.Update(ctx, func(tx *store.Tx) error {
			if err := tx.QueryRow(ctx, "SELECT count(*) FROM item WHERE n = 7").Scan(&found); err != nil || found > 0 {
				return err
			}
			if runs++; runs == 1 {
				close(looked)
				<-taken
			}
			_, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ('a', 7)")
			return err
		})
		if err != nil || runs != 1 || found != 1 {
			t.Errorf("after %d runs: %v, %d found", runs, err, found)
		}
	})
	<-looked
	put(t, db, "a", 7)
	close(taken)
	group.Wait()
	if err := insert(ctx, db, "a", 8); !store.IsUnique(err) {
		t.Errorf("a name that is taken: %v", err)
	}
}

// Once the closure has returned, the end of its context does not cut off the commit: the outcome is known.
func TestContextEndsDuringCommit(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		ctx, cancel := context.WithCancel(t.Context())
		var armed atomic.Bool
		db := open(t, url, func(point string) error {
			if point == "commit.before" && armed.Load() {
				cancel()
			}
			return nil
		})
		armed.Store(true)
		if err := insert(ctx, db, "a", 1); err != nil || ctx.Err() == nil {
			t.Errorf("update: %v, context: %v", err, ctx.Err())
		}
		want(t, db, map[string]int64{"a": 1})
	})
}

// A row that nobody scans neither holds up Close nor the next transaction.
func TestRowThatIsNeverScanned(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		db := open(t, url, nil)
		ctx := t.Context()
		put(t, db, "a", 1)
		for _, run := range []func(context.Context, func(*store.Tx) error) error{db.View, db.Update} {
			err := run(ctx, func(tx *store.Tx) error {
				tx.QueryRow(ctx, "SELECT n FROM item")
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			err = run(ctx, func(tx *store.Tx) error {
				tx.QueryRow(ctx, "SELECT n FROM item")
				_, err := tx.Exec(ctx, "SELECT 1")
				return err
			})
			if err == nil {
				t.Error("a statement ran while a row was open")
			}
		}
		put(t, db, "b", 2)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A statement that outlasts its context ends with it.
func TestStatementOutlastsItsContext(t *testing.T) {
	t.Parallel()
	db := open(t, storetest.PostgresURL(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() { <-started; cancel() }()
	err := db.Update(ctx, func(tx *store.Tx) error {
		close(started)
		_, err := tx.Exec(ctx, "SELECT pg_sleep(60)")
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	put(t, db, "a", 1)
}

func open(t *testing.T, url string, fault func(string) error) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}, Fault: fault})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

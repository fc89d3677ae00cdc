package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// both makes a schema whose files have the same text in both dialects.
func both(name string, files ...string) store.Schema {
	fsys := fstest.MapFS{}
	for i, text := range files {
		for _, dialect := range []string{"sqlite", "postgres"} {
			fsys[fmt.Sprintf("schema/%04d_%s.%s.sql", i+1, name, dialect)] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return store.Schema{Name: name, FS: fsys}
}

var items = both("item", `
	CREATE TABLE item (name TEXT PRIMARY KEY, n BIGINT NOT NULL);
	CREATE TABLE item_part (item TEXT NOT NULL REFERENCES item (name), part BIGINT NOT NULL, PRIMARY KEY (item, part));`)

func put(t *testing.T, db *store.DB, name string, n int64) {
	t.Helper()
	if err := insert(t.Context(), db, name, n); err != nil {
		t.Fatal(err)
	}
}

func insert(ctx context.Context, db *store.DB, name string, n int64) error {
	return db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ($1, $2)", name, n)
		return err
	})
}

func read(t *testing.T, db *store.DB) map[string]int64 {
	t.Helper()
	var all map[string]int64
	err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		all, err = readTx(t.Context(), tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readTx(ctx context.Context, tx *store.Tx) (map[string]int64, error) {
	rows, err := tx.Query(ctx, "SELECT name, n FROM item")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		all[name] = n
	}
	return all, rows.Err()
}

func want(t *testing.T, db *store.DB, want map[string]int64) {
	t.Helper()
	if diff := cmp.Diff(want, read(t, db)); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func TestUpdateAndView(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		put(t, db, "a", 1)
		err := db.Update(ctx, func(tx *store.Tx) error {
			n, err := tx.Exec(ctx, "UPDATE item SET n = n + $2 WHERE name = $1 AND n < $2", "a", 40)
			if n != 1 {
				t.Errorf("changed %d rows, want 1", n)
			}
			if err != nil {
				return err
			}
			var name string
			err = tx.QueryRow(ctx, "INSERT INTO item (n, name) VALUES ($2, $1) ON CONFLICT (name) DO UPDATE SET n = $2 RETURNING name",
				"b", 2).Scan(&name)
			if name != "b" {
				t.Errorf("returned %q, want b", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, db, map[string]int64{"a": 41, "b": 2})

		err = db.View(ctx, func(tx *store.Tx) error {
			var n int64
			return tx.QueryRow(ctx, "SELECT n FROM item WHERE name = $1", "none").Scan(&n)
		})
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("missing row: %v, want sql.ErrNoRows", err)
		}
		err = db.View(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, "DELETE FROM item")
			return err
		})
		if err == nil {
			t.Error("a view could write")
		}
		want(t, db, map[string]int64{"a": 41, "b": 2})
	})
}

func TestErrorUndoesTheClosureAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		var wg sync.WaitGroup
		wantItems := map[string]int64{}
		for i := range 60 {
			name := fmt.Sprint("item", i)
			if i%3 == 0 {
				wantItems[name] = 1
			}
			wg.Go(func() {
				errNo := errors.New("no")
				err := db.Update(ctx, func(tx *store.Tx) error {
					if _, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ($1, 1)", name); err != nil {
						return err
					}
					switch i % 3 {
					case 1:
						return errNo
					case 2: // an ignored error still undoes
						_, _ = tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ($1, 2)", name)
					}
					return nil
				})
				switch i % 3 {
				case 0:
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				case 1:
					if err != errNo {
						t.Errorf("%s: %v, want the closure's error", name, err)
					}
				case 2:
					if !store.IsUnique(err) {
						t.Errorf("%s: %v, want the violated key", name, err)
					}
				}
			})
		}
		wg.Wait()
		want(t, db, wantItems)
	})
}

func TestPanicAndGoexitUndoAndSpareOthers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		for name, leave := range map[string]func(){
			"panic":  func() { panic("out") },
			"goexit": runtime.Goexit, // what t.FailNow does
		} {
			var wg sync.WaitGroup
			var value any
			wg.Go(func() {
				defer func() { value = recover() }()
				_ = db.Update(ctx, func(tx *store.Tx) error {
					if _, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ('lost', 1)"); err != nil {
						t.Error(err)
					}
					leave()
					return nil
				})
				t.Errorf("%s: Update returned", name)
			})
			wg.Wait()
			if name == "panic" && value != "out" {
				t.Errorf("recovered %v, want the closure's panic", value)
			}
			put(t, db, name, 1)
		}
		want(t, db, map[string]int64{"panic": 1, "goexit": 1})
	})
}

func TestIncrementsFromManyGoroutines(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		put(t, db, "counter", 0)
		const goroutines, each = 16, 15
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range each {
					err := db.Update(ctx, func(tx *store.Tx) error {
						var n int64
						if err := tx.QueryRow(ctx, "SELECT n FROM item WHERE name = 'counter'").Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec(ctx, "UPDATE item SET n = $1 WHERE name = 'counter'", n+1)
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		want(t, db, map[string]int64{"counter": goroutines * each})
	})
}

// Two closures that each read what the other writes: snapshot isolation alone would let both pass.
func TestNoWriteSkew(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		var wg, met sync.WaitGroup
		met.Add(2)
		for _, name := range []string{"a", "b"} {
			meet := sync.OnceFunc(func() {
				if db.Kind() == "postgres" { // SQLite runs the second after the first
					met.Done()
					met.Wait()
				}
			})
			wg.Go(func() {
				err := db.Update(ctx, func(tx *store.Tx) error {
					var n int
					if err := tx.QueryRow(ctx, "SELECT count(*) FROM item WHERE name IN ('a', 'b')").Scan(&n); err != nil || n > 0 {
						return err
					}
					meet() // both have read before either writes
					_, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ($1, 1)", name)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(read(t, db)); n != 1 {
			t.Errorf("%d items, want one of two", n)
		}
	})
}

func TestViewSeesOneState(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		put(t, db, "a", 1)
		err := db.View(ctx, func(tx *store.Tx) error {
			before, err := readTx(ctx, tx)
			if err != nil {
				return err
			}
			put(t, db, "b", 2) // another transaction, in the middle of this one
			after, err := readTx(ctx, tx)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the view's state changed (-before +after):\n%s", diff)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, db, map[string]int64{"a": 1, "b": 2})
	})
}

func TestConstraints(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		put(t, db, "a", 1)
		tests := []struct {
			name, sql string
			unique    bool
		}{
			{"primary key", "INSERT INTO item (name, n) VALUES ('a', 2)", true},
			{"not null", "INSERT INTO item (name, n) VALUES ('b', NULL)", false},
			{"foreign key", "INSERT INTO item_part (item, part) VALUES ('none', 1)", false},
			{"syntax", "INSERT INTO", false},
			{"double quotes are names", `INSERT INTO item (name, n) VALUES ("a", 1)`, false},
		}
		for _, test := range tests {
			err := db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(ctx, test.sql)
				return err
			})
			if err == nil || store.IsUnique(err) != test.unique {
				t.Errorf("%s: %v; IsUnique %v, want %v", test.name, err, store.IsUnique(err), test.unique)
			}
		}
		if store.IsUnique(nil) || store.IsUnique(sql.ErrNoRows) {
			t.Error("IsUnique takes other errors for violations")
		}
	})
}

func TestNothingRunsAfterAFailedStatement(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		put(t, db, "a", 1)
		var kept *store.Tx
		err := db.Update(ctx, func(tx *store.Tx) error {
			kept = tx
			var name string
			first := tx.QueryRow(ctx, "INSERT INTO item (name, n) VALUES ('a', 1) RETURNING name").Scan(&name)
			if !store.IsUnique(first) {
				t.Errorf("Scan: %v, want the violated key", first)
			}
			if err := tx.QueryRow(ctx, "SELECT name FROM item").Scan(&name); !store.IsUnique(err) {
				t.Errorf("QueryRow after a failure: %v", err)
			}
			if _, err := tx.Query(ctx, "SELECT name FROM item"); !store.IsUnique(err) {
				t.Errorf("Query after a failure: %v", err)
			}
			_, err := tx.Exec(ctx, "DELETE FROM item")
			if !store.IsUnique(err) {
				t.Errorf("Exec after a failure: %v", err)
			}
			return nil
		})
		if !store.IsUnique(err) {
			t.Errorf("Update: %v, want the violated key", err)
		}
		if _, err := kept.Exec(ctx, "DELETE FROM item"); err == nil {
			t.Error("a transaction could be used after its end")
		}
		want(t, db, map[string]int64{"a": 1})
	})
}

func TestOpenRowsAreRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		put(t, db, "a", 1)
		put(t, db, "b", 1)
		err := db.Update(ctx, func(tx *store.Tx) error {
			rows, err := tx.Query(ctx, "SELECT name FROM item")
			if err != nil {
				return err
			}
			rows.Next()
			_, err = tx.Exec(ctx, "DELETE FROM item")
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "rows of an earlier query are open") {
			t.Errorf("Update: %v", err)
		}
		want(t, db, map[string]int64{"a": 1, "b": 1})
	})
}

func TestArguments(t *testing.T) {
	t.Parallel()
	values := both("value", "CREATE TABLE value (t TEXT, n BIGINT)")
	type name string
	tests := []struct {
		name       string
		text, n    any
		wantT      sql.NullString
		wantN      sql.NullInt64
		wantRefuse string
	}{
		{"plain", "x", 7, sql.NullString{String: "x", Valid: true}, sql.NullInt64{Int64: 7, Valid: true}, ""},
		{"named type and boolean", name("y"), true, sql.NullString{String: "y", Valid: true}, sql.NullInt64{Int64: 1, Valid: true}, ""},
		{"null", nil, nil, sql.NullString{}, sql.NullInt64{}, ""},
		{"nil bytes are null", []byte(nil), false, sql.NullString{}, sql.NullInt64{Valid: true}, ""},
		{"NUL", "a\x00b", 1, sql.NullString{}, sql.NullInt64{}, "$1: text is not UTF-8"},
		{"not UTF-8", "a\xffb", 1, sql.NullString{}, sql.NullInt64{}, "$1: text is not UTF-8"},
		{"time", "", time.Now(), sql.NullString{}, sql.NullInt64{}, "$2: times are stored as store.Micros"},
		{"struct", "", struct{}{}, sql.NullString{}, sql.NullInt64{}, "$2: "},
	}
	storetest.Each(t, []store.Schema{values}, func(t *testing.T, db *store.DB) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				ctx := t.Context()
				var gotT sql.NullString
				var gotN sql.NullInt64
				err := db.Update(ctx, func(tx *store.Tx) error {
					return tx.QueryRow(ctx, "INSERT INTO value (t, n) VALUES ($1, $2) RETURNING t, n", test.text, test.n).Scan(&gotT, &gotN)
				})
				if test.wantRefuse != "" {
					if err == nil || !strings.Contains(err.Error(), test.wantRefuse) {
						t.Errorf("%v, want %q", err, test.wantRefuse)
					}
					return
				}
				if err != nil || gotT != test.wantT || gotN != test.wantN {
					t.Errorf("got %v, %v, %v", gotT, gotN, err)
				}
			})
		}
	})
}

func TestAfterCommit(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		var order []int
		err := db.Update(ctx, func(tx *store.Tx) error {
			order = nil
			tx.AfterCommit(func() {
				order = append(order, 1)
				want(t, db, map[string]int64{"a": 1}) // it is durable, and a hook may read
				put(t, db, "b", 2)                    // and write
			})
			tx.AfterCommit(func() { order = append(order, 2) })
			_, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ('a', 1)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1, 2}, order); diff != "" {
			t.Errorf("hooks (-want +got):\n%s", diff)
		}
		err = db.Update(ctx, func(tx *store.Tx) error {
			tx.AfterCommit(func() { t.Error("hook of a failed update ran") })
			return errors.New("no")
		})
		if err == nil {
			t.Error("want an error")
		}
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for point, applied := range map[string]bool{"commit.before": false, "commit.after": true} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			storetest.EachURL(t, func(t *testing.T, url string) {
				errFault := errors.New("fault")
				var armed bool
				db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}, Fault: func(p string) error {
					if armed && p == point {
						return errFault
					}
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				put(t, db, "a", 1)
				armed = true
				err = db.Update(t.Context(), func(tx *store.Tx) error {
					tx.AfterCommit(func() { t.Error("hook ran") })
					_, err := tx.Exec(t.Context(), "INSERT INTO item (name, n) VALUES ('b', 2)")
					return err
				})
				if !errors.Is(err, errFault) {
					t.Errorf("Update: %v", err)
				}
				armed = false
				put(t, db, "c", 3)
				items := map[string]int64{"a": 1, "c": 3}
				if applied {
					items["b"] = 2
				}
				want(t, db, items)
			})
		})
	}
}

func TestCanceledContext(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{items}, func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		// While waiting for its turn.
		inside, proceed := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				close(inside)
				<-proceed
				_, err := tx.Exec(t.Context(), "INSERT INTO item (name, n) VALUES ('a', 1)")
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-inside
		cancel()
		if err := insert(ctx, db, "late", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled before its turn: %v", err)
		}
		close(proceed)
		wg.Wait()
		// During the closure.
		ctx, cancel = context.WithCancel(t.Context())
		err := db.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ('half', 1)"); err != nil {
				return err
			}
			cancel()
			_, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ('other half', 1)")
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled in the closure: %v", err)
		}
		if err := db.View(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled view: %v", err)
		}
		want(t, db, map[string]int64{"a": 1})
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		open := func() *store.DB {
			t.Helper()
			db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}})
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
		db := open()
		put(t, db, "a", 1)
		inside, proceed := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				close(inside)
				<-proceed
				_, err := tx.Exec(t.Context(), "INSERT INTO item (name, n) VALUES ('b', 2)")
				return err
			})
			if err != nil {
				t.Errorf("update during Close: %v", err)
			}
		})
		<-inside
		wg.Go(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		close(proceed)
		wg.Wait()
		if err := db.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if err := insert(t.Context(), db, "c", 3); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Update after Close: %v", err)
		}
		if err := db.View(t.Context(), func(*store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
			t.Errorf("View after Close: %v", err)
		}
		db = open()
		defer db.Close()
		want(t, db, map[string]int64{"a": 1, "b": 2})
	})
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	one := "CREATE TABLE item (\n\tname TEXT PRIMARY KEY,\n\tn BIGINT NOT NULL\n);"
	two := "ALTER TABLE item ADD COLUMN note TEXT; CREATE TABLE item_note (note TEXT);"
	gap := fstest.MapFS{
		"0002_item.sqlite.sql":   {Data: []byte(one)},
		"0002_item.postgres.sql": {Data: []byte(one)},
	}
	tests := []struct {
		name    string
		then    []store.Schema
		wantErr string // empty: opens
	}{
		{"same", []store.Schema{both("item", one)}, ""},
		{"next file", []store.Schema{both("item", one, two)}, ""},
		{"next file and another schema", []store.Schema{both("item", one, two), both("more", "CREATE TABLE more (a BIGINT)")}, ""},
		{"other line ends", []store.Schema{both("item", strings.ReplaceAll(one, "\n", "\r\n"))}, ""},
		{"changed", []store.Schema{both("item", one+" ")}, "item 0001_item has changed since it was applied"},
		{"older program", []store.Schema{both("item")}, "database has item 0001_item, which this program does not know"},
		{"unknown schema", []store.Schema{both("more", "CREATE TABLE more (a BIGINT)")}, "database has item 0001_item"},
		{"broken", []store.Schema{both("item", one, two+"CREATE TABLE;")}, "applying item 0002_item"},
		{"gap", []store.Schema{{Name: "item", FS: gap}}, "number 0001 is missing"},
		{"one dialect", []store.Schema{{Name: "item", FS: fstest.MapFS{"0001_a.sqlite.sql": {}}}}, "they must be the same"},
		{"badly named", []store.Schema{{Name: "item", FS: fstest.MapFS{"x/first.sql": {}}}}, "x/first.sql: name it NNNN_name"},
		{"twice", []store.Schema{both("item", one), both("item", one)}, `schema "item" is given twice`},
		{"unreadable", []store.Schema{{Name: "item", FS: noFS{}}}, "no files here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			storetest.EachURL(t, func(t *testing.T, url string) {
				reopen := func(schemas ...store.Schema) error {
					db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas})
					if err != nil {
						return err
					}
					return db.Close()
				}
				if err := reopen(both("item", one)); err != nil {
					t.Fatal(err)
				}
				err := reopen(test.then...)
				if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
					t.Fatalf("second Open: %v, want %q", err, test.wantErr)
				}
				if test.wantErr != "" { // nothing of it was applied
					if err := reopen(both("item", one)); err != nil {
						t.Errorf("third Open: %v", err)
					}
				}
			})
		})
	}
}

type noFS struct{}

func (noFS) Open(string) (fs.File, error) { return nil, errors.New("no files here") }

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                            "use sqlite:/path/to/file",
		"mysql://host/db":             "use sqlite:/path/to/file",
		"sqlite:":                     "names no file",
		"sqlite::memory:":             "names no file",
		"sqlite:/dev/null/keyreel.db": "not a directory",
		"postgres://x@127.0.0.1:1/x?connect_timeout=1": "refused",
	} {
		if _, err := store.Open(t.Context(), store.Options{URL: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if got := store.Time(store.Micros(now)); !got.Equal(now.Truncate(time.Microsecond)) || got.Location() != time.UTC {
		t.Errorf("got %v of %v", got, now)
	}
	if store.Micros(time.Time{}) != 0 || !store.Time(0).IsZero() {
		t.Error("the zero time is not 0")
	}
}

// Nodes that start together migrate one after the other.
func TestNodesMigrateTogether(t *testing.T) {
	t.Parallel()
	url := storetest.PostgresURL(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

package rowcache_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	table = rowcache.Table("probe_generation")
	ddl   = `CREATE TABLE probe_generation (id BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);
INSERT INTO probe_generation (id, n) VALUES (1, 0);
CREATE TABLE probe_values (k TEXT NOT NULL PRIMARY KEY, v TEXT NOT NULL);
`
)

var schema = store.Schema{Name: "probe", FS: fstest.MapFS{
	"0001_probe.sqlite.sql":   {Data: []byte(ddl)},
	"0001_probe.postgres.sql": {Data: []byte(ddl)},
}}

// node is a cache over the table probe_values.
type node struct {
	rowcache.Cache[string]
	db    *store.DB
	loads atomic.Int64
	load  func() // runs in the middle of a load
}

func (n *node) get(ctx context.Context, key string) (string, error) {
	return n.Get(ctx, rowcache.Source[string]{DB: n.db, Table: table, Load: func(ctx context.Context, tx *store.Tx, key string) (v string, err error) {
		n.loads.Add(1)
		err = tx.QueryRow(ctx, `SELECT v FROM probe_values WHERE k = $1`, key).Scan(&v)
		if n.load != nil {
			n.load()
		}
		return v, err
	}}, key)
}

func (n *node) set(t *testing.T, key, value string, changed ...string) {
	t.Helper()
	err := n.db.Update(context.Background(), func(tx *store.Tx) error {
		ctx := context.Background()
		_, err := tx.Exec(ctx, `INSERT INTO probe_values (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v`, key, value)
		if err != nil {
			return err
		}
		return n.Changed(ctx, tx, table, changed...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) want(t *testing.T, step, key, want string, loads int64) {
	t.Helper()
	got, err := n.get(context.Background(), key)
	if err != nil || got != want || n.loads.Load() != loads {
		t.Errorf("%s: got %q after %d loads, %v, want %q after %d", step, got, n.loads.Load(), err, want, loads)
	}
}

func TestSameNode(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{schema}, func(t *testing.T, db *store.DB) {
		n := &node{db: db}
		if _, err := n.get(t.Context(), "a"); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a missing row: %v", err)
		}
		n.set(t, "a", "1", "a")
		n.set(t, "b", "1", "b")
		n.want(t, "first", "a", "1", 2)
		n.want(t, "from memory", "a", "1", 2)
		n.want(t, "other key", "b", "1", 3)
		n.set(t, "a", "2", "a")
		n.want(t, "changed", "a", "2", 4)
		n.want(t, "the other is kept", "b", "1", 4)
		n.set(t, "a", "3")
		n.want(t, "everything changed", "a", "3", 5)
		n.want(t, "everything changed, other", "b", "1", 6)
	})
}

func TestOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, schema)
		here, there := &node{db: db}, &node{db: db}
		here.set(t, "a", "1", "a")
		here.want(t, "here", "a", "1", 1)
		there.want(t, "there", "a", "1", 1)
		here.set(t, "a", "2", "a")
		time.Sleep(1100 * time.Millisecond)
		there.want(t, "there, a second after the change", "a", "2", 2)
		here.want(t, "here", "a", "2", 2)
		time.Sleep(time.Hour)
		here.want(t, "own changes are not taken for others'", "a", "2", 2)
		there.want(t, "nothing has changed", "a", "2", 2)

		// Changes on both nodes in the same second: each must still learn of the other's.
		here.want(t, "here", "a", "2", 2)
		there.set(t, "a", "3", "a")
		here.set(t, "b", "1", "b")
		time.Sleep(1100 * time.Millisecond)
		here.want(t, "here, after changes on both", "a", "3", 3)
	})
}

// A value that was read before a change must not be kept after it.
func TestLoadAcrossChange(t *testing.T) {
	t.Parallel()
	n := &node{db: storetest.SQLite(t, schema)}
	n.set(t, "a", "1", "a")
	n.load = func() {
		n.load = nil
		n.set(t, "a", "2", "a")
	}
	if _, err := n.get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	n.want(t, "after the change", "a", "2", 2)
}

func TestRolledBack(t *testing.T) {
	t.Parallel()
	n := &node{db: storetest.SQLite(t, schema)}
	n.set(t, "a", "1", "a")
	n.want(t, "before", "a", "1", 1)
	boom := errors.New("boom")
	err := n.db.Update(t.Context(), func(tx *store.Tx) error {
		if err := n.Changed(t.Context(), tx, table, "a"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	n.want(t, "after a change that was not", "a", "1", 1)
}

// A node that cannot ask for changes answers from memory for four seconds and no longer.
func TestUnreachableDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), store.Options{URL: storetest.SQLiteURL(t), Schemas: []store.Schema{schema}})
		if err != nil {
			t.Fatal(err)
		}
		n := &node{db: db}
		n.set(t, "a", "1", "a")
		n.want(t, "before", "a", "1", 1)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		n.want(t, "after 3 s", "a", "1", 1)
		time.Sleep(time.Second)
		if v, err := n.get(t.Context(), "a"); err == nil {
			t.Errorf("after 4 s it still answers %q", v)
		}
	})
}

// A change that was applied while its answer was lost runs no hooks; it is found as another node's is.
func TestAppliedButReportedAsFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := false
		db, err := store.Open(t.Context(), store.Options{
			URL: storetest.SQLiteURL(t), Schemas: []store.Schema{schema},
			Fault: func(point string) error {
				if lost && point == "commit.after" {
					return errors.New("answer lost")
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		n := &node{db: db}
		n.set(t, "a", "1", "a")
		n.want(t, "before", "a", "1", 1)
		lost = true
		err = db.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(t.Context(), `UPDATE probe_values SET v = '2'`); err != nil {
				return err
			}
			return n.Changed(t.Context(), tx, table, "a")
		})
		if err == nil {
			t.Fatal("the answer was not lost")
		}
		n.want(t, "at once", "a", "1", 1)
		n.Doubt()
		n.want(t, "at once, with the doubt said", "a", "2", 2)
		lost = false
		n.set(t, "a", "3") // forgotten by nobody
		lost = true
		time.Sleep(1100 * time.Millisecond)
		n.want(t, "a second after the change", "a", "3", 3)
	})
}

// A database that hangs holds everybody up for one comparison (3 s), not for one each.
func TestHangingDatabase(t *testing.T) {
	t.Parallel()
	n := &node{db: storetest.SQLite(t, schema)}
	occupied, release := context.WithCancel(t.Context())
	var views sync.WaitGroup
	defer views.Wait()
	defer release()
	const readers = 32 // as many as run at the same time
	started := make(chan struct{}, readers)
	for range readers {
		views.Go(func() {
			_ = n.db.View(occupied, func(*store.Tx) error {
				started <- struct{}{}
				<-occupied.Done()
				return nil
			})
		})
	}
	for range readers {
		<-started
	}
	const callers = 8
	failed := make(chan error, callers)
	begun := time.Now()
	for range callers {
		go func() {
			ctx, cancel := context.WithTimeout(occupied, 20*time.Second)
			defer cancel()
			_, err := n.get(ctx, "a")
			failed <- err
		}()
	}
	for range callers {
		if err := <-failed; err == nil {
			t.Error("answered without the database")
		}
	}
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("the last of %d callers was held up for %v", callers, took)
	}
}

func BenchmarkGet(b *testing.B) {
	n := &node{db: storetest.SQLite(b, schema)}
	err := n.db.Update(b.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(b.Context(), `INSERT INTO probe_values (k, v) VALUES ('a', '1')`)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n.get(context.Background(), "a"); err != nil {
				b.Error(err)
			}
		}
	})
}

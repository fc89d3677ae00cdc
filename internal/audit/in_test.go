package audit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// withThings adds a table for the changes that are recorded.
func withThings(t testing.TB, db *store.DB) *store.DB {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `CREATE TABLE things (name TEXT PRIMARY KEY)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return db
}

func addThing(ctx context.Context, name string) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO things (name) VALUES ($1)`, name)
		return err
	}
}

// things returns the names, and how often each stands in the chain as an operation.
func things(t testing.TB, db *store.DB, l *audit.Log) (names map[string]bool, recorded map[string]int) {
	t.Helper()
	names, recorded = map[string]bool{}, map[string]int{}
	if err := db.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT name FROM things`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names[name] = true
		}
		return rows.Err()
	}); err != nil {
		t.Fatal(err)
	}
	for _, r := range query(t, l, audit.Filter{Limit: 1 << 20}) {
		recorded[r.Operation]++
	}
	return names, recorded
}

// A record that was appended in a transaction is there exactly when the transaction's changes are.
func TestIn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		withThings(t, db)
		l := openLog(t, db)
		appendRecord(t, l, audit.Record{Operation: "before"})
		refused := errors.New("refused")
		for name, want := range map[string]error{"kept": nil, "undone": refused} {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				if err := addThing(t.Context(), name)(tx); err != nil {
					return err
				}
				for range 2 { // a transaction may append several
					if err := l.In(t.Context(), tx, audit.Record{Operation: name}); err != nil {
						return err
					}
				}
				return want
			})
			if !errors.Is(err, want) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		appendRecord(t, l, audit.Record{Operation: "after"})
		names, recorded := things(t, db, l)
		if diff := cmp.Diff(map[string]bool{"kept": true}, names); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]int{"before": 1, "kept": 2, "after": 1}, recorded); diff != "" {
			t.Error(diff)
		}
		verify(t, l, 4)
	})
}

// Two logs on one database extend one chain in every way at once; it has no gap and no fork.
func TestWritersOfOneChain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		withThings(t, db)
		logs := []*audit.Log{openLog(t, db), openLog(t, db)}
		const writers, each = 6, 15
		refused := errors.New("refused")
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for i := range each {
					name := fmt.Sprintf("%d-%d", w, i)
					l := logs[i%2]
					var err error
					switch w % 3 {
					case 0:
						err = l.Append(t.Context(), audit.Record{Operation: name})
					case 1:
						err = l.Update(t.Context(), audit.Record{Operation: name}, addThing(t.Context(), name))
					case 2:
						err = db.Update(t.Context(), func(tx *store.Tx) error {
							if err := l.In(t.Context(), tx, audit.Record{Operation: name}); err != nil || i%2 == 0 {
								return err
							}
							return refused
						})
						if i%2 == 1 && errors.Is(err, refused) {
							err = nil
						}
					}
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		}
		group.Wait()
		verify(t, logs[0], 2*each+2*each+2*(each/2+1))
	})
}

// Whatever becomes of an update, a change that is there is recorded, and the decision is recorded in any case.
func TestUpdateWithFaults(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	fault := errors.New("fault")
	tests := []struct {
		name, point string
		fn          error
		want        error
		sqlite      int // records
		postgres    int
	}{
		{"nothing fails", "", nil, nil, 1, 1},
		{"refused", "", refused, refused, 1, 1},
		{"commit not applied", "commit.before", nil, fault, 1, 0}, // on PostgreSQL it is the record's commit, and nothing is done
		{"answer lost", "commit.after", nil, fault, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			storetest.EachURL(t, func(t *testing.T, url string) {
				var armed atomic.Bool
				db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas, Fault: func(point string) error {
					if point == tt.point && armed.CompareAndSwap(true, false) {
						return fault
					}
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { db.Close() })
				withThings(t, db)
				l := openLog(t, db)
				armed.Store(true)
				err = l.Update(t.Context(), audit.Record{Operation: "op"}, func(tx *store.Tx) error {
					if err := addThing(t.Context(), "op")(tx); err != nil {
						return err
					}
					return tt.fn
				})
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				names, recorded := things(t, db, l)
				want := tt.sqlite
				if db.Kind() == "postgres" {
					want = tt.postgres
				}
				if names["op"] && recorded["op"] == 0 || recorded["op"] != want {
					t.Errorf("done: %v, %d records; want %d", names["op"], recorded["op"], want)
				}
				verify(t, l, int64(want))
			})
		})
	}
	t.Run("the log is closed", func(t *testing.T) {
		t.Parallel()
		storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
			l := openLog(t, db)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			err := l.Update(t.Context(), audit.Record{}, func(*store.Tx) error { return refused })
			if !errors.Is(err, audit.ErrClosed) || errors.Is(err, refused) {
				t.Errorf("a refusal that cannot be recorded answers %v", err)
			}
		})
	})
}

// BenchmarkRecordedUpdate compares a change that is recorded first with one that is recorded in its own transaction.
func BenchmarkRecordedUpdate(b *testing.B) {
	ctx := context.Background()
	var next atomic.Int64
	for _, kind := range []string{"sqlite", "postgres"} {
		for _, clients := range []int{1, 16, 64} {
			for _, way := range []string{"first", "in"} {
				b.Run(fmt.Sprintf("%s/%s/clients=%d", kind, way, clients), func(b *testing.B) {
					db := storetest.SQLite
					if kind == "postgres" {
						db = storetest.Postgres
					}
					d := withThings(b, db(b, audit.Schema))
					l, err := audit.Open(ctx, d)
					if err != nil {
						b.Fatal(err)
					}
					defer l.Close()
					r := audit.Record{Category: "StorageWrite", Operation: "Blobs.Put", Resource: "/subscriptions/s/resourceGroups/g", Principal: "p", Result: "Allowed"}
					b.ResetTimer()
					var wg sync.WaitGroup
					var left atomic.Int64
					left.Store(int64(b.N))
					for range clients {
						wg.Go(func() {
							for left.Add(-1) >= 0 {
								change := addThing(ctx, fmt.Sprint(next.Add(1)))
								var err error
								if way == "first" {
									if err = l.Append(ctx, r); err == nil {
										err = d.Update(ctx, change)
									}
								} else {
									err = d.Update(ctx, func(tx *store.Tx) error {
										if err := change(tx); err != nil {
											return err
										}
										return l.In(ctx, tx, r)
									})
								}
								if err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
				})
			}
		}
	}
}

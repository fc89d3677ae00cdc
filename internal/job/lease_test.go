package job_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func exec(t testing.TB, db *store.DB, query string, args ...any) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(t.Context(), query, args...)
		if err == nil && n != 1 {
			t.Errorf("%s: %d rows", query, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// faulty returns a database whose commits fail at the point that the returned function was last given.
func faulty(t testing.TB) (*store.DB, func(point string)) {
	var failing atomic.Value
	failing.Store("")
	db, err := store.Open(t.Context(), store.Options{
		URL:     storetest.SQLiteURL(t),
		Schemas: []store.Schema{job.Schema},
		Fault: func(point string) error {
			if point == failing.Load() {
				return errors.New("fault")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, func(point string) { failing.Store(point) }
}

func TestJobOfADeadNode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		setup string
		want  job.Status
	}{
		{"runs again", "attempt = 1", job.Status{State: job.Done, Attempt: 2}},
		{"had no attempt left", "attempt = 3", job.Status{State: job.Failed, Attempt: 3, Error: "the node stopped during the last attempt"}},
		{"was to be canceled", "attempt = 1, canceling = 1", job.Status{State: job.Canceled, Attempt: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db := storetest.SQLite(t, job.Schema)
				q := job.New(job.Options{DB: db})
				id := enqueue(t, db, q, job.Spec{Kind: "k", MaxAttempts: 3})
				end := time.Now().Add(30 * time.Second)
				// What a node leaves that was killed after it claimed the job.
				exec(t, db, "UPDATE job SET state = 'running', lease = 'dead', due = $1, "+test.setup, store.Micros(end))
				q.Handle("k", 1, func(context.Context, *job.Run) error {
					if now := time.Now(); !now.Equal(end) {
						t.Errorf("taken over at %v, want %v", now, end)
					}
					return nil
				})
				q.Start()
				defer closeQueue(t, q)
				time.Sleep(31 * time.Second)
				synctest.Wait()
				want := test.want
				want.ID, want.Kind = id, "k"
				wantStatus(t, db, q, want)
			})
		})
	}
}

func TestLongJobKeepsItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		runs := 0
		node := func() *job.Queue {
			q := job.New(job.Options{DB: db})
			q.Handle("k", 1, func(ctx context.Context, _ *job.Run) error {
				runs++
				select {
				case <-time.After(time.Hour):
				case <-ctx.Done():
					t.Errorf("interrupted: %v", context.Cause(ctx))
				}
				return nil
			})
			q.Start()
			return q
		}
		a, b := node(), node()
		defer closeQueue(t, a)
		defer closeQueue(t, b)
		id := enqueue(t, db, a, job.Spec{Kind: "k"})
		time.Sleep(time.Hour)
		synctest.Wait()
		wantStatus(t, db, a, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 1})
		if runs != 1 {
			t.Errorf("ran %d times", runs)
		}
	})
}

func TestLostJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		q := job.New(job.Options{DB: db})
		var cause, saved error
		q.Handle("k", 1, func(ctx context.Context, run *job.Run) error {
			<-ctx.Done()
			cause, saved = context.Cause(ctx), run.Save(t.Context(), "late")
			return nil
		})
		q.Start()
		defer closeQueue(t, q)
		id := enqueue(t, db, q, job.Spec{Kind: "k"})
		synctest.Wait()
		// What another node writes that takes the job over.
		exec(t, db, "UPDATE job SET lease = 'other', attempt = 2, due = $1", store.Micros(time.Now().Add(time.Hour)))
		time.Sleep(10 * time.Second) // the next heartbeat
		synctest.Wait()
		if cause != job.ErrLost || !errors.Is(saved, job.ErrLost) {
			t.Errorf("cause %v, Save %v; want ErrLost", cause, saved)
		}
		wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Running, Attempt: 2})
	})
}

func TestUnreachableDatabase(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]time.Duration{"short": 20 * time.Second, "longer than the lease": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db, fail := faulty(t)
				q := job.New(job.Options{DB: db})
				started := time.Now()
				var interrupted time.Duration
				var cause error
				runs := 0
				q.Handle("k", 1, func(ctx context.Context, _ *job.Run) error {
					runs++
					if runs > 1 {
						return nil
					}
					select {
					case <-ctx.Done():
						interrupted, cause = time.Since(started), context.Cause(ctx)
						return cause
					case <-time.After(time.Hour):
						return nil
					}
				})
				q.Start()
				defer closeQueue(t, q)
				id := enqueue(t, db, q, job.Spec{Kind: "k"})
				synctest.Wait()
				fail("commit.before")
				time.Sleep(outage)
				fail("")
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if outage < 30*time.Second {
					if runs != 1 || cause != nil {
						t.Errorf("ran %d times, interrupted by %v", runs, cause)
					}
					wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 1})
					return
				}
				if cause != job.ErrLost || interrupted < 20*time.Second || interrupted > 30*time.Second {
					t.Errorf("interrupted after %v by %v; want ErrLost before the lease of 30 s ended", interrupted, cause)
				}
				if runs != 2 {
					t.Errorf("ran %d times", runs)
				}
				wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 2})
			})
		})
	}
}

func TestOutcomeIsWrittenDespiteFaults(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"commit.before", "commit.after"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db, fail := faulty(t)
				q := job.New(job.Options{DB: db})
				runs := 0
				q.Handle("k", 1, func(context.Context, *job.Run) error {
					runs++
					fail(point)
					return nil
				})
				q.Start()
				defer closeQueue(t, q)
				id := enqueue(t, db, q, job.Spec{Kind: "k"})
				time.Sleep(5 * time.Second)
				fail("")
				time.Sleep(time.Minute)
				synctest.Wait()
				if runs != 1 {
					t.Errorf("ran %d times", runs)
				}
				wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 1})
			})
		})
	}
}

// A claim that was durable although its answer was lost looks like one of a node that has died.
func TestClaimWithLostAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, fail := faulty(t)
		q := job.New(job.Options{DB: db})
		runs := 0
		q.Handle("k", 1, func(context.Context, *job.Run) error {
			runs++
			return nil
		})
		id := enqueue(t, db, q, job.Spec{Kind: "k"})
		fail("commit.after")
		q.Start()
		defer closeQueue(t, q)
		synctest.Wait()
		fail("")
		wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Running, Attempt: 1})
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if runs != 1 {
			t.Errorf("ran %d times", runs)
		}
		wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 2})
	})
}

func TestFinishedJobsAreDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		q := job.New(job.Options{DB: db, Keep: 24 * time.Hour})
		q.Handle("k", 1, func(context.Context, *job.Run) error { return nil })
		q.Start()
		defer closeQueue(t, q)
		enqueue(t, db, q, job.Spec{Kind: "k", Key: "x"})
		waiting := enqueue(t, db, q, job.Spec{Kind: "nobody's", Key: "x"})
		list := func(kind string) int {
			var n int
			err := db.View(t.Context(), func(tx *store.Tx) error {
				all, err := q.List(t.Context(), tx, kind, "x")
				n = len(all)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		time.Sleep(24 * time.Hour)
		if n := list("k"); n != 1 {
			t.Errorf("%d jobs after 24 h, want 1", n)
		}
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		if n := list("k"); n != 0 {
			t.Errorf("%d jobs after 25 h, want 0", n)
		}
		wantStatus(t, db, q, job.Status{ID: waiting, Kind: "nobody's", Key: "x", State: job.Queued})
	})
}

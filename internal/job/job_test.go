package job_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func enqueue(t testing.TB, db *store.DB, q *job.Queue, s job.Spec) (id string) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) (err error) {
		id, err = q.Enqueue(t.Context(), tx, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func cancel(t testing.TB, db *store.DB, q *job.Queue, id string) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return q.Cancel(t.Context(), tx, id) }); err != nil {
		t.Fatal(err)
	}
}

func status(t testing.TB, db *store.DB, q *job.Queue, id string) (s job.Status) {
	t.Helper()
	err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		s, err = q.Status(t.Context(), tx, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantStatus compares without the times.
func wantStatus(t testing.TB, db *store.DB, q *job.Queue, want job.Status) {
	t.Helper()
	got := status(t, db, q, want.ID)
	if got.State.Ended() == got.Ended.IsZero() {
		t.Errorf("state %s with end %v", got.State, got.Ended)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(job.Status{}, "Created", "Ended")); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func closeQueue(t testing.TB, q *job.Queue) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

func TestRunsOnBothDatabases(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{job.Schema}, func(t *testing.T, db *store.DB) {
		saved := make(chan string)
		node := func() *job.Queue {
			q := job.New(job.Options{DB: db})
			var postponed sync.Map
			q.Handle("count", 2, func(ctx context.Context, run *job.Run) error {
				if _, again := postponed.LoadOrStore(run.ID, true); run.Key == "key1" && !again {
					return job.Postpone(time.Millisecond, errors.New("not yet"))
				}
				if err := run.Save(ctx, run.Payload); err != nil {
					return err
				}
				saved <- run.ID
				return nil
			})
			q.Start()
			return q
		}
		a, b := node(), node()
		want := map[string]job.Status{}
		for n := range 8 {
			s := job.Status{Kind: "count", Key: fmt.Sprint("key", n), State: job.Done, Attempt: 1, Progress: json.RawMessage(fmt.Sprint(n))}
			s.ID = enqueue(t, db, a, job.Spec{Kind: s.Kind, Key: s.Key, Payload: s.Progress})
			want[s.ID] = s
		}
		ran := map[string]bool{}
		for range want {
			id := <-saved
			if ran[id] {
				t.Errorf("job %s ran twice", id)
			}
			ran[id] = true
		}
		closeQueue(t, a)
		closeQueue(t, b)
		for _, s := range want {
			wantStatus(t, db, a, s)
		}
	})
}

func TestEnqueueFollowsItsTransaction(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{job.Schema}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		q := job.New(job.Options{DB: db})
		var lost string
		errNo := errors.New("no")
		err := db.Update(ctx, func(tx *store.Tx) (err error) {
			if lost, err = q.Enqueue(ctx, tx, job.Spec{Kind: "k"}); err != nil {
				return err
			}
			return errNo
		})
		if err != errNo {
			t.Fatal(err)
		}
		err = db.View(ctx, func(tx *store.Tx) error {
			_, err := q.Status(ctx, tx, lost)
			return err
		})
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("job of an undone transaction: %v", err)
		}
		err = db.Update(ctx, func(tx *store.Tx) error { return q.Cancel(ctx, tx, lost) })
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("canceling it: %v", err)
		}
		for name, spec := range map[string]job.Spec{
			"no kind":  {},
			"not JSON": {Kind: "k", Payload: json.RawMessage("{")},
		} {
			err := db.Update(ctx, func(tx *store.Tx) error {
				_, err := q.Enqueue(ctx, tx, spec)
				return err
			})
			if err == nil {
				t.Errorf("%s: enqueued", name)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{job.Schema}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		q := job.New(job.Options{DB: db})
		first := enqueue(t, db, q, job.Spec{Kind: "k", Key: "x"})
		if id := enqueue(t, db, q, job.Spec{Kind: "k", Key: "x"}); id != first {
			t.Errorf("second unfinished job with the key: %s besides %s", id, first)
		}
		others := map[string]bool{
			first: true,
			enqueue(t, db, q, job.Spec{Kind: "k", Key: "y"}): true,
			enqueue(t, db, q, job.Spec{Kind: "l", Key: "x"}): true,
			enqueue(t, db, q, job.Spec{Kind: "k"}):           true,
			enqueue(t, db, q, job.Spec{Kind: "k"}):           true,
		}
		if len(others) != 5 {
			t.Errorf("%d jobs, want 5", len(others))
		}
		cancel(t, db, q, first)
		cancel(t, db, q, first) // an ended job stays as it is
		wantStatus(t, db, q, job.Status{ID: first, Kind: "k", Key: "x", State: job.Canceled})
		second := enqueue(t, db, q, job.Spec{Kind: "k", Key: "x"})
		if second == first {
			t.Error("an ended job holds on to its key")
		}
		var ids []string
		err := db.View(ctx, func(tx *store.Tx) error {
			list, err := q.List(ctx, tx, "k", "x")
			for _, s := range list {
				ids = append(ids, s.ID)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{second, first}, ids); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
	})
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	errNo := errors.New("no\x00\xff")
	const no = "no\uFFFD"
	type attempt struct {
		after time.Duration // since the attempt before
		err   func() error
	}
	fail := func() error { return errNo }
	succeed := func() error { return nil }
	tests := []struct {
		name     string
		max      int
		attempts []attempt
		want     job.Status
	}{
		{"done", 0, []attempt{{0, succeed}}, job.Status{State: job.Done, Attempt: 1}},
		{"retried", 0, []attempt{{0, fail}, {time.Second, fail}, {5 * time.Second, succeed}}, job.Status{State: job.Done, Attempt: 3}},
		{"used up", 7, []attempt{
			{0, fail},
			{time.Second, fail},
			{5 * time.Second, fail},
			{30 * time.Second, fail},
			{2 * time.Minute, fail},
			{10 * time.Minute, fail},
			{10 * time.Minute, fail},
		}, job.Status{State: job.Failed, Attempt: 7, Error: no}},
		{
			"permanent", 0,
			[]attempt{{0, func() error { return fmt.Errorf("really: %w", job.Permanent(errNo)) }}},
			job.Status{State: job.Failed, Attempt: 1, Error: "really: " + no},
		},
		{"postponed", 1, []attempt{{0, func() error { return job.Postpone(time.Hour, errNo) }}, {time.Hour, succeed}}, job.Status{State: job.Done, Attempt: 1}},
		{"panic", 1, []attempt{{0, func() error { panic("out") }}}, job.Status{State: job.Failed, Attempt: 1, Error: "handler panicked: out"}},
		{
			"goexit", 1,
			[]attempt{{0, func() error { runtime.Goexit(); return nil }}},
			job.Status{State: job.Failed, Attempt: 1, Error: "handler ended its goroutine"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db := storetest.SQLite(t, job.Schema)
				q := job.New(job.Options{DB: db})
				var at []time.Time
				q.Handle("k", 1, func(_ context.Context, run *job.Run) error {
					at = append(at, time.Now())
					a := test.attempts[len(at)-1]
					if wantLast := len(at) == test.max; test.name == "used up" && run.Last != wantLast {
						t.Errorf("attempt %d: last %v", run.Attempt, run.Last)
					}
					return a.err()
				})
				q.Start()
				defer closeQueue(t, q)
				last := time.Now()
				id := enqueue(t, db, q, job.Spec{Kind: "k", MaxAttempts: test.max})
				for range test.attempts {
					time.Sleep(time.Hour)
				}
				synctest.Wait()
				if len(at) != len(test.attempts) {
					t.Fatalf("%d attempts, want %d", len(at), len(test.attempts))
				}
				for i, when := range at {
					if got := when.Sub(last); got != test.attempts[i].after {
						t.Errorf("attempt %d started %v after the one before, want %v", i+1, got, test.attempts[i].after)
					}
					last = when
				}
				want := test.want
				want.ID, want.Kind = id, "k"
				wantStatus(t, db, q, want)
			})
		})
	}
}

func TestStartsAtItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		q := job.New(job.Options{DB: db})
		var at time.Time
		q.Handle("k", 1, func(context.Context, *job.Run) error {
			at = time.Now()
			return nil
		})
		q.Start()
		defer closeQueue(t, q)
		want := time.Now().Add(90*time.Second + 250*time.Millisecond)
		enqueue(t, db, q, job.Spec{Kind: "k", RunAt: want})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !at.Equal(want) {
			t.Errorf("ran at %v, want %v", at, want)
		}
	})
}

func TestWorkersAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		q := job.New(job.Options{DB: db})
		var running, most, done atomic.Int32
		q.Handle("k", 3, func(context.Context, *job.Run) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			running.Add(-1)
			done.Add(1)
			return nil
		})
		q.Start()
		defer closeQueue(t, q)
		for range 10 {
			enqueue(t, db, q, job.Spec{Kind: "k"})
		}
		time.Sleep(4*time.Second + time.Millisecond) // 3 + 3 + 3 + 1: a free worker takes the next job at once
		synctest.Wait()
		if most.Load() != 3 || done.Load() != 10 {
			t.Errorf("%d at once, want 3; %d done, want 10", most.Load(), done.Load())
		}
	})
}

// wait returns when ctx ends, with its cause.
func wait(ctx context.Context, _ *job.Run) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"this node", "another node"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db := storetest.SQLite(t, job.Schema)
				q, other := job.New(job.Options{DB: db}), job.New(job.Options{DB: db})
				q.Handle("k", 1, wait)
				q.Start()
				defer closeQueue(t, q)
				id := enqueue(t, db, q, job.Spec{Kind: "k"})
				queued := enqueue(t, db, q, job.Spec{Kind: "k"})
				synctest.Wait()
				wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Running, Attempt: 1})
				cancel(t, db, q, queued)
				wantStatus(t, db, q, job.Status{ID: queued, Kind: "k", State: job.Canceled})
				if where == "this node" {
					cancel(t, db, q, id)
				} else {
					cancel(t, db, other, id)
					time.Sleep(time.Second)
				}
				synctest.Wait()
				wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Canceled, Attempt: 1, Error: job.ErrCanceled.Error()})
			})
		})
	}
}

func TestCanceledJobThatSucceedsIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		q := job.New(job.Options{DB: db})
		q.Handle("k", 1, func(ctx context.Context, _ *job.Run) error {
			<-ctx.Done()
			return nil
		})
		q.Start()
		defer closeQueue(t, q)
		id := enqueue(t, db, q, job.Spec{Kind: "k"})
		synctest.Wait()
		cancel(t, db, q, id)
		synctest.Wait()
		wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 1})
	})
}

func TestCloseReturnsJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		q := job.New(job.Options{DB: db})
		q.Handle("k", 1, wait)
		q.Start()
		id := enqueue(t, db, q, job.Spec{Kind: "k", MaxAttempts: 1})
		synctest.Wait()
		closeQueue(t, q)
		wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Queued})
		q = job.New(job.Options{DB: db})
		q.Handle("k", 1, func(_ context.Context, run *job.Run) error {
			if run.Attempt != 1 || !run.Last {
				t.Errorf("attempt %d, last %v", run.Attempt, run.Last)
			}
			return nil
		})
		q.Start()
		synctest.Wait()
		wantStatus(t, db, q, job.Status{ID: id, Kind: "k", State: job.Done, Attempt: 1})
		closeQueue(t, q)
		closeQueue(t, job.New(job.Options{DB: db})) // never started
	})
}

package job_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
	"pgregory.net/rapid"
)

// modelJob is what the queue is to know of a job.
type modelJob struct {
	status job.Status
	due    time.Time
	max    int
}

// model is the queue in memory: two workers, each job started as soon as it is due.
type model struct {
	jobs    []*modelJob
	workers int
}

func (m *model) unfinished(key string) *modelJob {
	for _, j := range m.jobs {
		if key != "" && j.status.Key == key && !j.status.State.Ended() {
			return j
		}
	}
	return nil
}

func (m *model) in(state job.State) (found []*modelJob) {
	for _, j := range m.jobs {
		if j.status.State == state {
			found = append(found, j)
		}
	}
	return found
}

// ready returns how many jobs may run but have no worker.
func (m *model) ready(now time.Time) (n int) {
	for _, j := range m.in(job.Queued) {
		if !j.due.After(now) {
			n++
		}
	}
	return n
}

// TestModel does random things to two nodes' queue and compares each job's status with the model's after each of them.
// Which of several due jobs a free worker takes is the queue's choice, so the model follows it there, and checks only
// that no worker is idle while a job is due.
func TestModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, job.Schema)
		kinds := 0
		// Without *testing.T's Deadline, which a bubble does not have.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			kinds++ // each run has the queue for itself
			checkModel(t, db, fmt.Sprint("kind", kinds))
		})
	})
}

func checkModel(t *rapid.T, db *store.DB, kind string) {
	m := &model{}
	var results sync.Map // of chan error by job; its handler waits there
	result := func(id string) chan error {
		c, _ := results.LoadOrStore(id, make(chan error))
		return c.(chan error)
	}
	node := func() *job.Queue {
		q := job.New(job.Options{DB: db})
		q.Handle(kind, 1, func(ctx context.Context, run *job.Run) error {
			select {
			case err := <-result(run.ID):
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		q.Start()
		m.workers++
		return q
	}
	nodes := []*job.Queue{node(), node()}
	defer func() {
		for _, q := range nodes {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	ctx := context.Background()
	update := func(fn func(tx *store.Tx) error) {
		if err := db.Update(ctx, fn); err != nil {
			t.Fatal(err)
		}
	}
	pick := func(state job.State) *modelJob {
		found := m.in(state)
		if len(found) == 0 {
			t.Skip("no job is " + state)
		}
		return rapid.SampledFrom(found).Draw(t, "job")
	}
	finish := func(j *modelJob, err error) {
		result(j.status.ID) <- err
		j.status.Error = ""
		if err != nil {
			j.status.Error = err.Error()
		}
	}
	retryAfter := []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}

	actions := map[string]func(*rapid.T){
		"enqueue": func(t *rapid.T) {
			spec := job.Spec{
				Kind:        kind,
				Key:         rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key"),
				MaxAttempts: rapid.IntRange(1, 3).Draw(t, "max"),
			}
			due := time.Now()
			if delay := rapid.IntRange(-5, 60).Draw(t, "delay"); delay > 0 {
				due = due.Add(time.Duration(delay) * time.Second)
				spec.RunAt = due
			}
			var id string
			update(func(tx *store.Tx) (err error) {
				id, err = nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")].Enqueue(ctx, tx, spec)
				return err
			})
			if j := m.unfinished(spec.Key); j != nil {
				if id != j.status.ID {
					t.Fatalf("enqueued %s besides the unfinished %s", id, j.status.ID)
				}
				return
			}
			m.jobs = append(m.jobs, &modelJob{
				status: job.Status{ID: id, Kind: kind, Key: spec.Key, State: job.Queued},
				due:    due, max: spec.MaxAttempts,
			})
		},
		"pass time": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
		},
		"succeed": func(t *rapid.T) {
			j := pick(job.Running)
			finish(j, nil)
			j.status.State = job.Done
		},
		"fail": func(t *rapid.T) {
			j := pick(job.Running)
			finish(j, errors.New("failed"))
			if j.status.Attempt == j.max {
				j.status.State = job.Failed
				return
			}
			j.status.State, j.due = job.Queued, time.Now().Add(retryAfter[j.status.Attempt-1])
		},
		"fail for good": func(t *rapid.T) {
			j := pick(job.Running)
			finish(j, job.Permanent(errors.New("for good")))
			j.status.State = job.Failed
		},
		"postpone": func(t *rapid.T) {
			j := pick(job.Running)
			finish(j, job.Postpone(7*time.Second, errors.New("later")))
			j.status.State, j.due = job.Queued, time.Now().Add(7*time.Second)
			j.status.Attempt--
		},
		"cancel queued": func(t *rapid.T) {
			j := pick(job.Queued)
			update(func(tx *store.Tx) error { return nodes[0].Cancel(ctx, tx, j.status.ID) })
			j.status.State = job.Canceled
		},
		"cancel running": func(t *rapid.T) {
			j := pick(job.Running)
			update(func(tx *store.Tx) error { return nodes[0].Cancel(ctx, tx, j.status.ID) })
			time.Sleep(time.Second) // it may run on the other node
			j.status.State, j.status.Error = job.Canceled, job.ErrCanceled.Error()
		},
		"restart a node": func(t *rapid.T) {
			i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
			if err := nodes[i].Close(); err != nil {
				t.Fatal(err)
			}
			m.workers--
			nodes[i] = node()
			// Its job is queued again, or runs again by now: the check below finds out.
			for _, j := range m.in(job.Running) {
				j.status.State = job.Queued
				j.status.Attempt--
				j.due = time.Now()
			}
		},
		"": func(t *rapid.T) {
			synctest.Wait()
			// The nodes other than the one that enqueued look once a second.
			time.Sleep(time.Second)
			synctest.Wait()
			now := time.Now()
			for _, j := range m.jobs {
				var got job.Status
				err := db.View(ctx, func(tx *store.Tx) (err error) {
					got, err = nodes[0].Status(ctx, tx, j.status.ID)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				if j.status.State == job.Queued && got.State == job.Running {
					if j.due.After(now) {
						t.Fatalf("job %s runs %v too early", j.status.ID, j.due.Sub(now))
					}
					j.status.State = job.Running
					j.status.Attempt++
				}
				j.status.Created, j.status.Ended = got.Created, got.Ended
				if diff := cmp.Diff(j.status, got); diff != "" {
					t.Fatalf("status (-want +got):\n%s", diff)
				}
			}
			running := len(m.in(job.Running))
			if running > m.workers || running < m.workers && m.ready(now) > 0 {
				t.Fatalf("%d jobs run and %d are ready, with %d workers", running, m.ready(now), m.workers)
			}
		},
	}
	t.Repeat(actions)
}

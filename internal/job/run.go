package job

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// Handler runs a job. It may be run again after a crash at any point, so its steps are idempotent. nil finishes the
// job; an error is retried with growing delays (1 s, 5 s, 30 s, 2 min, then 10 min) until the attempts are used up,
// unless it is one of the below. A panic is an error. It returns soon after its context ends, whose cause is
// [ErrCanceled], [ErrLost], or something else when the queue closes.
type Handler func(ctx context.Context, run *Run) error

// ErrCanceled is the cause of a handler's context that ends because the job is to be canceled.
var ErrCanceled = errors.New("job: canceled")

// ErrLost says that the job is not this run's any more: its lease has ended, and another node may run it. The handler
// stops; what it returns is not written down.
var ErrLost = errors.New("job: lost to another node")

var errClosing = errors.New("job: queue is closing")

// Run is one attempt at a job.
type Run struct {
	ID      string
	Key     string
	Payload json.RawMessage
	Attempt int  // from 1
	Last    bool // no further attempt follows

	q         *Queue
	kind      string
	lease     string
	until     time.Time // end of the lease; guarded by Queue.mu
	max       int       // attempts
	canceling bool      // when it was claimed
	failure   string    // of the attempt before
}

// Save stores progress that Status shows, as JSON. It fails with ErrLost when another node has taken the job over.
func (r *Run) Save(ctx context.Context, progress any) error {
	return r.q.db.Update(ctx, func(tx *store.Tx) error { return r.SaveIn(ctx, tx, progress) })
}

// SaveIn is Save in the caller's transaction. As it fails with ErrLost when the job is not this run's any more, what
// the transaction does besides is done by one run at a time.
func (r *Run) SaveIn(ctx context.Context, tx *store.Tx, progress any) error {
	text, err := json.Marshal(progress)
	if err != nil {
		return fmt.Errorf("saving progress of job %s: %w", r.ID, err)
	}
	n, err := tx.Exec(ctx, `UPDATE job SET progress = $3 WHERE id = $1 AND lease = $2 AND state = 'running'`, r.ID, r.lease, string(text))
	if err != nil {
		return fmt.Errorf("saving progress of job %s: %w", r.ID, err)
	}
	if n == 0 {
		return fmt.Errorf("saving progress of job %s: %w", r.ID, ErrLost)
	}
	return nil
}

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that no retry mends.
func Permanent(err error) error { return permanentError{err} }

type postponedError struct {
	error
	delay time.Duration
}

func (e postponedError) Unwrap() error { return e.error }

// Postpone puts the job back for d without using up an attempt. why is shown as the job's error.
func Postpone(d time.Duration, why error) error { return postponedError{why, d} }

// start runs the handler on a goroutine of its own.
func (q *Queue) start(k *kind, r *Run) {
	r.q = q
	ctx, cancel := context.WithCancelCause(context.Background())
	q.mu.Lock()
	k.free--
	q.running[r] = cancel
	q.mu.Unlock()
	q.runs.Go(func() {
		err := errors.New("handler ended its goroutine")
		// In a defer, because a test's handler may end its goroutine with t.FailNow.
		defer func() {
			q.finish(r, err, context.Cause(ctx))
			cancel(nil)
			q.mu.Lock()
			k.free++
			delete(q.running, r)
			q.mu.Unlock()
			q.poke()
		}()
		err = q.call(ctx, k.handler, r)
	})
}

func (q *Queue) call(ctx context.Context, h Handler, r *Run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v", p)
			q.log.ErrorContext(ctx, "job handler panicked", "kind", r.kind, "job", r.ID, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return h(ctx, r)
}

// finish writes down what came of a run. It tries until that has worked, the lease has ended, or, when the queue
// closes, a lease's length has passed: the job is then run again.
func (q *Queue) finish(r *Run, err, cause error) {
	if errors.Is(cause, ErrLost) {
		q.log.Warn("job was lost to another node", "kind", r.kind, "job", r.ID, "attempt", r.Attempt)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.lease)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		var o outcome
		writing := q.db.Update(ctx, func(tx *store.Tx) error {
			canceling := false
			lookup := tx.QueryRow(ctx, `SELECT canceling FROM job WHERE id = $1 AND lease = $2 AND state = 'running'`, r.ID, r.lease).Scan(&canceling)
			if errors.Is(lookup, sql.ErrNoRows) {
				return ErrLost
			}
			if lookup != nil {
				return lookup
			}
			o = r.outcome(err, canceling, errors.Is(cause, errClosing))
			return end(ctx, tx, r, o)
		})
		switch {
		case writing == nil:
			level := slog.LevelDebug
			if o.state == Failed || o.state == Queued && o.attempt == r.Attempt {
				level = slog.LevelWarn
			}
			q.log.Log(ctx, level, "job attempt ended", "kind", r.kind, "job", r.ID, "attempt", r.Attempt, "state", o.state, "error", err)
			return
		case errors.Is(writing, ErrLost):
			return // another node has it, or an earlier try was durable after all
		case errors.Is(writing, store.ErrClosed) || ctx.Err() != nil:
			q.log.Error("outcome of a job could not be written down; it will run again", "kind", r.kind, "job", r.ID, "error", writing)
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// outcome is what is written down of a run.
type outcome struct {
	state   State
	after   time.Duration // of a job that goes back to the queue
	attempt int
	failure string
}

// retryDelays are the pauses after the first, second, ... attempt; the last one is that after all others too.
var retryDelays = [...]time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

func (r *Run) outcome(err error, canceling, closing bool) outcome {
	if err == nil {
		return outcome{state: Done, attempt: r.Attempt}
	}
	if canceling {
		return outcome{state: Canceled, attempt: r.Attempt, failure: err.Error()}
	}
	if closing {
		return outcome{state: Queued, attempt: r.Attempt - 1, failure: r.failure}
	}
	if postponed, ok := errors.AsType[postponedError](err); ok {
		return outcome{state: Queued, after: postponed.delay, attempt: r.Attempt - 1, failure: err.Error()}
	}
	if _, ok := errors.AsType[permanentError](err); ok || r.Last {
		return outcome{state: Failed, attempt: r.Attempt, failure: err.Error()}
	}
	return outcome{state: Queued, after: retryDelays[min(r.Attempt, len(retryDelays))-1], attempt: r.Attempt, failure: err.Error()}
}

// end writes an outcome to a job that the transaction has seen under the run's lease.
func end(ctx context.Context, tx *store.Tx, r *Run, o outcome) error {
	now := time.Now()
	var ended int64
	if o.state.Ended() {
		ended = store.Micros(now)
	}
	_, err := tx.Exec(ctx, `UPDATE job SET state = $3, due = $4, lease = '', attempt = $5, error = $6, ended = $7
		WHERE id = $1 AND lease = $2`,
		r.ID, r.lease, o.state, store.Micros(now.Add(o.after)), o.attempt, printable(o.failure), ended)
	return err
}

// printable makes an error's text fit for the database, whatever a program or a remote host put into it.
func printable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

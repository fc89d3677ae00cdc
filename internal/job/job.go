package job

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds the queue.
var Schema = store.Schema{Name: "job", FS: schemaFS}

// Spec describes a job to run.
type Spec struct {
	Kind        string          // which handler runs it
	Key         string          // at most one unfinished job of a kind has the key; empty means no such rule
	Payload     json.RawMessage // what the handler needs; it holds no secrets
	RunAt       time.Time       // not before; zero is now
	MaxAttempts int             // 0 is 5
}

// State of a job.
type State string

// States of a job.
const (
	Queued   State = "queued"
	Running  State = "running"
	Done     State = "done"
	Failed   State = "failed"
	Canceled State = "canceled"
)

// Ended reports whether the state is final.
func (s State) Ended() bool { return s == Done || s == Failed || s == Canceled }

// Status is what is known of a job.
type Status struct {
	ID       string
	Kind     string
	Key      string
	State    State
	Attempt  int             // the running attempt, or how many have been used up
	Progress json.RawMessage // what the handler saved last
	Error    string          // why the last attempt failed; empty when it did not
	Created  time.Time
	Ended    time.Time // zero until the state is final
}

// Queue is a durable queue on the database. Any number of nodes may run the same queue; a job runs on one of them
// at a time, and again elsewhere when its node dies.
type Queue struct {
	db    *store.DB
	log   *slog.Logger
	lease time.Duration
	keep  time.Duration

	wake  chan struct{} // there may be something to claim
	stop  context.CancelFunc
	loops sync.WaitGroup // dispatch
	beats sync.WaitGroup // heartbeat
	quiet context.CancelFunc

	mu      sync.Mutex
	kinds   []*kind
	running map[*Run]context.CancelCauseFunc
	runs    sync.WaitGroup
}

// Options of a queue.
type Options struct {
	DB    *store.DB
	Log   *slog.Logger
	Lease time.Duration // a running job whose node is silent for so long is taken over; 0 is 30 s
	Keep  time.Duration // finished jobs are deleted after so long; 0 is 7 days
}

// kind is a kind of job that this node runs.
type kind struct {
	name    string
	handler Handler
	free    int // workers; guarded by Queue.mu
}

// New returns a queue. Handle is called for every kind, then Start.
func New(o Options) *Queue {
	return &Queue{
		db:      o.DB,
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		lease:   cmp.Or(o.Lease, 30*time.Second),
		keep:    cmp.Or(o.Keep, 7*24*time.Hour),
		wake:    make(chan struct{}, 1),
		running: map[*Run]context.CancelCauseFunc{},
	}
}

// Handle says how jobs of a kind run, and how many at once on this node. Jobs of other kinds wait for nodes that
// handle them.
func (q *Queue) Handle(name string, workers int, h Handler) {
	q.kinds = append(q.kinds, &kind{name: name, handler: h, free: workers})
}

// Start begins to run jobs. Enqueued jobs start at once on this node, within a second on others.
func (q *Queue) Start() {
	ctx, stop := context.WithCancel(context.Background())
	beat, quiet := context.WithCancel(context.Background())
	q.stop, q.quiet = stop, quiet
	q.loops.Go(func() { q.dispatch(ctx) })
	q.beats.Go(func() { q.heartbeat(beat) })
}

// Close stops: running handlers' contexts are canceled, their jobs go back to the queue without a used attempt. It
// waits until the handlers have returned. A handler that returns nil all the same has finished its job.
func (q *Queue) Close() error {
	if q.stop == nil {
		return nil
	}
	q.stop()
	q.loops.Wait() // no run starts any more
	q.interrupt(errClosing, func(*Run) bool { return true })
	q.runs.Wait()
	q.quiet()
	q.beats.Wait()
	return nil
}

// Enqueue adds a job in the caller's transaction: it exists exactly when the transaction does. A second unfinished
// job with the same kind and key is not made; the first one's id is returned, even if it runs already.
func (q *Queue) Enqueue(ctx context.Context, tx *store.Tx, s Spec) (id string, err error) {
	if s.Kind == "" {
		return "", errors.New("job: spec without a kind")
	}
	if len(s.Payload) > 0 && !json.Valid(s.Payload) {
		return "", fmt.Errorf("job: payload of a %s job is not JSON", s.Kind)
	}
	now := time.Now()
	due := s.RunAt
	if due.IsZero() {
		due = now
	}
	err = tx.QueryRow(ctx, `
		INSERT INTO job (id, kind, key, payload, state, due, lease, attempt, max_attempts, canceling, progress, error, created, ended)
		VALUES ($1, $2, $3, $4, 'queued', $5, '', 0, $6, 0, '', '', $7, 0)
		ON CONFLICT (kind, key) WHERE key <> '' AND state IN ('queued', 'running') DO NOTHING
		RETURNING id`,
		rand.Text(), s.Kind, s.Key, string(s.Payload), store.Micros(due), cmp.Or(s.MaxAttempts, 5), store.Micros(now)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.QueryRow(ctx, `SELECT id FROM job WHERE kind = $1 AND key = $2 AND state IN ('queued', 'running')`,
			s.Kind, s.Key).Scan(&id)
	}
	if err != nil {
		return "", fmt.Errorf("enqueuing a %s job: %w", s.Kind, err)
	}
	tx.AfterCommit(q.poke)
	return id, nil
}

// Cancel asks a job to stop. A queued job is canceled at once; a running handler sees its context canceled with
// ErrCanceled as the cause, within a second on any node, and the job is canceled when it returns an error, done when
// it returns nil. A job that has ended stays as it is; one that does not exist is sql.ErrNoRows.
func (q *Queue) Cancel(ctx context.Context, tx *store.Tx, id string) error {
	var state State
	err := tx.QueryRow(ctx, `SELECT state FROM job WHERE id = $1`, id).Scan(&state)
	switch {
	case err != nil:
	case state == Queued:
		_, err = tx.Exec(ctx, `UPDATE job SET state = 'canceled', ended = $2 WHERE id = $1`, id, store.Micros(time.Now()))
	case state == Running:
		_, err = tx.Exec(ctx, `UPDATE job SET canceling = 1 WHERE id = $1`, id)
		tx.AfterCommit(func() { q.interrupt(ErrCanceled, func(r *Run) bool { return r.ID == id }) })
	}
	if err != nil {
		return fmt.Errorf("canceling job %s: %w", id, err)
	}
	return nil
}

const statusColumns = `id, kind, key, state, attempt, progress, error, created, ended`

// Status returns a job, or sql.ErrNoRows.
func (q *Queue) Status(ctx context.Context, tx *store.Tx, id string) (Status, error) {
	return scanStatus(tx.QueryRow(ctx, `SELECT `+statusColumns+` FROM job WHERE id = $1`, id))
}

// List returns all jobs of a kind with the key that are not yet deleted (see Options.Keep), the newest first.
func (q *Queue) List(ctx context.Context, tx *store.Tx, kind, key string) ([]Status, error) {
	rows, err := tx.Query(ctx, `SELECT `+statusColumns+` FROM job WHERE kind = $1 AND key = $2 ORDER BY created DESC, id`, kind, key)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Status
	for rows.Next() {
		s, err := scanStatus(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

func scanStatus(row interface{ Scan(...any) error }) (Status, error) {
	var s Status
	var progress string
	var created, ended int64
	err := row.Scan(&s.ID, &s.Kind, &s.Key, &s.State, &s.Attempt, &progress, &s.Error, &created, &ended)
	s.Progress, s.Created, s.Ended = raw(progress), store.Time(created), store.Time(ended)
	return s, err
}

// raw is the inverse of string(json.RawMessage), with nothing as nil.
func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

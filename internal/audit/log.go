package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

const (
	batchSize  = 512 // records that share a commit at most
	insertRows = 16  // records that share a statement
	// commitTimeout bounds a commit whose database does not answer.
	commitTimeout = time.Minute
)

// ErrClosed is returned by Append and Observe after Close.
var ErrClosed = errors.New("audit log is closed")

// Log is the chain. It is safe for concurrent use.
type Log struct {
	db      *store.DB
	wake    chan struct{} // holds one: there is something in waiting
	closing chan struct{}
	stopped chan struct{}
	final   error               // of the last flush; set before stopped is closed
	end     atomic.Pointer[end] // where this node believes that the chain ends

	mu       sync.Mutex
	closed   bool
	waiting  []*pending
	observed map[kind]*observation
}

// pending is a record on its way into the chain.
type pending struct {
	record Record
	kind   *kind         // of which Observe counts the next, if any
	done   chan struct{} // closed when err is set
	err    error
}

// Open continues the chain of db.
func Open(ctx context.Context, db *store.DB) (*Log, error) {
	var last end
	if err := db.View(ctx, func(tx *store.Tx) (err error) {
		last, err = head(ctx, tx)
		return err
	}); err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	l := &Log{
		db: db, wake: make(chan struct{}, 1), closing: make(chan struct{}), stopped: make(chan struct{}),
		observed: map[kind]*observation{},
	}
	l.end.Store(&last)
	go l.run()
	return l, nil
}

// Close writes what Observe still counts and stops.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	<-l.stopped
	return l.final
}

// Append adds a record and returns when it is durable. Concurrent calls share a commit. After an error the record may
// be in the chain or not.
func (l *Log) Append(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("appending audit record: %w", err)
	}
	p := &pending{record: r.clean(), done: make(chan struct{})}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.waiting = append(l.waiting, p)
	l.mu.Unlock()
	l.rouse()
	return p.wait(ctx)
}

func (l *Log) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (p *pending) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("appending audit record: %w", ctx.Err())
	}
}

// run commits what waits, all at once: whoever comes while a commit is under way goes into the next.
func (l *Log) run() {
	defer close(l.stopped)
	minute := time.NewTimer(untilNextMinute())
	defer minute.Stop()
	for {
		select {
		case <-l.wake:
			l.drain()
		case <-minute.C:
			_ = l.flush() // what could not be written is counted on and comes with the next
			minute.Reset(untilNextMinute())
		case <-l.closing:
			l.drain()
			l.final = l.flush()
			return
		}
	}
}

func untilNextMinute() time.Duration {
	now := time.Now()
	return now.Truncate(time.Minute).Add(time.Minute).Sub(now)
}

func (l *Log) drain() {
	for {
		l.mu.Lock()
		batch := l.waiting[:min(len(l.waiting), batchSize)]
		l.waiting = l.waiting[len(batch):]
		l.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := l.commit(batch)
		if err != nil {
			l.forget(batch)
		}
		for _, p := range batch {
			p.err = err
			close(p.done)
		}
	}
}

// In appends a record in the caller's transaction: it is in the chain exactly when the transaction's changes are in the
// database. It takes the chain's head, for which all who append wait until the transaction has ended, so it is called
// last. A closure that fails leaves no record: a refusal that is to be recorded goes to Append.
//
// On PostgreSQL two transactions with In that run at once get in each other's way, and one of them runs again. That is
// for changes that are rare; see [Log.Update].
func (l *Log) In(ctx context.Context, tx *store.Tx, r Record) error {
	if err := l.extend(ctx, tx, []Record{r.clean()}); err != nil {
		return fmt.Errorf("appending audit record: %w", err)
	}
	return nil
}

// Update runs fn in an update of the database and records r, the decision that allowed it: the record is durable when
// Update returns, whatever came of fn, and never later than fn's changes. On SQLite both share a commit. PostgreSQL
// would run them one after the other for the head's sake; there the record is appended first, with those of others.
func (l *Log) Update(ctx context.Context, r Record, fn func(*store.Tx) error) error {
	if l.db.Kind() == "postgres" {
		if err := l.Append(ctx, r); err != nil {
			return err
		}
		return l.db.Update(ctx, fn)
	}
	err := l.db.Update(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return l.In(ctx, tx, r)
	})
	if err == nil {
		return nil
	}
	if unrecorded := l.Append(context.WithoutCancel(ctx), r); unrecorded != nil {
		return fmt.Errorf("%w (of an update that failed: %v)", unrecorded, err) // no answer tells more than the chain
	}
	return err
}

// commit appends the batch to the chain in one transaction.
func (l *Log) commit(batch []*pending) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	records := make([]Record, len(batch))
	for i, p := range batch {
		records[i] = p.record
	}
	if err := l.db.Update(ctx, func(tx *store.Tx) error { return l.extend(ctx, tx, records) }); err != nil {
		return fmt.Errorf("appending audit records: %w", err)
	}
	return nil
}

// end is where a chain ends.
type end struct {
	seq  int64
	hash hash
}

// errMoved says that the chain does not end where it was thought to.
var errMoved = errors.New("the audit chain's head is another")

// extend appends records that are clean to the chain. It goes by the end that this node has seen last; the database says
// whether the chain still ends there, and does not when another node went on or a transaction was undone.
func (l *Log) extend(ctx context.Context, tx *store.Tx, records []Record) error {
	next, err := l.end.Load().extend(ctx, tx, records)
	if errors.Is(err, errMoved) {
		var last end
		if last, err = head(ctx, tx); err != nil {
			return err
		}
		next, err = last.extend(ctx, tx, records)
	}
	if err != nil {
		return err
	}
	l.end.Store(&next)
	return nil
}

// extend appends records to a chain that ends at e, or answers errMoved and leaves the chain alone.
func (e end) extend(ctx context.Context, tx *store.Tx, records []Record) (end, error) {
	next := e
	rows := make([]any, 0, len(records)*columns)
	for _, r := range records {
		next.seq++
		r.Seq = next.seq
		body, err := r.body()
		if err != nil {
			return end{}, err
		}
		next.hash = next.hash.next(body)
		row := r.row()
		link := next.hash // the argument keeps a slice of it
		rows = append(rows, r.Seq, row.time, row.operation, row.resource, row.principal, row.identity, string(body), link[:])
	}
	// The change of the head comes first and makes others wait.
	moved, err := tx.Exec(ctx, `UPDATE audit_head SET seq = $1, hash = $2 WHERE id = 1 AND seq = $3 AND hash = $4`,
		next.seq, next.hash[:], e.seq, e.hash[:])
	if err != nil {
		return end{}, fmt.Errorf("moving the head: %w", err)
	}
	if moved == 0 {
		return end{}, errMoved
	}
	return next, insert(ctx, tx, rows)
}

const columns = 8

// Statements of two lengths only, so that the databases prepare each once.
var insertOne, insertMany = insertStatement(1), insertStatement(insertRows)

func insert(ctx context.Context, tx *store.Tx, rows []any) error {
	for len(rows) > 0 {
		n, statement := 1, insertOne
		if len(rows) >= insertRows*columns {
			n, statement = insertRows, insertMany
		}
		if _, err := tx.Exec(ctx, statement, rows[:n*columns]...); err != nil {
			return fmt.Errorf("inserting: %w", err)
		}
		rows = rows[n*columns:]
	}
	return nil
}

func insertStatement(rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO audit_records (seq, time, operation, resource, principal, identity, body, hash) VALUES `)
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		n := i * columns
		fmt.Fprintf(&b, "($%d, $%d, $%d, $%d, $%d, $%d, $%d, $%d)", n+1, n+2, n+3, n+4, n+5, n+6, n+7, n+8)
	}
	return b.String()
}

// head reads the end of the chain.
func head(ctx context.Context, tx *store.Tx) (end, error) {
	var seq int64
	var h []byte
	err := tx.QueryRow(ctx, `SELECT seq, hash FROM audit_head WHERE id = 1`).Scan(&seq, &h)
	if errors.Is(err, sql.ErrNoRows) {
		return end{}, broken("the audit chain's head is missing")
	}
	if err != nil {
		return end{}, fmt.Errorf("reading the audit chain's head: %w", err)
	}
	if len(h) != len(hash{}) {
		return end{}, brokenf("the audit chain's head has a hash of %d bytes", len(h))
	}
	return end{seq, hash(h)}, nil
}

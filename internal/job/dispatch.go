package job

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

const (
	pollInterval  = time.Second // for jobs and cancellations of other nodes
	purgeInterval = time.Hour
	purgeBatch    = 1000
)

// poke makes dispatch look for jobs at once.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default: // it is going to look already
	}
}

// dispatch claims jobs whenever there may be some, until ctx ends.
func (q *Queue) dispatch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var purged time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
		next, err := q.look(ctx)
		if err == nil && time.Since(purged) >= purgeInterval {
			purged, err = time.Now(), q.purge(ctx)
		}
		if err != nil && ctx.Err() == nil {
			q.log.WarnContext(ctx, "job queue cannot use the database; it tries again", "error", err)
		}
		timer.Reset(max(0, min(pollInterval, time.Until(next))))
	}
}

// look interrupts runs that another node wants canceled, and claims what is due for the kinds with a free worker. It
// returns when to look again at the latest.
func (q *Queue) look(ctx context.Context) (next time.Time, err error) {
	next = time.Now().Add(pollInterval)
	var canceling map[string]bool
	due := map[*kind]time.Time{} // each kind's first job
	err = q.db.View(ctx, func(tx *store.Tx) (err error) {
		if canceling, err = cancelingLeases(ctx, tx); err != nil {
			return err
		}
		for _, k := range q.kinds {
			var at int64
			err := tx.QueryRow(ctx, `SELECT due FROM job WHERE kind = $1 AND state IN ('queued', 'running')
				ORDER BY due LIMIT 1`, k.name).Scan(&at)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			due[k] = store.Time(at)
		}
		return nil
	})
	if err != nil {
		return next, fmt.Errorf("looking for due jobs: %w", err)
	}
	q.interrupt(ErrCanceled, func(r *Run) bool { return canceling[r.lease] })
	for k, at := range due {
		q.mu.Lock()
		free := k.free // only dispatch makes it less
		q.mu.Unlock()
		if free == 0 {
			continue // the worker that becomes free wakes dispatch
		}
		if at.After(time.Now()) {
			if at.Before(next) {
				next = at
			}
			continue
		}
		runs, err := q.claim(ctx, k, free)
		if err != nil {
			return next, fmt.Errorf("claiming %s jobs: %w", k.name, err)
		}
		for _, r := range runs {
			q.start(k, r)
		}
		if len(runs) > 0 {
			q.poke() // there may be more
		}
	}
	return next, nil
}

func cancelingLeases(ctx context.Context, tx *store.Tx) (map[string]bool, error) {
	rows, err := tx.Query(ctx, `SELECT lease FROM job WHERE state = 'running' AND canceling = 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	leases := map[string]bool{}
	for rows.Next() {
		var lease string
		if err := rows.Scan(&lease); err != nil {
			return nil, err
		}
		leases[lease] = true
	}
	return leases, rows.Err()
}

// claim takes up to n due jobs of a kind: queued ones, and running ones whose node let the lease end. Of these, it
// ends those that were to be canceled or have no attempt left.
func (q *Queue) claim(ctx context.Context, k *kind, n int) ([]*Run, error) {
	var runs []*Run
	err := q.db.Update(ctx, func(tx *store.Tx) error {
		now := time.Now()
		claimed, err := claimDue(ctx, tx, k.name, n, now, now.Add(q.lease))
		if err != nil {
			return err
		}
		runs = nil
		for _, r := range claimed {
			switch {
			case r.canceling:
				err = end(ctx, tx, r, outcome{state: Canceled, failure: r.failure, attempt: r.Attempt - 1})
			case r.Attempt > r.max:
				err = end(ctx, tx, r, outcome{state: Failed, failure: "the node stopped during the last attempt", attempt: r.max})
			default:
				r.until = now.Add(q.trusted())
				runs = append(runs, r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return runs, err
}

func claimDue(ctx context.Context, tx *store.Tx, kind string, n int, now, until time.Time) ([]*Run, error) {
	lease := rand.Text() // each job's own with its id
	rows, err := tx.Query(ctx, `
		UPDATE job SET state = 'running', attempt = attempt + 1, lease = $1 || id, due = $2
		WHERE id IN (
			SELECT id FROM job WHERE kind = $3 AND state IN ('queued', 'running') AND due <= $4 ORDER BY due LIMIT $5)
		RETURNING id, key, payload, attempt, max_attempts, canceling, error`,
		lease, store.Micros(until), kind, store.Micros(now), n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var runs []*Run
	for rows.Next() {
		r := &Run{kind: kind}
		var payload string
		if err := rows.Scan(&r.ID, &r.Key, &payload, &r.Attempt, &r.max, &r.canceling, &r.failure); err != nil {
			return nil, err
		}
		r.lease, r.Payload, r.Last = lease+r.ID, raw(payload), r.Attempt >= r.max
		runs = append(runs, r)
	}
	return runs, rows.Err()
}

// heartbeat renews the leases of running jobs until ctx ends.
func (q *Queue) heartbeat(ctx context.Context) {
	timer := time.NewTimer(q.lease / 3)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(q.renew(ctx))
		}
	}
}

// trusted is for how long a run relies on a lease. The rest is for noticing that it could not be renewed.
func (q *Queue) trusted() time.Duration { return q.lease * 9 / 10 }

// renew renews all leases in one transaction. A run whose job has been taken over, or whose lease is about to end while
// the database cannot be reached, is interrupted. It returns when to renew again.
func (q *Queue) renew(ctx context.Context) time.Duration {
	now := time.Now()
	q.mu.Lock()
	runs := make([]*Run, 0, len(q.running))
	first := now.Add(q.lease)
	for r := range q.running {
		runs = append(runs, r)
		if r.until.Before(first) {
			first = r.until
		}
	}
	q.mu.Unlock()
	if len(runs) == 0 {
		return q.lease / 3
	}
	// A lease that has ended already, because the machine slept, is still this node's if no other has come.
	updateCtx, cancel := context.WithTimeout(ctx, max(first.Sub(now), q.lease/10))
	defer cancel()
	var held map[*Run]bool
	err := q.db.Update(updateCtx, func(tx *store.Tx) error {
		held = map[*Run]bool{}
		for _, r := range runs {
			n, err := tx.Exec(updateCtx, `UPDATE job SET due = $3 WHERE id = $1 AND lease = $2 AND state = 'running'`,
				r.ID, r.lease, store.Micros(now.Add(q.lease)))
			if err != nil {
				return err
			}
			held[r] = n > 0
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			q.log.WarnContext(ctx, "job queue cannot renew its leases; it tries again", "error", err)
		}
		now = time.Now()
		q.interrupt(ErrLost, func(r *Run) bool { return !now.Before(r.until) })
		return q.lease / 10
	}
	q.interrupt(ErrLost, func(r *Run) bool {
		if held[r] {
			r.until = now.Add(q.trusted())
		}
		mine, asked := held[r]
		return asked && !mine
	})
	return q.lease / 3
}

// interrupt cancels the contexts of the runs that match. match is called with q.mu held.
func (q *Queue) interrupt(cause error, match func(*Run) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for r, cancel := range q.running {
		if match(r) {
			cancel(cause)
		}
	}
}

// purge deletes jobs that ended long ago.
func (q *Queue) purge(ctx context.Context) error {
	before := store.Micros(time.Now().Add(-q.keep))
	for n := int64(purgeBatch); n == purgeBatch; {
		err := q.db.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM job WHERE id IN (SELECT id FROM job WHERE ended > 0 AND ended < $1 LIMIT $2)`, before, purgeBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("deleting finished jobs: %w", err)
		}
	}
	return nil
}

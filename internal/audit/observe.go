package audit

import (
	"context"
	"time"
)

// maxObserved bounds the kinds that are counted at a time; beyond it every record is appended.
const maxObserved = 100_000

// kind is what observed records are alike in.
type kind struct {
	category, operation, action, resource, principal, identity, clientIP, result string
}

// observation counts records of one kind since its first was appended.
type observation struct {
	first *pending
	count int64     // records after the first
	last  time.Time // of the last of them
}

// Observe is Append for allowed reads that come by the thousand: of records that are alike in category, operation,
// action, resource, principal, identity, client address and result, the first is appended at once, the others until
// the end of the clock's minute are counted and appended as one record with Count, the first's other fields and the
// time of the last. It returns when the first of its kind is durable.
func (l *Log) Observe(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k := kind{r.Category, r.Operation, r.Action, r.Resource, r.Principal, r.Identity, r.ClientIP, r.Result}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	if o := l.observed[k]; o != nil {
		o.count++
		if o.last = r.Time; r.Time.IsZero() {
			o.last = time.Now()
		}
		l.mu.Unlock()
		return o.first.wait(ctx)
	}
	p := &pending{record: r.clean(), done: make(chan struct{})}
	if len(l.observed) < maxObserved {
		p.kind = &k
		l.observed[k] = &observation{first: p}
	}
	l.waiting = append(l.waiting, p)
	l.mu.Unlock()
	l.rouse()
	return p.wait(ctx)
}

// forget drops the observations whose first record could not be appended: the next of their kind is the first again.
func (l *Log) forget(failed []*pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range failed {
		if p.kind != nil {
			delete(l.observed, *p.kind)
		}
	}
}

// flush appends what was counted and begins to count anew. It runs on run's goroutine, when nothing else commits.
func (l *Log) flush() error {
	l.mu.Lock()
	counted := l.observed
	l.observed = map[kind]*observation{}
	var batch []*pending
	var kinds []kind
	for k, o := range counted {
		select {
		case <-o.first.done:
		default: // its first record still waits: it belongs to the minute that begins
			l.observed[k] = o
			continue
		}
		if o.count > 0 {
			r := o.first.record
			r.RequestID, r.Time, r.Count = "", o.last, o.count
			batch = append(batch, &pending{record: r.clean()})
			kinds = append(kinds, k)
		}
	}
	l.mu.Unlock()

	for len(batch) > 0 {
		n := min(len(batch), batchSize)
		if err := l.commit(batch[:n]); err != nil {
			l.countOn(kinds, counted)
			return err
		}
		batch, kinds = batch[n:], kinds[n:]
	}
	return nil
}

// countOn takes up counts that could not be written. Those whose commit went through and was reported as failed are
// written twice.
func (l *Log) countOn(kinds []kind, counted map[kind]*observation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range kinds {
		o := counted[k]
		if now := l.observed[k]; now == nil {
			l.observed[k] = o
		} else {
			now.count += o.count
			if now.last.Before(o.last) {
				now.last = o.last
			}
		}
	}
}

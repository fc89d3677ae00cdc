package customerkey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// scanAtOnce bounds how many owners are looked at side by side: a vault that does not answer must not hold up others.
const scanAtOnce = 16

// longestPause keeps two scans near enough to each other that a new key version is found within a minute.
const longestPause = 30 * time.Second

// pauseAfter is how long nothing is looked at after a scan: three times as long as it took, so that thousands of owners do
// not take the machine for themselves. Access is no later refused for it: who uses a key checks it, whatever the scan does.
func (k *Keeper) pauseAfter(took time.Duration) time.Duration {
	return max(k.o.Scan, min(3*took, longestPause))
}

func (k *Keeper) scan() {
	ctx, cancel := context.WithCancel(context.Background())
	k.wg.Go(func() {
		<-k.stop
		cancel()
	})
	for pause := k.o.Scan; ; {
		select {
		case <-k.stop:
			return
		case <-time.After(pause):
		}
		begun := time.Now()
		if err := k.scanOnce(ctx); err != nil && !k.stopped() {
			k.o.Log.ErrorContext(ctx, "looking after customer keys", "err", err)
		}
		pause = k.pauseAfter(time.Since(begun))
	}
}

// scanOnce looks at every customer key once.
func (k *Keeper) scanOnce(ctx context.Context) error {
	var rows []*row
	err := k.o.DB.View(ctx, func(tx *store.Tx) error {
		rows = nil
		found, err := tx.Query(ctx, `SELECT `+columns+` FROM customerkey_keys WHERE customer = 1 ORDER BY owner`)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			r := new(row)
			if err := r.scan(found.Scan); err != nil {
				return err
			}
			rows = append(rows, r)
		}
		return found.Err()
	})
	if err != nil {
		return fmt.Errorf("listing customer keys: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(scanAtOnce)
	failures := make([]error, len(rows))
	for i, r := range rows {
		g.Go(func() error {
			failures[i] = k.scanOwner(ctx, r)
			return nil
		})
	}
	_ = g.Wait() // every failure stands in failures
	return errors.Join(failures...)
}

// scanOwner picks up a new version of the owner's key and then tries access.
func (k *Keeper) scanOwner(ctx context.Context, r *row) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// A problem with the new version leaves the old one in place; whether that one still serves, check finds out.
	rewrapErr := k.rewrap(ctx, r)
	_, err := k.check(ctx, r.owner)
	return errors.Join(beyondProblem(rewrapErr), beyondProblem(err))
}

// beyondProblem leaves out what is recorded as state, and owners deleted or re-wrapped meanwhile.
func beyondProblem(err error) error {
	var p *Problem
	var e *azure.Error
	if errors.As(err, &p) || errors.As(err, &e) && e.Status < 500 {
		return nil
	}
	return err
}

// rewrap wraps the account key with the current version of a key that the customer named without version, when that is
// another one than the one in use.
func (k *Keeper) rewrap(ctx context.Context, r *row) error {
	v, err := k.vaultKey(r, r.identifier)
	if err != nil || v.id.Version != "" {
		return err
	}
	current, err := v.current(ctx)
	if err != nil || current.id.String() == r.version {
		return err
	}
	key, err := k.keyOf(ctx, r)
	if err != nil {
		return err
	}
	next := *r
	next.generation++
	next.accessible, next.problem, next.since = true, Problem{}, time.Now()
	next.rotated = next.since
	if err := k.wrap(ctx, &next, current, key); err != nil {
		return err
	}
	err = k.o.DB.Update(ctx, func(tx *store.Tx) error {
		return k.Commit(ctx, tx, &Switch{from: r.generation, row: next})
	})
	if err != nil {
		return err
	}
	err = k.o.Audit.Append(ctx, audit.Record{
		Category: "AuditEvent", Operation: "CustomerKey.Rewrapped", Result: "Success", Resource: r.owner,
		Principal: r.identity.PrincipalID, Identity: r.identity.IdentityID, Details: map[string]string{"from": r.version, "to": next.version},
	})
	if err != nil {
		return fmt.Errorf("recording the new key version of %s: %w", r.owner, err)
	}
	if k.o.Changed != nil {
		k.o.Changed(ctx, r.owner, next.state())
	}
	return nil
}

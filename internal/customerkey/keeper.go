package customerkey

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// cached is what memory holds of an owner's account key. Its fields are guarded by Keeper.mu.
type cached struct {
	epoch      int64 // counts forgets, so that a check that ran across one is not kept
	key        seal.Key
	checked    time.Time // begin of the last successful check; zero holds no key
	refreshing bool
	problem    *Problem // the last failure
	retry      time.Time
}

// refusedFor is how long Key repeats a failure without asking again. The scan and Check ask all the same.
const refusedFor = time.Second

// Key returns the owner's account key; the cache answers for TTL after the last successful check. When the customer's
// key cannot be used the error is a *Problem.
func (k *Keeper) Key(ctx context.Context, owner string) (seal.Key, error) {
	owner = strings.ToLower(owner)
	now := time.Now()
	k.mu.Lock()
	e := k.entry(owner)
	switch {
	case k.serves(e, now):
		key := e.key
		if !e.refreshing && now.Sub(e.checked) > k.o.TTL/2 && !k.stopped() {
			e.refreshing = true
			k.wg.Go(func() { k.refresh(owner) })
		}
		k.mu.Unlock()
		return key, nil
	case e.problem != nil && now.Before(e.retry):
		p := e.problem
		k.mu.Unlock()
		return seal.Key{}, p
	}
	k.mu.Unlock()
	return k.check(ctx, owner)
}

// Held returns the owner's account key if memory holds it within its time, and asks nobody: for use in a transaction.
func (k *Keeper) Held(owner string) (seal.Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.cache[strings.ToLower(owner)]
	if e == nil || !k.serves(e, time.Now()) {
		return seal.Key{}, false
	}
	return e.key, true
}

// entry returns the owner's entry; Keeper.mu is held.
func (k *Keeper) entry(owner string) *cached {
	e := k.cache[owner]
	if e == nil {
		e = new(cached)
		k.cache[owner] = e
	}
	return e
}

func (k *Keeper) serves(e *cached, now time.Time) bool {
	return !e.checked.IsZero() && now.Sub(e.checked) < k.o.TTL
}

func (k *Keeper) stopped() bool {
	select {
	case <-k.stop:
		return true
	default:
		return false
	}
}

// refresh checks while the key is in use, so that its users do not wait for the vault. The outcome is in the cache.
func (k *Keeper) refresh(owner string) {
	_, _ = k.check(context.Background(), owner) // a failure is kept there too
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entry(owner).refreshing = false
}

// forget drops what memory holds of an owner's key.
func (k *Keeper) forget(owner string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entry(owner)
	*e = cached{epoch: e.epoch + 1, refreshing: e.refreshing}
}

// check unwraps the owner's account key now. Concurrent checks of an owner are one.
func (k *Keeper) check(ctx context.Context, owner string) (seal.Key, error) {
	owner = strings.ToLower(owner)
	k.mu.Lock()
	epoch := k.entry(owner).epoch
	k.mu.Unlock()
	// A check that began before a switch does not answer for a caller who came after it.
	flight := fmt.Sprint(owner, "\x00", epoch)
	result := k.flight.DoChan(flight, func() (any, error) {
		ctx, cancel := k.detached(ctx)
		defer cancel()
		return k.unwrapAndKeep(ctx, owner, epoch)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return seal.Key{}, r.Err
		}
		return r.Val.(seal.Key), nil
	case <-ctx.Done():
		return seal.Key{}, ctx.Err()
	}
}

// unwrapAndKeep unwraps, keeps the outcome in memory and records a change of access.
func (k *Keeper) unwrapAndKeep(ctx context.Context, owner string, epoch int64) (seal.Key, error) {
	start := time.Now()
	var r *row
	err := k.o.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		r, err = load(ctx, tx, owner)
		return err
	})
	if err != nil {
		k.forget(owner)
		return seal.Key{}, err
	}
	key, err := k.unwrap(ctx, r)
	if err == nil {
		err = k.inTime(ctx, r)
	}
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		return seal.Key{}, err
	}
	if p == nil {
		k.mu.Lock()
		if e := k.entry(owner); e.epoch == epoch {
			e.key, e.checked, e.problem = key, start, nil
		}
		k.mu.Unlock()
		return key, k.record(ctx, r, nil)
	}
	if old, ok := k.outlast(owner, epoch, p); ok {
		return old, nil
	}
	if err := k.record(ctx, r, p); err != nil {
		return seal.Key{}, errors.Join(p, err)
	}
	return seal.Key{}, p
}

// outlast keeps a failure and drops the key, unless the vault was merely unreachable and the TTL is not over: then it
// returns the key that still serves.
func (k *Keeper) outlast(owner string, epoch int64, p *Problem) (seal.Key, bool) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entry(owner)
	if e.epoch != epoch {
		return seal.Key{}, false
	}
	if !p.Denied && k.serves(e, now) {
		return e.key, true
	}
	*e = cached{epoch: e.epoch, refreshing: e.refreshing, problem: p, retry: now.Add(refusedFor)}
	return seal.Key{}, false
}

// unwrap opens a row's account key, with the customer's key when it wraps.
func (k *Keeper) unwrap(ctx context.Context, r *row) (seal.Key, error) {
	check, wrapped, err := k.open(r)
	if err != nil {
		return seal.Key{}, err
	}
	plain := wrapped
	if r.customer {
		v, err := k.vaultKey(r, r.version)
		if err != nil {
			return seal.Key{}, err
		}
		if plain, err = v.unwrap(ctx, wrapped); err != nil {
			return seal.Key{}, err
		}
	}
	key, ok := keyFrom(plain, check)
	if !ok {
		return seal.Key{}, &Problem{Denied: true, Code: "KeyMismatch", Detail: fmt.Sprintf(
			"'%s' unwrapped to something else than what it wrapped. Bring the key material back that wrapped the account key.", r.version)}
	}
	return key, nil
}

// inTime asks whether a row's customer key is within its time: a vault unwraps with a key that has expired or is not
// valid yet, and an account is not to be used under such a key. It can be switched to another.
func (k *Keeper) inTime(ctx context.Context, r *row) error {
	if !r.customer {
		return nil
	}
	v, err := k.vaultKey(r, r.version)
	if err != nil {
		return err
	}
	return v.inTime(ctx, time.Now())
}

func (k *Keeper) vaultKey(r *row, id string) (vaultKey, error) {
	parsed, err := ParseKeyID(id)
	if err != nil {
		return vaultKey{}, fmt.Errorf("reading the key identifier of %s: %w", r.owner, err)
	}
	return vaultKey{k.o.Clients, r.identity, parsed}, nil
}

// record stores and tells a change of access (p is nil for access) since r was read.
func (k *Keeper) record(ctx context.Context, r *row, p *Problem) error {
	now := *r
	now.accessible, now.problem = p == nil, Problem{}
	if p != nil {
		now.problem = *p
	}
	if now.accessible == r.accessible && now.problem.Code == r.problem.Code && now.problem.Denied == r.problem.Denied {
		return nil
	}
	if now.accessible != r.accessible {
		now.since = time.Now()
		rec := audit.Record{
			Category: "AuditEvent", Operation: "CustomerKey.Accessible", Result: "Success", Resource: r.owner,
			Principal: r.identity.PrincipalID, Identity: r.identity.IdentityID, Details: map[string]string{"key": r.version},
		}
		if p != nil {
			rec.Operation, rec.Result, rec.Reason = "CustomerKey.Inaccessible", "Failure", p.Error()
			if p.Denied {
				rec.Result = "Denied"
			}
		}
		if err := k.o.Audit.Append(ctx, rec); err != nil {
			return fmt.Errorf("recording the access to the key of %s: %w", r.owner, err)
		}
	}
	var changed int64
	err := k.o.DB.Update(ctx, func(tx *store.Tx) error {
		var err error
		changed, err = tx.Exec(ctx, `UPDATE customerkey_keys SET accessible = $1, denied = $2, code = $3, detail = $4, since = $5
			WHERE owner = $6 AND generation = $7`,
			flag(now.accessible), flag(now.problem.Denied), now.problem.Code, now.problem.Detail, store.Micros(now.since), r.owner, r.generation)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing the access to the key of %s: %w", r.owner, err)
	}
	if changed > 0 && k.o.Changed != nil {
		k.o.Changed(ctx, r.owner, now.state())
	}
	return nil
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

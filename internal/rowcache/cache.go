package rowcache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

const (
	compareAfter = time.Second     // how old a comparison may be before the next Get makes a new one
	trustFor     = 4 * time.Second // how old it may be before no Get answers without one
	maxEntries   = 100_000         // beyond it the cache starts anew
)

// Table names a one-row table (id, n) whose n counts the changes of the rows that are cached. Its DDL inserts the
// row (1, 0).
type Table string

// Source is where a cache's values come from.
type Source[V any] struct {
	DB    *store.DB
	Table Table
	Load  func(ctx context.Context, tx *store.Tx, key string) (V, error) // errors are not kept
}

// Cache holds values by key. The zero value is ready; it is safe for concurrent use. Values are shared and must not
// be changed.
type Cache[V any] struct {
	comparing sync.Mutex // held by the one who compares generations

	mu         sync.RWMutex
	entries    map[string]V
	epoch      uint64    // counts invalidations, so that a load that ran across one is not kept
	generation int64     // every change up to this one is reflected
	compared   time.Time // zero: Doubt, or never
	doubted    time.Time
	failed     time.Time // when the last comparison failed, and why
	failure    error
}

// Get returns the value of a key, from memory or through s.Load.
func (c *Cache[V]) Get(ctx context.Context, s Source[V], key string) (V, error) {
	var zero V
	v, ok, epoch, age := c.lookup(key)
	if age >= compareAfter {
		if err := c.compare(ctx, s); err != nil {
			return zero, err
		}
		v, ok, epoch, _ = c.lookup(key)
	}
	if ok {
		return v, nil
	}
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		v, err = s.Load(ctx, tx, key)
		return err
	})
	if err != nil {
		return zero, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		if c.entries == nil || len(c.entries) >= maxEntries {
			c.entries = map[string]V{}
		}
		c.entries[key] = v
	}
	return v, nil
}

// Changed counts a change in the caller's transaction and forgets the keys once it is durable; without keys,
// everything.
func (c *Cache[V]) Changed(ctx context.Context, tx *store.Tx, table Table, keys ...string) error {
	var n int64
	err := tx.QueryRow(ctx, `UPDATE `+string(table)+` SET n = n + 1 WHERE id = 1 RETURNING n`).Scan(&n)
	if err != nil {
		return fmt.Errorf("counting a change in %s: %w", table, err)
	}
	tx.AfterCommit(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.epoch++
		if len(keys) == 0 {
			clear(c.entries)
		}
		for _, k := range keys {
			delete(c.entries, k)
		}
		// Without a foreign change in between, the next comparison need not throw everything away.
		if c.generation == n-1 {
			c.generation = n
		}
	})
	return nil
}

// Doubt has the next Get compare generations first. It is for an Update with Changed in it whose outcome is unknown: what
// may have been changed is then seen as if the Update had returned without an error.
func (c *Cache[V]) Doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.compared, c.doubted = time.Time{}, time.Now()
}

func (c *Cache[V]) lookup(key string) (v V, ok bool, epoch uint64, age time.Duration) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok = c.entries[key]
	return v, ok, c.epoch, time.Since(c.compared)
}

// compare looks at the generation row, unless somebody else does or just has.
func (c *Cache[V]) compare(ctx context.Context, s Source[V]) error {
	asked := time.Now()
	if c.age() < trustFor {
		if !c.comparing.TryLock() {
			return nil
		}
	} else {
		c.comparing.Lock()
	}
	defer c.comparing.Unlock()
	if c.age() < compareAfter {
		return nil
	}
	// Those who waited for a comparison that failed share its failure: one after another, each would wait for a
	// database that hangs, far beyond the time that its request has.
	if err := c.failedSince(asked); err != nil {
		return err
	}
	begun := time.Now()
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, trustFor-compareAfter)
	defer cancel()
	var n int64
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT n FROM `+string(s.Table)+` WHERE id = 1`).Scan(&n)
	})
	if err != nil {
		if c.age() < trustFor {
			return nil
		}
		err = fmt.Errorf("asking %s for other nodes' changes: %w", s.Table, err)
		if parent.Err() == nil { // a caller who gave up says nothing of the database
			c.mu.Lock()
			defer c.mu.Unlock()
			c.failed, c.failure = time.Now(), err
		}
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if begun.After(c.doubted) {
		c.compared = begun
	}
	if n != c.generation {
		c.epoch++
		clear(c.entries)
		c.generation = n
	}
	return nil
}

func (c *Cache[V]) failedSince(asked time.Time) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.failed.Before(asked) {
		return nil
	}
	return c.failure
}

func (c *Cache[V]) age() time.Duration {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return time.Since(c.compared)
}

package blob

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/object"
	"github.com/keyreel/keyreel/internal/store"
)

// How long things stay before they are collected. See the package comment for why each is longer than transferTimeout.
const (
	garbageGrace = 3 * time.Hour      // objects that a download may still be reading
	orphanAge    = 24 * time.Hour     // objects that no row names: their row may be on its way
	blockAge     = 7 * 24 * time.Hour // uncommitted blocks, since the newest of their blob
	sweepEvery   = time.Minute        // rows of garbage
	listEvery    = 12 * time.Hour     // the whole object store
	listFirst    = 15 * time.Minute   // after the start
	sweepBatch   = 256                // rows a transaction
)

// collectForever collects until ctx ends. Any number of nodes may do so at once: each step is idempotent.
func (s *Storage) collectForever(ctx context.Context) {
	sweep, list := time.NewTicker(sweepEvery), time.NewTimer(listFirst)
	defer sweep.Stop()
	defer list.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case now := <-sweep.C:
			err = s.sweep(ctx, now)
		case now := <-list.C:
			err = s.collectOrphans(ctx, now)
			list.Reset(listEvery)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "collecting garbage of blobs", "err", err)
		}
	}
}

// sweep removes what is due at now: blobs of deleted containers, expired blocks, objects that nothing names any more.
func (s *Storage) sweep(ctx context.Context, now time.Time) error {
	for _, step := range []struct {
		what string
		run  func(context.Context, time.Time) (more bool, err error)
	}{
		{"removing blobs of deleted containers", s.purgeRemoved},
		{"expiring uncommitted blocks", s.expireBlocks},
		{"deleting objects", s.deleteGarbage},
	} {
		for more := true; more; {
			var err error
			if more, err = step.run(ctx, now); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
	}
	return nil
}

// purgeRemoved removes some blobs of one deleted container, or its blocks and its record when no blobs are left.
// Nothing can be added to it meanwhile: every write finds its container first, in its own transaction.
func (s *Storage) purgeRemoved(ctx context.Context, now time.Time) (more bool, err error) {
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		more = false
		var id int64
		err := tx.QueryRow(ctx, `SELECT container FROM blob_removed ORDER BY since LIMIT 1`).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		blobs, err := contents(ctx, tx, id)
		if err != nil {
			return err
		}
		for i := range blobs {
			if _, err := tx.Exec(ctx, `DELETE FROM blob_blobs WHERE container = $1 AND name = $2`, id, blobs[i].name); err != nil {
				return err
			}
			if err := dropContent(ctx, tx, &blobs[i], 0); err != nil {
				return err
			}
		}
		if len(blobs) > 0 {
			return nil
		}
		return finishRemoved(ctx, tx, id, now)
	})
	return more, err
}

// contents reads what some blobs of a container consist of.
func contents(ctx context.Context, tx *store.Tx, container int64) ([]blob, error) {
	rows, err := tx.Query(ctx, `SELECT name, content, pieces FROM blob_blobs WHERE container = $1 ORDER BY name LIMIT $2`, container, sweepBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var blobs []blob
	for rows.Next() {
		var b blob
		if err := rows.Scan(&b.name, &b.content, &b.pieces); err != nil {
			return nil, err
		}
		blobs = append(blobs, b)
	}
	return blobs, rows.Err()
}

func finishRemoved(ctx context.Context, tx *store.Tx, container int64, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO blob_garbage (object, since) SELECT object, $2 FROM blob_blocks WHERE container = $1`, container, store.Micros(now))
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM blob_blocks WHERE container = $1`, container)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM blob_removed WHERE container = $1`, container)
	}
	return err
}

// expireBlocks drops the uncommitted blocks of one blob when the newest of them is old.
func (s *Storage) expireBlocks(ctx context.Context, now time.Time) (more bool, err error) {
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		more = false
		due := store.Micros(now.Add(-blockAge))
		var b blob
		err := tx.QueryRow(ctx, `SELECT k.container, k.name FROM blob_blocks k WHERE k.created < $1
			AND NOT EXISTS (SELECT 1 FROM blob_blocks n WHERE n.container = k.container AND n.name = k.name AND n.created >= $1) LIMIT 1`, due).
			Scan(&b.container, &b.name)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		return dropBlocks(ctx, tx, &b)
	})
	return more, err
}

// deleteGarbage deletes some objects that have been garbage for long enough, and then their rows. After a crash
// between the two the objects are deleted again, which is no error.
func (s *Storage) deleteGarbage(ctx context.Context, now time.Time) (more bool, err error) {
	var keys []string
	err = s.DB.View(ctx, func(tx *store.Tx) error {
		keys = nil
		rows, err := tx.Query(ctx, `SELECT g.object FROM blob_garbage g WHERE g.since < $1
			AND NOT EXISTS (SELECT 1 FROM blob_pieces p WHERE p.object = g.object)
			AND NOT EXISTS (SELECT 1 FROM blob_blocks k WHERE k.object = g.object)
			ORDER BY g.since LIMIT $2`, store.Micros(now.Add(-garbageGrace)), sweepBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			if err := rows.Scan(&key); err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return rows.Err()
	})
	if err != nil || len(keys) == 0 {
		return false, err
	}
	for _, key := range keys {
		if err := s.Objects.Delete(ctx, key); err != nil {
			return false, err
		}
	}
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		for _, key := range keys {
			if _, err := tx.Exec(ctx, `DELETE FROM blob_garbage WHERE object = $1`, key); err != nil {
				return err
			}
		}
		return nil
	})
	return len(keys) == sweepBatch, err
}

// collectOrphans deletes old objects that no row names: those whose request crashed, was cut off or failed after the
// object had been stored. A store in which a crash leaves parts of objects is rid of them, too.
func (s *Storage) collectOrphans(ctx context.Context, now time.Time) error {
	var batch []string
	flush := func() error {
		err := s.deleteOrphans(ctx, batch)
		batch = batch[:0]
		return err
	}
	err := s.Objects.List(ctx, func(o object.Info) error {
		if !strings.HasSuffix(o.Key, objectSuffix) || o.Written.After(now.Add(-orphanAge)) {
			return nil
		}
		if batch = append(batch, o.Key); len(batch) < sweepBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if store, ok := s.Objects.(interface {
		AbortStale(ctx context.Context, before time.Time) error
	}); ok && err == nil {
		err = store.AbortStale(ctx, now.Add(-orphanAge))
	}
	if err != nil {
		return fmt.Errorf("collecting orphans: %w", err)
	}
	return nil
}

func (s *Storage) deleteOrphans(ctx context.Context, keys []string) error {
	var orphans []string
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		orphans = nil
		for _, key := range keys {
			var named int
			err := tx.QueryRow(ctx, `SELECT (SELECT COUNT(*) FROM blob_pieces WHERE object = $1)
				+ (SELECT COUNT(*) FROM blob_blocks WHERE object = $1) + (SELECT COUNT(*) FROM blob_garbage WHERE object = $1)`, key).Scan(&named)
			if err != nil {
				return err
			}
			if named == 0 {
				orphans = append(orphans, key)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range orphans {
		s.Log.InfoContext(ctx, "deleting an object that no blob names", "object", key)
		if err := s.Objects.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

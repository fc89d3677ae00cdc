package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func benchBoth(b *testing.B, run func(b *testing.B, db *store.DB)) {
	b.Run("sqlite", func(b *testing.B) { run(b, storetest.SQLite(b, items)) })
	b.Run("postgres", func(b *testing.B) { run(b, storetest.Postgres(b, items)) }) // with fsync off
}

func BenchmarkUpdate(b *testing.B) {
	benchBoth(b, func(b *testing.B, db *store.DB) {
		var names atomic.Int64
		body := strings.Repeat("x", 80)
		for _, goroutines := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
				ctx := context.Background()
				left := atomic.Int64{}
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range goroutines {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							name := fmt.Sprint(body, names.Add(1))
							err := db.Update(ctx, func(tx *store.Tx) error {
								_, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ($1, 1)", name)
								return err
							})
							if err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			})
		}
	})
}

func BenchmarkView(b *testing.B) {
	benchBoth(b, func(b *testing.B, db *store.DB) {
		ctx, cancel := context.WithCancel(context.Background()) // as a request's
		defer cancel()
		if err := insert(ctx, db, "a", 1); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				var n int
				err := db.View(ctx, func(tx *store.Tx) error {
					return tx.QueryRow(ctx, "SELECT n FROM item WHERE name = $1", "a").Scan(&n)
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	})
}

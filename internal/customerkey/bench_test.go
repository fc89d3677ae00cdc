package customerkey

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func benchWorld(b *testing.B) *world {
	b.Helper()
	w := newWorld(b, storetest.SQLite(b, schemas...))
	w.use(versionless)
	return w
}

// BenchmarkKeyCached is what every request pays for the check that the account may use its key.
func BenchmarkKeyCached(b *testing.B) {
	w := benchWorld(b)
	w.key()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.Key(b.Context(), owner); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkKeyUnwrapped asks the vault each time: a call in-process, with the vault's RSA-2048 in it.
func BenchmarkKeyUnwrapped(b *testing.B) {
	w := benchWorld(b)
	for b.Loop() {
		w.forget(owner)
		w.key()
	}
}

// BenchmarkScan looks after 10,000 owners once, with one vault in the same process: per operation a get, an unwrap and
// the vault's RSA-2048.
func BenchmarkScan(b *testing.B) {
	const owners = 10_000
	w := benchWorld(b)
	w.o.Changed, w.o.Scan = nil, 3*time.Second
	var g errgroup.Group
	g.SetLimit(scanAtOnce)
	for i := range owners {
		g.Go(func() error {
			name := fmt.Sprint(owner, i)
			if err := w.db.Update(b.Context(), func(tx *store.Tx) error { return w.Create(b.Context(), tx, name) }); err != nil {
				return err
			}
			s, err := w.Prepare(b.Context(), name, &Config{Identity: identity, KeyID: versionless})
			if err != nil {
				return err
			}
			return w.db.Update(b.Context(), func(tx *store.Tx) error { return w.Commit(b.Context(), tx, s) })
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	var cpu, lag time.Duration
	for b.Loop() {
		before, begun := cpuTime(b), time.Now()
		if err := w.scanOnce(b.Context()); err != nil {
			b.Fatal(err)
		}
		took := time.Since(begun)
		cpu += cpuTime(b) - before
		lag = max(lag, took+w.pauseAfter(took))
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N)/lag.Seconds(), "cores")
	b.ReportMetric(lag.Seconds(), "s-lag")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

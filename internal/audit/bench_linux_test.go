package audit_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// BenchmarkRecord appends records as requests do: by themselves, and in the transaction of a change. It counts the time
// of this process's processors, without PostgreSQL's.
func BenchmarkRecord(b *testing.B) {
	for _, database := range []struct {
		name string
		open func(testing.TB, ...store.Schema) *store.DB
	}{{"sqlite", storetest.SQLite}, {"postgres", storetest.Postgres}} {
		db := database.open(b, audit.Schema)
		l, err := audit.Open(b.Context(), db)
		if err != nil {
			b.Fatal(err)
		}
		for op, record := range map[string]func(context.Context, audit.Record) error{
			"Append": l.Append,
			"Update": func(ctx context.Context, r audit.Record) error {
				return l.Update(ctx, r, func(*store.Tx) error { return nil })
			},
		} {
			for _, clients := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("%s/%s/clients=%d", database.name, op, clients), func(b *testing.B) {
					var next atomic.Int64
					var wg sync.WaitGroup
					before := cpuTime(b)
					for range clients {
						wg.Go(func() {
							for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
								if err := record(b.Context(), request(i)); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
					b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
				})
			}
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// request is the record of a request for one of a thousand blobs.
func request(i int64) audit.Record {
	return audit.Record{
		RequestID: fmt.Sprintf("6a3f2f0e-9d51-4b0c-8a44-%012x", i),
		Category:  "StorageWrite", Operation: "Blob.Put",
		Action: "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
		Resource: fmt.Sprintf("/subscriptions/5f0c1f3e-11d2-4b8e-9a55-0d2c3b4a5f60/resourceGroups/bench/providers/"+
			"Microsoft.Storage/storageAccounts/benchstore/blobServices/default/containers/bench/blobs/b%d", i%1000),
		Principal: "0b3a1c58-7c53-4d7e-b7a5-2f1f4a8c9d10", ClientIP: "127.0.0.1", Result: "Allowed", Status: 201,
		Reason: "role assignment 2d5b1a94-44a0-4f6b-8a63-8f8d0f3d1c77: Storage Blob Data Contributor",
	}
}

// cpuTime is what the process has used of its processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

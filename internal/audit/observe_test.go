package audit_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func observe(t *testing.T, l *audit.Log, r audit.Record) {
	t.Helper()
	if err := l.Observe(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// counts returns "operation principal count" of every record.
func counts(t *testing.T, l *audit.Log) []string {
	t.Helper()
	var got []string
	for _, r := range query(t, l, audit.Filter{}) {
		got = append(got, fmt.Sprintf("%s %s %d", r.Operation, r.Principal, r.Count))
	}
	return got
}

func TestObserveCountsByTheMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := audit.Open(t.Context(), storetest.SQLite(t, schemas...))
		if err != nil {
			t.Fatal(err)
		}
		want := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, counts(t, l)); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		}
		read := audit.Record{Operation: "Read", Principal: "p", Resource: "/r", RequestID: "1", Result: "Allowed"}
		observe(t, l, read)
		want("Read p 0") // at once
		time.Sleep(10 * time.Second)
		for range 5 {
			observe(t, l, read)
		}
		want("Read p 0")
		time.Sleep(50 * time.Second)
		synctest.Wait()
		want("Read p 0", "Read p 5")
		last := query(t, l, audit.Filter{})[1]
		if !last.Time.Equal(time.Date(2000, 1, 1, 0, 0, 10, 0, time.UTC)) || last.RequestID != "" || last.Result != "Allowed" {
			t.Errorf("counted record: %+v", last)
		}

		observe(t, l, read) // a new minute: at once again
		want("Read p 0", "Read p 5", "Read p 0")
		time.Sleep(time.Minute)
		synctest.Wait()
		want("Read p 0", "Read p 5", "Read p 0") // nothing was counted

		observe(t, l, read)
		observe(t, l, read)
		if err := l.Close(); err != nil { // writes what is counted
			t.Error(err)
		}
		want("Read p 0", "Read p 5", "Read p 0", "Read p 0", "Read p 1")
		verify(t, l, 5)
	})
}

func TestObserveTellsKindsApart(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		base := audit.Record{Category: "c", Operation: "o", Action: "a", Resource: "r", Principal: "p", Identity: "i", ClientIP: "ip", Result: "Allowed"}
		kinds := []audit.Record{base}
		for _, change := range []func(r *audit.Record){
			func(r *audit.Record) { r.Category = "x" },
			func(r *audit.Record) { r.Operation = "x" },
			func(r *audit.Record) { r.Action = "x" },
			func(r *audit.Record) { r.Resource = "x" },
			func(r *audit.Record) { r.Principal = "x" },
			func(r *audit.Record) { r.Identity = "x" },
			func(r *audit.Record) { r.ClientIP = "x" },
			func(r *audit.Record) { r.Result = "x" },
		} {
			r := base
			change(&r)
			kinds = append(kinds, r)
		}
		for range 3 {
			for _, r := range kinds {
				observe(t, l, r)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// A minute may have ended meanwhile, so only the sum is sure.
		total := map[string]int64{}
		for _, r := range query(t, l, audit.Filter{}) {
			total[fmt.Sprint(r.Category, r.Operation, r.Action, r.Resource, r.Principal, r.Identity, r.ClientIP, r.Result)] += max(r.Count, 1)
		}
		if len(total) != len(kinds) {
			t.Errorf("%d kinds, want %d", len(total), len(kinds))
		}
		for k, n := range total {
			if n != 3 {
				t.Errorf("%s was recorded %d times, want 3", k, n)
			}
		}
	})
}

func TestConcurrentObserve(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 100 {
					observe(t, l, audit.Record{Operation: "o", Principal: "p"})
				}
			})
		}
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var total int64
		for _, r := range query(t, l, audit.Filter{}) {
			total += max(r.Count, 1)
		}
		if total != 1600 {
			t.Errorf("%d were recorded, want 1600", total)
		}
	})
}

package audit_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

var schemas = []store.Schema{audit.Schema}

func openLog(t testing.TB, db *store.DB) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendRecord(t testing.TB, l *audit.Log, r audit.Record) {
	t.Helper()
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func query(t testing.TB, l *audit.Log, f audit.Filter) []audit.Record {
	t.Helper()
	records, err := l.Query(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// verify checks the chain and its length, and recomputes the hashes from what Query gives, as somebody with an export
// would.
func verify(t testing.TB, l *audit.Log, want int64) {
	t.Helper()
	n, head, err := l.Verify(t.Context())
	if err != nil || n != want {
		t.Fatalf("Verify = %d, %v; want %d", n, err, want)
	}
	last := make([]byte, sha256.Size)
	for i, r := range query(t, l, audit.Filter{Limit: 1 << 20}) {
		if r.Seq != int64(i+1) {
			t.Fatalf("record %d stands at %d", r.Seq, i+1)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Replace(string(text), `,"hash":"`+r.Hash+`"`, "", 1)
		sum := sha256.Sum256(append(last, body...))
		if last = sum[:]; hex.EncodeToString(last) != r.Hash {
			t.Fatalf("record %d has hash %s, want %x", r.Seq, r.Hash, last)
		}
	}
	if hex.EncodeToString(last) != head {
		t.Errorf("Verify's head is %s, want %x", head, last)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		verify(t, l, 0)
		full := audit.Record{
			Time: time.Date(2026, 11, 23, 1, 2, 3, 456789999, time.FixedZone("", 3600)), RequestID: "req", Category: "AuditEvent",
			Operation: "Keys.WrapKey", Action: "Microsoft.KeyVault/vaults/keys/wrap/action", Resource: "/subscriptions/S/resourceGroups/G",
			Principal: "p", Identity: "/subscriptions/S/resourceGroups/G/providers/Microsoft.Media/mediaServices/M", ClientIP: "192.0.2.1",
			Result: "Denied", Status: 403, Reason: "<no> & assignment", Count: 3, Details: map[string]string{"b": "2", "a": "1"},
		}
		appendRecord(t, l, full)
		before := time.Now().Add(-time.Microsecond)
		appendRecord(t, l, audit.Record{Operation: "Second"})
		got := query(t, l, audit.Filter{})
		if len(got) != 2 {
			t.Fatalf("%d records", len(got))
		}
		full.Seq, full.Hash = 1, got[0].Hash
		full.Time = time.Date(2026, 11, 23, 0, 2, 3, 456789000, time.UTC)
		if diff := cmp.Diff(full, got[0]); diff != "" {
			t.Errorf("first record (-want +got):\n%s", diff)
		}
		if at := got[1].Time; at.Before(before) || at.After(time.Now()) {
			t.Errorf("second record's time is %v", at)
		}
		verify(t, l, 2)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(t.Context(), full); !errors.Is(err, audit.ErrClosed) {
			t.Errorf("append after close: %v", err)
		}
		if err := l.Observe(t.Context(), full); !errors.Is(err, audit.ErrClosed) {
			t.Errorf("observe after close: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}

		again := openLog(t, db)
		appendRecord(t, again, audit.Record{Operation: "Third"})
		verify(t, again, 3)
	})
}

func TestTextThatDatabasesDoNotTake(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		details := map[string]string{"k\x00": "v\xff"}
		appendRecord(t, l, audit.Record{Resource: "/blob/a\x00b", Principal: "p\xffq", Operation: "op", Details: details})
		verify(t, l, 1)
		got := query(t, l, audit.Filter{Resource: "/blob/a\x00b", Principal: "p\xffq"})
		if len(got) != 1 || got[0].Resource != "/blob/a\uFFFDb" || got[0].Details["k\uFFFD"] != "v\uFFFD" {
			t.Errorf("got %+v", got)
		}
		if details["k\x00"] != "v\xff" {
			t.Error("the caller's map was changed")
		}
	})
}

func TestConcurrentAppends(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		nodes := []*audit.Log{openLog(t, db), openLog(t, db)} // one chain for all
		const writers, each = 16, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					r := audit.Record{Operation: "op", Principal: fmt.Sprint(w), RequestID: fmt.Sprint(i)}
					if err := nodes[w%2].Append(t.Context(), r); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		verify(t, nodes[0], writers*each)
		for w := range writers { // a caller's records stand in the order of its calls
			for i, r := range query(t, nodes[1], audit.Filter{Principal: fmt.Sprint(w)}) {
				if r.RequestID != fmt.Sprint(i) {
					t.Fatalf("writer %d: record %d is its %sth", w, i, r.RequestID)
				}
			}
		}
	})
}

func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		sql        []string
	}{
		{"body changed", "record 4 was changed", []string{`UPDATE audit_records SET body = replace(body, 'Denied', 'Allowed') WHERE seq = 4`}},
		{"body is no JSON", "record 4 was changed", []string{`UPDATE audit_records SET body = 'x' WHERE seq = 4`}},
		{"column changed", "record 4 was changed", []string{`UPDATE audit_records SET principal = 'q' WHERE seq = 4`}},
		{"time changed", "record 4 was changed", []string{`UPDATE audit_records SET time = time + 1 WHERE seq = 4`}},
		{"hash changed", "record 4 was changed", []string{`UPDATE audit_records SET hash = (SELECT hash FROM audit_records WHERE seq = 5) WHERE seq = 4`}},
		{"first deleted", "record 1 is missing", []string{`DELETE FROM audit_records WHERE seq = 1`}},
		{"one deleted", "record 4 is missing", []string{`DELETE FROM audit_records WHERE seq = 4`}},
		{"several deleted", "record 4 is missing", []string{`DELETE FROM audit_records WHERE seq BETWEEN 4 AND 6`}},
		{"end cut off", "record 8 is missing", []string{`DELETE FROM audit_records WHERE seq >= 8`}},
		{"all deleted", "record 1 is missing", []string{`DELETE FROM audit_records`}},
		{"two swapped", "record 6 stands in the place of record 4", []string{
			`UPDATE audit_records SET seq = 100 WHERE seq = 4`, `UPDATE audit_records SET seq = 4 WHERE seq = 6`,
			`UPDATE audit_records SET seq = 6 WHERE seq = 100`,
		}},
		{"deleted and moved up", "record 5 stands in the place of record 4", []string{
			`DELETE FROM audit_records WHERE seq = 4`, `UPDATE audit_records SET seq = seq - 1 WHERE seq = 5`,
		}},
		{"put in at the end", "record 11 lies beyond the head", []string{
			`INSERT INTO audit_records SELECT 11, time, operation, resource, principal, identity, body, hash FROM audit_records WHERE seq = 10`,
		}},
		{"put in before the beginning", "record 0 lies before the first", []string{
			`INSERT INTO audit_records SELECT 0, time, operation, resource, principal, identity, body, hash FROM audit_records WHERE seq = 10`,
		}},
		{"head set back", "changed together with its hash", []string{`UPDATE audit_head SET seq = 9`}},
		{"end cut off and head's number set back", "record 9, the last, is not the one", []string{
			`DELETE FROM audit_records WHERE seq = 10`, `UPDATE audit_head SET seq = 9`,
		}},
		{"head deleted", "head is missing", []string{`DELETE FROM audit_head`}},
		{"head emptied", "hash of 0 bytes", []string{`UPDATE audit_head SET hash = substr(hash, 1, 0)`}},
	}
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		for i := range 10 {
			appendRecord(t, l, audit.Record{Operation: "op", Principal: "p", Result: "Denied", RequestID: fmt.Sprint(i)})
		}
		exec(t, db, `CREATE TABLE good_records AS SELECT * FROM audit_records`, `CREATE TABLE good_head AS SELECT * FROM audit_head`)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				verify(t, l, 10)
				exec(t, db, tt.sql...)
				if _, _, err := l.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Verify: %v; want %q", err, tt.want)
				}
				exec(t, db, `DELETE FROM audit_records`, `INSERT INTO audit_records SELECT * FROM good_records`,
					`DELETE FROM audit_head`, `INSERT INTO audit_head SELECT * FROM good_head`)
			})
		}
	})
}

func exec(t *testing.T, db *store.DB, statements ...string) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyOverPages(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 41 {
					if err := l.Append(t.Context(), audit.Record{Operation: "op"}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		verify(t, l, 2050)
		exec(t, db, `DELETE FROM audit_records WHERE seq = 2000`)
		if _, _, err := l.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "record 2000 is missing") {
			t.Errorf("Verify: %v", err)
		}
	})
}

func TestQuery(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		const rg = "/subscriptions/S/resourceGroups/G"
		for i, r := range []audit.Record{
			{Operation: "a", Principal: "p", Resource: rg},
			{Operation: "b", Principal: "p", Resource: rg + "/providers/Microsoft.KeyVault/vaults/V"},
			{Operation: "a", Principal: "q", Resource: rg + "2/providers/Microsoft.KeyVault/vaults/V"},
			{Operation: "b", Principal: "q", Identity: rg + "/providers/Microsoft.Media/mediaServices/M"},
			{Operation: "a", Resource: rg + "-x"},
		} {
			r.Time = noon.Add(time.Duration(i) * time.Minute)
			appendRecord(t, l, r)
		}
		for _, tt := range []struct {
			name   string
			filter audit.Filter
			want   []int64
		}{
			{"all", audit.Filter{}, []int64{1, 2, 3, 4, 5}},
			{"principal", audit.Filter{Principal: "p"}, []int64{1, 2}},
			{"identity in any case", audit.Filter{Identity: strings.ToUpper(rg) + "/providers/microsoft.media/mediaservices/m"}, []int64{4}},
			{"resource and below, not beside", audit.Filter{Resource: rg}, []int64{1, 2}},
			{"resource in any case, slash at the end", audit.Filter{Resource: strings.ToLower(rg) + "/"}, []int64{1, 2}},
			{"subscription", audit.Filter{Resource: "/subscriptions/s"}, []int64{1, 2, 3, 5}},
			{"tenant", audit.Filter{Resource: "/"}, []int64{1, 2, 3, 4, 5}},
			{"leaf", audit.Filter{Resource: rg + "/providers/Microsoft.KeyVault/vaults/V"}, []int64{2}},
			{"operation", audit.Filter{Operation: "b"}, []int64{2, 4}},
			{"both", audit.Filter{Operation: "b", Principal: "q"}, []int64{4}},
			{"since", audit.Filter{Since: noon.Add(3 * time.Minute)}, []int64{4, 5}},
			{"until", audit.Filter{Until: noon.Add(time.Minute)}, []int64{1}},
			{"page", audit.Filter{After: 1, Limit: 2}, []int64{2, 3}},
			{"last page", audit.Filter{After: 5}, nil},
			{"nobody", audit.Filter{Principal: "' OR 1=1 --"}, nil},
		} {
			var got []int64
			for _, r := range query(t, l, tt.filter) {
				got = append(got, r.Seq)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
	})
}

func TestAppendThatFails(t *testing.T) {
	t.Parallel()
	down := errors.New("disk is gone")
	storetest.EachURL(t, func(t *testing.T, url string) {
		var fault atomic.Value
		fault.Store("")
		db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas, Fault: func(point string) error {
			if fault.Load() == point {
				return down
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		l := openLog(t, db)
		appendRecord(t, l, audit.Record{Operation: "good"})
		fault.Store("commit.before")
		if err := l.Append(t.Context(), audit.Record{Operation: "not applied"}); !errors.Is(err, down) {
			t.Errorf("append: %v", err)
		}
		for range 2 { // the first of its kind is not counted when it was not appended
			if err := l.Observe(t.Context(), audit.Record{Operation: "observed"}); !errors.Is(err, down) {
				t.Errorf("observe: %v", err)
			}
		}
		fault.Store("commit.after")
		if err := l.Append(t.Context(), audit.Record{Operation: "answer lost"}); !errors.Is(err, down) {
			t.Errorf("append: %v", err)
		}
		fault.Store("")
		if err := l.Observe(t.Context(), audit.Record{Operation: "observed"}); err != nil {
			t.Errorf("observe: %v", err)
		}
		verify(t, l, 3)
		var got []string
		for _, r := range query(t, l, audit.Filter{}) {
			got = append(got, r.Operation)
		}
		if diff := cmp.Diff([]string{"good", "answer lost", "observed"}, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}

		if err := l.Observe(t.Context(), audit.Record{Operation: "observed"}); err != nil {
			t.Errorf("observe: %v", err)
		}
		fault.Store("commit.before")
		if err := l.Close(); !errors.Is(err, down) {
			t.Errorf("close: %v", err)
		}
	})
}

func TestAppendWhoseContextEnded(t *testing.T) {
	t.Parallel()
	l := openLog(t, storetest.SQLite(t, schemas...))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, audit.Record{Operation: "op"}); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v", err)
	}
	if err := l.Observe(ctx, audit.Record{Operation: "op"}); !errors.Is(err, context.Canceled) {
		t.Errorf("observe: %v", err)
	}
	verify(t, l, 0)
}

func TestOpenWithoutHead(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, schemas...)
	exec(t, db, `DELETE FROM audit_head`)
	if _, err := audit.Open(t.Context(), db); err == nil {
		t.Error("opened")
	}
}

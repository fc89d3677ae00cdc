package storetest_test

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	ddl := &fstest.MapFile{Data: []byte(`CREATE TABLE probe_n (n BIGINT NOT NULL PRIMARY KEY);`)}
	schema := store.Schema{Name: "probe", FS: fstest.MapFS{"0001_probe.sqlite.sql": ddl, "0001_probe.postgres.sql": ddl}}
	storetest.EachURL(t, func(t *testing.T, url string) {
		var faults storetest.Faults
		db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{schema}, Fault: faults.Inject})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		next, rows := 0, 0
		for _, tt := range []struct {
			fault   storetest.Fault
			skip    int
			fails   []bool
			applied int
		}{
			{storetest.NotApplied, 0, []bool{true, false}, 1},
			{storetest.NotApplied, 1, []bool{false, true, false}, 2},
			{storetest.AnswerLost, 0, []bool{true, false}, 2},
			{storetest.AnswerLost, 2, []bool{false, false, true}, 3},
		} {
			faults.Fail(tt.fault, tt.skip)
			for i, fails := range tt.fails {
				next++
				err := db.Update(t.Context(), func(tx *store.Tx) error {
					_, err := tx.Exec(t.Context(), `INSERT INTO probe_n (n) VALUES ($1)`, next)
					return err
				})
				if errors.Is(err, storetest.ErrFault) != fails || !fails && err != nil {
					t.Errorf("%s after %d: commit %d gave %v", tt.fault, tt.skip, i, err)
				}
			}
			if !faults.Clear() {
				t.Errorf("%s after %d has not hit", tt.fault, tt.skip)
			}
			rows += tt.applied
			var n int
			err := db.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM probe_n`).Scan(&n) })
			if err != nil || n != rows {
				t.Errorf("%s after %d: %d rows, want %d: %v", tt.fault, tt.skip, n, rows, err)
			}
		}
		faults.Fail(storetest.NotApplied, 0)
		if faults.Clear() {
			t.Error("a fault that has not hit is reported as one that has")
		}
	})
}

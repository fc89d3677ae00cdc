package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// Every record pays for every index, so each has a query that goes by it.
func TestIndexesAreUsed(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, Schema)
	now := time.Now()
	used := map[string]bool{}
	for name, f := range map[string]Filter{
		"audit_records_principal": {Principal: "p", Resource: "/subscriptions/s", Since: now},
		"audit_records_identity":  {Identity: "/subscriptions/s/i"},
		"audit_records_time":      {Since: now.Add(-time.Hour), Until: now},
		"PRIMARY KEY":             {Resource: "/subscriptions/s", After: 10},
	} {
		where, args := f.where()
		var plan string
		err := db.View(t.Context(), func(tx *store.Tx) error {
			var id, parent, unused int64
			return tx.QueryRow(t.Context(), fmt.Sprintf("EXPLAIN QUERY PLAN "+selectRecords, where, 10), args...).Scan(&id, &parent, &unused, &plan)
		})
		if err != nil || !strings.Contains(plan, name) {
			t.Errorf("%+v goes by %q, not by %s (%v)", f, plan, name, err)
		}
		used[name] = true
	}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(t.Context(), "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'audit_records'")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			if !used[name] {
				t.Errorf("no query goes by %s", name)
			}
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

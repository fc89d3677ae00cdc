package audit_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A log whose memory of the chain's end is out of date, because of another node's records or a database that was put
// back, goes on from the end that the database has.
func TestEndThatIsElsewhere(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		one, other := openLog(t, db), openLog(t, db)
		for _, l := range []*audit.Log{one, other, other, one, one, other} {
			appendRecord(t, l, audit.Record{Operation: "op"})
		}
		verify(t, one, 6)
		exec(t, db, `DELETE FROM audit_records WHERE seq > 2`, `UPDATE audit_head SET seq = 2, hash = (SELECT hash FROM audit_records WHERE seq = 2)`)
		appendRecord(t, other, audit.Record{Operation: "op"})
		appendRecord(t, one, audit.Record{Operation: "op"})
		verify(t, one, 4)

		// The number alone is not the end.
		exec(t, db, `DELETE FROM audit_records WHERE seq > 3`, `UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit_records WHERE seq = 3)`)
		appendRecord(t, other, audit.Record{Operation: "another fourth"})
		appendRecord(t, one, audit.Record{Operation: "op"})
		verify(t, one, 5)

		exec(t, db, `DELETE FROM audit_head`)
		if err := one.Append(t.Context(), audit.Record{Operation: "op"}); err == nil {
			t.Error("appended to a chain without a head")
		}
	})
}

// A chain of the first schema goes on in the present one.
func TestChainOfTheFirstSchema(t *testing.T) {
	t.Parallel()
	first := fstest.MapFS{}
	for _, name := range []string{"schema/0001_audit.sqlite.sql", "schema/0001_audit.postgres.sql"} {
		text, err := fs.ReadFile(audit.Schema.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		first[name] = &fstest.MapFile{Data: text}
	}
	storetest.EachURL(t, func(t *testing.T, url string) {
		r := audit.Record{Operation: "op", Resource: "/subscriptions/s/r", Identity: "/subscriptions/s/i"}
		for i, schema := range []store.Schema{{Name: "audit", FS: first}, audit.Schema} {
			db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{schema}})
			if err != nil {
				t.Fatal(err)
			}
			l := openLog(t, db)
			appendRecord(t, l, r)
			verify(t, l, int64(i+1))
			if n := len(query(t, l, audit.Filter{Identity: r.Identity})); n != i+1 {
				t.Errorf("found %d of %d records of an identity", n, i+1)
			}
			if n := len(query(t, l, audit.Filter{Resource: "/subscriptions/s"})); n != i+1 {
				t.Errorf("found %d of %d records below a resource", n, i+1)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A head that was kept elsewhere tells what the chain alone cannot: that its end was cut off with the head, or that it
// was written anew.
func TestVerifyWithAKnownHead(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		l := openLog(t, db)
		for i := range 5 {
			appendRecord(t, l, audit.Record{Operation: "op", RequestID: fmt.Sprint(i)})
		}
		known, err := audit.Verify(t.Context(), db, audit.Head{})
		if err != nil || known.Head.Seq != 5 || !known.First.Before(known.Last) {
			t.Fatalf("%+v %v", known, err)
		}
		for i := range 5 {
			appendRecord(t, l, audit.Record{Operation: "op", RequestID: fmt.Sprint(i)})
		}
		later, err := audit.Verify(t.Context(), db, known.Head)
		if err != nil || later.Head.Seq != 10 || !later.First.Equal(known.First) {
			t.Fatalf("%+v %v", later, err)
		}
		exec(t, db, `DELETE FROM audit_records WHERE seq > 7`, `UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit_records WHERE seq = 7)`)
		if _, err := audit.Verify(t.Context(), db, known.Head); err != nil {
			t.Errorf("the chain up to the known head: %v", err)
		}
		if _, err := audit.Verify(t.Context(), db, later.Head); !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), "its end was cut off") {
			t.Errorf("a chain that was cut off: %v", err)
		}
		other := storetest.SQLite(t, schemas...)
		forged := openLog(t, other)
		for i := range 10 {
			appendRecord(t, forged, audit.Record{Operation: "op", RequestID: fmt.Sprint(i)})
		}
		if _, err := audit.Verify(t.Context(), other, known.Head); !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), "written anew") {
			t.Errorf("a chain that was written anew: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := audit.Verify(ended, db, audit.Head{}); err == nil || errors.Is(err, audit.ErrBroken) {
			t.Errorf("a chain that could not be read: %v", err)
		}
	})
}

func FuzzParseHead(f *testing.F) {
	f.Add("5:" + strings.Repeat("a", 64))
	f.Add("0:" + strings.Repeat("0", 64))
	for _, bad := range []string{"", "5", ":", "-1:" + strings.Repeat("a", 64), "5:abc", "x:" + strings.Repeat("a", 64), "5:" + strings.Repeat("g", 64)} {
		if _, err := audit.ParseHead(bad); err == nil {
			f.Errorf("%q was taken", bad)
		}
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, text string) {
		head, err := audit.ParseHead(text)
		if err != nil {
			return
		}
		if again, err := audit.ParseHead(head.String()); err != nil || again != head {
			t.Errorf("%q is %v, which is %v %v", text, head, again, err)
		}
	})
}

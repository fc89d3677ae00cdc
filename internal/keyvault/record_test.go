package keyvault_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// outcomes are the records of a vault's keys, oldest first.
func (s *server) outcomes(vault string) (list []string) {
	s.t.Helper()
	records, err := s.log.Query(s.t.Context(), audit.Filter{Resource: vaultsPath + vault, Limit: 1000})
	s.must(err)
	for _, r := range records {
		if r.Category == "AuditEvent" {
			list = append(list, r.Operation+" "+r.Result)
		}
	}
	return list
}

// A change used to be committed before its record, and a crash between the two left a key that nobody had made, or one
// that nobody had deleted.
func TestChangeAndRecordAreOneCommit(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		var faults storetest.Faults
		db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas, Fault: faults.Inject})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		s := openServer(t, db, filepath.Join(t.TempDir(), "root.key"))
		s.must(s.vaults.Close()) // the sweep, whose commit might fail in the place of a request's
		s.vault("kv1", "")
		var want []string
		for _, step := range []struct{ operation, method, path, body string }{
			{"KeyCreate", "POST", "/keys/k/create", `{"kty":"RSA"}`},
			{"KeyUpdate", "PATCH", "/keys/k", `{"attributes":{"enabled":false}}`},
			{"KeyDelete", "DELETE", "/keys/k", ""},
			{"KeyRecover", "POST", "/deletedkeys/k/recover", ""},
			{"KeyDelete", "DELETE", "/keys/k", ""},
			{"KeyPurge", "DELETE", "/deletedkeys/k", ""},
		} {
			faults.Fail(storetest.NotApplied, 0)
			if a := s.do("kv1", "officer", step.method, step.path, step.body); a.status != 500 || !faults.Clear() {
				t.Fatalf("%s, not applied: %d", step.operation, a.status)
			}
			faults.Fail(storetest.NotApplied, 1) // a second commit would fail
			if a := s.do("kv1", "officer", step.method, step.path, step.body); a.status >= 300 || faults.Clear() {
				t.Fatalf("%s takes more than one commit: %d %s", step.operation, a.status, a.raw)
			}
			want = append(want, step.operation+" Failure", step.operation+" Success")
		}
		faults.Fail(storetest.AnswerLost, 0)
		if a := s.do("kv1", "officer", "POST", "/keys/k2/create", `{"kty":"RSA"}`); a.status != 500 || !faults.Clear() {
			t.Fatalf("the answer lost: %d", a.status)
		}
		want = append(want, "KeyCreate Success", "KeyCreate Failure")
		if diff := cmp.Diff(want, s.outcomes("kv1")); diff != "" {
			t.Error(diff)
		}
	})
}

// Changes and uses of keys extend the one chain at once; neither keeps the other from it.
func TestChangesBesideUses(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		s.assign("media", serviceUserRole, vaultsPath+"kv1")
		s.create("kv1", "used", `{"kty":"RSA"}`)
		s.create("kv1", "changed", `{"kty":"RSA"}`)
		var users, changers sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			users.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if a := s.do("kv1", "media", "POST", "/keys/used//wrapkey", wrapBody); a.status != 200 {
						t.Errorf("wrapping: %d %s", a.status, a.raw)
						return
					}
				}
			})
		}
		for range 3 {
			changers.Go(func() {
				for range 5 {
					if a := s.do("kv1", "officer", "PATCH", "/keys/changed", `{"tags":{"a":"b"}}`); a.status != 200 {
						t.Errorf("changing: %d %s", a.status, a.raw)
					}
				}
			})
		}
		changers.Wait()
		close(stop)
		users.Wait()
		if _, _, err := s.log.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

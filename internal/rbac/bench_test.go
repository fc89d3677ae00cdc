package rbac_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// BenchmarkDecide shows that a decision costs the same however many assignments other principals have, and the principal
// itself elsewhere.
func BenchmarkDecide(b *testing.B) {
	for _, others := range []int{10, 1_000, 100_000} {
		db := storetest.SQLite(b, rbac.Schema)
		r := open(b, db)
		update(b, db, func(ctx context.Context, tx *store.Tx) error {
			for i := range others {
				if _, err := tx.Exec(ctx, `INSERT INTO rbac_assignments (scope_key, id, scope, role_id, principal_id, principal_type, description, created_by, created)
					VALUES ($1, $2, $1, $3, $2, $4, '', '', 0)`, account, fmt.Sprint("other", i), reader, azure.TypeServicePrincipal); err != nil {
					return err
				}
			}
			return r.Assign(ctx, tx, assignment("a1", alice, blobContributor, account))
		})
		q := rbac.Query{Principals: []string{alice}, Action: blobWrite, Data: true, Scope: account + "/blobServices/default/containers/c"}
		run := func(name string, want bool, q rbac.Query) {
			b.Run(fmt.Sprintf("%s/others=%d", name, others), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					d, err := r.Decide(b.Context(), q)
					if err != nil || d.Allowed != want {
						b.Fatal(d, err)
					}
				}
			})
		}
		run("allowed", true, q)
		q.Scope = group
		run("denied", false, q)
	}
	for _, elsewhere := range []int{10, 1_000, 100_000} {
		db := storetest.SQLite(b, rbac.Schema)
		r := open(b, db)
		update(b, db, func(ctx context.Context, tx *store.Tx) error {
			for i := range elsewhere {
				if _, err := tx.Exec(ctx, `INSERT INTO rbac_assignments (scope_key, id, scope, role_id, principal_id, principal_type, description, created_by, created)
					VALUES ($1, 'a', $1, $2, $3, $4, '', '', 0)`, fmt.Sprint(group, i), reader, alice, azure.TypeServicePrincipal); err != nil {
					return err
				}
			}
			return r.Assign(ctx, tx, assignment("a1", alice, blobContributor, account))
		})
		for name, scope := range map[string]string{"allowed": account + "/blobServices/default/containers/c", "denied": group} {
			q := rbac.Query{Principals: []string{alice}, Action: blobWrite, Data: true, Scope: scope}
			if _, err := r.Decide(b.Context(), q); err != nil { // which loads them
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/elsewhere=%d", name, elsewhere), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d, err := r.Decide(b.Context(), q); err != nil || d.Allowed != (name == "allowed") {
						b.Fatal(d, err)
					}
				}
			})
		}
	}
}

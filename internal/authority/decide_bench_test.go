package authority

import (
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// BenchmarkVerifyAndDecide is what every request to a service pays before its handler runs: who calls, and may they.
func BenchmarkVerifyAndDecide(b *testing.B) {
	const account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct"
	n := newNode(b)
	p := n.system(b, "acct")
	raw, _, err := n.IdentityToken(b.Context(), p.ID, p.IdentityID, storageAud)
	if err != nil {
		b.Fatal(err)
	}
	accept := accepting(storageAud)
	for _, assignments := range []int{10, 100_000} {
		db := storetest.SQLite(b, rbac.Schema)
		roles, err := rbac.New(b.Context(), db)
		if err != nil {
			b.Fatal(err)
		}
		err = db.Update(b.Context(), func(tx *store.Tx) error {
			for i := range assignments { // every other one the caller's own, elsewhere
				principal := p.ID
				if i%2 == 0 {
					principal = fmt.Sprint("other", i)
				}
				_, err := tx.Exec(b.Context(), `INSERT INTO rbac_assignments (scope_key, id, scope, role_id, principal_id, principal_type, description, created_by, created)
					VALUES ($1, 'a', $1, $2, $3, $4, '', '', 0)`, fmt.Sprint("/subscriptions/s/resourcegroups/g", i), "acdd72a7-3385-48ef-bd42-f606fba81ae7", principal, azure.TypeServicePrincipal)
				if err != nil {
					return err
				}
			}
			return roles.Assign(b.Context(), tx, rbac.Assignment{ID: "a", Scope: account, RoleID: "ba92f5b4-2d11-453d-a403-e96b0029c9fe", PrincipalID: p.ID, PrincipalType: azure.TypeServicePrincipal})
		})
		if err != nil {
			b.Fatal(err)
		}
		round := func() {
			caller, err := n.Verify(b.Context(), raw, accept)
			if err != nil {
				b.Fatal(err)
			}
			d, err := roles.Decide(b.Context(), rbac.Query{
				Principals: caller.Principals(), Action: "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", Data: true,
				Scope: account + "/blobServices/default/containers/c",
			})
			if err != nil || !d.Allowed {
				b.Fatal(d, err)
			}
		}
		round() // which loads the caller's assignments
		b.Run(fmt.Sprintf("assignments=%d", assignments), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				round()
			}
		})
	}
}

package arm

import (
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestElevateAccess: who may assign the role at the root scope takes it; nobody else, and no condition is got around.
func TestElevateAccess(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		const path = "/providers/Microsoft.Authorization/elevateAccess?api-version=2016-07-01"
		held := func(principal string) (n int) {
			list, err := w.m.o.RBAC.Assignments(t.Context(), "/", false)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				if a.PrincipalID == principal && a.RoleID == userAccessAdministratorRole {
					n++
				}
			}
			return n
		}
		for _, caller := range []string{owner, reader, stranger} { // an Owner of the subscription is none of the tenant
			w.do(caller, "POST", path, "").fails(403, "AuthorizationFailed")
		}
		w.grant("/", contributorRole, builder)
		w.do(builder, "POST", path, "").fails(403, "AuthorizationFailed")
		limited := rbac.Assignment{
			ID: azure.NewGUID(), Scope: "/", RoleID: ownerRole, PrincipalID: reader, PrincipalType: azure.TypeUser,
			Condition: "!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'}) OR " +
				"@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {" + readerRole + "}",
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return w.m.o.RBAC.Assign(t.Context(), tx, limited) }); err != nil {
			t.Fatal(err)
		}
		w.do(reader, "POST", path, "").fails(403, "AuthorizationFailed")
		w.grant("/", ownerRole, owner)
		for range 2 {
			w.do(owner, "POST", path, "").want(200)
		}
		if held(owner) != 1 || held(reader)+held(builder)+held(stranger) != 0 {
			t.Errorf("the role is held by %d %d %d %d", held(owner), held(reader), held(builder), held(stranger))
		}
	})
}

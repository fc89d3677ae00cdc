package directory_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// Who may assign some roles only, or all of them below the root only, must not come to an owner's rights by giving the
// owner's application another secret, or itself a place in the owners' group.
func TestPartialAdministratorsChangeNothing(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	const accessAdministrator, reader = "f58310d9-a9f6-439a-9e8d-f62e7b41a168", "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	for name, a := range map[string]rbac.Assignment{
		"some roles": {Scope: "/", RoleID: accessAdministrator, Condition: "(!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR " +
			"(@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals{" + reader + "})"},
		"below the root": {Scope: "/subscriptions/s", RoleID: owner},
	} {
		var partial azure.Caller
		update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
			p, _, err := g.d.CreateApplication(ctx, tx, name)
			if err != nil {
				return err
			}
			partial.ObjectID = p.ID
			a.ID, a.PrincipalID = azure.NewGUID(), p.ID
			return g.r.Assign(ctx, tx, a)
		})
		for _, try := range []struct{ method, path, body string }{
			{"POST", "/v1.0/servicePrincipals/" + g.admin.ID + "/addPassword", `{}`},
			{"POST", "/v1.0/servicePrincipals(appId='" + g.admin.AppID + "')/addPassword", `{}`},
			{"POST", "/v1.0/groups", `{"displayName":"g"}`},
			{"POST", "/v1.0/users", `{}`},
			{"PATCH", "/v1.0/servicePrincipals/" + g.admin.ID, `{"accountEnabled":false}`},
			{"DELETE", "/v1.0/servicePrincipals/" + g.admin.ID, ``},
		} {
			if status, answer := g.as(partial.ObjectID, try.method, try.path, try.body); status != http.StatusForbidden {
				t.Errorf("%s: %s %s: %d %v", name, try.method, try.path, status, answer)
			}
		}
	}
}

package arm

import (
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

const userAccessAdministrator = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"

// Whoever may write a role in one place must not change what it gives in another.
func TestRoleIsNotWidenedFromElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	const g2, v = subPath + "/resourceGroups/g2", "?api-version=2022-04-01"
	w.do(owner, "PUT", g2+groupV, `{"location":"westeurope"}`).want(201)
	w.do(owner, "PUT", g2+"/providers/Test.Things/widgets/w2"+sync1, `{"location":"westeurope"}`).want(201)
	w.assign(1, userAccessAdministrator, stranger, "")

	role := func(scopes, actions string) string {
		return `{"properties":{"roleName":"Both","assignableScopes":[` + scopes + `],"permissions":[{"actions":[` + actions + `]}]}}`
	}
	const both, first = `"` + g1 + `","` + g2 + `"`, `"` + g1 + `"`
	path := "/providers/Microsoft.Authorization/roleDefinitions/" + azureID(5) + v
	w.do(owner, "PUT", g1+path, role(both, `"*/read"`)).want(201)
	body := `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/` + azureID(5) + `","principalId":"` + stranger + `"}}`
	w.do(owner, "PUT", g2+"/providers/Microsoft.Authorization/roleAssignments/"+azureID(6)+v, body).want(201)

	// The stranger may write roles in g1 and is assigned the role in g2.
	w.do(stranger, "PUT", g1+path, role(first, `"*"`)).fails(403, "AuthorizationFailed")
	w.do(stranger, "PUT", g1+path, role(both, `"*"`)).fails(403, "AuthorizationFailed")
	w.do(stranger, "PUT", g1+path, role(`"/"`, `"*"`)).fails(403, "AuthorizationFailed")
	w.do(stranger, "DELETE", g1+path, "").fails(403, "AuthorizationFailed")
	// Nor does the owner leave the assignment in g2 behind, outside of the role's scopes.
	w.do(owner, "PUT", g1+path, role(first, `"*/read"`)).fails(400, "RoleDefinitionHasAssignments")
	w.do(stranger, "DELETE", g2+"/providers/Test.Things/widgets/w2"+sync1, "").fails(403, "AuthorizationFailed")
}

// The scope of a role assignment is that of its path, whatever its body says.
func TestScopeOfARoleAssignmentIsThePath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.assign(1, userAccessAdministrator, stranger, "")
	a := w.do(stranger, "PUT", assignmentPath(g1, 2), assignmentBody(ownerRole, stranger, `,"scope":"`+subPath+`","principalType":"User"`)).want(201)
	if a.at("properties.scope") != g1 {
		t.Errorf("assigned at %v", a.at("properties.scope"))
	}
	w.do(stranger, "GET", subPath+groupV, "").fails(403, "AuthorizationFailed")
	for _, path := range []string{
		assignmentPath(subPath, 3), assignmentPath("", 3), assignmentPath(g1+"/..", 3), assignmentPath(g1+"/%2e%2e", 3), assignmentPath("/"+subPath, 3),
		assignmentPath(g1+"/providers/Microsoft.Authorization/roleAssignments/../../../..", 3),
	} {
		if a := w.do(stranger, "PUT", path, assignmentBody(ownerRole, stranger, "")); a.Code < 400 || a.Code > 404 {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
}

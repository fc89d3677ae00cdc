package arm

import (
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	vaultAccessAdministrator = "8b54135c-b56d-4d72-a534-26097cfdc8d8"
	vaultSecretsUser         = "4633458b-17de-408a-b874-0445c86b69e6"
)

func assignmentPath(scope string, n int) string {
	return scope + "/providers/Microsoft.Authorization/roleAssignments/" + azureID(n) + "?api-version=2022-04-01"
}

func assignmentBody(role, principal, more string) string {
	return `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/` + role + `","principalId":"` + principal + `"` + more + `}}`
}

// assign gives a principal a role at g1.
func (w *world) assign(n int, role, principal, condition string) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		return w.m.o.RBAC.Assign(w.t.Context(), tx, rbac.Assignment{ID: azureID(n), Scope: g1, RoleID: role, PrincipalID: principal, PrincipalType: "User", Condition: condition})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Without its condition, Key Vault Data Access Administrator would let its holder become owner.
func TestVaultAccessAdministrator(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.assign(1, vaultAccessAdministrator, stranger, "")
		w.do(stranger, "PUT", assignmentPath(g1, 2), assignmentBody(vaultSecretsUser, stranger, "")).want(201)
		for _, role := range []string{ownerRole, readerRole, vaultAccessAdministrator} {
			w.do(stranger, "PUT", assignmentPath(g1, 3), assignmentBody(role, stranger, "")).fails(403, "AuthorizationFailed")
		}
		for name, body := range map[string]string{
			"two properties":   `{"properties":{"roleDefinitionId":"x/roleDefinitions/` + vaultSecretsUser + `"},"properties":{"roleDefinitionId":"x/roleDefinitions/` + ownerRole + `"}}`,
			"another spelling": `{"properties":{"roleDefinitionId":"x/roleDefinitions/` + vaultSecretsUser + `","ROLEDEFINITIONID":"x/roleDefinitions/` + ownerRole + `"}}`,
			"none":             `{}`, "empty": ``, "no object": `[]`,
		} {
			if a := w.do(stranger, "PUT", assignmentPath(g1, 3), body); a.Code != 403 {
				t.Errorf("%s: %d %s", name, a.Code, a.Body)
			}
		}
		message := w.do(stranger, "PUT", assignmentPath(g1, 3), "").fails(403, "AuthorizationFailed")
		for _, part := range []string{"Key Vault Data Access Administrator", "its condition is not met", "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"} {
			if !strings.Contains(message, part) {
				t.Errorf("the denial does not name %s: %s", part, message)
			}
		}
		w.do(stranger, "PUT", assignmentPath(subPath, 2), assignmentBody(vaultSecretsUser, stranger, "")).fails(403, "AuthorizationFailed")

		w.assign(4, readerRole, owner, "")
		w.do(stranger, "DELETE", assignmentPath(g1, 4), "").fails(403, "AuthorizationFailed")
		w.do(stranger, "DELETE", assignmentPath(g1, 9), "").fails(403, "AuthorizationFailed")
		w.do(stranger, "DELETE", assignmentPath(g1, 2), "").want(200)
	})
}

func TestConditionalAssignment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
		put := func(condition, version string) *answer {
			return w.do(owner, "PUT", assignmentPath(g1, 1), assignmentBody(readerRole, stranger, `,"description":"d","condition":"`+condition+`","conditionVersion":`+version))
		}
		put("ActionMatches{'*/read'}", `"1.0"`).fails(400, "InvalidRoleAssignmentConditionVersion")
		put("ActionMatches{'*/read'}", `null`).fails(400, "InvalidRoleAssignmentConditionVersion")
		message := put("ActionMatches{'*/read'} AND x", `"2.0"`).fails(400, "InvalidRoleAssignmentCondition")
		if !strings.Contains(message, "position 30") {
			t.Errorf("the fault's place is not told: %s", message)
		}
		w.do(stranger, "GET", widgets+"/w"+sync1, "").fails(403, "AuthorizationFailed")

		a := put("ActionMatches{'Test.Things/widgets/read'}", `"2.0"`).want(201)
		for path, want := range map[string]any{"properties.condition": "ActionMatches{'Test.Things/widgets/read'}", "properties.conditionVersion": "2.0"} {
			if got := a.at(path); got != want {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}
		w.do(stranger, "GET", widgets+"/w"+sync1, "").want(200)
		w.do(stranger, "GET", g1+groupV, "").fails(403, "AuthorizationFailed")
		created := a.at("properties.createdOn")

		a = put("ActionMatches{'*/resourceGroups/read'}", `"2.0"`).want(200)
		if a.at("properties.condition") != "ActionMatches{'*/resourceGroups/read'}" || a.at("properties.createdOn") != created {
			t.Errorf("after the change: %s", a.Body)
		}
		w.do(stranger, "GET", widgets+"/w"+sync1, "").fails(403, "AuthorizationFailed")
		w.do(stranger, "GET", g1+groupV, "").want(200)
		if got := w.do(owner, "GET", assignmentPath(g1, 1), "").want(200); got.Body.String() != a.Body.String() {
			t.Errorf("GET shows %s, PUT showed %s", got.Body, a.Body)
		}
		if a = put("", `null`).want(200); a.at("properties.condition") != nil || a.at("properties.conditionVersion") != nil {
			t.Errorf("without a condition: %s", a.Body)
		}
		w.do(stranger, "GET", widgets+"/w"+sync1, "").want(200)
	})
}

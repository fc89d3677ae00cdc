package arm

import (
	"net/url"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestRoleAssignments(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		const v = "?api-version=2022-04-01"
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
		under := func(scope, name string) string {
			return scope + "/providers/Microsoft.Authorization/roleAssignments/" + name + v
		}
		id := "cccccccc-0000-0000-0000-000000000001"
		body := func(role, principal string) string {
			return `{"properties":{"roleDefinitionId":"` + subPath + `/providers/Microsoft.Authorization/roleDefinitions/` + role + `","principalId":"` + principal + `"}}`
		}
		at := widgets + "/w"
		a := w.do(owner, "PUT", under(at, id), body(readerRole, stranger)).want(201)
		for path, want := range map[string]any{
			"id": at + "/providers/Microsoft.Authorization/roleAssignments/" + id, "name": id, "type": "Microsoft.Authorization/roleAssignments",
			"properties.scope": at, "properties.principalId": stranger, "properties.principalType": "User", "properties.createdBy": owner,
			"properties.roleDefinitionId": subPath + "/providers/Microsoft.Authorization/roleDefinitions/" + readerRole,
		} {
			if got := a.at(path); got != want {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}
		w.do(owner, "PUT", under(at, id), body(readerRole, stranger)).want(200)
		w.do(stranger, "GET", at+sync1, "").want(200)
		w.do(stranger, "GET", under(at, id), "").want(200)

		for _, test := range []struct {
			name, caller, path, body string
			status                   int
			code                     string
		}{
			{"equal one", owner, under(at, "cccccccc-0000-0000-0000-000000000002"), body(readerRole, stranger), 409, "RoleAssignmentExists"},
			{"same id, other role", owner, under(at, id), body(contributorRole, stranger), 400, "RoleAssignmentUpdateNotPermitted"},
			{"id is no GUID", owner, under(at, "one"), body(readerRole, stranger), 400, "InvalidRoleAssignmentId"},
			{"unknown role", owner, under(at, azureID(3)), body(azureID(9), stranger), 400, "RoleDefinitionDoesNotExist"},
			{"unknown principal", owner, under(at, azureID(3)), body(readerRole, azureID(9)), 400, "PrincipalNotFound"},
			{"bad principal", owner, under(at, azureID(3)), body(readerRole, "me"), 400, "InvalidPrincipalId"},
			{"bare role", owner, under(at, azureID(3)), `{"properties":{"roleDefinitionId":"` + readerRole + `","principalId":"` + stranger + `"}}`, 400, "InvalidRoleDefinitionId"},
			{"other type", owner, under(at, azureID(3)), `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/` + readerRole + `","principalId":"` + stranger + `","principalType":"Group"}}`, 400, "UnmatchedPrincipalType"},
			{"condition", owner, under(at, azureID(3)), `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/` + readerRole + `","principalId":"` + stranger + `","condition":"x","conditionVersion":"2.0"}}`, 400, "InvalidRoleAssignmentCondition"},
			{"missing resource", owner, under(widgets+"/none", azureID(3)), body(readerRole, stranger), 404, "ResourceNotFound"},
			{"missing group", owner, under(subPath+"/resourceGroups/none", azureID(3)), body(readerRole, stranger), 404, "ResourceGroupNotFound"},
			{"missing namespace", owner, under(g1+"/providers/No.Such/x/y", azureID(3)), body(readerRole, stranger), 404, "InvalidResourceNamespace"},
			{"collection", owner, under(widgets, azureID(3)), body(readerRole, stranger), 400, "InvalidResourceId"},
			{"contributor", builder, under(at, azureID(3)), body(readerRole, stranger), 403, "AuthorizationFailed"},
			{"malformed", owner, under(at, azureID(3)), `{`, 400, "InvalidRequestContent"},
		} {
			t.Run(test.name, func(t *testing.T) {
				w := &world{t: t, m: w.m, db: w.db, handler: w.handler}
				w.do(test.caller, "PUT", test.path, test.body).fails(test.status, test.code)
			})
		}

		// A key inside a resource is a scope, though the manager knows nothing of it.
		w.do(owner, "PUT", under(at+"/keys/k1", azureID(4)), body(contributorRole, stranger)).want(201)
		list := func(caller, scope, filter string) int {
			t.Helper()
			a := w.do(caller, "GET", scope+"/providers/Microsoft.Authorization/roleAssignments"+v+"&$filter="+url.QueryEscape(filter), "").want(200)
			return len(a.json()["value"].([]any))
		}
		for _, test := range []struct {
			scope, filter string
			want          int
		}{
			{subPath, "", 5},
			{subPath, "atScope()", 1},
			{g1, "atScope()", 3},
			{at, "", 5},
			{at, "atScope()", 4},
			{at + "/keys/k1", "atScope()", 5},
			{subPath, "principalId eq '" + stranger + "'", 2},
			{at, "atScope() and principalId eq '" + stranger + "'", 1},
			{subPath, "assignedTo('" + stranger + "')", 2},
			{subPath, "assignedTo('" + owner + "')", 1},
		} {
			if got := list(owner, test.scope, test.filter); got != test.want {
				t.Errorf("%s %q: %d assignments, want %d", test.scope, test.filter, got, test.want)
			}
		}
		w.do(owner, "GET", subPath+"/providers/Microsoft.Authorization/roleAssignments"+v+"&$filter=x", "").fails(400, "InvalidFilterInQueryString")

		w.do(stranger, "DELETE", under(at, id), "").fails(403, "AuthorizationFailed")
		w.do(owner, "DELETE", under(at, id), "").want(200)
		w.do(owner, "DELETE", under(at, id), "").want(204)
		w.do(owner, "GET", under(at, id), "").fails(404, "RoleAssignmentNotFound")
		w.do(stranger, "GET", at+sync1, "").fails(403, "AuthorizationFailed")
	})
}

func azureID(n int) string { return "cccccccc-0000-0000-0000-00000000000" + string(rune('0'+n)) }

func TestRoleDefinitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	const v = "?api-version=2018-01-01-preview"
	defs := "/providers/Microsoft.Authorization/roleDefinitions"
	a := w.do(owner, "GET", subPath+defs+v+"&$filter="+url.QueryEscape("roleName eq 'reader'"), "")
	if names := a.names(); len(names) != 1 || names[0] != readerRole {
		t.Errorf("Reader is %v", names)
	}
	a = w.do(stranger, "GET", defs+"/"+readerRole+v, "").want(200)
	if a.at("id") != defs+"/"+readerRole || a.at("properties.type") != "BuiltInRole" || a.at("properties.roleName") != "Reader" {
		t.Errorf("role is %s", a.Body)
	}
	w.do(owner, "GET", subPath+defs+"/"+azureID(1)+v, "").fails(404, "RoleDefinitionDoesNotExist")

	// Custom roles: written and deleted with the right at every assignable scope.
	custom := func(scope string) string {
		return `{"properties":{"roleName":"Poker","assignableScopes":["` + scope + `"],"permissions":[{"actions":["Test.Things/widgets/*"]}]}}`
	}
	path := subPath + defs + "/" + azureID(1) + v
	w.do(builder, "PUT", path, custom(g1)).fails(403, "AuthorizationFailed")
	w.do(owner, "PUT", path, custom("/")).fails(403, "AuthorizationFailed")
	w.do(owner, "PUT", defs+"/"+azureID(1)+v, custom(g1)).fails(403, "AuthorizationFailed")
	w.do(owner, "PUT", path, custom(g1)).want(201)
	if n := len(w.do(owner, "GET", g1+defs+v+"&$filter="+url.QueryEscape("type eq 'CustomRole'"), "").names()); n != 1 {
		t.Errorf("%d custom roles", n)
	}
	for _, r := range w.do(stranger, "GET", defs+v+"&$filter="+url.QueryEscape("type eq 'CustomRole'"), "").names() {
		t.Errorf("custom role %s is shown without a right", r)
	}
	w.do(owner, "DELETE", path, "").want(200)
	w.do(owner, "DELETE", path, "").want(204)

	perms := w.do(reader, "GET", g1+"/providers/Microsoft.Authorization/permissions"+v, "").want(200).json()["value"].([]any)
	if len(perms) != 1 {
		t.Errorf("permissions: %v", perms)
	}
}

package arm

import (
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestEmptyLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	for _, path := range []string{
		subPath + "/providers/Microsoft.Authorization/classicAdministrators?api-version=2015-06-01",
		g1 + "/providers/Microsoft.Authorization/roleEligibilityScheduleInstances?api-version=2020-10-01&$filter=asTarget()",
	} {
		if list := w.do(owner, "GET", path, "").want(200).json()["value"].([]any); len(list) != 0 {
			t.Errorf("%s: %v", path, list)
		}
		w.do(stranger, "GET", path, "").fails(403, "AuthorizationFailed")
	}
	w.do(owner, "GET", subPath+"/providers/Microsoft.Authorization/roleManagementPolicies?api-version=2020-10-01", "").fails(404, "InvalidResourceType")
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
	for caller, n := range map[string]int{owner: 1, reader: 1} {
		for _, scope := range []string{g1, widgets + "/w"} {
			a := w.do(caller, "GET", scope+"/providers/Microsoft.Authorization/permissions?api-version=2022-04-01", "").want(200)
			if list := a.json()["value"].([]any); len(list) != n {
				t.Errorf("%s at %s: %s", caller, scope, a.Body)
			}
		}
	}
	w.do(stranger, "GET", g1+"/providers/Microsoft.Authorization/permissions?api-version=2022-04-01", "").fails(403, "AuthorizationFailed")
}

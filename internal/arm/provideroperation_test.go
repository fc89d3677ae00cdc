package arm

import (
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestProviderOperationsByType(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	const all = "/providers/Microsoft.Authorization/providerOperations"
	const v = "?api-version=2018-01-01-preview"
	one := w.do(stranger, "GET", all+"/test.things"+v+"&$expand=resourceTypes", "").want(200)
	types, _ := one.json()["resourceTypes"].([]any)
	found := map[string]bool{}
	for _, typ := range types {
		operations, _ := at(typ, "operations").([]any)
		for _, o := range operations {
			found[at(o, "name").(string)] = at(typ, "name") != ""
		}
	}
	for _, want := range []string{"Test.Things/widgets/poke/action", "Test.Things/rigs/bolts/write"} {
		if !found[want] {
			t.Errorf("%s is missing: %s", want, one.Body)
		}
	}
	list := w.do(stranger, "GET", all+v, "").want(200).json()["value"].([]any)
	if len(list) < 3 || at(list[0], "type") != "Microsoft.Authorization/providerOperations" || at(list[0], "resourceTypes") != nil {
		t.Errorf("list: %v", list)
	}
	w.do(stranger, "GET", all+"/No.Such"+v, "").fails(404, "ProviderNotFound")
	w.do(stranger, "GET", all+v+"&$expand=x", "").fails(400, "InvalidExpand")
	w.do("", "GET", all+v, "").want(401)
}

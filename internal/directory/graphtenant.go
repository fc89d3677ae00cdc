package directory

import (
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
)

// organization is the tenant as Graph shows it. Its one domain is the server's own; users may have names in any.
func (g *Graph) organization() map[string]any {
	return map[string]any{
		"id": g.Directory.TenantID, "displayName": "Keyreel", "tenantType": "AAD", "countryLetterCode": nil, "deletedDateTime": nil,
		"businessPhones": []any{}, "technicalNotificationMails": []any{}, "assignedPlans": []any{}, "provisionedPlans": []any{},
		"onPremisesSyncEnabled": nil,
		"verifiedDomains": []any{map[string]any{
			"name": g.Hosts.Domain, "isDefault": true, "isInitial": true, "type": "Managed", "capabilities": "",
		}},
	}
}

func (g *Graph) domain() map[string]any {
	return map[string]any{
		"id": g.Hosts.Domain, "authenticationType": "Managed", "isAdminManaged": true, "isDefault": true, "isInitial": true, "isRoot": true,
		"isVerified": true, "supportedServices": []any{}, "passwordValidityPeriodInDays": nil, "passwordNotificationWindowInDays": nil,
		"availabilityStatus": nil, "state": nil, "model": nil, "manufacturer": nil,
	}
}

// constant answers a collection whose objects do not lie in the database.
func (g *Graph) constant(name string, objects func() []map[string]any) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		return g.answerFiltered(w, r, name, objects(), []string{"id", "displayName", "isDefault", "isInitial", "isVerified"})
	}
}

// constantObject answers one object of such a collection.
func (g *Graph) constantObject(name string, objects func() []map[string]any) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		for _, o := range objects() {
			if id, _ := o["id"].(string); key(id) == key(r.Vars["id"]) {
				o["@odata.context"] = g.context(r, name+"/$entity")
				return azure.WriteJSON(w, http.StatusOK, o)
			}
		}
		return errNoObject(r.Vars["id"])
	}
}

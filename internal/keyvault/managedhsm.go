package keyvault

import (
	"net/http"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
)

// managedHSMs are what clients that ask about vaults ask about managed HSMs besides. There are none, and none can be made.
func managedHSMs() []arm.Command {
	list := func(w http.ResponseWriter, _ *azure.Request) error {
		return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": []any{}})
	}
	return []arm.Command{
		{
			Name: "ManagedHsms.ListBySubscription", Method: http.MethodGet, Pattern: provider + "/managedHSMs",
			Action: "Microsoft.KeyVault/managedHSMs/read", Handle: list,
		},
		{
			Name: "ManagedHsms.ListByResourceGroup", Method: http.MethodGet,
			Pattern: "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.KeyVault/managedHSMs",
			Action:  "Microsoft.KeyVault/managedHSMs/read", Handle: list,
		},
		{
			Name: "ManagedHsms.ListDeleted", Method: http.MethodGet, Pattern: provider + "/deletedManagedHSMs",
			Action: "Microsoft.KeyVault/deletedManagedHsms/read", Handle: list,
		},
		{
			Name: "ManagedHsms.CheckNameAvailability", Method: http.MethodPost, Pattern: provider + "/checkMhsmNameAvailability",
			Action: "Microsoft.KeyVault/checkNameAvailability/read",
			Handle: func(w http.ResponseWriter, r *azure.Request) error {
				var body struct{ Name string }
				if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
					return err
				}
				return azure.WriteJSON(w, http.StatusOK, map[string]any{
					"nameAvailable": false, "reason": "AccountNameInvalid",
					"message": "This server has no managed HSMs, and so no name for one is available.",
				})
			},
		},
	}
}

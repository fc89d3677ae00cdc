package arm

import (
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
)

// metadata serves /metadata/endpoints, from which clients of a cloud of its own take its addresses. It has three
// shapes: camel-case names with "Endpoint" (before 2019-05-01, and without api-version), an array of clouds
// (2019-05-01 and later) and one cloud (2022-09-01 and later). Services that there are not are left out.
func (m *Manager) metadata(w http.ResponseWriter, r *azure.Request) error {
	u := m.view(r).URLs
	audiences := []string{"https://management.core.windows.net/", "https://management.azure.com/"}
	if !u.Public {
		audiences = append(audiences, u.Management()+"/")
	}
	version := r.Vars[varVersion]
	if version < "2019-05-01" {
		return azure.WriteJSON(w, http.StatusOK, map[string]any{
			"graphEndpoint": u.Graph() + "/", "graphAudience": u.Graph() + "/", "portalEndpoint": u.Portal() + "/",
			"authentication": map[string]any{"loginEndpoint": u.Login() + "/", "audiences": audiences},
		})
	}
	name := "Keyreel"
	if u.Public {
		name = "AzureCloud"
	}
	cloud := map[string]any{
		"name": name, "portal": u.Portal(),
		"authentication": map[string]any{
			"loginEndpoint": u.Login(), "audiences": audiences, "tenant": "common", "identityProvider": "AAD",
		},
		"graph": u.Graph() + "/", "graphAudience": u.Graph() + "/", "microsoftGraphResourceId": u.Graph() + "/",
		"resourceManager": u.Management() + "/",
		"suffixes":        map[string]any{"storage": u.BlobSuffix(), "keyVaultDns": u.VaultSuffix()},
	}
	if version < "2022-09-01" {
		return azure.WriteJSON(w, http.StatusOK, []any{cloud})
	}
	return azure.WriteJSON(w, http.StatusOK, cloud)
}

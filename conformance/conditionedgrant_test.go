package conformance

import (
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
)

// TestConditionedGrants: a role that is assigned under a condition which a service cannot evaluate is no role there, at a
// vault, a storage account, the resource manager and a media account, whatever the condition's sense.
func TestConditionedGrants(t *testing.T) {
	t.Parallel()
	s := start(t)
	worker := s.workload(t, "conditioned")
	s.assign(t, s.groupID(), cryptoOfficer, s.adminID(t))
	s.newVault(t, "kv-conditioned", nil)
	createRSA(t, s.keys(t, "kv-conditioned", s.Admin), "k")
	s.storage(t, "conditioned", nil)
	_, err := s.blobs(t, "conditioned", s.Admin).CreateContainer(t.Context(), "con", nil)
	check(t, err)
	const tags = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$key_case_sensitive$>] StringEquals 'a'"
	group, vault, blobs := s.URLs().Management()+s.groupID(), s.URLs().Vault("kv-conditioned"), s.URLs().Blob("conditioned")
	requests := []struct{ method, url, resource string }{
		{"GET", vault + "/keys/k?api-version=7.4", "https://vault.azure.net"},
		{"GET", vault + "/keys?api-version=7.4", "https://vault.azure.net"},
		{"POST", vault + "/keys/k/wrapkey?api-version=7.4", "https://vault.azure.net"},
		{"DELETE", vault + "/keys/k?api-version=7.4", "https://vault.azure.net"},
		{"GET", blobs + "/con/b", "https://storage.azure.com"},
		{"PUT", blobs + "/con/b", "https://storage.azure.com"},
		{"GET", blobs + "/con?restype=container", "https://storage.azure.com"},
		{"GET", blobs + "/con?restype=container&comp=list", "https://storage.azure.com"},
		{"DELETE", blobs + "/con?restype=container", "https://storage.azure.com"},
		{"GET", group + "?api-version=2021-04-01", "https://management.azure.com"},
		{"POST", group + "/providers/Microsoft.Storage/storageAccounts/conditioned/listKeys?api-version=2023-05-01", "https://management.azure.com"},
		{"GET", group + "/providers/Microsoft.KeyVault/vaults/kv-conditioned?api-version=2023-07-01", "https://management.azure.com"},
		{"GET", group + "/providers/Microsoft.Media/mediaServices/none?api-version=2023-01-01", "https://management.azure.com"},
		{"GET", group + "/providers/Microsoft.Media/mediaServices/none/assets?api-version=2023-01-01", "https://management.azure.com"},
		{"POST", group + "/providers/Microsoft.Media/mediaServices/none/assets/a/listContainerSas?api-version=2023-01-01", "https://management.azure.com"},
		{"DELETE", group + "/providers/Microsoft.Media/mediaServices/none?api-version=2023-01-01", "https://management.azure.com"},
	}
	for _, condition := range []string{tags, "NOT " + tags} {
		var made []string
		for _, role := range []string{contributor, cryptoOfficer, blobContributor} {
			made = append(made, s.assign(t, s.groupID(), role, worker.id, func(r *armauthorization.RoleAssignmentProperties) {
				r.Condition, r.ConditionVersion = &condition, to.Ptr("2.0")
			}))
		}
		for _, r := range requests {
			resp, body := s.raw(t, r.method, r.url, worker.tokens[r.resource], "{}", "x-ms-version", "2024-11-04", "x-ms-blob-type", "BlockBlob", "Content-Type", "application/json")
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s %s: %d %s", condition, r.method, r.url, resp.StatusCode, body)
			}
		}
		for _, name := range made {
			s.unassign(t, s.groupID(), name)
		}
	}
}

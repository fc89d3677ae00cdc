package conformance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/google/uuid"
)

// TestConditionedGrants: a role that is assigned under a condition which a service cannot evaluate is no role there, at a
// vault, a storage account, the resource manager and a media account, whatever the condition's sense.
func TestConditionedGrants(t *testing.T) {
	s := start(t)
	id := s.identity(t, "conditioned")
	principal := *id.Properties.PrincipalID
	env, err := s.RegisterWorkload(t.Context(), "conditioned", *id.ID)
	check(t, err)
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(*id.Properties.ClientID)})
	check(t, err)
	s.assign(t, s.groupID(), cryptoOfficer, s.adminID(t))
	s.newVault(t, "kv-conditioned", nil)
	createRSA(t, s.keys(t, "kv-conditioned", s.Admin), "k")
	s.storage(t, "conditioned", nil)
	_, err = s.blobs(t, "conditioned", s.Admin).CreateContainer(t.Context(), "con", nil)
	check(t, err)
	assignments, err := armauthorization.NewRoleAssignmentsClient(s.sub, s.Admin, s.options())
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
	tokens := map[string]string{}
	for _, r := range requests {
		if tokens[r.resource] == "" {
			tokens[r.resource] = s.token(t, cred, r.resource)
		}
	}
	for _, condition := range []string{tags, "NOT " + tags} {
		var made []string
		for _, role := range []string{contributor, cryptoOfficer, blobContributor} {
			name := uuid.NewString()
			_, err := assignments.Create(t.Context(), s.groupID(), name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
				RoleDefinitionID: to.Ptr("/subscriptions/" + s.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
				PrincipalID:      &principal, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
				Condition: &condition, ConditionVersion: to.Ptr("2.0"),
			}}, nil)
			check(t, err)
			made = append(made, name)
		}
		for _, r := range requests {
			resp, body := s.raw(t, r.method, r.url, tokens[r.resource], "{}", "x-ms-version", "2024-11-04", "x-ms-blob-type", "BlockBlob", "Content-Type", "application/json")
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s %s: %d %s", condition, r.method, r.url, resp.StatusCode, body)
			}
		}
		for _, name := range made {
			s.unassign(t, s.groupID(), name)
		}
	}
}

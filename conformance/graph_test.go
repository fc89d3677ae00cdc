package conformance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

func TestFederatedIdentityCredentials(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.identity(t, "worker")
	c, err := armmsi.NewFederatedIdentityCredentialsClient(s.sub, s.Admin, s.options())
	check(t, err)
	properties := &armmsi.FederatedIdentityCredentialProperties{
		Issuer: to.Ptr("https://Issuer.example/"), Subject: to.Ptr("system:serviceaccount:Ns:sa"), Audiences: []*string{to.Ptr("api://AzureADTokenExchange")},
	}
	put, err := c.CreateOrUpdate(t.Context(), s.group, "worker", "Cluster", armmsi.FederatedIdentityCredential{Properties: properties}, nil)
	check(t, err)
	if want := *id.ID + "/federatedIdentityCredentials/Cluster"; !strings.EqualFold(*put.ID, want) || *put.Name != "Cluster" {
		t.Errorf("ID %s, want %s", *put.ID, want)
	}
	got, err := c.Get(t.Context(), s.group, "worker", "cluster", nil)
	check(t, err)
	if p := got.Properties; *p.Issuer != *properties.Issuer || *p.Subject != *properties.Subject || len(p.Audiences) != 1 || *p.Audiences[0] != "api://AzureADTokenExchange" {
		t.Errorf("got %s %s %v", *p.Issuer, *p.Subject, p.Audiences)
	}
	_, err = c.CreateOrUpdate(t.Context(), s.group, "worker", "twin", armmsi.FederatedIdentityCredential{Properties: properties}, nil)
	refused(t, err, http.StatusConflict, "Conflict", "Issuer and subject")
	_, err = c.CreateOrUpdate(t.Context(), s.group, "nobody", "one", armmsi.FederatedIdentityCredential{Properties: properties}, nil)
	refused(t, err, http.StatusNotFound, "")
	found := 0
	for pager := c.NewListPager(s.group, "worker", nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		check(t, err)
		found += len(page.Value)
	}
	if found != 1 {
		t.Errorf("%d credentials are listed", found)
	}
	_, err = c.Delete(t.Context(), s.group, "worker", "Cluster", nil)
	check(t, err)
	_, err = c.Get(t.Context(), s.group, "worker", "Cluster", nil)
	refused(t, err, http.StatusNotFound, "")
}

// TestAzureCLIDirectory: what `az ad` does in Microsoft Graph counts at the resource manager with the next request.
func TestAzureCLIDirectory(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	made := strings.Fields(a.az(t, "ad sp create-for-rbac -n ci --query [appId,password]"))
	if len(made) != 2 {
		t.Fatalf("create-for-rbac printed %d words", len(made))
	}
	appID := made[0]
	oid := a.az(t, "ad sp show --query id --id "+appID)
	a.prints(t, appID, "ad sp list --display-name ci --query [].appId")
	a.prints(t, appID, "ad app list --display-name ci --query [].appId")
	a.prints(t, "rbac", "ad app credential list --query [].displayName --id "+appID)
	a.prints(t, "Keyreel administrator", "ad sp list --all --query", "[?displayName=='Keyreel administrator'].displayName")

	group := a.az(t, "ad group create --display-name team --mail-nickname team --query id")
	cred, err := a.Credential(appID, made[1])
	check(t, err)
	groups, err := armresources.NewResourceGroupsClient(a.sub, cred, a.options())
	check(t, err)
	_, err = groups.Get(t.Context(), a.group, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed")
	a.az(t, "ad group member add -g "+group+" --member-id "+oid)
	a.prints(t, oid, "ad group member list --query [].id -g "+group)
	a.prints(t, "true", "ad group member check --query value -g "+group+" --member-id "+oid)
	a.az(t, "rest -m put -u "+a.groupID()+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01 -b",
		`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/`+reader+`","principalId":"`+group+`","principalType":"Group"}}`)
	_, err = groups.Get(t.Context(), a.group, nil)
	check(t, err)
	a.az(t, "ad group member remove -g "+group+" --member-id "+oid)
	_, err = groups.Get(t.Context(), a.group, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed")

	a.prints(t, "ada@example.org", "ad user create --display-name Ada --user-principal-name ada@example.org --password secretsecret --query userPrincipalName")
	a.prints(t, "Ada", "ad user show --id ada@example.org --query displayName")
	a.az(t, "ad user delete --id ada@example.org")
	a.prints(t, "", "ad user list --query [].id")

	a.az(t, "ad app delete --id "+appID)
	a.fails(t, "does not exist", "ad sp show --id "+oid)
	_, err = groups.Get(t.Context(), a.group, nil)
	refused(t, err, http.StatusUnauthorized, "")
}

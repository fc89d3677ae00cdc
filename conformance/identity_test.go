package conformance

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// TestWorkloadActsAsItsIdentity: a process with nothing but the environment signs in through the App Service protocol,
// is refused without a role, allowed with one, and refused again when the role, or the identity, goes.
func TestWorkloadActsAsItsIdentity(t *testing.T) {
	s := start(t)
	id := s.identity(t, "worker")
	env, err := s.RegisterWorkload(t.Context(), "worker", *id.ID)
	check(t, err)
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(*id.Properties.ClientID)})
	check(t, err)
	got := claims(t, s.token(t, cred, "https://management.azure.com"))
	for claim, want := range map[string]string{
		"oid": *id.Properties.PrincipalID, "sub": *id.Properties.PrincipalID, "appid": *id.Properties.ClientID,
		"tid": s.Installation().TenantID, "idtyp": "app", "aud": "https://management.azure.com",
		"iss": "https://sts.windows.net/" + s.Installation().TenantID + "/",
	} {
		if got[claim] != want {
			t.Errorf("claim %s is %v, want %s", claim, got[claim], want)
		}
	}
	if mirid, _ := got["xms_mirid"].(string); !strings.EqualFold(mirid, *id.ID) {
		t.Errorf("xms_mirid is %q, want %s", mirid, *id.ID)
	}

	groups, err := armresources.NewResourceGroupsClient(s.sub, cred, s.options())
	check(t, err)
	_, err = groups.Get(t.Context(), s.group, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed", *id.Properties.PrincipalID, "Microsoft.Resources/subscriptions/resourceGroups/read", s.groupID(), "Reader")

	grant := s.assign(t, s.groupID(), reader, *id.Properties.PrincipalID)
	_, err = groups.Get(t.Context(), s.group, nil)
	check(t, err)
	_, err = groups.Update(t.Context(), s.group, armresources.ResourceGroupPatchable{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed", "Contributor")

	s.unassign(t, s.groupID(), grant)
	_, err = groups.Get(t.Context(), s.group, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed")

	s.assign(t, s.groupID(), reader, *id.Properties.PrincipalID)
	_, err = groups.Get(t.Context(), s.group, nil)
	check(t, err)
	ids, err := armmsi.NewUserAssignedIdentitiesClient(s.sub, s.Admin, s.options())
	check(t, err)
	_, err = ids.Delete(t.Context(), s.group, "worker", nil)
	check(t, err)
	_, err = groups.Get(t.Context(), s.group, nil)
	refused(t, err, http.StatusUnauthorized, "")
	// The SDK keeps tokens in memory; whether a new one is given is asked without it.
	resp, body := s.msi(t, "https://management.azure.com", *id.Properties.ClientID)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a deleted identity: %d %s", resp.StatusCode, body)
	}
}

// msi asks the App Service endpoint of the environment for a token.
func (s *server) msi(t testing.TB, resource, clientID string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, os.Getenv("IDENTITY_ENDPOINT")+"?api-version=2019-08-01&resource="+url.QueryEscape(resource)+"&client_id="+clientID, nil)
	check(t, err)
	req.Header.Set("X-IDENTITY-HEADER", os.Getenv("IDENTITY_HEADER"))
	resp, err := http.DefaultClient.Do(req)
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp, string(body)
}

func TestClientSecretCredential(t *testing.T) {
	t.Parallel()
	s := start(t)
	got := claims(t, s.token(t, s.Admin, "https://vault.azure.net"))
	if got["aud"] != "https://vault.azure.net" || got["idtyp"] != "app" {
		t.Errorf("claims %v", got)
	}
	bad, err := s.Credential(s.Installation().AdminAppID, "wrong")
	check(t, err)
	if _, err := bad.GetToken(t.Context(), tokenFor("https://vault.azure.net")); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("a wrong secret: %v", err)
	}
	unknown, err := s.Credential("11111111-2222-4333-8444-555555555555", "wrong")
	check(t, err)
	if _, err := unknown.GetToken(t.Context(), tokenFor("https://vault.azure.net")); err == nil || !strings.Contains(err.Error(), "AADSTS700016") {
		t.Errorf("an unknown application: %v", err)
	}
	if _, err := s.Admin.GetToken(t.Context(), tokenFor("https://nobody.example")); err == nil || !strings.Contains(err.Error(), "AADSTS500011") {
		t.Errorf("an unknown resource: %v", err)
	}
}

func TestRoleAssignments(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.identity(t, "someone")
	c, err := armauthorization.NewRoleAssignmentsClient(s.sub, s.Admin, s.options())
	check(t, err)
	role := "/subscriptions/" + s.sub + "/providers/Microsoft.Authorization/roleDefinitions/"
	create := func(name, role, principal string) error {
		_, err := c.Create(t.Context(), s.groupID(), name, armauthorization.RoleAssignmentCreateParameters{
			Properties: &armauthorization.RoleAssignmentProperties{RoleDefinitionID: &role, PrincipalID: &principal},
		}, nil)
		return err
	}
	const first, second = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
	check(t, create(first, role+reader, *id.Properties.PrincipalID))
	check(t, create(first, role+reader, *id.Properties.PrincipalID)) // again is no error
	refused(t, create(second, role+reader, *id.Properties.PrincipalID), http.StatusConflict, "RoleAssignmentExists")
	refused(t, create(second, role+second, *id.Properties.PrincipalID), http.StatusBadRequest, "RoleDefinitionDoesNotExist")
	refused(t, create(second, role+reader, second), http.StatusBadRequest, "PrincipalNotFound")
	refused(t, create("not-a-guid", role+reader, *id.Properties.PrincipalID), http.StatusBadRequest, "InvalidRoleAssignmentId")

	found := 0
	for pager := c.NewListForScopePager(s.groupID(), &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("principalId eq '" + *id.Properties.PrincipalID + "'")}); pager.More(); {
		page, err := pager.NextPage(t.Context())
		check(t, err)
		found += len(page.Value)
	}
	if found != 1 {
		t.Errorf("%d assignments are listed", found)
	}
	defs, err := armauthorization.NewRoleDefinitionsClient(s.Admin, s.options())
	check(t, err)
	pager := defs.NewListPager(s.groupID(), &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'Storage Blob Data Contributor'")})
	page, err := pager.NextPage(t.Context())
	check(t, err)
	if len(page.Value) != 1 || *page.Value[0].Name != blobContributor {
		t.Errorf("definitions by name: %d", len(page.Value))
	}
}

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

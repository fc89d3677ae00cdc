package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/google/uuid"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/keyreeltest"
)

const location = "westeurope"

// Built-in roles, by the GUIDs that they have in Azure.
const (
	owner           = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributor     = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	reader          = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	blobContributor = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	blobReader      = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	cryptoOfficer   = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
	cryptoService   = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
)

// server is a running server with a resource group, and what tests do again and again.
type server struct {
	*keyreeltest.Server
	sub   string
	group string
}

func start(t *testing.T, edit ...func(*keyreel.Config)) *server {
	t.Helper()
	s := &server{Server: keyreeltest.Start(t, edit...), group: "rg"}
	s.sub = s.Installation().SubscriptionID
	c, err := armresources.NewResourceGroupsClient(s.sub, s.Admin, s.options())
	check(t, err)
	_, err = c.CreateOrUpdate(t.Context(), s.group, armresources.ResourceGroup{Location: to.Ptr(location)}, nil)
	check(t, err)
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// options are the ARM clients' options; retries off, so that a refusal is seen as it is.
func (s *server) options() *arm.ClientOptions {
	o := &arm.ClientOptions{ClientOptions: s.ClientOptions()}
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	return o
}

func (s *server) groupID() string {
	return "/subscriptions/" + s.sub + "/resourceGroups/" + s.group
}

// assign grants a role to a service principal, or to whom edit says, and returns the assignment's name.
func (s *server) assign(t testing.TB, scope, role, principal string, edit ...func(*armauthorization.RoleAssignmentProperties)) string {
	t.Helper()
	c, err := armauthorization.NewRoleAssignmentsClient(s.sub, s.Admin, s.options())
	check(t, err)
	properties := &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr("/subscriptions/" + s.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
		PrincipalID:      &principal, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
	}
	for _, fn := range edit {
		fn(properties)
	}
	name := uuid.NewString()
	_, err = c.Create(context.Background(), scope, name, armauthorization.RoleAssignmentCreateParameters{Properties: properties}, nil)
	check(t, err)
	return name
}

func (s *server) unassign(t testing.TB, scope, name string) {
	t.Helper()
	c, err := armauthorization.NewRoleAssignmentsClient(s.sub, s.Admin, s.options())
	check(t, err)
	_, err = c.Delete(context.Background(), scope, name, nil)
	check(t, err)
}

// adminID is the administrator's object id, from its own token.
func (s *server) adminID(t testing.TB) string {
	t.Helper()
	return claims(t, s.token(t, s.Admin, "https://management.azure.com"))["oid"].(string)
}

func (s *server) token(t testing.TB, cred azcore.TokenCredential, resource string) string {
	t.Helper()
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	check(t, err)
	return token.Token
}

func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	check(t, err)
	var out map[string]any
	check(t, json.Unmarshal(body, &out))
	return out
}

func (s *server) identity(t testing.TB, name string) armmsi.Identity {
	t.Helper()
	c, err := armmsi.NewUserAssignedIdentitiesClient(s.sub, s.Admin, s.options())
	check(t, err)
	r, err := c.CreateOrUpdate(context.Background(), s.group, name, armmsi.Identity{Location: to.Ptr(location)}, nil)
	check(t, err)
	return r.Identity
}

// storage makes a storage account and returns its ID.
func (s *server) storage(t testing.TB, name string, rules *armstorage.NetworkRuleSet) string {
	t.Helper()
	c, err := armstorage.NewAccountsClient(s.sub, s.Admin, s.options())
	check(t, err)
	p, err := c.BeginCreate(context.Background(), s.group, name, armstorage.AccountCreateParameters{
		Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr(location), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)},
		Properties: &armstorage.AccountPropertiesCreateParameters{NetworkRuleSet: rules},
	}, nil)
	check(t, err)
	r, err := p.PollUntilDone(context.Background(), poll())
	check(t, err)
	return *r.ID
}

// newVault makes a vault, as edit changes it, and returns its ID.
func (s *server) newVault(t testing.TB, name string, edit func(*armkeyvault.VaultProperties)) string {
	t.Helper()
	c, err := armkeyvault.NewVaultsClient(s.sub, s.Admin, s.options())
	check(t, err)
	props := &armkeyvault.VaultProperties{
		TenantID: to.Ptr(s.Installation().TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		EnableRbacAuthorization: to.Ptr(true), EnablePurgeProtection: to.Ptr(true),
	}
	if edit != nil {
		edit(props)
	}
	p, err := c.BeginCreateOrUpdate(context.Background(), s.group, name, armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr(location), Properties: props}, nil)
	check(t, err)
	r, err := p.PollUntilDone(context.Background(), poll())
	check(t, err)
	return *r.ID
}

func poll() *runtime.PollUntilDoneOptions {
	return &runtime.PollUntilDoneOptions{Frequency: 1_000_000_000}
}

// refused checks that err is Azure's error with the status and code.
func refused(t testing.TB, err error, status int, code string, mentions ...string) {
	t.Helper()
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		t.Errorf("not refused by the server: %v", err)
		return
	}
	if r.StatusCode != status || code != "" && r.ErrorCode != code {
		t.Errorf("%d %s, want %d %s: %v", r.StatusCode, r.ErrorCode, status, code, err)
	}
	for _, m := range mentions {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(m)) {
			t.Errorf("the refusal does not name %q: %v", m, err)
		}
	}
}

// raw sends a request as no SDK would.
func (s *server) raw(t testing.TB, method, url, token, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader([]byte(body)))
	check(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.HTTPClient().Do(req)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp, string(text)
}

func tokenFor(resource string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}}
}

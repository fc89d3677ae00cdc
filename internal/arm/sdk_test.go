package arm

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// ownerToken is the owner's credential.
type ownerToken struct{}

func (ownerToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: owner, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// onHost sends requests to the test server under the management host's name, as a client that resolves it would.
type onHost struct {
	client *http.Client
	addr   string
}

func (o onHost) Do(r *http.Request) (*http.Response, error) {
	r.Host = "management.keyreel.localhost:8443"
	r.URL.Host = o.addr
	return o.client.Do(r)
}

// TestOfficialClients drives groups, resources and role assignments with Azure's own client packages.
func TestOfficialClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	srv := httptest.NewTLSServer(w.handler)
	t.Cleanup(srv.Close)
	ctx := t.Context()
	o := &azarm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Transport: onHost{srv.Client(), srv.Listener.Addr().String()},
			Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: "https://management.keyreel.localhost:8443", Audience: "https://management.azure.com"},
			}},
		},
		DisableRPRegistration: true,
	}
	poll := &runtime.PollUntilDoneOptions{Frequency: time.Second}

	groups, err := armresources.NewResourceGroupsClient(sub, ownerToken{}, o)
	if err != nil {
		t.Fatal(err)
	}
	made, err := groups.CreateOrUpdate(ctx, "sdk", armresources.ResourceGroup{Location: to.Ptr("North Europe")}, nil)
	if err != nil || *made.Location != "northeurope" || *made.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("CreateOrUpdate: %+v, %v", made, err)
	}
	if there, err := groups.CheckExistence(ctx, "SDK", nil); err != nil || !there.Success {
		t.Errorf("CheckExistence: %v, %v", there, err)
	}
	if there, err := groups.CheckExistence(ctx, "none", nil); err != nil || there.Success {
		t.Errorf("CheckExistence of none: %v, %v", there, err)
	}

	resources, err := armresources.NewClient(sub, ownerToken{}, o)
	if err != nil {
		t.Fatal(err)
	}
	rig := *made.ID + "/providers/Test.Things/rigs/r"
	creating, err := resources.BeginCreateOrUpdateByID(ctx, rig, "2024-01-01", armresources.GenericResource{
		Location: to.Ptr("northeurope"), Properties: map[string]any{"size": 4},
		Identity: &armresources.Identity{Type: to.Ptr(armresources.ResourceIdentityTypeSystemAssigned)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := creating.PollUntilDone(ctx, poll)
	if err != nil || res.Properties.(map[string]any)["provisioningState"] != "Succeeded" || *res.Identity.PrincipalID == "" {
		t.Fatalf("created %+v, %v", res, err)
	}
	n := 0
	for pager := resources.NewListByResourceGroupPager("sdk", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Value)
	}
	if n != 1 {
		t.Errorf("the group holds %d resources", n)
	}

	roles, err := armauthorization.NewRoleAssignmentsClient(sub, ownerToken{}, o)
	if err != nil {
		t.Fatal(err)
	}
	granted, err := roles.Create(ctx, rig, "dddddddd-0000-0000-0000-000000000001", armauthorization.RoleAssignmentCreateParameters{
		Properties: &armauthorization.RoleAssignmentProperties{
			PrincipalID:      to.Ptr(stranger),
			RoleDefinitionID: to.Ptr(subPath + "/providers/Microsoft.Authorization/roleDefinitions/" + readerRole),
		},
	}, nil)
	if err != nil || *granted.Properties.Scope != rig {
		t.Fatalf("granted %+v, %v", granted, err)
	}
	w.do(stranger, "GET", rig+sync1, "").want(200)
	if _, err := roles.DeleteByID(ctx, *granted.ID, nil); err != nil {
		t.Error(err)
	}
	w.do(stranger, "GET", rig+sync1, "").fails(403, "AuthorizationFailed")

	deleting, err := groups.BeginDelete(ctx, "sdk", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deleting.PollUntilDone(ctx, poll); err != nil {
		t.Error(err)
	}
	w.do(owner, "HEAD", rig+sync1, "").want(404)
	w.consistent()
}

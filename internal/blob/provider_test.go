package blob

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
)

// manage is the official management client as the owner.
func (s *server) manage(t testing.TB) *armstorage.ClientFactory {
	t.Helper()
	options := s.options()
	options.Cloud = cloud.Configuration{
		ActiveDirectoryAuthorityHost: "https://login.keyreel.test/",
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: "https://management.keyreel.test", Audience: "https://management.azure.com"},
		},
	}
	owner := credential(azure.Caller{ObjectID: testOwner, Audience: "https://management.azure.com", Type: azure.TypeUser})
	f, err := armstorage.NewClientFactory(testSubscription, owner, &azarm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	check(t, err)
	return f
}

// armDo sends a request to the resource manager as the owner.
func (s *server) armDo(t testing.TB, method, path, body string) answer {
	t.Helper()
	return s.armAs(t, testOwner, method, path, body)
}

func (s *server) armAs(t testing.TB, caller, method, path, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://management.keyreel.test"+path, strings.NewReader(body))
	check(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token(azure.Caller{ObjectID: caller, Audience: "https://management.azure.com"}))
	resp, err := s.client.Do(r)
	check(t, err)
	defer resp.Body.Close()
	var b strings.Builder
	_, err = copyAll(&b, resp)
	check(t, err)
	return answer{resp.StatusCode, resp.Header, b.String()}
}

func createParameters() armstorage.AccountCreateParameters {
	return armstorage.AccountCreateParameters{
		Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr("westeurope"), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)},
	}
}

func TestAccountLifecycle(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		ctx := t.Context()
		if a := s.armDo(t, "PUT", testGroup+"?api-version=2021-04-01", `{"location":"westeurope"}`); a.status >= 300 {
			t.Fatalf("group: %d %s", a.status, a.body)
		}
		accounts := s.manage(t).NewAccountsClient()
		poller, err := accounts.BeginCreate(ctx, "rg", "films", createParameters(), nil)
		check(t, err)
		made, err := poller.PollUntilDone(ctx, nil)
		check(t, err)
		if got := *made.Properties.PrimaryEndpoints.Blob; got != "https://films.blob.keyreel.test/" {
			t.Errorf("endpoint %s", got)
		}
		if *made.Properties.ProvisioningState != armstorage.ProvisioningStateSucceeded || *made.Properties.NetworkRuleSet.DefaultAction != armstorage.DefaultActionAllow || made.Properties.CreationTime == nil || *made.Properties.Encryption.KeySource != armstorage.KeySourceMicrosoftStorage || *made.SKU.Tier != armstorage.SKUTierStandard {
			t.Errorf("made %+v", made.Properties)
		}
		available, err := accounts.CheckNameAvailability(ctx, armstorage.AccountCheckNameAvailabilityParameters{Name: to.Ptr("films"), Type: to.Ptr(accountType)}, nil)
		check(t, err)
		if *available.NameAvailable {
			t.Error("the name is available")
		}
		_, err = accounts.Update(ctx, "rg", "films", armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{
			AllowSharedKeyAccess: to.Ptr(false),
			NetworkRuleSet:       &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionDeny), Bypass: to.Ptr(armstorage.BypassNone), IPRules: []*armstorage.IPRule{{IPAddressOrRange: to.Ptr("203.0.113.0/24")}}},
		}}, nil)
		check(t, err)
		got, err := accounts.GetProperties(ctx, "rg", "films", nil)
		check(t, err)
		if *got.Properties.AllowSharedKeyAccess || *got.Properties.NetworkRuleSet.DefaultAction != armstorage.DefaultActionDeny || *got.Properties.NetworkRuleSet.Bypass != armstorage.BypassNone || len(got.Properties.NetworkRuleSet.IPRules) != 1 {
			t.Errorf("updated %+v", got.Properties)
		}
		set, err := s.Storage.account(ctx, "films")
		check(t, err)
		if set.settings.SharedKey || !set.settings.Network.Deny || set.settings.Network.Trusted {
			t.Errorf("the data plane goes by %+v", set.settings)
		}
		keys, err := accounts.ListKeys(ctx, "rg", "films", nil)
		check(t, err)
		again, err := accounts.RegenerateKey(ctx, "rg", "films", armstorage.AccountRegenerateKeyParameters{KeyName: to.Ptr("key2")}, nil)
		check(t, err)
		if *keys.Keys[0].Value != *again.Keys[0].Value || *keys.Keys[1].Value == *again.Keys[1].Value {
			t.Error("key2 alone was to change")
		}
		_, err = accounts.Delete(ctx, "rg", "films", nil)
		check(t, err)
		if _, err := s.Storage.account(ctx, "films"); !errors.Is(err, azure.Errorf(404, "ResourceNotFound", "")) {
			t.Errorf("after delete: %v", err)
		}
	})
}

func TestAccountRefusals(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	if a := s.armDo(t, "PUT", testGroup+"?api-version=2021-04-01", `{"location":"westeurope"}`); a.status >= 300 {
		t.Fatalf("group: %d %s", a.status, a.body)
	}
	for _, c := range []struct{ name, account, properties, code string }{
		{"long name", "abcdefghijklmnopqrstuvwxyz", `{}`, "AccountNameInvalid"},
		{"name with hyphen", "a-b-c", `{}`, "AccountNameInvalid"},
		{"hierarchical", "new1", `{"isHnsEnabled":true}`, "InvalidValuesForRequestParameters"},
		{"network", "new1", `{"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[{"id":"/x"}]}}`, "InvalidValuesForRequestParameters"},
		{"address", "new1", `{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"1.2.3"}]}}`, "InvalidValuesForRequestParameters"},
		{"bypass", "new1", `{"networkAcls":{"defaultAction":"Deny","bypass":"Everyone"}}`, "InvalidValuesForRequestParameters"},
		{"default action", "new1", `{"networkAcls":{"defaultAction":"Maybe"}}`, "InvalidValuesForRequestParameters"},
		{"tls", "new1", `{"minimumTlsVersion":"TLS2"}`, "InvalidValuesForRequestParameters"},
		{"type", "new1", `{"allowSharedKeyAccess":"no"}`, "InvalidValuesForRequestParameters"},
		{"taken", testAccount, `{}`, "StorageAccountAlreadyTaken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.armDo(t, "PUT", testGroup+"/providers/Microsoft.Storage/storageAccounts/"+c.account+"?api-version=2023-01-01",
				`{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":`+c.properties+`}`)
			if a.status < 400 || a.status >= 500 || !strings.Contains(a.body, `"`+c.code+`"`) {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
}

func TestSettingsReachTheDataPlane(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.put(t, "/con/b", []byte("x"))
	s.assign(t, "media", readerRole, testAccountID)
	media := "Bearer " + token(azure.Caller{ObjectID: "media", ResourceID: testGroup + "/providers/Microsoft.Media/mediaservices/m"})
	person := "Bearer " + token(azure.Caller{ObjectID: "media"})
	for _, c := range []struct {
		name, properties string
		bearer, code     string
	}{
		{"no shared keys", `{"allowSharedKeyAccess":false}`, "", "KeyBasedAuthenticationNotPermitted"},
		{"no shared keys, bearer", `{"allowSharedKeyAccess":false}`, person, ""},
		{"deny", `{"networkAcls":{"defaultAction":"Deny"}}`, person, "AuthorizationFailure"},
		{"deny shared key", `{"networkAcls":{"defaultAction":"Deny"}}`, "", "AuthorizationFailure"},
		{"deny, trusted", `{"networkAcls":{"defaultAction":"Deny","bypass":"AzureServices"}}`, media, ""},
		{"deny, no bypass", `{"networkAcls":{"defaultAction":"Deny","bypass":"None"}}`, media, "AuthorizationFailure"},
		{"deny, address", `{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"127.0.0.1"}]}}`, person, ""},
		{"disabled", `{"publicNetworkAccess":"Disabled"}`, person, "AuthorizationFailure"},
		{"TLS 1.3", `{"minimumTlsVersion":"TLS1_3"}`, person, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			props := defaultProperties()
			check(t, unmarshal(c.properties, props))
			set, err := props.settings()
			check(t, err)
			check(t, s.update(t, set))
			a := s.do(t, "GET", "/con/b", "", "Authorization", c.bearer)
			if a.code() != c.code || c.code == "" && a.status != 200 {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
}

func TestContainersOfTheResourceManager(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		ctx := t.Context()
		if a := s.armDo(t, "PUT", testGroup+"?api-version=2021-04-01", `{"location":"westeurope"}`); a.status >= 300 {
			t.Fatalf("group: %d %s", a.status, a.body)
		}
		poller, err := s.manage(t).NewAccountsClient().BeginCreate(ctx, "rg", "films", createParameters(), nil)
		check(t, err)
		_, err = poller.PollUntilDone(ctx, nil)
		check(t, err)
		containers := s.manage(t).NewBlobContainersClient()
		_, err = containers.Create(ctx, "rg", "films", "reels", armstorage.BlobContainer{ContainerProperties: &armstorage.ContainerProperties{Metadata: map[string]*string{"a": to.Ptr("1")}}}, nil)
		check(t, err)
		got, err := containers.Get(ctx, "rg", "films", "reels", nil)
		check(t, err)
		if diff := cmp.Diff(map[string]*string{"a": to.Ptr("1")}, got.ContainerProperties.Metadata); diff != "" {
			t.Error(diff)
		}
		page, err := containers.NewListPager("rg", "films", nil).NextPage(ctx)
		check(t, err)
		if len(page.Value) != 1 || *page.Value[0].Name != "reels" {
			t.Errorf("list %+v", page.Value)
		}
		service, err := s.manage(t).NewBlobServicesClient().GetServiceProperties(ctx, "rg", "films", nil)
		check(t, err)
		if *service.BlobServiceProperties.BlobServiceProperties.DeleteRetentionPolicy.Enabled {
			t.Error("soft delete is on")
		}
		_, err = s.manage(t).NewBlobServicesClient().SetServiceProperties(ctx, "rg", "films", armstorage.BlobServiceProperties{BlobServiceProperties: &armstorage.BlobServicePropertiesProperties{IsVersioningEnabled: to.Ptr(true)}}, nil)
		var refused *azcore.ResponseError
		if !errors.As(err, &refused) || refused.StatusCode != 400 {
			t.Errorf("versioning: %v", err)
		}
		_, err = containers.Delete(ctx, "rg", "films", "reels", nil)
		check(t, err)
		_, err = containers.Get(ctx, "rg", "films", "reels", nil)
		if !errors.As(err, &refused) || refused.ErrorCode != "ContainerNotFound" {
			t.Errorf("after delete: %v", err)
		}
		_, err = containers.Get(context.WithoutCancel(ctx), "rg2", "films", "reels", nil)
		if !errors.As(err, &refused) || refused.StatusCode < 400 {
			t.Errorf("in another group: %v", err)
		}
	})
}

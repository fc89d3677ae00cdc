package conformance

import (
	"errors"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"

	"github.com/keyreel/keyreel/keyreeltest"
)

// TestMediaStorageBySystemKeys: with storageAuthentication System the account uses its storage accounts' keys: until they
// are regenerated, again when they were synchronized, and through no firewall.
func TestMediaStorageBySystemKeys(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "keystore", nil)
	s.createAccount(t, "keyaccount", storage)
	assets, err := armmediaservices.NewAssetsClient(s.sub, s.Admin, s.options())
	check(t, err)
	stores, err := armstorage.NewAccountsClient(s.sub, s.Admin, s.options())
	check(t, err)
	asset := func(name string) error {
		_, err := assets.CreateOrUpdate(t.Context(), s.group, "keyaccount", name, armmediaservices.Asset{Properties: &armmediaservices.AssetProperties{}}, nil)
		return err
	}
	status := func() string {
		got, err := s.accounts(t).Get(t.Context(), s.group, "keyaccount", nil)
		check(t, err)
		return *got.Properties.StorageAccounts[0].Status
	}
	sync := func() {
		_, err := s.accounts(t).SyncStorageKeys(t.Context(), s.group, "keyaccount", armmediaservices.SyncStorageKeysInput{ID: &storage}, nil)
		check(t, err)
	}
	check(t, asset("a1"))
	_, err = stores.RegenerateKey(t.Context(), s.group, "keystore", armstorage.AccountRegenerateKeyParameters{KeyName: to.Ptr("key1")}, nil)
	check(t, err)
	refused(t, asset("a2"), http.StatusForbidden, "MPE_STORAGE_AUTHENTICATION_FAILED", "syncStorageKeys")
	if got := status(); len(got) < 12 || got[:12] != "Disconnected" {
		t.Errorf("after the key was regenerated the status is %q", got)
	}
	sync()
	check(t, asset("a2"))
	if got := status(); got != "Connected" {
		t.Errorf("after the key was synchronized the status is %q", got)
	}
	for _, change := range []armstorage.AccountPropertiesUpdateParameters{
		{NetworkRuleSet: &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionDeny), Bypass: to.Ptr(armstorage.BypassAzureServices)}},
		{NetworkRuleSet: &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionAllow)}, AllowSharedKeyAccess: to.Ptr(false)},
	} {
		_, err = stores.Update(t.Context(), s.group, "keystore", armstorage.AccountUpdateParameters{Properties: &change}, nil)
		check(t, err)
		refused(t, asset("a3"), http.StatusForbidden, "MPE_STORAGE_AUTHENTICATION_FAILED", "ManagedIdentity")
	}
	_, err = stores.Update(t.Context(), s.group, "keystore", armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{AllowSharedKeyAccess: to.Ptr(true)}}, nil)
	check(t, err)
	check(t, asset("a3"))
	keyreeltest.Within(t, promised*2, func() error {
		if got := status(); got != "Connected" {
			return errors.New(got)
		}
		return nil
	})
}

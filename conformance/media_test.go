package conformance

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyreel/keyreel/keyreeltest"
)

func (s *server) accounts(t testing.TB) *armmediaservices.Client {
	t.Helper()
	c, err := armmediaservices.NewClient(s.sub, s.Admin, s.options())
	check(t, err)
	return c
}

// createAccount makes a media account with a system-assigned identity and returns it.
func (s *server) createAccount(t testing.TB, name, storage string) armmediaservices.MediaService {
	t.Helper()
	p, err := s.accounts(t).BeginCreateOrUpdate(t.Context(), s.group, name, armmediaservices.MediaService{
		Location: to.Ptr(location), Identity: &armmediaservices.MediaServiceIdentity{Type: to.Ptr("SystemAssigned")},
		Properties: &armmediaservices.MediaServiceProperties{StorageAccounts: []*armmediaservices.StorageAccount{
			{ID: &storage, Type: to.Ptr(armmediaservices.StorageAccountTypePrimary)},
		}},
	}, nil)
	check(t, err)
	r, err := p.PollUntilDone(t.Context(), poll())
	check(t, err)
	return r.MediaService
}

func (s *server) updateAccount(t testing.TB, name string, u armmediaservices.MediaServiceUpdate) error {
	t.Helper()
	p, err := s.accounts(t).BeginUpdate(t.Context(), s.group, name, u, nil)
	if err != nil {
		return err
	}
	_, err = p.PollUntilDone(t.Context(), poll())
	return err
}

func managedIdentity() armmediaservices.MediaServiceUpdate {
	return armmediaservices.MediaServiceUpdate{Properties: &armmediaservices.MediaServiceProperties{
		StorageAuthentication: to.Ptr(armmediaservices.StorageAuthenticationManagedIdentity),
	}}
}

func TestMediaAccount(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "mediastore", &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionDeny), Bypass: to.Ptr(armstorage.BypassAzureServices)})
	a := s.createAccount(t, "account1", storage)
	if *a.Properties.Encryption.Type != armmediaservices.AccountEncryptionKeyTypeSystemKey || *a.Properties.StorageAuthentication != armmediaservices.StorageAuthenticationSystem ||
		*a.Properties.PublicNetworkAccess != armmediaservices.PublicNetworkAccessEnabled || *a.Properties.ProvisioningState != armmediaservices.ProvisioningStateSucceeded {
		t.Errorf("defaults of a new account: %+v", a.Properties)
	}
	principal := *a.Identity.PrincipalID

	err := s.updateAccount(t, "account1", managedIdentity())
	refusedOperation(t, err, "BadRequest", principal, storage, "Storage Blob Data Contributor")
	got, err := s.accounts(t).Get(t.Context(), s.group, "account1", nil)
	check(t, err)
	if *got.Properties.StorageAuthentication != armmediaservices.StorageAuthenticationSystem || *got.Properties.ProvisioningState != armmediaservices.ProvisioningStateSucceeded {
		t.Errorf("a refused change left %+v", got.Properties)
	}
	assets, err := armmediaservices.NewAssetsClient(s.sub, s.Admin, s.options())
	check(t, err)

	grants := []string{s.assign(t, storage, blobContributor, principal), s.assign(t, storage, reader, principal)}
	check(t, s.updateAccount(t, "account1", managedIdentity()))
	_, err = assets.CreateOrUpdate(t.Context(), s.group, "account1", "a1", armmediaservices.Asset{Properties: &armmediaservices.AssetProperties{Description: to.Ptr("one")}}, nil)
	check(t, err)

	s.unassign(t, storage, grants[0])
	keyreeltest.Within(t, 5*time.Second, func() error {
		_, err := assets.CreateOrUpdate(t.Context(), s.group, "account1", "a2", armmediaservices.Asset{Properties: &armmediaservices.AssetProperties{}}, nil)
		if err == nil {
			return errors.New("an asset was made without a grant")
		}
		return nil
	})
	s.assign(t, storage, blobContributor, principal)
	keyreeltest.Within(t, 5*time.Second, func() error {
		_, err := assets.CreateOrUpdate(t.Context(), s.group, "account1", "a2", armmediaservices.Asset{Properties: &armmediaservices.AssetProperties{}}, nil)
		return err
	})

	_, err = assets.Get(t.Context(), s.group, "account1", "none", nil)
	refused(t, err, http.StatusNotFound, "")
	_, err = s.accounts(t).Get(t.Context(), s.group, "none", nil)
	refused(t, err, http.StatusNotFound, "ResourceNotFound")
	names := 0
	for pager := assets.NewListPager(s.group, "account1", nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		check(t, err)
		names += len(page.Value)
	}
	if names != 2 {
		t.Errorf("%d assets are listed", names)
	}
	_, err = s.accounts(t).Delete(t.Context(), s.group, "account1", nil)
	check(t, err)
	_, err = s.accounts(t).Get(t.Context(), s.group, "account1", nil)
	refused(t, err, http.StatusNotFound, "")
}

// refusedOperation checks the error of a failed asynchronous operation.
func refusedOperation(t testing.TB, err error, code string, mentions ...string) {
	t.Helper()
	var r *azcore.ResponseError
	if !errors.As(err, &r) || r.ErrorCode != code {
		t.Errorf("not refused with %s: %v", code, err)
		return
	}
	for _, m := range mentions {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(m)) {
			t.Errorf("the refusal does not name %q: %v", m, err)
		}
	}
}

// TestOldVersionsAreSynchronous: clients of 2021-06-01 and before do not poll.
func TestOldVersionsAreSynchronous(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "oldstore", nil)
	token := s.token(t, s.Admin, "https://management.azure.com")
	u := s.URLs().Management() + s.groupID() + "/providers/Microsoft.Media/mediaservices/oldaccount?api-version=2020-05-01"
	body := `{"location":"West Europe","identity":{"type":"SystemAssigned"},"properties":{"storageAccounts":[{"id":"` + storage + `"}],"encryption":{"type":"SystemKey"}}}`
	resp, text := s.raw(t, "PUT", u, token, body, "Content-Type", "application/json")
	if resp.StatusCode != 201 && resp.StatusCode != 200 || resp.Header.Get("Azure-AsyncOperation") != "" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	var account struct {
		Identity   struct{ PrincipalID string }
		Properties struct {
			StorageAccounts []struct{ Type string }
		}
	}
	check(t, json.Unmarshal([]byte(text), &account))
	if account.Identity.PrincipalID == "" || len(account.Properties.StorageAccounts) != 1 || account.Properties.StorageAccounts[0].Type != "Primary" {
		t.Errorf("%s", text)
	}
	resp, text = s.raw(t, "GET", strings.Replace(u, "mediaservices", "MEDIAservices", 1), token, "")
	if resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	resp, text = s.raw(t, "PATCH", u, token, `{"properties":{"storageAuthentication":"ManagedIdentity"}}`, "Content-Type", "application/json")
	if resp.StatusCode != 400 || !strings.Contains(text, account.Identity.PrincipalID) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// TestCustomerKey: what a customer's key holds is held by it.
func TestCustomerKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "ckstore", nil)
	a := s.createAccount(t, "ckaccount", storage)
	principal := *a.Identity.PrincipalID
	s.assign(t, storage, blobContributor, principal)
	s.assign(t, storage, reader, principal)
	check(t, s.updateAccount(t, "ckaccount", managedIdentity()))

	unprotected := s.newVault(t, "ck-unprotected", func(p *armkeyvault.VaultProperties) { p.EnablePurgeProtection = nil })
	vault := s.newVault(t, "ck-vault", nil)
	for _, v := range []string{unprotected, vault} {
		s.assign(t, v, cryptoOfficer, s.adminID(t))
	}
	createRSA(t, s.keys(t, "ck-unprotected", s.Admin), "k")
	keys := s.keys(t, "ck-vault", s.Admin)
	first := createRSA(t, keys, "k")
	encrypt := func(keyID string) error {
		return s.updateAccount(t, "ckaccount", armmediaservices.MediaServiceUpdate{Properties: &armmediaservices.MediaServiceProperties{
			Encryption: &armmediaservices.AccountEncryption{
				Type:               to.Ptr(armmediaservices.AccountEncryptionKeyTypeCustomerKey),
				KeyVaultProperties: &armmediaservices.KeyVaultProperties{KeyIdentifier: &keyID},
			},
		}})
	}
	s.assign(t, unprotected, cryptoService, principal)
	refusedOperation(t, encrypt(s.URLs().Vault("ck-unprotected")+"/keys/k"), "BadRequest", "purge protection")
	refusedOperation(t, encrypt(s.URLs().Vault("ck-vault")+"/keys/k"), "BadRequest", "Access to the Customer Key was forbidden.")
	grant := s.assign(t, vault, cryptoService, principal)
	check(t, encrypt(s.URLs().Vault("ck-vault")+"/keys/k"))

	state := func() *armmediaservices.AccountEncryption {
		got, err := s.accounts(t).Get(t.Context(), s.group, "ckaccount", nil)
		check(t, err)
		return got.Properties.Encryption
	}
	if got := *state().KeyVaultProperties.CurrentKeyIdentifier; got != string(*first) {
		t.Errorf("currentKeyIdentifier is %s, not %s", got, *first)
	}
	policies, err := armmediaservices.NewContentKeyPoliciesClient(s.sub, s.Admin, s.options())
	check(t, err)
	secret := []byte("a planted secret, 32 bytes long!")
	_, err = policies.CreateOrUpdate(t.Context(), s.group, "ckaccount", "p", tokenPolicy(secret), nil)
	check(t, err)
	shown, err := policies.Get(t.Context(), s.group, "ckaccount", "p", nil)
	check(t, err)
	restriction := shown.Properties.Options[0].Restriction.(*armmediaservices.ContentKeyPolicyTokenRestriction)
	if key, ok := restriction.PrimaryVerificationKey.(*armmediaservices.ContentKeyPolicySymmetricTokenKey); ok && len(key.KeyValue) > 0 {
		t.Error("GET shows a secret")
	}
	secrets := func() error {
		r, err := policies.GetPolicyPropertiesWithSecrets(t.Context(), s.group, "ckaccount", "p", nil)
		if err != nil {
			return err
		}
		key, ok := r.Options[0].Restriction.(*armmediaservices.ContentKeyPolicyTokenRestriction).PrimaryVerificationKey.(*armmediaservices.ContentKeyPolicySymmetricTokenKey)
		if !ok || string(key.KeyValue) != string(secret) {
			return errors.New("the secret came back otherwise")
		}
		return nil
	}
	check(t, secrets())

	causes := []struct {
		name       string
		take, give func()
	}{
		{"the grant", func() { s.unassign(t, vault, grant) }, func() { grant = s.assign(t, vault, cryptoService, principal) }},
		{"the key is disabled", func() { s.enable(t, keys, "k", false) }, func() { s.enable(t, keys, "k", true) }},
		{
			"the key is deleted",
			func() { _, err := keys.DeleteKey(t.Context(), "k", nil); check(t, err) },
			func() { _, err := keys.RecoverDeletedKey(t.Context(), "k", nil); check(t, err) },
		},
	}
	for _, cause := range causes {
		cause.take()
		keyreeltest.Within(t, 5*time.Second, func() error {
			var r *azcore.ResponseError
			if err := secrets(); !errors.As(err, &r) || r.StatusCode != http.StatusForbidden {
				return errors.Join(errors.New(cause.name+" is gone and secrets are given"), err)
			}
			return nil
		})
		if status := state().Status; status == nil || *status == "" {
			t.Errorf("%s: GET does not say why", cause.name)
		} else {
			t.Logf("%s: %s", cause.name, *status)
		}
		cause.give()
		keyreeltest.Within(t, 10*time.Second, secrets)
	}

	second := createRSA(t, keys, "k")
	keyreeltest.Within(t, 60*time.Second, func() error {
		if got := *state().KeyVaultProperties.CurrentKeyIdentifier; got != string(*second) {
			return errors.New("still " + got)
		}
		return secrets()
	})
	check(t, s.updateAccount(t, "ckaccount", armmediaservices.MediaServiceUpdate{Properties: &armmediaservices.MediaServiceProperties{
		Encryption: &armmediaservices.AccountEncryption{Type: to.Ptr(armmediaservices.AccountEncryptionKeyTypeSystemKey)},
	}}))
	s.unassign(t, vault, grant)
	check(t, secrets())
}

func (s *server) enable(t testing.TB, c *azkeys.Client, name string, enabled bool) {
	t.Helper()
	_, err := c.UpdateKey(t.Context(), name, "", azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &enabled}}, nil)
	check(t, err)
}

func tokenPolicy(secret []byte) armmediaservices.ContentKeyPolicy {
	return armmediaservices.ContentKeyPolicy{Properties: &armmediaservices.ContentKeyPolicyProperties{Options: []*armmediaservices.ContentKeyPolicyOption{{
		Name:          to.Ptr("o"),
		Configuration: &armmediaservices.ContentKeyPolicyClearKeyConfiguration{ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration")},
		Restriction: &armmediaservices.ContentKeyPolicyTokenRestriction{
			ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicyTokenRestriction"), Issuer: to.Ptr("https://i"), Audience: to.Ptr("a"),
			RestrictionTokenType:   to.Ptr(armmediaservices.ContentKeyPolicyRestrictionTokenTypeJwt),
			PrimaryVerificationKey: &armmediaservices.ContentKeyPolicySymmetricTokenKey{ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicySymmetricTokenKey"), KeyValue: secret},
		},
	}}}}
}

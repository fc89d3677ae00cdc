package conformance

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyreel/keyreel/keyreeltest"
)

// TestStorageUnderCustomerKey: armstorage puts an account under a customer's key; the key's loss locks its blobs and the
// media account on it, which says so, and its return unlocks them.
func TestStorageUnderCustomerKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	stores, err := armstorage.NewAccountsClient(s.sub, s.Admin, s.options())
	check(t, err)
	storage := s.storage(t, "lockedstore", nil)
	blobs := s.sharedKey(t, "lockedstore").NewContainerClient("con")
	_, err = blobs.Create(t.Context(), nil)
	check(t, err)
	_, err = blobs.NewBlockBlobClient("b").UploadBuffer(t.Context(), []byte("before"), nil)
	check(t, err)
	vault := s.newVault(t, "storevault", nil)
	s.assign(t, vault, cryptoOfficer, s.adminID(t))
	keys := s.keys(t, "storevault", s.Admin)
	first := createRSA(t, keys, "storekey")

	update := func(p armstorage.AccountUpdateParameters) (armstorage.Account, error) {
		got, err := stores.Update(t.Context(), s.group, "lockedstore", p, nil)
		return got.Account, err
	}
	underKey := armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{Encryption: &armstorage.Encryption{
		KeySource:          to.Ptr(armstorage.KeySourceMicrosoftKeyvault),
		KeyVaultProperties: &armstorage.KeyVaultProperties{KeyName: to.Ptr("storekey"), KeyVaultURI: to.Ptr(s.URLs().Vault("storevault"))},
	}}}
	_, err = update(underKey)
	refused(t, err, http.StatusBadRequest, "InvalidValuesForRequestParameters", "system-assigned identity")
	account, err := update(armstorage.AccountUpdateParameters{Identity: &armstorage.Identity{Type: to.Ptr(armstorage.IdentityTypeSystemAssigned)}})
	check(t, err)
	principal := *account.Identity.PrincipalID
	_, err = update(underKey)
	refused(t, err, http.StatusBadRequest, "KeyVaultAuthenticationFailure", principal, "Key Vault Crypto Service Encryption User")
	grant := s.assign(t, vault, cryptoService, principal)
	account, err = update(underKey)
	check(t, err)
	e := account.Properties.Encryption
	if *e.KeySource != armstorage.KeySourceMicrosoftKeyvault || *e.KeyVaultProperties.CurrentVersionedKeyIdentifier != string(*first) || e.KeyVaultProperties.LastKeyRotationTimestamp == nil {
		t.Errorf("encryption is %+v", e.KeyVaultProperties)
	}
	read := func() error {
		r, err := blobs.NewBlobClient("b").DownloadStream(t.Context(), nil)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err == nil && string(text) != "before" {
			t.Errorf("read %q", text)
		}
		return err
	}
	check(t, read())
	s.createAccount(t, "lockedmedia", storage)
	status := func(begins string) func() error {
		return func() error {
			got, err := s.accounts(t).Get(t.Context(), s.group, "lockedmedia", nil)
			check(t, err)
			if text := *got.Properties.StorageAccounts[0].Status; !strings.HasPrefix(text, begins) {
				return errors.New(text)
			}
			return nil
		}
	}

	second := createRSA(t, keys, "storekey")
	keyreeltest.Within(t, 60*promised, func() error {
		got, err := stores.GetProperties(t.Context(), s.group, "lockedstore", nil)
		check(t, err)
		if now := *got.Properties.Encryption.KeyVaultProperties.CurrentVersionedKeyIdentifier; now != string(*second) {
			return errors.New("wrapped by " + now)
		}
		return nil
	})
	check(t, read())

	s.unassign(t, vault, grant)
	keyreeltest.Within(t, promised, func() error {
		err := read()
		if err == nil {
			return errors.New("the blob is served without the grant")
		}
		refused(t, err, http.StatusForbidden, "KeyVaultEncryptionKeyNotFound")
		return nil
	})
	keyreeltest.Within(t, 2*promised, status("Disconnected: KeyVaultEncryptionKeyNotFound"))
	_, err = stores.ListKeys(t.Context(), s.group, "lockedstore", nil)
	check(t, err)
	s.assign(t, vault, cryptoService, principal)
	keyreeltest.Within(t, promised, read)
	keyreeltest.Within(t, 2*promised, status("Connected"))
	_, err = keys.UpdateKey(t.Context(), "storekey", second.Version(), azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil)
	check(t, err)
	_, err = update(armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{Encryption: &armstorage.Encryption{KeySource: to.Ptr(armstorage.KeySourceMicrosoftStorage)}}})
	if err != nil { // memory may hold the account key for its last seconds
		refused(t, err, http.StatusForbidden, "KeyVaultEncryptionKeyNotFound")
	}
}

// TestAzureCLIStorageEncryption: Debian's az makes and changes storage accounts under customers' keys.
func TestAzureCLIStorageEncryption(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	vault := a.newVault(t, "clistorevault", nil)
	a.assign(t, vault, cryptoOfficer, a.adminID(t))
	kid := createRSA(t, a.keys(t, "clistorevault", a.Admin), "k")
	uri := a.URLs().Vault("clistorevault")
	user := a.identity(t, "clistoreuser")
	a.assign(t, vault, cryptoService, *user.Properties.PrincipalID)
	a.prints(t, "Microsoft.Keyvault\n"+string(*kid)+"\n"+*user.ID,
		"storage account create -g "+a.group+" -n clibyok -l westeurope --sku Standard_LRS --identity-type UserAssigned --user-identity-id "+*user.ID+
			" --encryption-key-source Microsoft.Keyvault --encryption-key-vault "+uri+" --encryption-key-name k --key-vault-user-identity-id "+*user.ID+
			" --query encryption.[keySource,keyVaultProperties.currentVersionedKeyIdentifier,encryptionIdentity.encryptionUserAssignedIdentity]")
	a.prints(t, "Microsoft.Keyvault\n"+kid.Version(), "storage account update -g "+a.group+" -n clibyok --encryption-key-source Microsoft.Keyvault --encryption-key-vault "+uri+
		" --encryption-key-name k --encryption-key-version "+kid.Version()+" --query encryption.[keySource,keyVaultProperties.keyVersion]")
	a.fails(t, "ResourceMoveNotSupported", "resource move --ids "+a.groupID()+"/providers/Microsoft.Storage/storageAccounts/clibyok --destination-group "+a.az(t, "group create -n clibyokother -l westeurope --query name"))
	a.prints(t, "Microsoft.Storage", "storage account update -g "+a.group+" -n clibyok --encryption-key-source Microsoft.Storage --query encryption.keySource")
	a.az(t, "storage account create -g "+a.group+" -n cliplain -l westeurope --sku Standard_LRS")
	a.fails(t, "system-assigned identity", "storage account update -g "+a.group+" -n cliplain --encryption-key-source Microsoft.Keyvault --encryption-key-vault "+uri+" --encryption-key-name k")
	principal := a.az(t, "storage account update -g "+a.group+" -n cliplain --assign-identity --query identity.principalId")
	a.fails(t, principal, "storage account update -g "+a.group+" -n cliplain --encryption-key-source Microsoft.Keyvault --encryption-key-vault "+uri+" --encryption-key-name k")
}

package conformance

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

func (s *server) keys(t testing.TB, vault string, cred azcore.TokenCredential) *azkeys.Client {
	t.Helper()
	o := s.ClientOptions()
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	c, err := azkeys.NewClient(s.URLs().Vault(vault), cred, &azkeys.ClientOptions{ClientOptions: o})
	check(t, err)
	return c
}

func createRSA(t testing.TB, c *azkeys.Client, name string) *azkeys.ID {
	t.Helper()
	r, err := c.CreateKey(t.Context(), name, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(2048))}, nil)
	check(t, err)
	return r.Key.KID
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := start(t)
	vault := s.newVault(t, "kv-keys", nil)
	c := s.keys(t, "kv-keys", s.Admin)
	_, err := c.GetKey(t.Context(), "k", "", nil)
	refused(t, err, http.StatusForbidden, "Forbidden", "Key Vault", "Microsoft.KeyVault/vaults/keys/read")
	s.assign(t, vault, cryptoOfficer, s.adminID(t))
	_, err = c.GetKey(t.Context(), "k", "", nil)
	refused(t, err, http.StatusNotFound, "KeyNotFound")

	first := createRSA(t, c, "k")
	second := createRSA(t, c, "k")
	if first.Version() == second.Version() {
		t.Error("two versions are one")
	}
	got, err := c.GetKey(t.Context(), "k", "", nil)
	check(t, err)
	if *got.Key.KID != *second {
		t.Errorf("the newest version is %s, not %s", *got.Key.KID, *second)
	}
	versions := 0
	for pager := c.NewListKeyPropertiesVersionsPager("k", nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		check(t, err)
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions are listed", versions)
	}

	plain := []byte("0123456789abcdef0123456789abcdef")
	for _, alg := range []azkeys.EncryptionAlgorithm{azkeys.EncryptionAlgorithmRSAOAEP256, azkeys.EncryptionAlgorithmRSAOAEP, azkeys.EncryptionAlgorithmRSA15} {
		wrapped, err := c.WrapKey(t.Context(), "k", first.Version(), azkeys.KeyOperationParameters{Algorithm: &alg, Value: plain}, nil)
		check(t, err)
		unwrapped, err := c.UnwrapKey(t.Context(), "k", first.Version(), azkeys.KeyOperationParameters{Algorithm: &alg, Value: wrapped.Result}, nil)
		check(t, err)
		if !bytes.Equal(unwrapped.Result, plain) {
			t.Errorf("%s: what came back differs", alg)
		}
		if _, err := c.UnwrapKey(t.Context(), "k", second.Version(), azkeys.KeyOperationParameters{Algorithm: &alg, Value: wrapped.Result}, nil); err == nil {
			t.Errorf("%s: another version unwrapped it", alg)
		}
	}
	digest := sha256.Sum256(plain)
	for _, alg := range []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmRS256, azkeys.SignatureAlgorithmPS256} {
		signed, err := c.Sign(t.Context(), "k", "", azkeys.SignParameters{Algorithm: &alg, Value: digest[:]}, nil)
		check(t, err)
		good, err := c.Verify(t.Context(), "k", "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest[:], Signature: signed.Result}, nil)
		check(t, err)
		signed.Result[0] ^= 1
		bad, err := c.Verify(t.Context(), "k", "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest[:], Signature: signed.Result}, nil)
		check(t, err)
		if !*good.Value || *bad.Value {
			t.Errorf("%s: verify says %v of a good and %v of a bad signature", alg, *good.Value, *bad.Value)
		}
	}

	_, err = c.UpdateKey(t.Context(), "k", second.Version(), azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil)
	check(t, err)
	_, err = c.WrapKey(t.Context(), "k", second.Version(), azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: plain}, nil)
	refused(t, err, http.StatusForbidden, "Forbidden", "disabled")
	_, err = c.UpdateKey(t.Context(), "k", second.Version(), azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(true), Expires: to.Ptr(time.Now().Add(-time.Hour))}}, nil)
	check(t, err)
	_, err = c.WrapKey(t.Context(), "k", second.Version(), azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: plain}, nil)
	refused(t, err, http.StatusForbidden, "Forbidden")

	_, err = c.DeleteKey(t.Context(), "k", nil)
	check(t, err)
	_, err = c.GetKey(t.Context(), "k", "", nil)
	refused(t, err, http.StatusNotFound, "KeyNotFound")
	_, err = c.CreateKey(t.Context(), "k", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
	refused(t, err, http.StatusConflict, "Conflict")
	_, err = c.PurgeDeletedKey(t.Context(), "k", nil) // the vault has purge protection
	refused(t, err, http.StatusForbidden, "Forbidden")
	_, err = c.RecoverDeletedKey(t.Context(), "k", nil)
	check(t, err)
	_, err = c.GetKey(t.Context(), "k", first.Version(), nil)
	check(t, err)
}

func TestAccessPolicies(t *testing.T) {
	t.Parallel()
	s := start(t)
	me := s.adminID(t)
	s.newVault(t, "kv-policies", func(p *armkeyvault.VaultProperties) {
		p.EnableRbacAuthorization = to.Ptr(false)
		p.AccessPolicies = []*armkeyvault.AccessPolicyEntry{{
			TenantID: p.TenantID, ObjectID: &me,
			Permissions: &armkeyvault.Permissions{Keys: []*armkeyvault.KeyPermissions{to.Ptr(armkeyvault.KeyPermissionsCreate), to.Ptr(armkeyvault.KeyPermissionsGet)}},
		}}
	})
	c := s.keys(t, "kv-policies", s.Admin)
	createRSA(t, c, "k")
	_, err := c.GetKey(t.Context(), "k", "", nil)
	check(t, err)
	_, err = c.WrapKey(t.Context(), "k", "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: make([]byte, 32)}, nil)
	refused(t, err, http.StatusForbidden, "Forbidden", "wrapKey")
}

func TestVaultFirewall(t *testing.T) {
	t.Parallel()
	s := start(t)
	vault := s.newVault(t, "kv-firewall", func(p *armkeyvault.VaultProperties) {
		p.NetworkACLs = &armkeyvault.NetworkRuleSet{DefaultAction: to.Ptr(armkeyvault.NetworkRuleActionDeny), Bypass: to.Ptr(armkeyvault.NetworkRuleBypassOptionsNone)}
	})
	s.assign(t, vault, cryptoOfficer, s.adminID(t))
	_, err := s.keys(t, "kv-firewall", s.Admin).GetKey(t.Context(), "k", "", nil)
	refused(t, err, http.StatusForbidden, "Forbidden", "127.0.0.1")
}

package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyreel/keyreel/keyreeltest"
)

// promised is within what time access that was taken is refused, and access that was given back is had.
const promised = 5 * time.Second

// paths are the ways into an account that need its key. Each returns what it is refused with.
func (st *studio) paths(t testing.TB) map[string]func() error {
	token := st.token(t, st.Admin, "https://management.azure.com")
	account := st.URLs().Management() + st.groupID() + "/providers/Microsoft.Media/mediaservices/" + st.name
	arm := func(method, path, body string) func() error {
		return func() error {
			resp, text := st.raw(t, method, account+path+"?api-version=2021-06-01", token, body, "Content-Type", "application/json")
			if resp.StatusCode >= 300 {
				return fmt.Errorf("%d %s", resp.StatusCode, text)
			}
			return nil
		}
	}
	get := func(u string) func() error { return func() error { return st.fetch(t, u) } }
	return map[string]func() error{
		"account PATCH":     arm("PATCH", "", `{"tags":{"a":"b"}}`),
		"asset PUT":         arm("PUT", "/assets/again", `{"properties":{"description":"x"}}`),
		"asset GET":         arm("GET", "/assets/out", ""),
		"asset LIST":        arm("GET", "/assets", ""),
		"listContentKeys":   arm("POST", "/streamingLocators/enc/listContentKeys", "{}"),
		"job GET":           arm("GET", "/transforms/copy/jobs/first", ""),
		"manifest":          get(st.clear),
		"cached segment":    get(st.segment),
		"encrypted segment": get(st.encrypted),
		"download":          get(st.download),
		"key delivery":      get(st.keyURL),
	}
}

func (st *studio) status(t testing.TB) string {
	t.Helper()
	got, err := st.accounts(t).Get(context.Background(), st.group, st.name, nil)
	check(t, err)
	return *got.Properties.Encryption.Status
}

// times tries all paths side by side until each is as wanted, in the time that is promised, and tells when each was.
func (st *studio) times(t testing.TB, since time.Time, wanted func(name string, err error) error) string {
	t.Helper()
	paths := st.paths(t)
	names := slices.Sorted(maps.Keys(paths))
	took := make([]time.Duration, len(names))
	last := make([]error, len(names))
	var trying sync.WaitGroup
	for i, name := range names {
		trying.Go(func() {
			for {
				last[i] = wanted(name, paths[name]())
				took[i] = time.Since(since)
				if last[i] == nil || took[i] > promised {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	trying.Wait()
	if err := errors.Join(last...); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for i, name := range names {
		fmt.Fprintf(&told, " %s %.2f s,", name, took[i].Seconds())
	}
	return strings.TrimSuffix(told.String(), ",")
}

// shut checks that every path is closed in time, and what may still be done.
func (st *studio) shut(t testing.TB, cause string, since time.Time) {
	t.Helper()
	took := st.times(t, since, func(name string, err error) error {
		if err == nil || !strings.Contains(err.Error(), "CustomerKeyInaccessible") {
			return fmt.Errorf("%s: %s: %v", cause, name, err)
		}
		return nil
	})
	t.Logf("%s: refused after%s", cause, took)
	if s := st.status(t); !strings.HasPrefix(s, "Disconnected: ") || len(s) > 700 {
		t.Errorf("%s: status of %d bytes: %s", cause, len(s), s)
	} else {
		t.Logf("%s: %s", cause, s)
	}
	listed := false
	for pager := st.accounts(t).NewListPager(st.group, nil); pager.More(); {
		page, err := pager.NextPage(context.Background())
		check(t, err)
		for _, a := range page.Value {
			listed = listed || *a.Name == st.name
		}
	}
	if !listed {
		t.Errorf("%s: the account is not listed", cause)
	}
}

func (st *studio) opened(t testing.TB, cause string, since time.Time) {
	t.Helper()
	took := st.times(t, since, func(name string, err error) error {
		if err != nil {
			return fmt.Errorf("%s mended: %s: %w", cause, name, err)
		}
		return nil
	})
	t.Logf("%s mended: open after%s", cause, took)
	if s := st.status(t); s != "Connected" {
		t.Errorf("%s mended: status %s", cause, s)
	}
}

// TestCausesOfInaccessibility: every way to take the customer's key away closes every path into the account in time,
// and its mend opens them again.
func TestCausesOfInaccessibility(t *testing.T) {
	t.Parallel()
	st := newStudio(t, start(t), "causeaccount")
	vaults, err := armkeyvault.NewVaultsClient(st.sub, st.Admin, st.options())
	check(t, err)
	patch := func(p armkeyvault.VaultPatchProperties) func() {
		return func() {
			t.Helper()
			_, err := vaults.Update(t.Context(), st.group, st.name+"-vault", armkeyvault.VaultPatchParameters{Properties: &p}, nil)
			check(t, err)
		}
	}
	update := func(p azkeys.UpdateKeyParameters) func() {
		return func() {
			t.Helper()
			_, err := st.keys.UpdateKey(t.Context(), "k", "", p, nil)
			check(t, err)
		}
	}
	ops := func(of ...azkeys.KeyOperation) func() {
		return update(azkeys.UpdateKeyParameters{KeyOps: to.SliceOfPtrs(of...)})
	}
	policies := func(of ...*armkeyvault.AccessPolicyEntry) armkeyvault.VaultPatchProperties {
		return armkeyvault.VaultPatchProperties{EnableRbacAuthorization: to.Ptr(false), AccessPolicies: append([]*armkeyvault.AccessPolicyEntry{}, of...)}
	}
	policy := &armkeyvault.AccessPolicyEntry{
		TenantID: to.Ptr(st.Installation().TenantID), ObjectID: &st.principal,
		Permissions: &armkeyvault.Permissions{Keys: to.SliceOfPtrs(armkeyvault.KeyPermissionsGet, armkeyvault.KeyPermissionsWrapKey, armkeyvault.KeyPermissionsUnwrapKey)},
	}
	firewall := func(bypass armkeyvault.NetworkRuleBypassOptions) func() {
		return patch(armkeyvault.VaultPatchProperties{NetworkACLs: &armkeyvault.NetworkRuleSet{
			Bypass: &bypass, DefaultAction: to.Ptr(armkeyvault.NetworkRuleActionDeny), IPRules: []*armkeyvault.IPRule{{Value: to.Ptr("127.0.0.0/8")}},
		}})
	}
	inTime := update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{
		NotBefore: to.Ptr(time.Now().Add(-time.Hour)), Expires: to.Ptr(time.Now().Add(24 * time.Hour)),
	}})
	type cause struct {
		name       string
		take, give func()
	}
	causes := []cause{}
	// The grant at each scope: while it stands there, it is the only one.
	scopes := map[string]string{
		"key": st.vault + "/keys/k", "vault": st.vault, "resource group": st.groupID(), "subscription": "/subscriptions/" + st.sub,
	}
	for _, name := range []string{"key", "resource group", "subscription", "vault"} {
		causes = append(causes, cause{
			"the grant on the " + name,
			func() {
				grant := st.vaultGrant
				if name != "vault" {
					grant = st.assign(t, scopes[name], cryptoService, st.principal)
					st.unassign(t, st.vault, st.vaultGrant)
					check(t, st.encrypt(t, st.URLs().Vault(st.name+"-vault")+"/keys/k")) // asks the vault
				}
				st.unassign(t, scopes[name], grant)
			},
			func() { st.vaultGrant = st.assign(t, st.vault, cryptoService, st.principal) },
		})
	}
	causes = append(
		causes,
		cause{
			"the key is disabled",
			update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}),
			update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(true)}}),
		},
		cause{
			"the key is deleted",
			func() { _, err := st.keys.DeleteKey(t.Context(), "k", nil); check(t, err) },
			func() { _, err := st.keys.RecoverDeletedKey(t.Context(), "k", nil); check(t, err) },
		},
		cause{
			"the key is expired", update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Expires: to.Ptr(time.Now().Add(-time.Hour))}}), inTime,
		},
		cause{
			"the key is not yet valid",
			update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{NotBefore: to.Ptr(time.Now().Add(time.Hour)), Expires: to.Ptr(time.Now().Add(2 * time.Hour))}}), inTime,
		},
		cause{"unwrapKey is taken from key_ops", ops(azkeys.KeyOperationWrapKey), ops(azkeys.KeyOperationWrapKey, azkeys.KeyOperationUnwrapKey)},
		cause{"the firewall without bypass", firewall(armkeyvault.NetworkRuleBypassOptionsNone), firewall(armkeyvault.NetworkRuleBypassOptionsAzureServices)},
		cause{"access policies without one", patch(policies()), patch(policies(policy))},
		cause{"the access policy is removed", patch(policies()), patch(armkeyvault.VaultPatchProperties{EnableRbacAuthorization: to.Ptr(true)})},
		cause{
			"the vault is deleted",
			func() { _, err := vaults.Delete(t.Context(), st.group, st.name+"-vault", nil); check(t, err) },
			func() {
				p, err := vaults.BeginCreateOrUpdate(t.Context(), st.group, st.name+"-vault", armkeyvault.VaultCreateOrUpdateParameters{
					Location: to.Ptr(location), Properties: &armkeyvault.VaultProperties{
						CreateMode: to.Ptr(armkeyvault.CreateModeRecover), TenantID: to.Ptr(st.Installation().TenantID),
						SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
					},
				}, nil)
				check(t, err)
				_, err = p.PollUntilDone(t.Context(), poll())
				check(t, err)
				// A deleted resource takes its role assignments with it.
				st.vaultGrant = st.assign(t, st.vault, cryptoService, st.principal)
				st.assign(t, st.vault, cryptoOfficer, st.adminID(t))
			},
		},
	)
	st.opened(t, "nothing", time.Now())
	for _, c := range causes {
		c.take()
		st.shut(t, c.name, time.Now())
		c.give()
		st.opened(t, c.name, time.Now())
	}
	events := st.activity(t, "CustomerKey.")
	if in, out := events["CustomerKey.Inaccessible"], events["CustomerKey.Accessible"]; in != len(causes) || out != len(causes) {
		t.Errorf("%d causes; the audit tells of %d losses and %d returns", len(causes), in, out)
	}

	// A key outside its time protects no account anew either.
	keyID := st.URLs().Vault(st.name+"-vault") + "/keys/k"
	update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Expires: to.Ptr(time.Now().Add(-time.Hour))}})()
	refusedOperation(t, st.encrypt(t, keyID), "BadRequest", "expired")
	update(azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{NotBefore: to.Ptr(time.Now().Add(time.Hour)), Expires: to.Ptr(time.Now().Add(2 * time.Hour))}})()
	refusedOperation(t, st.encrypt(t, keyID), "BadRequest", "may not be used before")
	inTime()

	// The account can be deleted without its key.
	st.unassign(t, st.vault, st.vaultGrant)
	st.shut(t, "the end", time.Now())
	_, err = st.accounts(t).Delete(t.Context(), st.group, st.name, nil)
	check(t, err)
	_, err = st.accounts(t).Get(t.Context(), st.group, st.name, nil)
	refused(t, err, http.StatusNotFound, "")
}

// activity counts what the activity log holds of the account's identity, of operations that begin with prefix.
func (st *studio) activity(t testing.TB, prefix string) map[string]int {
	t.Helper()
	token := st.token(t, st.Admin, "https://management.azure.com")
	filter := url.QueryEscape(fmt.Sprintf("eventTimestamp ge '%s' and caller eq '%s'", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), st.principal))
	next := st.URLs().Management() + "/subscriptions/" + st.sub + "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=" + filter
	counts := map[string]int{}
	for next != "" {
		resp, text := st.raw(t, "GET", next, token, "")
		if resp.StatusCode != 200 {
			t.Fatalf("the activity log: %d %s", resp.StatusCode, text)
		}
		var page struct {
			Value []struct {
				OperationName struct{ Value string }
			}
			NextLink string
		}
		check(t, json.Unmarshal([]byte(text), &page))
		for _, e := range page.Value {
			if strings.HasPrefix(e.OperationName.Value, prefix) {
				counts[e.OperationName.Value]++
			}
		}
		next = page.NextLink
	}
	return counts
}

// TestJobWithoutCustomerKey: a job that runs is stopped when the key goes, waits, and is finished once when it returns.
func TestJobWithoutCustomerKey(t *testing.T) {
	t.Parallel()
	st := newStudio(t, start(t), "pauseaccount")
	_, err := st.blobs.UploadBuffer(t.Context(), st.container["in"], "long.mp4", movie(t, 30, "640x360"), nil)
	check(t, err)
	check(t, st.submit(t, "encode", "running", "long.mp4", "other"))
	check(t, st.submit(t, "copy", "queued", "m.mp4", "other"))
	st.until(t, "encode", "running", 20*time.Second, armmediaservices.JobStateProcessing)
	st.unassign(t, st.vault, st.vaultGrant)
	st.shut(t, "the grant", time.Now())
	before := st.files(t, "other")
	time.Sleep(2 * time.Second)
	if after := st.files(t, "other"); after != before {
		t.Errorf("without its key the account wrote: %s, then %s", before, after)
	}
	st.vaultGrant = st.assign(t, st.vault, cryptoService, st.principal)
	for transform, name := range map[string]string{"encode": "running", "copy": "queued"} {
		keyreeltest.Within(t, promised, func() error { _, err := st.job(t, transform, name); return err })
		if j := st.await(t, transform, name, time.Minute); *j.State != armmediaservices.JobStateFinished {
			t.Errorf("%s: %s", name, describe(j))
		}
	}
}

// files lists an asset's files with their versions.
func (st *studio) files(t testing.TB, asset string) string {
	t.Helper()
	page, err := st.blobs.NewListBlobsFlatPager(st.container[asset], nil).NextPage(context.Background())
	check(t, err)
	var b strings.Builder
	for _, item := range page.Segment.BlobItems {
		fmt.Fprintf(&b, "%s %s; ", *item.Name, *item.Properties.ETag)
	}
	return b.String()
}

// TestIdentityOfCustomerKeyIsDeleted: with the user-assigned identity its access to the key is gone, in time.
func TestIdentityOfCustomerKeyIsDeleted(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "uaistore", nil)
	identity := s.identity(t, "keyuser")
	vault := s.newVault(t, "uai-vault", nil)
	s.assign(t, vault, cryptoOfficer, s.adminID(t))
	createRSA(t, s.keys(t, "uai-vault", s.Admin), "k")
	s.assign(t, vault, cryptoService, *identity.Properties.PrincipalID)
	p, err := s.accounts(t).BeginCreateOrUpdate(t.Context(), s.group, "uaiaccount", armmediaservices.MediaService{
		Location: to.Ptr(location), Identity: &armmediaservices.MediaServiceIdentity{
			Type: to.Ptr("UserAssigned"), UserAssignedIdentities: map[string]*armmediaservices.UserAssignedManagedIdentity{*identity.ID: {}},
		},
		Properties: &armmediaservices.MediaServiceProperties{
			StorageAccounts: []*armmediaservices.StorageAccount{{ID: &storage, Type: to.Ptr(armmediaservices.StorageAccountTypePrimary)}},
			Encryption: &armmediaservices.AccountEncryption{
				Type:               to.Ptr(armmediaservices.AccountEncryptionKeyTypeCustomerKey),
				KeyVaultProperties: &armmediaservices.KeyVaultProperties{KeyIdentifier: to.Ptr(s.URLs().Vault("uai-vault") + "/keys/k")},
				Identity:           &armmediaservices.ResourceIdentity{UserAssignedIdentity: identity.ID, UseSystemAssignedIdentity: to.Ptr(false)},
			},
		},
	}, nil)
	check(t, err)
	_, err = p.PollUntilDone(t.Context(), poll())
	check(t, err)
	policies, err := armmediaservices.NewContentKeyPoliciesClient(s.sub, s.Admin, s.options())
	check(t, err)
	_, err = policies.CreateOrUpdate(t.Context(), s.group, "uaiaccount", "p", tokenPolicy(bytes.Repeat([]byte{7}, 32)), nil)
	check(t, err)
	token := s.token(t, s.Admin, "https://management.azure.com")
	resp, text := s.raw(t, "DELETE", s.URLs().Management()+*identity.ID+"?api-version=2023-01-31", token, "")
	if resp.StatusCode != 200 && resp.StatusCode != 204 {
		t.Fatalf("deleting the identity: %d %s", resp.StatusCode, text)
	}
	keyreeltest.Within(t, promised, func() error {
		if _, err := policies.GetPolicyPropertiesWithSecrets(t.Context(), s.group, "uaiaccount", "p", nil); err == nil || !strings.Contains(err.Error(), "CustomerKeyInaccessible") {
			return fmt.Errorf("a deleted identity still serves: %v", err)
		}
		return nil
	})
	// Another identity of the account takes the key over, when it may use it.
	second := s.identity(t, "keyuser2")
	takeOver := func() error {
		return s.updateAccount(t, "uaiaccount", armmediaservices.MediaServiceUpdate{
			Identity: &armmediaservices.MediaServiceIdentity{
				Type: to.Ptr("UserAssigned"), UserAssignedIdentities: map[string]*armmediaservices.UserAssignedManagedIdentity{*second.ID: {}, *identity.ID: nil},
			},
			Properties: &armmediaservices.MediaServiceProperties{Encryption: &armmediaservices.AccountEncryption{
				Type:     to.Ptr(armmediaservices.AccountEncryptionKeyTypeCustomerKey),
				Identity: &armmediaservices.ResourceIdentity{UserAssignedIdentity: second.ID, UseSystemAssignedIdentity: to.Ptr(false)},
			}},
		})
	}
	refusedOperation(t, takeOver(), "CustomerKeyInaccessible", *second.Properties.PrincipalID, "Key Vault Crypto Service Encryption User")
	s.assign(t, vault, cryptoService, *second.Properties.PrincipalID)
	check(t, takeOver())
	_, err = policies.GetPolicyPropertiesWithSecrets(t.Context(), s.group, "uaiaccount", "p", nil)
	check(t, err)
	got, err := s.accounts(t).Get(t.Context(), s.group, "uaiaccount", nil)
	check(t, err)
	if len(got.Identity.UserAssignedIdentities) != 1 || *got.Properties.Encryption.Status != "Connected" {
		t.Errorf("after the other identity took over: %v %s", got.Identity.UserAssignedIdentities, *got.Properties.Encryption.Status)
	}
	_, err = s.accounts(t).Delete(t.Context(), s.group, "uaiaccount", nil)
	check(t, err)
}

// TestConcurrentAccountWrites: of two changes of encryption at once one wins and the other is told so; the account is
// usable under the key that it says.
func TestConcurrentAccountWrites(t *testing.T) {
	t.Parallel()
	st := newStudio(t, start(t), "raceaccount")
	createRSA(t, st.keys, "k2")
	base := st.URLs().Vault(st.name + "-vault")
	for round := range 6 {
		outcomes := make(chan error, 4)
		for i := range cap(outcomes) {
			go func() {
				_, err := st.accounts(t).BeginUpdate(context.Background(), st.group, st.name, armmediaservices.MediaServiceUpdate{
					Properties: &armmediaservices.MediaServiceProperties{Encryption: &armmediaservices.AccountEncryption{
						Type:               to.Ptr(armmediaservices.AccountEncryptionKeyTypeCustomerKey),
						KeyVaultProperties: &armmediaservices.KeyVaultProperties{KeyIdentifier: to.Ptr(base + "/keys/" + []string{"k", "k2"}[i%2])},
					}},
				}, nil)
				outcomes <- err
			}()
		}
		won := 0
		for range cap(outcomes) {
			if err := <-outcomes; err == nil {
				won++
			} else {
				refused(t, err, http.StatusConflict, "")
			}
		}
		if won == 0 {
			t.Errorf("round %d: nobody won", round)
		}
		keyreeltest.Within(t, 10*time.Second, func() error {
			got, err := st.accounts(t).Get(t.Context(), st.group, st.name, nil)
			if err != nil {
				return err
			}
			if *got.Properties.ProvisioningState != armmediaservices.ProvisioningStateSucceeded {
				return errors.New("still " + string(*got.Properties.ProvisioningState))
			}
			kv := got.Properties.Encryption.KeyVaultProperties
			if !strings.HasPrefix(*kv.CurrentKeyIdentifier, *kv.KeyIdentifier+"/") {
				return fmt.Errorf("it says %s and is wrapped by %s", *kv.KeyIdentifier, *kv.CurrentKeyIdentifier)
			}
			return st.paths(t)["listContentKeys"]()
		})
	}
}

// spellings of a secret as it might lie about.
func spellings(secret []byte) [][]byte {
	return [][]byte{
		secret, []byte(base64.StdEncoding.EncodeToString(secret)), []byte(base64.RawStdEncoding.EncodeToString(secret)),
		[]byte(base64.RawURLEncoding.EncodeToString(secret)), fmt.Appendf(nil, "%x", secret), fmt.Appendf(nil, "%X", secret),
	}
}

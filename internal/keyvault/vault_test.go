package keyvault_test

import (
	"strings"
	"testing"
	"time"

	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	someVault = `"tenantId":"` + tenant + `","sku":{"family":"A","name":"standard"}`
	deleted   = "/subscriptions/" + subscription + "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/"
)

func vaultBody(props string) string { return `{"location":"westeurope","properties":{` + props + `}}` }

func TestVaultProperties(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	status, got := s.arm("owner", "PUT", vaultsPath+"Vault-1", "2024-11-01", vaultBody(someVault+`,"accessPolicies":[],"networkAcls":{"defaultAction":"deny","ipRules":[{"value":"192.0.2.1"}]}`))
	if status != 200 {
		t.Fatalf("%d %v", status, got)
	}
	want := map[string]any{
		"tenantId": tenant, "sku": map[string]any{"family": "A", "name": "standard"}, "accessPolicies": []any{},
		"enabledForDeployment": false, "enabledForDiskEncryption": false, "enabledForTemplateDeployment": false,
		"enableSoftDelete": true, "softDeleteRetentionInDays": 90.0, "enableRbacAuthorization": false,
		"publicNetworkAccess": "Enabled", "provisioningState": "Succeeded",
		"networkAcls": map[string]any{
			"bypass": "AzureServices", "defaultAction": "Deny", "ipRules": []any{map[string]any{"value": "192.0.2.1/32"}}, "virtualNetworkRules": []any{},
		},
		"vaultUri": "https://vault-1.vault.keyreel.localhost:" + s.hosts.Port + "/",
	}
	if diff := cmp.Diff(want, got["properties"]); diff != "" {
		t.Error(diff)
	}
	status, got = s.arm("owner", "PUT", vaultsPath+"vault-2", "2026-02-01", vaultBody(someVault))
	if props, _ := got["properties"].(map[string]any); status != 200 || props["enableRbacAuthorization"] != true {
		t.Errorf("a new vault under 2026-02-01 authorizes by roles: %d %v", status, got)
	}
	// What a PUT leaves out stays.
	status, got = s.arm("owner", "PUT", vaultsPath+"vault-2", "2024-11-01", vaultBody(someVault+`,"enablePurgeProtection":true`))
	if props, _ := got["properties"].(map[string]any); status != 200 || props["enableRbacAuthorization"] != true || props["enablePurgeProtection"] != true {
		t.Errorf("%d %v", status, got)
	}
	status, got = s.arm("owner", "GET", vaultsPath+"VAULT-2", "2024-11-01", "")
	if props, _ := got["properties"].(map[string]any); status != 200 || props["enablePurgeProtection"] != true {
		t.Errorf("%d %v", status, got)
	}
	status, got = s.arm("owner", "GET", strings.TrimSuffix(vaultsPath, "/"), "2024-11-01", "")
	if value, _ := got["value"].([]any); status != 200 || len(value) != 2 {
		t.Errorf("list: %d %v", status, got)
	}
	if status, got = s.arm("owner", "PUT", vaultsPath+"v", "2024-11-01", vaultBody(someVault)); status != 400 {
		t.Errorf("a bad name: %d %v", status, got)
	}
}

func TestVaultRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", `,"softDeleteRetentionInDays":30`)
	for name, tt := range map[string]struct{ method, vault, props, in string }{
		"no sku":                  {"PUT", "new", `"tenantId":"` + tenant + `"`, "sku"},
		"unknown sku":             {"PUT", "new", `"tenantId":"` + tenant + `","sku":{"family":"A","name":"gold"}`, "gold"},
		"unknown family":          {"PUT", "new", `"tenantId":"` + tenant + `","sku":{"family":"B","name":"standard"}`, "family"},
		"no tenant":               {"PUT", "new", `"sku":{"family":"A","name":"standard"}`, "tenantId"},
		"another tenant":          {"PUT", "new", strings.ReplaceAll(someVault, tenant, subscription), "An invalid value was provided for 'tenantId'"},
		"no access policies":      {"PUT", "new", someVault, "accessPolicies"},
		"policy without object":   {"PUT", "new", someVault + `,"accessPolicies":[{"tenantId":"` + tenant + `"}]`, "objectId"},
		"policy of other tenant":  {"PUT", "new", someVault + `,"accessPolicies":[{"tenantId":"x","objectId":"y"}]`, "tenantId"},
		"unknown permission":      {"PUT", "new", someVault + `,"accessPolicies":[{"tenantId":"` + tenant + `","objectId":"y","permissions":{"keys":["fly"]}}]`, "'fly'"},
		"retention of 6 days":     {"PUT", "new", someVault + `,"accessPolicies":[],"softDeleteRetentionInDays":6`, "softDeleteRetentionInDays"},
		"retention of 91 days":    {"PUT", "new", someVault + `,"accessPolicies":[],"softDeleteRetentionInDays":91`, "softDeleteRetentionInDays"},
		"soft delete off":         {"PUT", "new", someVault + `,"accessPolicies":[],"enableSoftDelete":false`, "enableSoftDelete"},
		"purge protection off":    {"PATCH", "kv1", `"enablePurgeProtection":false`, "enablePurgeProtection"},
		"retention changed":       {"PATCH", "kv1", `"softDeleteRetentionInDays":31`, "can't be modified"},
		"no default action":       {"PATCH", "kv1", `"networkAcls":{"bypass":"None"}`, "defaultAction"},
		"unknown default action":  {"PATCH", "kv1", `"networkAcls":{"defaultAction":"Maybe"}`, "defaultAction"},
		"unknown bypass":          {"PATCH", "kv1", `"networkAcls":{"defaultAction":"Deny","bypass":"All"}`, "bypass"},
		"bad IP rule":             {"PATCH", "kv1", `"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"300.1.1.1"}]}`, "ipRules[0]"},
		"bad network rule":        {"PATCH", "kv1", `"networkAcls":{"defaultAction":"Deny","virtualNetworkRules":[{"id":"subnet"}]}`, "virtualNetworkRules[0]"},
		"unknown public access":   {"PATCH", "kv1", `"publicNetworkAccess":"SecuredByPerimeter"`, "publicNetworkAccess"},
		"unknown create mode":     {"PUT", "new", someVault + `,"createMode":"again"`, "createMode"},
		"recover what is not":     {"PUT", "new", someVault + `,"createMode":"recover"`, "recoverable state"},
		"properties of odd types": {"PUT", "new", `"sku":"standard"`, "deserialized"},
	} {
		status, got := s.arm("owner", tt.method, vaultsPath+tt.vault, "2024-11-01", vaultBody(tt.props))
		e, _ := got["error"].(map[string]any)
		message, _ := e["message"].(string)
		if status != 400 || !strings.Contains(message, tt.in) {
			t.Errorf("%s: %d %v", name, status, got)
		}
	}
	if status, _ := s.arm("owner", "GET", vaultsPath+"new", "2024-11-01", ""); status != 404 {
		t.Errorf("a refused vault exists: %d", status)
	}
}

// A contributor may write a vault, but not give itself keys by switching the permission model.
func TestPermissionModel(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	s.assign("contributor", contributorRole, group)
	policy := `"enableRbacAuthorization":false,"accessPolicies":[{"tenantId":"` + tenant + `","objectId":"` + callers["contributor"].ObjectID + `","permissions":{"keys":["all"]}}]`
	status, got := s.arm("contributor", "PATCH", vaultsPath+"kv1", "2024-11-01", `{"properties":{`+policy+`}}`)
	if status != 403 {
		t.Errorf("%d %v", status, got)
	}
	s.expect(s.do("kv1", "contributor", "GET", "/keys", ""), 403, "Forbidden", "ForbiddenByRbac")
	if status, got := s.arm("contributor", "PATCH", vaultsPath+"kv1", "2024-11-01", `{"tags":{"a":"b"}}`); status != 200 {
		t.Errorf("%d %v", status, got)
	}
	if status, got := s.arm("owner", "PATCH", vaultsPath+"kv1", "2024-11-01", `{"properties":{"enableRbacAuthorization":false}}`); status != 200 {
		t.Errorf("%d %v", status, got)
	}
}

func TestVaultDeletion(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		code := func(status int, answer map[string]any) string {
			e, _ := answer["error"].(map[string]any)
			c, _ := e["code"].(string)
			return c
		}
		available := func(name string) any {
			_, got := s.arm("owner", "POST", "/subscriptions/"+subscription+"/providers/Microsoft.KeyVault/checkNameAvailability", "2024-11-01",
				`{"name":"`+name+`","type":"Microsoft.KeyVault/vaults"}`)
			return got["nameAvailable"]
		}
		if available("kv1") != true || available("x") != false {
			t.Error("checkNameAvailability")
		}
		s.vault("kv1", `,"softDeleteRetentionInDays":7`)
		kid := s.create("kv1", "k", `{"kty":"RSA"}`).field("key", "kid")
		if available("KV1") != false {
			t.Error("the name of a living vault is available")
		}
		s.arm("owner", "PUT", group+"2", "2021-04-01", `{"location":"westeurope"}`)
		other := strings.Replace(vaultsPath, "/rg/", "/rg2/", 1) + "Kv1"
		if status, got := s.arm("owner", "PUT", other, "2024-11-01", vaultBody(someVault+`,"accessPolicies":[]`)); status != 409 || code(status, got) != "VaultAlreadyExists" {
			t.Errorf("a second vault of the same name: %d %v", status, got)
		}

		if status, got := s.arm("owner", "DELETE", vaultsPath+"kv1", "2024-11-01", ""); status != 200 {
			t.Fatalf("%d %v", status, got)
		}
		s.expect(s.do("kv1", "officer", "GET", "/keys/k", ""), 404, "VaultNotFound", "")
		if available("kv1") != false {
			t.Error("the name of a deleted vault is available")
		}
		if status, got := s.arm("owner", "PUT", vaultsPath+"kv1", "2024-11-01", vaultBody(someVault+`,"accessPolicies":[]`)); status != 409 || code(status, got) != "ConflictError" {
			t.Errorf("create over a deleted vault: %d %v", status, got)
		}
		if status, got := s.arm("owner", "PUT", other, "2024-11-01", vaultBody(someVault+`,"createMode":"recover"`)); status != 400 || code(status, got) != "SoftDeletedVaultDoesNotExist" {
			t.Errorf("recovery into another group: %d %v", status, got)
		}
		status, got := s.arm("owner", "GET", deleted+"kv1", "2024-11-01", "")
		props, _ := got["properties"].(map[string]any)
		if status != 200 || props["vaultId"] != vaultsPath+"kv1" || props["location"] != "westeurope" || got["id"] != deleted+"kv1" {
			t.Errorf("%d %v", status, got)
		}
		status, got = s.arm("owner", "GET", "/subscriptions/"+subscription+"/providers/Microsoft.KeyVault/deletedVaults", "2024-11-01", "")
		if value, _ := got["value"].([]any); status != 200 || len(value) != 1 {
			t.Errorf("%d %v", status, got)
		}
		if status, _ := s.arm("owner", "GET", strings.Replace(deleted, "westeurope", "northeurope", 1)+"kv1", "2024-11-01", ""); status != 404 {
			t.Errorf("in another location: %d", status)
		}
		if status, _ := s.arm("stranger", "POST", deleted+"kv1/purge", "2024-11-01", ""); status != 403 {
			t.Errorf("a stranger purges: %d", status)
		}

		// Recovered with its keys, for good this time.
		status, got = s.arm("owner", "PUT", vaultsPath+"kv1", "2024-11-01", vaultBody(someVault+`,"createMode":"recover"`))
		props, _ = got["properties"].(map[string]any)
		if status != 200 || props["softDeleteRetentionInDays"] != 7.0 || props["enableRbacAuthorization"] != true {
			t.Fatalf("recover: %d %v", status, got)
		}
		s.assign("officer", cryptoOfficerRole, vaultsPath+"kv1")
		if a := s.do("kv1", "officer", "GET", "/keys/k", ""); a.field("key", "kid") != kid {
			t.Errorf("after recovery: %s", a.raw)
		}
		if status, got := s.arm("owner", "PATCH", vaultsPath+"kv1", "2024-11-01", `{"properties":{"enablePurgeProtection":true}}`); status != 200 {
			t.Fatalf("%d %v", status, got)
		}
		s.do("kv1", "officer", "DELETE", "/keys/k", "")
		s.expect(s.do("kv1", "officer", "DELETE", "/deletedkeys/k", ""), 403, "Forbidden", "ForbiddenByPolicy")
		if a := s.do("kv1", "officer", "GET", "/deletedkeys/k", ""); a.body["attributes"].(map[string]any)["recoveryLevel"] != "CustomizedRecoverable" {
			t.Error(a.raw)
		}
		s.arm("owner", "DELETE", vaultsPath+"kv1", "2024-11-01", "")
		if status, got := s.arm("owner", "POST", deleted+"kv1/purge", "2024-11-01", ""); status != 405 || code(status, got) != "MethodNotAllowed" {
			t.Errorf("purge of a protected vault: %d %v", status, got)
		}

		// Purged: nothing is left, and the name's next life has none of it.
		s.vault("kv2", "")
		s.create("kv2", "k", `{"kty":"RSA"}`)
		s.arm("owner", "DELETE", vaultsPath+"kv2", "2024-11-01", "")
		if status, got := s.arm("owner", "POST", deleted+"kv2/purge", "2024-11-01", ""); status != 200 {
			t.Errorf("purge: %d %v", status, got)
		}
		if status, got := s.arm("owner", "GET", deleted+"kv2", "2024-11-01", ""); status != 404 {
			t.Errorf("after the purge: %d %v", status, got)
		}
		if n := s.count(`SELECT COUNT(*) FROM keyvault_versions`); n != 1 {
			t.Errorf("%d private keys are left, want kv1's", n)
		}
		s.vault("kv2", "")
		s.expect(s.do("kv2", "officer", "GET", "/keys/k", ""), 404, "KeyNotFound", "")

		// The end of the retention period is a purge too, even of what is protected.
		s.exec(`UPDATE keyvault_vaults SET purge = 1 WHERE name = 'kv1'`)
		if status, _ := s.arm("owner", "GET", deleted+"kv1", "2024-11-01", ""); status != 404 {
			t.Errorf("an expired vault is shown: %d", status)
		}
		if status, got := s.arm("owner", "PUT", vaultsPath+"kv1", "2024-11-01", vaultBody(someVault+`,"createMode":"recover"`)); status != 400 {
			t.Errorf("an expired vault is recovered: %d %v", status, got)
		}
		s.vault("kv1", "")
		if n := s.count(`SELECT COUNT(*) FROM keyvault_versions`); n != 0 {
			t.Errorf("%d private keys outlive their vaults", n)
		}
	})
}

func (s *server) count(query string) (n int) {
	s.t.Helper()
	s.must(s.db.View(s.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(s.t.Context(), query).Scan(&n) }))
	return n
}

// A key past its retention period is gone for every operation, and its name is free.
func TestExpiredKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", `,"enablePurgeProtection":true`)
		first := s.create("kv1", "k", `{"kty":"RSA"}`).field("key", "kid")
		s.do("kv1", "officer", "DELETE", "/keys/k", "")
		s.exec(`UPDATE keyvault_keys SET purge = 1`)
		for _, request := range []string{"GET /deletedkeys/k", "POST /deletedkeys/k/recover", "GET /keys/k", "GET /keys/k/" + first[len(first)-32:]} {
			method, path, _ := strings.Cut(request, " ")
			s.expect(s.do("kv1", "officer", method, path, ""), 404, "KeyNotFound", "")
		}
		if a := s.do("kv1", "officer", "GET", "/deletedkeys", ""); len(a.body["value"].([]any)) != 0 {
			t.Error(a.raw)
		}
		if again := s.create("kv1", "k", `{"kty":"RSA"}`).field("key", "kid"); again == first {
			t.Error("the same version again")
		}
		if n := s.count(`SELECT COUNT(*) FROM keyvault_versions`); n != 1 {
			t.Errorf("%d versions, want 1", n)
		}
	})
}

// The official client of the resource provider.
func TestOfficialVaultsClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	ctx := t.Context()
	management := azure.URLs{Hosts: s.hosts}.Management()
	c, err := armkeyvault.NewVaultsClient(subscription, credential("owner"), &azarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: s.client, Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Audience: "https://management.azure.com/", Endpoint: management},
		}},
	}})
	s.must(err)
	poller, err := c.BeginCreateOrUpdate(ctx, "rg", "kv1", armkeyvault.VaultCreateOrUpdateParameters{
		Location: to.Ptr("westeurope"),
		Properties: &armkeyvault.VaultProperties{
			SKU:      &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNamePremium)},
			TenantID: to.Ptr(tenant), EnableRbacAuthorization: to.Ptr(true),
		},
	}, nil)
	s.must(err)
	made, err := poller.PollUntilDone(ctx, nil)
	s.must(err)
	if *made.Properties.VaultURI != s.url("kv1")+"/" || *made.Properties.ProvisioningState != armkeyvault.VaultProvisioningStateSucceeded {
		t.Errorf("%+v", made.Properties)
	}
	_, err = c.UpdateAccessPolicy(ctx, "rg", "kv1", armkeyvault.AccessPolicyUpdateKindAdd, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{{
			TenantID: to.Ptr(tenant), ObjectID: to.Ptr(callers["media"].ObjectID),
			Permissions: &armkeyvault.Permissions{Keys: []*armkeyvault.KeyPermissions{to.Ptr(armkeyvault.KeyPermissionsGet)}},
		}}},
	}, nil)
	s.must(err)
	updated, err := c.Update(ctx, "rg", "kv1", armkeyvault.VaultPatchParameters{Tags: map[string]*string{"test": to.Ptr("yes")}}, nil)
	s.must(err)
	if *updated.Tags["test"] != "yes" || len(updated.Properties.AccessPolicies) != 1 {
		t.Errorf("%+v %+v", updated.Tags, updated.Properties)
	}
	taken, err := c.CheckNameAvailability(ctx, armkeyvault.VaultCheckNameAvailabilityParameters{Name: to.Ptr("kv1"), Type: to.Ptr("Microsoft.KeyVault/vaults")}, nil)
	s.must(err)
	if *taken.NameAvailable || *taken.Reason != armkeyvault.ReasonAlreadyExists {
		t.Errorf("%+v", taken)
	}
	_, err = c.Delete(ctx, "rg", "kv1", nil)
	s.must(err)
	gone, err := c.GetDeleted(ctx, "kv1", "westeurope", nil)
	s.must(err)
	if gone.Properties.ScheduledPurgeDate.Sub(*gone.Properties.DeletionDate) != 90*24*time.Hour || *gone.Properties.Tags["test"] != "yes" {
		t.Errorf("%+v", gone.Properties)
	}
	page, err := c.NewListDeletedPager(nil).NextPage(ctx)
	s.must(err)
	if len(page.Value) != 1 {
		t.Errorf("%d deleted vaults", len(page.Value))
	}
	purge, err := c.BeginPurgeDeleted(ctx, "kv1", "westeurope", nil)
	s.must(err)
	_, err = purge.PollUntilDone(ctx, nil)
	s.must(err)
}

package media

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestAccountDefaults(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.put(acct, syncV, fmt.Sprintf(accountDoc, "")).want(201)
		a := w.get(acct).want(200)
		for path, want := range map[string]any{
			"type": "Microsoft.Media/mediaservices", "identity.principalId": system, "properties.provisioningState": "Succeeded",
			"properties.storageAuthentication": "System", "properties.encryption.type": "SystemKey",
			"properties.keyDelivery.accessControl.defaultAction": "Allow", "properties.publicNetworkAccess": "Enabled",
			"properties.storageAccounts.0.type": "Primary",
		} {
			if got := a.at(path); got != want {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}
		if l, ok := a.at("properties.privateEndpointConnections").([]any); !ok || len(l) != 0 {
			t.Errorf("privateEndpointConnections: %s", a.raw)
		}
		id := a.at("properties.mediaServiceId")
		// What an old client leaves out stays.
		w.do("PATCH", acct, syncV, `{"properties":{"publicNetworkAccess":"Disabled"}}`).want(200)
		b := w.put(acct, syncV, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccounts":[{"id":"`+storage+`"}]}}`).want(200)
		if b.at("properties.publicNetworkAccess") != "Disabled" || b.at("properties.mediaServiceId") != id {
			t.Errorf("after a PUT without them: %s", b.raw)
		}
		w.get(acct+"/streamingEndpoints/default").want(200).says(`"resourceState":"Running"`, "default-acct1.streaming.keyreel.test")
		w.get(acct+"/streamingPolicies").want(200).says("Predefined_ClearKey", "Predefined_MultiDrmStreaming")
		w.do("DELETE", acct+"/streamingPolicies/Predefined_ClearKey", asyncV, "").want(400)
		w.get(acct + "/assets/none").want(404)
		w.do("DELETE", acct, asyncV, "").want(200)
		w.get(acct).want(404)
		if _, err := w.o.Keys.State(t.Context(), acct); err == nil {
			t.Error("the account key is left")
		}
	})
}

func TestBadAccounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.letIn()
		other := group + "/providers/Microsoft.Storage/storageAccounts/none"
		for _, tt := range []struct {
			name, body string
			says       string
		}{
			{"no storage", `{"location":"westeurope","properties":{}}`, "exactly one primary"},
			{"two primaries", `{"location":"westeurope","properties":{"storageAccounts":[{"id":"` + storage + `"},{"id":"` + other + `"}]}}`, "exactly one primary"},
			{"no such storage", `{"location":"westeurope","properties":{"storageAccounts":[{"id":"` + other + `"}]}}`, "was not found"},
			{"not a storage id", `{"location":"westeurope","properties":{"storageAccounts":[{"id":"/x"}]}}`, "not the ID"},
			{"no identity", `{"location":"westeurope","properties":{"storageAuthentication":"ManagedIdentity","storageAccounts":[{"id":"` + storage + `"}]}}`, "system-assigned"},
			{"identity of another", fmt.Sprintf(accountDoc, `,"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"},"identity":{"userAssignedIdentity":"/subscriptions/x"}}`), "not assigned"},
			{"customer key without one", fmt.Sprintf(accountDoc, `,"encryption":{"type":"CustomerKey"}`), "keyIdentifier"},
			{"unknown value", fmt.Sprintf(accountDoc, `,"publicNetworkAccess":"Perhaps"`), "Perhaps"},
			{"list with Allow", fmt.Sprintf(accountDoc, `,"keyDelivery":{"accessControl":{"defaultAction":"Allow","ipAllowList":["1.2.3.4"]}}`), "must be empty"},
			{"no address", fmt.Sprintf(accountDoc, `,"keyDelivery":{"accessControl":{"defaultAction":"Deny","ipAllowList":["x"]}}`), "neither an IP"},
		} {
			w.put(acct, syncV, tt.body).want(400).says(tt.says)
			w.get(acct).want(404)
		}
		w.serve(w.arm, "PUT", "https://management.keyreel.test"+acct+syncV, poor, fmt.Sprintf(accountDoc, "")).want(403).says("LinkedAuthorizationFailed", "listkeys", "store1")
		w.put(strings.Replace(acct, "acct1", "Bad_Name1", 1), syncV, fmt.Sprintf(accountDoc, "")).want(400)
	})
}

func TestStorageByManagedIdentity(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		doc := fmt.Sprintf(accountDoc, `,"storageAuthentication":"ManagedIdentity"`)
		w.put(acct, syncV, fmt.Sprintf(accountDoc, "")).want(201)
		w.put(acct, syncV, doc).want(400).says("Storage account cannot be accessed.", "Microsoft.Storage/storageAccounts/read", system, "Storage Blob Data Contributor")
		w.grant(system, readerRole, storage)
		w.put(acct, syncV, doc).want(400).says("blobs/write", system)
		w.grant(system, blobRole, storage)
		// The roles are there, and storage itself (its firewall, say) refuses.
		w.put(acct, syncV, doc).want(400).says("AuthorizationPermissionMismatch", "bypass")
		w.get(acct).want(200).says(`"storageAuthentication":"System"`)
		w.out.set(func() { w.out.allowed[system] = true })
		w.put(acct, syncV, doc).want(200).says(`"status":"Connected"`)
		w.do("POST", acct+"/syncStorageKeys", asyncV, `{"id":"`+storage+`"}`).want(200)

		w.out.set(func() { w.out.allowed[system] = false })
		if err := w.watchStorage(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.get(acct).want(200).says("Disconnected: AuthorizationPermissionMismatch")
		w.child("/assets/a", `{}`).want(403).says("MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", system, "Storage Blob Data Contributor")
		w.get(acct + "/assets/a").want(404)
		w.do("PATCH", acct, syncV, `{"tags":{"a":"b"}}`).want(200)

		w.out.set(func() { w.out.allowed[system] = true })
		w.child("/assets/a", `{}`).want(201)
		w.get(acct).want(200).says(`"status":"Connected"`)

		// The audit tells it in the same words.
		for operation, want := range map[string]struct {
			n    int
			says string
		}{
			"StorageAccount.Refused":      {3, "Storage Blob Data Contributor"},
			"StorageAccount.Inaccessible": {1, "Grant the identity the roles"},
			"StorageAccount.Accessible":   {1, ""},
		} {
			records, err := w.o.Audit.Query(t.Context(), audit.Filter{Operation: operation})
			if err != nil || len(records) != want.n {
				t.Fatalf("%s: %d records, %v", operation, len(records), err)
			}
			for _, r := range records {
				if r.Principal != system || !strings.Contains(r.Reason, want.says) {
					t.Errorf("%s: %+v", operation, r)
				}
			}
		}
	})
}

// TestBothRolesAreNeeded: an identity that keeps one of the two roles loses access as one that keeps none, and so does
// one that holds a role through a group that it leaves.
func TestBothRolesAreNeeded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.child("/assets/a", `{}`).want(201)
		for _, tt := range []struct{ name, role, keeps, says string }{
			{"reader", readerRole, blobRole, "Microsoft.Storage/storageAccounts/read"},
			{"contributor", blobRole, readerRole, "blobs/write"},
		} {
			err := w.db.Update(t.Context(), func(tx *store.Tx) error { return w.rbac.Purge(t.Context(), tx, system, "") })
			if err != nil {
				t.Fatal(err)
			}
			w.grant(system, tt.keeps, storage)
			w.child("/assets/b", `{}`).want(403).says("MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", tt.says)
			w.get(acct).want(200).says("Disconnected: AuthorizationFailed")
			w.o.Groups = func(context.Context, string) ([]string, error) { return []string{"group-" + tt.name}, nil }
			w.grant("group-"+tt.name, tt.role, storage)
			w.child("/assets/"+tt.name, `{}`).want(201)
			w.get(acct).want(200).says(`"status":"Connected"`)
			w.o.Groups = nil
			w.child("/assets/b", `{}`).want(403)
			w.grant(system, tt.role, storage)
			w.child("/assets/"+tt.name, `{}`).want(200)
		}
	})
}

const customer = `,"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"}}`

func TestCustomerKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.out.set(func() { w.out.vaultRefuses = true })
		w.put(acct, syncV, fmt.Sprintf(accountDoc, customer)).want(400).says(`"message":"Access to the Customer Key was forbidden."`, "Forbidden", "wrapKey", system)
		w.get(acct).want(200).says(`"type":"SystemKey"`)

		vault := group + "/providers/Microsoft.KeyVault/vaults/v"
		w.put(vault, asyncV, `{"location":"westeurope","properties":{"enableSoftDelete":true}}`).want(200)
		w.out.set(func() { w.out.vaultRefuses = false })
		w.put(acct, syncV, fmt.Sprintf(accountDoc, customer)).want(400).says("purge protection")
		w.put(vault, asyncV, `{"location":"westeurope","properties":{"enableSoftDelete":true,"enablePurgeProtection":true}}`).want(200)

		a := w.put(acct, syncV, fmt.Sprintf(accountDoc, customer)).want(200)
		const current = "https://v.vault.keyreel.test/keys/k/00000000000000000000000000000001"
		if a.at("properties.encryption.keyVaultProperties.currentKeyIdentifier") != current ||
			a.at("properties.encryption.identity.useSystemAssignedIdentity") != true || a.at("properties.encryption.status") != "Connected" ||
			a.at("properties.storageAuthentication") != "ManagedIdentity" {
			t.Errorf("with the customer's key: %s", a.raw)
		}
		w.child("/contentKeyPolicies/p", openPolicy).want(201)

		// The grant goes: everything but GET, LIST and DELETE of the account is refused, until it comes back.
		w.out.set(func() { w.out.vaultRefuses = true })
		w.o.Keys.Check(t.Context(), acct)
		w.get(acct).want(200).says("Disconnected: Forbidden", "Key Vault Crypto Service Encryption User")
		w.get(group + "/providers/Microsoft.Media/mediaservices").want(200)
		w.get(acct+"/contentKeyPolicies").want(403).says("CustomerKeyInaccessible", "unwrapKey")
		w.get(acct + "/contentKeyPolicies/p").want(403)
		w.do("PATCH", acct, syncV, `{"tags":{"a":"b"}}`).want(403)
		w.post(acct + "/contentKeyPolicies/p/getPolicyPropertiesWithSecrets").want(403)
		w.put(acct+"2", syncV, fmt.Sprintf(accountDoc, "")).want(201)
		w.out.set(func() { w.out.vaultRefuses = false })
		w.o.Keys.Check(t.Context(), acct)
		w.get(acct + "/contentKeyPolicies/p").want(200)

		w.put(acct, syncV, fmt.Sprintf(accountDoc, `,"encryption":{"type":"SystemKey"}`)).want(200)
		w.out.set(func() { w.out.vaultRefuses = true })
		w.post(acct + "/contentKeyPolicies/p/getPolicyPropertiesWithSecrets").want(200)

		// Without the key the account can still be deleted.
		w.out.set(func() { w.out.vaultRefuses = false })
		w.put(acct, syncV, fmt.Sprintf(accountDoc, customer)).want(200)
		w.out.set(func() { w.out.vaultRefuses = true })
		w.do("DELETE", acct, asyncV, "").want(200)
		w.get(acct).want(404)
	})
}

func TestListOperations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.do("GET", "/providers/Microsoft.Media/operations", asyncV, "").want(200).says("getPolicyPropertiesWithSecrets/action", "mediaservices/read")
}

func TestCheckNameAvailability(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		path := "/subscriptions/" + sub + "/providers/Microsoft.Media/locations/westeurope/checkNameAvailability"
		for name, want := range map[string]string{"acct1": "AlreadyExists", "free1": "None", "No!": "Invalid"} {
			w.do("POST", path, asyncV, `{"name":"`+name+`","type":"MICROSOFT.MEDIA/MEDIASERVICES"}`).want(200).says(`"reason":"` + want + `"`)
		}
	})
}

package media

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

func resourceID(t testing.TB, id string) azure.ResourceID {
	t.Helper()
	parsed, err := azure.ParseResourceID(id)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestAnotherIdentityTakesTheKeyOver: an account whose identity has lost the key is written with one that has it, and
// goes on.
func TestAnotherIdentityTakesTheKeyOver(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		user := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
		w.put(acct, syncV, fmt.Sprintf(accountDoc, customer)).want(200)
		w.child("/contentKeyPolicies/p", tokenPolicy()).want(201)
		w.out.set(func() { w.out.vaultDenied = map[string]bool{system: true} })
		check := func() {
			t.Helper()
			if _, err := w.o.Keys.Check(t.Context(), acct); err != nil {
				t.Fatal(err)
			}
		}
		check()
		const keyOnly = `"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"}`
		as := func(version string) answer {
			return w.do("PATCH", acct, version, fmt.Sprintf(`{"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{%q:{}}},"properties":{%s,"identity":{"userAssignedIdentity":%q}}}}`, user, keyOnly, user))
		}
		// What names no other identity is refused as everything is.
		for _, body := range []string{`{"tags":{}}`, `{"properties":{` + keyOnly + `}}}`, `{"properties":{"encryption":{"type":"SystemKey"}}}`, `{"properties":{"publicNetworkAccess":"Disabled"}}`} {
			w.do("PATCH", acct, syncV, body).want(403).says("CustomerKeyInaccessible")
		}
		w.get(acct).want(200).says(`"publicNetworkAccess":"Enabled"`)
		// One that may not use the key either does not help, and both refusals are told.
		w.out.set(func() { w.out.vaultDenied["user-u1"] = true })
		w.out.set(func() { w.out.requests = map[string]int{} })
		as(syncV).want(403).says("CustomerKeyInaccessible", system, "user-u1")
		w.get(acct).want(200).says(`"type":"SystemAssigned"`, `"useSystemAssignedIdentity":true`)
		w.out.set(func() { w.out.vaultDenied["user-u1"] = false })
		as(syncV).want(200).says(`"status":"Connected"`, user)
		w.post(acct + "/contentKeyPolicies/p/getPolicyPropertiesWithSecrets").want(200)
		check()
		w.get(acct).want(200).says(`"status":"Connected"`)
	})
}

// TestFailedCreationLeavesNoIdentity: a PUT that fails has made no system-assigned identity, and the account that it
// leaves as Failed can be written again or deleted.
func TestFailedCreationLeavesNoIdentity(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.out.set(func() { w.out.vaultRefuses = true })
		body := fmt.Sprintf(accountDoc, customer)
		w.put(acct, syncV, body).want(400)
		w.get(acct).want(404)
		w.jobs.Start()
		w.put(acct, asyncV, body).want(201)
		for w.get(acct).at("properties.provisioningState") == "InProgress" {
			time.Sleep(10 * time.Millisecond)
		}
		w.get(acct).want(200).says(`"provisioningState":"Failed"`, `"identity":{"type":"None"}`)
		w.out.set(func() { w.out.vaultRefuses = false })
		w.put(acct, syncV, body).want(201).says(`"type":"CustomerKey"`, system)
		w.do("DELETE", acct, asyncV, "").want(200)
	})
}

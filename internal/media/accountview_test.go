package media

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestAccountFieldsOfVersions: an api-version shows what it knows, and a client that writes back what it was shown
// changes nothing of the rest.
func TestAccountFieldsOfVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	user := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
	w.grant("user-u1", readerRole, storage)
	w.grant("user-u1", blobRole, storage)
	w.out.set(func() { w.out.allowed["user-u1"] = true })
	w.do("PATCH", acct, syncV, `{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"`+user+`":{}}},
		"properties":{"minimumTlsVersion":"Tls13","publicNetworkAccess":"Disabled",
		"storageAccounts":[{"id":"`+storage+`","type":"Primary","identity":{"userAssignedIdentity":"`+user+`","useSystemAssignedIdentity":false}}],
		"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"},"identity":{"userAssignedIdentity":"`+user+`","useSystemAssignedIdentity":false}}}}`).want(200)
	want := w.get(acct).want(200).at("properties")
	fields := []string{"mediaServiceId", "storageAccounts"}
	for _, tt := range []struct {
		version string
		added   []string
	}{
		{"2018-07-01", nil},
		{"2020-05-01", []string{"storageAuthentication", "encryption"}},
		{"2021-05-01", []string{"keyDelivery"}},
		{"2021-06-01", []string{"publicNetworkAccess"}},
		{"2021-11-01", []string{"provisioningState", "privateEndpointConnections"}},
		{"2023-01-01", []string{"minimumTlsVersion"}},
	} {
		fields = append(fields, tt.added...)
		shown := w.do("GET", acct, "?api-version="+tt.version, "").want(200)
		got := slices.Sorted(maps.Keys(shown.at("properties").(map[string]any)))
		if diff := cmp.Diff(slices.Sorted(slices.Values(fields)), got); diff != "" {
			t.Errorf("%s: %s", tt.version, diff)
		}
		knows := tt.version >= "2021-06-01"
		if identity := shown.at("properties.storageAccounts.0.identity"); (identity != nil) != knows {
			t.Errorf("%s: identity of the storage account: %v", tt.version, identity)
		}
		if tt.version >= "2021-11-01" {
			continue // answered before it is done
		}
		w.put(acct, "?api-version="+tt.version, string(shown.raw)).want(200)
		if diff := cmp.Diff(want, w.get(acct).want(200).at("properties")); diff != "" {
			t.Errorf("written back in %s: %s", tt.version, diff)
		}
	}
}

// TestIdentityInUseStays: an identity that a mapping needs cannot be removed, and the refusal names the mapping.
func TestIdentityInUseStays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		second := strings.Replace(storage, "store1", "store2", 1)
		w.put(second, asyncV, `{"location":"westeurope","properties":{}}`).want(201)
		users := map[string]string{}
		for _, name := range []string{"u1", "u2"} {
			users[name] = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
		}
		w.grant("user-u1", readerRole, second)
		w.grant("user-u1", blobRole, second)
		w.out.set(func() { w.out.allowed["user-u1"] = true })
		w.do("PATCH", acct, syncV, fmt.Sprintf(`{"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{%q:{},%q:{}}},
			"properties":{"storageAccounts":[{"id":%q,"type":"Primary"},{"id":%q,"type":"Secondary","identity":{"userAssignedIdentity":%q}}],
			"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"},"identity":{"userAssignedIdentity":%q}}}}`,
			users["u1"], users["u2"], storage, second, users["u1"], users["u2"])).want(200).says(`"type":"SystemAssigned,UserAssigned"`)
		for _, tt := range []struct{ name, identity, says string }{
			{"the system-assigned one", `{"type":"UserAssigned"}`, "store1"},
			{"that of the secondary", `{"userAssignedIdentities":{"` + users["u1"] + `":null}}`, "store2"},
			{"that of the key", `{"userAssignedIdentities":{"` + users["u2"] + `":null}}`, "/keys/k"},
			{"all", `{"type":"None"}`, "store1"},
		} {
			w.do("PATCH", acct, syncV, `{"identity":`+tt.identity+`}`).want(400).says(tt.says, "BadRequest")
		}
		// What does not need it any more lets it go.
		w.do("PATCH", acct, syncV, fmt.Sprintf(`{"identity":{"userAssignedIdentities":{%q:null}},"properties":{"encryption":{"type":"SystemKey"}}}`, users["u2"])).want(200)
		w.put(acct, syncV, fmt.Sprintf(accountDoc, "")).want(200).says(`"type":"SystemAssigned"`)
	})
}

func TestStorageOfAnotherSubscription(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	other := strings.Replace(storage, sub, "33333333-3333-3333-3333-333333333333", 1)
	w.put(acct, syncV, strings.Replace(fmt.Sprintf(accountDoc, ""), storage, other, 1)).want(400).says("another subscription", "ManagedIdentity")
}

// TestConditionalGrantIsNotUnconditional: a role that is held under a condition does not satisfy what the account needs
// without one.
func TestConditionalGrantIsNotUnconditional(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.grant(system, readerRole, storage)
		w.out.set(func() { w.out.allowed[system] = true })
		doc := fmt.Sprintf(accountDoc, `,"storageAuthentication":"ManagedIdentity"`)
		w.put(acct, syncV, fmt.Sprintf(accountDoc, "")).want(201)
		for scope, condition := range map[string]string{
			storage:                 "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'films'",
			group:                   "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringNotEquals 'films'",
			"/subscriptions/" + sub: "NOT @Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'films'",
		} {
			w.grantIf(system, blobRole, scope, condition)
		}
		w.put(acct, syncV, doc).want(400).says("Storage account cannot be accessed.", "blobs/write")
		w.grant(system, blobOwnerRole, storage)
		w.put(acct, syncV, doc).want(200)
	})
}

func TestEdgePolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	w.do("POST", acct+"/listEdgePolicies", asyncV, `{"deviceId":"d"}`).want(200).says(`"dataReportingFrequency":"PT1H"`)
	w.do("POST", acct+"/listEdgePolicies", asyncV, `{"deviceId":7}`).want(400)
}

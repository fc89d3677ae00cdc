package keyvault_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestAuthorizationByRoles(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		s.create("kv1", "k", `{"kty":"RSA"}`)
		s.create("kv1", "other", `{"kty":"RSA"}`)
		// Owning the vault gives no key.
		s.expect(s.do("kv1", "owner", "GET", "/keys/k", ""), 403, "Forbidden", "ForbiddenByRbac")
		a := s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody)
		s.expect(a, 403, "Forbidden", "ForbiddenByRbac")
		for _, want := range []string{
			"Caller is not authorized to perform action on resource.\r\n", "oid=" + callers["media"].ObjectID, "xms_mirid=" + callers["media"].IdentityID,
			"Action: 'Microsoft.KeyVault/vaults/keys/wrap/action'\r\nResource: '" + vaultsPath + "kv1/keys/k'\r\nAssignment: (not found)\r\n",
			"Vault: kv1;location=westeurope\r\n", "Key Vault Crypto Service Encryption User",
		} {
			if !strings.Contains(a.message(), want) {
				t.Errorf("%q is not in %q", want, a.message())
			}
		}
		// A role on one key.
		grant := s.assign("media", serviceUserRole, vaultsPath+"kv1/keys/k")
		a = s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody)
		if a.status != 200 || a.header.Get("X-Ms-Keyvault-Rbac-Assignment-Id") != grant.ID {
			t.Errorf("%d %s %v", a.status, a.raw, a.header)
		}
		for request, status := range map[string]int{
			"GET /keys/k": 200, "GET /keys/k/versions": 200, "GET /keys/other": 403, "POST /keys/other//wrapkey": 403, "GET /keys": 403,
			"POST /keys/k//encrypt": 403, "DELETE /keys/k": 403, "PATCH /keys/k": 403, "POST /keys/k/create": 403,
		} {
			method, path, _ := strings.Cut(request, " ")
			if a := s.do("kv1", "media", method, path, wrapBody); a.status != status {
				t.Errorf("%s: %d, want %d: %s", request, a.status, status, a.raw)
			}
		}
		s.unassign(grant)
		s.expect(s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody), 403, "Forbidden", "ForbiddenByRbac")
	})
}

// The refusal said "DenyAssignmentId: null" whatever had decided.
func TestDenialNamesTheDenyAssignment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		s.create("kv1", "k", `{"kty":"RSA"}`)
		denial := rbac.DenyAssignment{
			ID: azure.NewGUID(), Scope: vaultsPath + "kv1", Name: "no more keys", Permissions: []rbac.Permission{{DataActions: []string{"*"}}},
			Principals: []rbac.Principal{{ID: callers["officer"].ObjectID, Type: azure.TypeUser}},
		}
		s.must(db.Update(t.Context(), func(tx *store.Tx) error { return s.rbac.Deny(t.Context(), tx, denial) }))
		for caller, want := range map[string]string{
			"officer": "DenyAssignmentId: '" + denial.ID + "'\r\nDecisionReason: null \r\n",
			"media":   "DenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\n",
		} {
			a := s.do("kv1", caller, "GET", "/keys/k", "")
			s.expect(a, 403, "Forbidden", "ForbiddenByRbac")
			if !strings.Contains(a.message(), want) {
				t.Errorf("%s: %q is not in %q", caller, want, a.message())
			}
		}
	})
}

// Of keys no attribute is known, so a condition that asks for one is not met, nor is its negation; one that restricts
// other actions leaves these alone, as documented.
func TestConditionsOnVaults(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		s.create("kv1", "k", `{"kty":"RSA"}`)
		const blobPath = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]"
		for condition, status := range map[string]int{
			blobPath + " StringEquals 'k'":          403,
			"NOT " + blobPath + " StringEquals 'k'": 403,
			"@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Name] StringEquals 'a'":                                       403,
			"NOT Exists @Environment[Microsoft.Network/subnets]":                                                                           403,
			"ActionMatches{'Microsoft.KeyVault/vaults/keys/read'} AND @Resource[a:b] StringEquals 'c'":                                     403,
			"NOT ActionMatches{'Microsoft.KeyVault/vaults/keys/read'}":                                                                     403,
			"NOT ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} OR @Resource[a:b] StringEquals 'c'": 200,
		} {
			grant := rbac.Assignment{
				ID: azure.NewGUID(), Scope: vaultsPath + "kv1", RoleID: serviceUserRole, PrincipalID: callers["media"].ObjectID,
				PrincipalType: azure.TypeServicePrincipal, Condition: condition,
			}
			s.must(db.Update(t.Context(), func(tx *store.Tx) error { return s.rbac.Assign(t.Context(), tx, grant) }))
			if a := s.do("kv1", "media", "GET", "/keys/k", ""); a.status != status {
				t.Errorf("%s: %d, want %d: %s", condition, a.status, status, a.raw)
			}
			s.unassign(grant)
		}
	})
}

func TestAuthorizationByAccessPolicies(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", `,"enableRbacAuthorization":false,"accessPolicies":[`+
		`{"tenantId":"`+tenant+`","objectId":"`+callers["owner"].ObjectID+`","permissions":{"keys":["All"]}},`+
		`{"tenantId":"`+tenant+`","objectId":"BBBBBBBB-0000-0000-0000-000000000001","permissions":{"keys":["Get","WrapKey"]}},`+
		`{"tenantId":"`+tenant+`","objectId":"`+callers["media"].ObjectID+`","applicationId":"dddddddd-0000-0000-0000-000000000001","permissions":{"keys":["get"]}}]`)
	if a := s.do("kv1", "owner", "POST", "/keys/k/create", `{"kty":"RSA"}`); a.status != 200 {
		t.Fatal(a.raw)
	}
	for _, tt := range []struct {
		caller, request string
		status          int
	}{
		{"owner", "POST /keys/k//wrapkey", 200},
		{"owner", "DELETE /deletedkeys/k", 403}, // "all" is not purge
		{"member", "GET /keys/k", 200},          // through a group
		{"member", "POST /keys/k//wrapkey", 200},
		{"member", "POST /keys/k//unwrapkey", 403},
		{"member", "GET /keys", 403},
		{"officer", "GET /keys/k", 403}, // a role counts for nothing in this mode
		{"media", "GET /keys/k", 403},   // through another application only
		{"stranger", "GET /keys/k", 403},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		a := s.do("kv1", tt.caller, method, path, wrapBody)
		if a.status != tt.status {
			t.Errorf("%s %s: %d %s", tt.caller, tt.request, a.status, a.raw)
		}
		if a.status == 403 {
			s.expect(a, 403, "Forbidden", "ForbiddenByPolicy")
		}
	}
	a := s.do("kv1", "member", "POST", "/keys/k//unwrapkey", wrapBody)
	if !strings.Contains(a.message(), "does not have keys unwrapKey permission on key vault 'kv1;location=westeurope'") {
		t.Error(a.message())
	}
	policies := func(caller, operation, objectID, keys string) (int, map[string]any) {
		return s.arm(caller, "PUT", vaultsPath+"kv1/accessPolicies/"+operation, "2024-11-01",
			`{"properties":{"accessPolicies":[{"tenantId":"`+tenant+`","objectId":"`+objectID+`","permissions":{"keys":[`+keys+`]}}]}}`)
	}
	stranger := callers["stranger"].ObjectID
	if status, _ := policies("stranger", "add", stranger, `"get"`); status != 403 {
		t.Errorf("a stranger gives itself keys: %d", status)
	}
	for _, step := range []struct {
		operation, keys string
		get, list       int
	}{
		{"add", `"get"`, 200, 403}, {"add", `"List","get"`, 200, 200}, {"remove", `"GET"`, 403, 200}, {"replace", `"get"`, 200, 403}, {"remove", `"get"`, 403, 403},
	} {
		if status, answer := policies("owner", step.operation, stranger, step.keys); status != 200 {
			t.Fatalf("%s: %d %v", step.operation, status, answer)
		}
		if get, list := s.do("kv1", "stranger", "GET", "/keys/k", "").status, s.do("kv1", "stranger", "GET", "/keys", "").status; get != step.get || list != step.list {
			t.Errorf("after %s %s: get %d, list %d; want %d, %d", step.operation, step.keys, get, list, step.get, step.list)
		}
	}
	if status, answer := policies("owner", "add", stranger, `"fly"`); status != 400 {
		t.Errorf("an unknown permission: %d %v", status, answer)
	}
	if status, answer := policies("owner", "grant", stranger, `"get"`); status != 400 {
		t.Errorf("an unknown operation: %d %v", status, answer)
	}
}

// Who has no valid token leaves no trace for each attempt, from however many addresses: neither in the log, where every
// new address made a record, nor in memory.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		s.do("kv1", "nobody", "GET", "/keys/k", "")
		before := s.count(`SELECT COUNT(*) FROM audit_records`)
		const attempts = 300
		for i := range attempts {
			s.remote = fmt.Sprintf("[2001:db8::%x]:4711", i)
			vault, caller := "kv1", []string{"", "nobody", "expired", "foreign", "media|https://graph.microsoft.com"}[i%5]
			if i%10 == 9 {
				vault = fmt.Sprint("kv", i) // there is none
			}
			if a := s.do(vault, caller, "GET", fmt.Sprint("/keys/k", i), ""); a.status != 401 && a.status != 404 {
				t.Fatalf("%d %s", a.status, a.raw)
			}
		}
		s.must(s.log.Close())                                                   // writes what is counted
		if n := s.count(`SELECT COUNT(*) FROM audit_records`) - before; n > 4 { // two, if a minute began meanwhile
			t.Errorf("%d attempts made %d records", attempts, n)
		}
	})
}

package keyvault_test

import (
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestMovedVault: a vault's keys follow it into another group, and roles at its old ID do not.
func TestMovedVault(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		const target = "/subscriptions/" + subscription + "/resourceGroups/two"
		if status, got := s.arm("owner", "PUT", target, "2021-04-01", `{"location":"westeurope"}`); status != 201 {
			t.Fatalf("%d %v", status, got)
		}
		s.vault("kv1", "")
		s.create("kv1", "k", `{"kty":"RSA"}`)
		status, got := s.arm("owner", "POST", group+"/moveResources", "2021-04-01", `{"resources":["`+vaultsPath+`kv1"],"targetResourceGroup":"`+target+`"}`)
		if status != 204 {
			t.Fatalf("%d %v", status, got)
		}
		s.expect(s.do("kv1", "officer", "GET", "/keys/k", ""), 403, "Forbidden", "ForbiddenByRbac")
		moved := target + "/providers/Microsoft.KeyVault/vaults/kv1"
		s.assign("officer", cryptoOfficerRole, moved)
		if a := s.do("kv1", "officer", "GET", "/keys/k", ""); a.status != 200 {
			t.Errorf("the key: %d %s", a.status, a.raw)
		}
		if status, got := s.arm("owner", "DELETE", moved, "2024-11-01", ""); status != 200 {
			t.Fatalf("%d %v", status, got)
		}
		_, got = s.arm("owner", "GET", "/subscriptions/"+subscription+"/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv1", "2024-11-01", "")
		if properties, _ := got["properties"].(map[string]any); properties["vaultId"] != moved {
			t.Errorf("the deleted vault was %v", got)
		}
	})
}

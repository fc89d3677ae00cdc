package keyvault_test

import (
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestManagedHSMs: clients ask about them beside vaults; there are none.
func TestManagedHSMs(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	for _, path := range []string{
		"/subscriptions/" + subscription + "/providers/Microsoft.KeyVault/managedHSMs", group + "/providers/Microsoft.KeyVault/managedHSMs",
		"/subscriptions/" + subscription + "/providers/Microsoft.KeyVault/deletedManagedHSMs",
	} {
		if status, got := s.arm("owner", "GET", path, "2024-11-01", ""); status != 200 || len(got["value"].([]any)) != 0 {
			t.Errorf("%s: %d %v", path, status, got)
		}
	}
	const check = "/subscriptions/" + subscription + "/providers/Microsoft.KeyVault/checkMhsmNameAvailability"
	if status, got := s.arm("owner", "POST", check, "2024-11-01", `{"name":"any"}`); status != 200 || got["nameAvailable"] != false {
		t.Errorf("%d %v", status, got)
	}
	if status, _ := s.arm("owner", "POST", check, "2024-11-01", `[]`); status != 400 {
		t.Errorf("a bad body: %d", status)
	}
	if status, _ := s.arm("owner", "PUT", group+"/providers/Microsoft.KeyVault/managedHSMs/x", "2024-11-01", `{}`); status != 404 {
		t.Errorf("making one: %d", status)
	}
}

package keyreel

import (
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

// A request for a customer's vault under one of Azure's public names must not leave the machine, whether the vault is
// there, was deleted, or cannot be looked up: it may hold a key.
func TestPublicNamesStayHere(t *testing.T) {
	t.Parallel()
	s := &Server{hosts: azure.Hosts{Domain: "keyreel.localhost", Port: "8443"}}
	for host, want := range map[string]bool{
		"any.vault.keyreel.localhost:8443": true,
		"nobodys.vault.azure.net":          true,
		"nobodys.blob.core.windows.net":    true,
		"management.azure.com":             true,
		"example.org":                      false,
		"vault.azure.net.example.org":      false,
	} {
		if s.owns(host) != want {
			t.Errorf("owns %s: %v", host, !want)
		}
	}
}

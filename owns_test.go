package keyreel

import (
	"log/slog"
	"testing"
)

// A request for a customer's vault under one of Azure's public names must not leave the machine because the database was
// away for a moment: it may hold a key.
func TestPublicNamesFailClosed(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	c.Data, c.Listen, c.IdentityListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	s, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const vault = "nobodys.vault.azure.net"
	if s.owns(vault) || s.owns("example.org") || !s.owns("any.vault."+c.Domain) {
		t.Error("owns what is not its own, or not what is")
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if !s.owns(vault) {
		t.Error("without the database the request goes to the internet")
	}
}

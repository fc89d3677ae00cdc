package azure

import (
	"net/http/httptest"
	"testing"
)

func TestHostsParse(t *testing.T) {
	t.Parallel()
	h := Hosts{Domain: "keyreel.localhost", Port: "8443"}
	tests := []struct {
		host string
		want Target
		ok   bool
	}{
		{"login.keyreel.localhost:8443", Target{Service: Login}, true},
		{"LOGIN.Keyreel.Localhost", Target{Service: Login}, true},
		{"v1.vault.keyreel.localhost:8443", Target{Service: Vault, Name: "v1"}, true},
		{"default-acct.streaming.keyreel.localhost", Target{Service: Streaming, Name: "default-acct"}, true},
		{"acct.blob.core.windows.net", Target{Service: Blob, Name: "acct", Public: true}, true},
		{"management.azure.com:443", Target{Service: Management, Public: true}, true},
		{"westeurope.authorization.azure.net", Target{Service: Authorization, Name: "westeurope", Public: true}, true},
		{"westeurope.authorization.keyreel.localhost:8443", Target{Service: Authorization, Name: "westeurope"}, true},
		{"authorization.azure.net", Target{}, false},
		{"a.b.vault.azure.net", Target{}, false},
		{".vault.azure.net", Target{}, false},
		{"vault.keyreel.localhost", Target{}, false},
		{"x.login.keyreel.localhost", Target{}, false},
		{"keyreel.localhost", Target{}, false},
		{"evilkeyreel.localhost", Target{}, false},
		{"a.b.vault.keyreel.localhost", Target{}, false},
		{"", Target{}, false},
	}
	for _, tt := range tests {
		got, ok := h.Parse(tt.host)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %+v %v", tt.host, got, ok)
		}
	}
}

func TestURLsFollowTheRequest(t *testing.T) {
	t.Parallel()
	h := Hosts{Domain: "example.org", Port: "443"}
	own := h.For(httptest.NewRequest("GET", "https://v.vault.example.org/keys", nil))
	public := h.For(httptest.NewRequest("GET", "https://v.vault.azure.net/keys", nil))
	for _, tt := range []struct{ got, want string }{
		{own.Vault("v"), "https://v.vault.example.org"},
		{own.Login(), "https://login.example.org"},
		{own.BlobSuffix(), "example.org"},
		{public.Vault("v"), "https://v.vault.azure.net"},
		{public.Login(), "https://login.microsoftonline.com"},
		{public.BlobSuffix(), "core.windows.net"},
		{own.Authorization("westus"), "https://westus.authorization.example.org"},
		{public.AuthorizationResource(), "https://authorization.azure.net"},
		{URLs{Hosts: Hosts{Domain: "d", Port: "1"}}.VaultResource(), "https://vault.d:1"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

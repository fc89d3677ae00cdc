package azure

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzHosts: whatever a client writes as its host, a name that is understood stands for one service, in any case, and
// URLs that are made for it are URLs of that service.
func FuzzHosts(f *testing.F) {
	for _, host := range []string{
		"login.keyreel.localhost", "LOGIN.MicrosoftOnline.com.:443", "a.vault.keyreel.localhost:8443", "x.blob.core.windows.net", ".vault.azure.net",
		"a.b.vault.azure.net", "[::1]:80", "e-a.streaming.keyreel.localhost", "keyreel.localhost", ".keyreel.localhost", "a..keyreel.localhost", "",
	} {
		f.Add(host)
	}
	hosts := Hosts{Domain: "keyreel.localhost", Port: "8443"}
	f.Fuzz(func(t *testing.T, host string) {
		target, ok := hosts.Parse(host)
		if !ok {
			if target != (Target{}) {
				t.Errorf("%q is refused as %+v", host, target)
			}
			return
		}
		if upper := strings.ToUpper(host); strings.EqualFold(strings.ToLower(upper), host) {
			if again, ok := hosts.Parse(upper); !ok || again != target {
				t.Errorf("%q is %+v and %q is %+v", host, target, upper, again)
			}
		}
		named := target.Service == Vault || target.Service == Blob || target.Service == Streaming || target.Service == KeyDelivery
		if named != (target.Name != "") || strings.Contains(target.Name, ".") {
			t.Errorf("%q is %+v", host, target)
		}
		urls := hosts.For(&http.Request{Host: host})
		if urls.Public != target.Public {
			t.Errorf("%q is answered as %+v", host, urls)
		}
		if !named || strings.Trim(target.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return // no name, or one that no HTTP client sends
		}
		u, err := url.Parse(map[string]func(string) string{
			Vault: urls.Vault, Blob: urls.Blob, KeyDelivery: urls.KeyDelivery,
			Streaming: func(name string) string { return urls.Streaming("e", name) },
		}[target.Service](target.Name))
		if err != nil {
			t.Fatal(err)
		}
		if back, ok := hosts.Parse(u.Host); !ok || back.Service != target.Service || back.Public != target.Public {
			t.Errorf("%q is named %q, which is %+v", host, u, back)
		}
	})
}

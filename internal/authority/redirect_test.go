package authority

import (
	"testing"
)

func TestRedirectAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		registered, sent string
		want             bool
	}{
		{"http://localhost", "http://localhost:1234", true},
		{"http://localhost", "http://localhost:1234/", true},
		{"http://localhost", "http://LOCALHOST:1234", true},
		{"http://localhost:3000/cb", "http://localhost:1/cb", true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:8/cb", true},
		{"http://localhost/cb", "http://localhost/CB", false},
		{"http://localhost/cb", "http://127.0.0.1/cb", false},
		{"http://localhost", "https://localhost", false},
		{"http://localhost", "http://localhost.evil.example", false},
		{"http://localhost", "http://localhost:1@evil.example", false},
		{"http://localhost", "http://u@localhost", false},
		{"http://localhost", "http://localhost#f", false},
		{"http://localhost", "http://localhost?q", false},
		{"http://localhost", "http://localhost\\@evil.example", false},
		{"https://web.example/cb", "https://web.example:443/cb", false},
		{"http://web.example", "http://web.example:1", false},
	} {
		if got := c.registered == c.sent || sameLoopback(c.registered, c.sent); got != c.want {
			t.Errorf("%s for %s: %v", c.sent, c.registered, got)
		}
	}
	for to, want := range map[string]string{
		"http://localhost:1/x": "http://localhost:1", "https://web.example/cb?q": "https://web.example", "http://[::1]:1/": "http:",
		"msal1://auth": "msal1:", "urn:ietf:wg:oauth:2.0:oob": "urn:", "": "", "https://a;b/": "https:",
	} {
		if got := formTarget(to); got != want {
			t.Errorf("form target of %s: %q, want %q", to, got, want)
		}
	}
}

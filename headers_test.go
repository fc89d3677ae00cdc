package keyreel_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/keyreeltest"
)

// Each host that answers in JSON tells browsers not to guess at it and to come over TLS alone, and caches not to keep what
// holds a token; with a token as with an error.
func TestResponseHeaders(t *testing.T) {
	t.Parallel()
	s := keyreeltest.Start(t)
	client := s.HTTPClient()
	urls := s.URLs()
	in := s.Installation()
	for _, tt := range []struct {
		name, url string
		form      url.Values // posted when there is one
		cache     string
	}{
		{"discovery", urls.Login() + "/" + in.TenantID + "/v2.0/.well-known/openid-configuration", nil, "max-age=3600"},
		{"a refused token", urls.Login() + "/" + in.TenantID + "/oauth2/v2.0/token", url.Values{"grant_type": {"x"}}, "no-store"},
		{"no such path", urls.Login() + "/a/b/c", nil, "no-store"},
		{"resource manager", urls.Management() + "/subscriptions?api-version=2022-12-01", nil, "no-store"},
		{"Graph", urls.Graph() + "/v1.0/me", nil, "no-store"},
		{"vault", urls.Vault("nobodys") + "/keys/k?api-version=7.4", nil, "no-cache"},
		{"key delivery", strings.Replace(urls.Management(), "management.", "nobodys.keydelivery.", 1) + "/", nil, "no-store"},
	} {
		method, body := http.MethodGet, ""
		if tt.form != nil {
			method, body = http.MethodPost, tt.form.Encode()
		}
		r, err := http.NewRequestWithContext(t.Context(), method, tt.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if tt.form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		resp.Body.Close()
		h := resp.Header
		if h.Get("Cache-Control") != tt.cache || h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Strict-Transport-Security"), "max-age=31536000") {
			t.Errorf("%s: %d %v", tt.name, resp.StatusCode, h)
		}
	}
}

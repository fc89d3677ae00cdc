package authority

import (
	"slices"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/directory"
)

// FuzzFederated: claims that stand for a credential are its own to the letter, have an end, and are for one audience.
func FuzzFederated(f *testing.F) {
	for _, payload := range []string{
		`{"iss":"https://issuer.example","sub":"repo:a/b","aud":"api://AzureADTokenExchange","exp":4102444800}`,
		`{"iss":"https://issuer.example","sub":"repo:a/b","aud":["api://AzureADTokenExchange"],"exp":1e300}`,
		`{"iss":"https://issuer.example","sub":"","aud":["api://AzureADTokenExchange","x"],"exp":-1,"nbf":1e19,"iat":"1"}`,
		`{"iss":"https://issuer.example","iss":"x","ISS":"y","sub":"repo:a/b","Aud":"api://AzureADTokenExchange"}`, `{"aud":{}}`, `null`,
	} {
		f.Add([]byte(payload))
	}
	credential := directory.FederatedCredential{Issuer: "https://issuer.example", Subject: "repo:a/b", Audiences: []string{"other", "api://AzureADTokenExchange"}}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := assertionClaims(payload)
		if err != nil || !federated(credential, c) {
			return
		}
		if c.Issuer != credential.Issuer || c.Subject != credential.Subject || len(c.Audience) != 1 || !slices.Contains(credential.Audiences, c.Audience[0]) {
			t.Errorf("%s stands for %+v", payload, credential)
		}
		if _, err := checkTimes(c, now, 0); err == nil && (c.Expiry == nil || int64(*c.Expiry) < now.Add(-skew).Unix()) {
			t.Errorf("%s is valid for ever or no more", payload)
		}
	})
}

package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// workload is a managed identity with its tokens.
type workload struct {
	id     string // principal
	tokens map[string]string
}

// GetToken implements azcore.TokenCredential.
func (w *workload) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, ok := w.tokens[strings.TrimSuffix(o.Scopes[0], "/.default")]
	if !ok {
		return azcore.AccessToken{}, fmt.Errorf("no token for %v", o.Scopes)
	}
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Audiences of the services that take part.
const (
	managementAudience = "https://management.azure.com"
	storageAudience    = "https://storage.azure.com"
	vaultAudience      = "https://vault.azure.net"
	pdpAudience        = "https://authorization.azure.net"
)

func (s *server) workload(t testing.TB, name string) *workload {
	t.Helper()
	id := s.identity(t, name)
	env, err := s.RegisterWorkload(t.Context(), name, *id.ID)
	check(t, err)
	vars := map[string]string{}
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		vars[key] = value
	}
	w := &workload{id: *id.Properties.PrincipalID, tokens: map[string]string{}}
	for _, audience := range []string{managementAudience, storageAudience, vaultAudience, pdpAudience} {
		req, err := http.NewRequest(http.MethodGet, vars["IDENTITY_ENDPOINT"]+"?api-version=2019-08-01&resource="+url.QueryEscape(audience), http.NoBody)
		check(t, err)
		req.Header.Set("X-IDENTITY-HEADER", vars["IDENTITY_HEADER"])
		resp, err := http.DefaultClient.Do(req)
		check(t, err)
		var answer struct {
			Token string `json:"access_token"`
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("token for %s: %d %v", audience, resp.StatusCode, err)
		}
		w.tokens[audience] = answer.Token
	}
	return w
}

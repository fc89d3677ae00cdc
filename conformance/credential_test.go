package conformance

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"

	"github.com/keyreel/keyreel"
)

// issuer is a foreign platform, such as a cluster, that vouches for its workloads with tokens of its own.
type issuer struct {
	url string
	key *rsa.PrivateKey
	ca  string // PEM file
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	i := &issuer{key: key, ca: filepath.Join(t.TempDir(), "issuer.pem")}
	mux := http.NewServeMux()
	answer := func(v func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(v()) }
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", answer(func() any {
		return map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys"}
	}))
	mux.HandleFunc("GET /keys", answer(func() any {
		return map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}}
	}))
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	check(t, os.WriteFile(i.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return i
}

// token writes a token for a subject to a file, with a line's end as Kubernetes' tools leave it.
func (i *issuer) token(t *testing.T, subject string) (file string) {
	t.Helper()
	encode := func(v any) string {
		data, err := json.Marshal(v)
		check(t, err)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	now := time.Now()
	signed := encode(map[string]any{"alg": "RS256", "kid": "one", "typ": "JWT"}) + "." + encode(map[string]any{
		"iss": i.url, "sub": subject, "aud": "api://AzureADTokenExchange", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	check(t, err)
	file = filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(file, []byte(signed+"."+base64.RawURLEncoding.EncodeToString(signature)+"\n"), 0o600))
	return file
}

// certificate makes a certificate with its key in one PEM file.
func certificate(t *testing.T) (file string, der []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	file = filepath.Join(t.TempDir(), "app.pem")
	check(t, os.WriteFile(file, text, 0o600))
	return file, der
}

// graph sends a request to Microsoft Graph as the administrator.
func (s *server) graph(t testing.TB, method, path string, body, v any) {
	t.Helper()
	data, err := json.Marshal(body)
	check(t, err)
	resp, text := s.raw(t, method, s.URLs().Graph()+"/v1.0/"+path, s.token(t, s.Admin, "https://graph.microsoft.com"), string(data), "Content-Type", "application/json")
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	if v != nil {
		check(t, json.Unmarshal([]byte(text), v))
	}
}

// TestCredentials: every credential with which a program signs in as itself, of each language, unmodified and told
// nothing of this server: it takes it for login.microsoftonline.com.
func TestCredentials(t *testing.T) {
	t.Parallel()
	platform := newIssuer(t)
	s := start(t, func(c *keyreel.Config) { c.PrivateIssuers, c.IssuerCA = true, platform.ca })
	f := s.foreign(t)
	var app, principal struct {
		ID    string `json:"id"`
		AppID string `json:"appId"`
	}
	var password struct {
		Text string `json:"secretText"`
	}
	certificateFile, der := certificate(t)
	s.graph(t, "POST", "applications", map[string]any{"displayName": "app"}, &app)
	s.graph(t, "POST", "servicePrincipals", map[string]any{"appId": app.AppID}, &principal)
	s.graph(t, "POST", "applications/"+app.ID+"/addPassword", map[string]any{}, &password)
	s.graph(t, "PATCH", "applications/"+app.ID, map[string]any{"keyCredentials": []any{
		map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(der)},
	}}, nil)
	s.graph(t, "POST", "applications/"+app.ID+"/federatedIdentityCredentials", map[string]any{
		"name": "cluster", "issuer": platform.url, "subject": "system:serviceaccount:ns:app", "audiences": []string{"api://AzureADTokenExchange"},
	}, nil)
	worker := s.identity(t, "worker")
	credentials, err := armmsi.NewFederatedIdentityCredentialsClient(s.sub, s.Admin, s.options())
	check(t, err)
	_, err = credentials.CreateOrUpdate(t.Context(), s.group, "worker", "cluster", armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
		Issuer: &platform.url, Subject: to.Ptr("system:serviceaccount:ns:worker"), Audiences: []*string{to.Ptr("api://AzureADTokenExchange")},
	}}, nil)
	check(t, err)

	as := func(clientID string, more ...string) []string {
		return append([]string{"AZURE_TENANT_ID=" + f.admin.TenantID, "AZURE_CLIENT_ID=" + clientID, "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"}, more...)
	}
	secret, wrongSecret := "AZURE_CLIENT_SECRET="+password.Text, "AZURE_CLIENT_SECRET=wrong"
	otherFile, _ := certificate(t)
	appFile := "AZURE_FEDERATED_TOKEN_FILE=" + platform.token(t, "system:serviceaccount:ns:app")
	workerFile := "AZURE_FEDERATED_TOKEN_FILE=" + platform.token(t, "system:serviceaccount:ns:worker")
	strangerFile := "AZURE_FEDERATED_TOKEN_FILE=" + platform.token(t, "system:serviceaccount:ns:Worker")
	workerID, workerPrincipal := *worker.Properties.ClientID, *worker.Properties.PrincipalID
	for _, language := range signers {
		for _, tt := range []struct {
			name, kind string
			env        []string
			want       string // principal; "" is a refusal
		}{
			{"client secret", "secret", as(app.AppID, secret), principal.ID},
			{"wrong client secret", "secret", as(app.AppID, wrongSecret), ""},
			{"client secret from the environment", "environment", as(app.AppID, secret), principal.ID},
			{"client secret, whole chain", "default", as(app.AppID, secret), principal.ID},
			{"certificate", "certificate", as(app.AppID, "TEST_CERTIFICATE="+certificateFile), principal.ID},
			{"another certificate", "certificate", as(app.AppID, "TEST_CERTIFICATE="+otherFile), ""},
			{"certificate from the environment", "environment", as(app.AppID, "AZURE_CLIENT_CERTIFICATE_PATH="+certificateFile), principal.ID},
			{"assertion", "assertion", as(app.AppID, appFile), principal.ID},
			{"assertion for another", "assertion", as(app.AppID, workerFile), ""},
			{"workload identity", "workload", as(workerID, workerFile), workerPrincipal},
			{"workload identity of a stranger", "workload", as(workerID, strangerFile), ""},
			{"workload identity, whole chain", "default", as(workerID, workerFile), workerPrincipal},
			{"msal-node, client secret", "msal secret", as(app.AppID, secret), principal.ID},
			{"msal-node, wrong client secret", "msal secret", as(app.AppID, wrongSecret), ""},
			{"msal-node, certificate", "msal certificate", as(app.AppID, "TEST_CERTIFICATE="+certificateFile), principal.ID},
		} {
			if language.language != "Node" && tt.kind[:4] == "msal" {
				continue
			}
			t.Run(language.language+" "+tt.name, func(t *testing.T) {
				got := f.signIn(t, language, tt.env, tt.kind)
				if tt.want != "" {
					got.is(t, tt.name, tt.want)
				} else if got.Error == "" {
					t.Errorf("signed in as %v", got.Claims["oid"])
				}
			})
		}
	}
}

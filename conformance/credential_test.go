package conformance

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

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

// TestCredentials: every credential with which a program signs in as itself, of each language, unmodified and told
// nothing of this server: it takes it for login.microsoftonline.com.
func TestCredentials(t *testing.T) {
	t.Parallel()
	platform := newCluster(t)
	s := start(t, platform.trusted)
	f := s.foreign(t)
	certificateFile, der := certificate(t)
	app := s.application(t, nil)
	s.graph(t, "PATCH", "applications/"+app.id, map[string]any{"keyCredentials": []any{
		map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(der)},
	}}, http.StatusNoContent)
	s.graph(t, "POST", "applications/"+app.id+"/federatedIdentityCredentials", map[string]any{
		"name": "cluster", "issuer": platform.url, "subject": "system:serviceaccount:ns:app", "audiences": []string{exchange},
	}, http.StatusCreated)
	worker := s.identity(t, "worker")
	s.federate(t, "worker", platform, "system:serviceaccount:ns:worker")

	as := func(clientID string, more ...string) []string {
		return append([]string{"AZURE_TENANT_ID=" + f.admin.TenantID, "AZURE_CLIENT_ID=" + clientID, "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"}, more...)
	}
	secret, wrongSecret := "AZURE_CLIENT_SECRET="+app.secret, "AZURE_CLIENT_SECRET=wrong"
	otherFile, _ := certificate(t)
	appFile := "AZURE_FEDERATED_TOKEN_FILE=" + platform.project(t, "system:serviceaccount:ns:app")
	workerFile := "AZURE_FEDERATED_TOKEN_FILE=" + platform.project(t, "system:serviceaccount:ns:worker")
	strangerFile := "AZURE_FEDERATED_TOKEN_FILE=" + platform.project(t, "system:serviceaccount:ns:Worker")
	workerID, workerPrincipal := *worker.Properties.ClientID, *worker.Properties.PrincipalID
	for _, language := range signers {
		for _, tt := range []struct {
			name, kind string
			env        []string
			want       string // principal; "" is a refusal
		}{
			{"client secret", "secret", as(app.clientID, secret), app.principal},
			{"wrong client secret", "secret", as(app.clientID, wrongSecret), ""},
			{"client secret from the environment", "environment", as(app.clientID, secret), app.principal},
			{"client secret, whole chain", "default", as(app.clientID, secret), app.principal},
			{"certificate", "certificate", as(app.clientID, "TEST_CERTIFICATE="+certificateFile), app.principal},
			{"another certificate", "certificate", as(app.clientID, "TEST_CERTIFICATE="+otherFile), ""},
			{"certificate from the environment", "environment", as(app.clientID, "AZURE_CLIENT_CERTIFICATE_PATH="+certificateFile), app.principal},
			{"assertion", "assertion", as(app.clientID, appFile), app.principal},
			{"assertion for another", "assertion", as(app.clientID, workerFile), ""},
			{"workload identity", "workload", as(workerID, workerFile), workerPrincipal},
			{"workload identity of a stranger", "workload", as(workerID, strangerFile), ""},
			{"workload identity, whole chain", "default", as(workerID, workerFile), workerPrincipal},
			{"msal-node, client secret", "msal secret", as(app.clientID, secret), app.principal},
			{"msal-node, wrong client secret", "msal secret", as(app.clientID, wrongSecret), ""},
			{"msal-node, certificate", "msal certificate", as(app.clientID, "TEST_CERTIFICATE="+certificateFile), app.principal},
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

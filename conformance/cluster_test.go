package conformance

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyreel/keyreel"
)

const exchange = "api://AzureADTokenExchange"

// cluster issues tokens to service accounts as Kubernetes does: RSA keys, discovery over https, a private CA.
type cluster struct {
	url string
	ca  string // PEM file
	key *rsa.PrivateKey
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	c := &cluster{key: key, ca: filepath.Join(t.TempDir(), "cluster.pem")}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			answer = map[string]any{"issuer": c.url, "jwks_uri": c.url + "/openid/v1/jwks"}
		case "/openid/v1/jwks":
			answer = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "1", Algorithm: "RS256", Use: "sig"}}}
		default:
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	check(t, os.WriteFile(c.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	return c
}

// trusted lets a server fetch the cluster's keys.
func (c *cluster) trusted(config *keyreel.Config) {
	config.PrivateNetworks, config.IssuerCA = true, c.ca
}

// project writes a service account's token where a pod would find it, with a line's end as
// Kubernetes' tools leave it.
func (c *cluster) project(t testing.TB, account string) (path string) {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: c.key, KeyID: "1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	check(t, err)
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: c.url, Subject: account, Audience: jwt.Audience{exchange}, ID: "1",
		IssuedAt: jwt.NewNumericDate(time.Now()), NotBefore: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Serialize()
	check(t, err)
	path = filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(path, []byte(token+"\n"), 0o600))
	return path
}

// federate lets a service account of the cluster act as an identity.
func (s *server) federate(t testing.TB, identity string, c *cluster, account string) {
	t.Helper()
	client, err := armmsi.NewFederatedIdentityCredentialsClient(s.sub, s.Admin, s.options())
	check(t, err)
	_, err = client.CreateOrUpdate(t.Context(), s.group, identity, "cluster", armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
		Issuer: &c.url, Subject: &account, Audiences: []*string{to.Ptr(exchange)},
	}}, nil)
	check(t, err)
}

package authority

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/keyreel/keyreel/internal/directory"
)

var tokenOptions = policy.TokenRequestOptions{Scopes: []string{storageAud + "/.default"}}

// dialing returns a client that reaches server whatever the host's name is.
func dialing(server *httptest.Server) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	if cert := server.Certificate(); cert != nil {
		roots := x509.NewCertPool()
		roots.AddCert(cert)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "example.com"} // the name in httptest's certificate
	}
	return &http.Client{Transport: transport}
}

func TestClientSecretCredential(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, secret := n.application(t)
	server := httptest.NewTLSServer(n.Handler())
	t.Cleanup(server.Close)
	for _, c := range []struct {
		name, authority string
		noDiscovery     bool
	}{
		{"own host without instance discovery", ownLogin + "/", true},
		{"own host with instance discovery", ownLogin + "/", false},
		{"public host with instance discovery", "https://login.microsoftonline.com/", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			credential, err := azidentity.NewClientSecretCredential(tenant, app.AppID, string(secret), &azidentity.ClientSecretCredentialOptions{
				DisableInstanceDiscovery: c.noDiscovery,
				ClientOptions: azcore.ClientOptions{
					Transport: dialing(server),
					Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: c.authority},
					Retry:     policy.RetryOptions{MaxRetries: -1},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), tokenOptions)
			if err != nil {
				t.Fatal(err)
			}
			n.checkCaller(t, token, app)
		})
	}
}

func (n *node) checkCaller(t *testing.T, token azcore.AccessToken, want directory.Principal) {
	t.Helper()
	n.checkCallerFor(t, token, want, storageAud)
}

func (n *node) checkCallerFor(t *testing.T, token azcore.AccessToken, want directory.Principal, audience string) {
	t.Helper()
	caller, err := n.Verify(t.Context(), token.Token, accepting(audience))
	if err != nil || caller.ObjectID != want.ID {
		t.Errorf("got %+v, %v, want %s", caller, err, want.ID)
	}
	if left := time.Until(token.ExpiresOn); left < 59*time.Minute {
		t.Errorf("the client believes that the token lives for %v", left)
	}
}

// The environment of App Service is all that DefaultAzureCredential needs. Not parallel: it sets the environment.
func TestManagedIdentityCredential(t *testing.T) {
	n := newNode(t)
	wl, secret, system, user := n.workload(t, "one")
	server := httptest.NewServer(n.IdentityHandler())
	t.Cleanup(server.Close)
	t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", string(secret))
	get := func(id azidentity.ManagedIDKind) (azcore.AccessToken, error) {
		credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return credential.GetToken(t.Context(), tokenOptions)
	}
	for _, c := range []struct {
		name string
		id   azidentity.ManagedIDKind
		want directory.Principal
	}{
		{"system-assigned", nil, system},
		{"client id", azidentity.ClientID(user.AppID), user},
		{"object id", azidentity.ObjectID(user.ID), user},
		{"resource id", azidentity.ResourceID(user.IdentityID), user},
	} {
		token, err := get(c.id)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		n.checkCaller(t, token, c.want)
		if token.RefreshOn.IsZero() || time.Until(token.RefreshOn) < 11*time.Hour {
			t.Errorf("%s: the client refreshes on %v, want half of the token's life", c.name, token.RefreshOn)
		}
	}
	if _, err := get(azidentity.ClientID(tenant)); err == nil || !strings.Contains(err.Error(), "Identity not found") {
		t.Errorf("unknown identity: %v", err)
	}
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := credential.GetToken(t.Context(), tokenOptions); err != nil {
		t.Error(err)
	} else {
		n.checkCaller(t, token, system)
	}

	t.Setenv("IDENTITY_ENDPOINT", "")
	t.Setenv("IDENTITY_HEADER", "")
	alone := httptest.NewServer(n.WorkloadHandler(wl.ID))
	t.Cleanup(alone.Close)
	imds, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: dialing(alone)}, ID: azidentity.ResourceID(user.IdentityID),
	})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := imds.GetToken(t.Context(), tokenOptions); err != nil {
		t.Error(err)
	} else {
		n.checkCaller(t, token, user)
	}
}

// Azure Machine Learning's client sends an empty clientid for the default identity. Not parallel: it sets the environment.
func TestMachineLearningCredential(t *testing.T) {
	const mlAud = "https://vault.azure.net" // the client keeps tokens by audience for the whole process
	n := newNode(t)
	wl, secret, system, user := n.workload(t, "one")
	server := httptest.NewServer(n.IdentityHandler())
	t.Cleanup(server.Close)
	t.Setenv("MSI_ENDPOINT", server.URL+"/msi/"+wl.ID+"/machinelearning/token")
	t.Setenv("MSI_SECRET", secret.Reveal())
	for name, c := range map[string]struct {
		id   azidentity.ManagedIDKind
		want directory.Principal
	}{"default": {nil, system}, "client id": {azidentity.ClientID(user.AppID), user}} {
		credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: c.id})
		if err != nil {
			t.Fatal(err)
		}
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{mlAud + "/.default"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n.checkCallerFor(t, token, c.want, mlAud)
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"as others read expires_on": {func(*http.Request) {}, 200},
		"no secret":                 {func(r *http.Request) { r.Header.Del("Secret") }, 401},
		"another version":           {func(r *http.Request) { r.URL.RawQuery = "api-version=2019-08-01&resource=" + storageAud }, 400},
	} {
		r := imdsRequest("/msi/" + wl.ID + "/machinelearning/token?api-version=2017-09-01&clientid=&resource=" + storageAud)
		r.Header.Set("Secret", secret.Reveal())
		c.change(r)
		res, body := do(t, n.IdentityHandler(), r)
		on, _ := body["expires_on"].(string)
		if _, err := strconv.Atoi(on); res.StatusCode != c.status || (err == nil) != (c.status == 200) {
			t.Errorf("%s: %d %v", name, res.StatusCode, body)
		}
	}
}

// Service Fabric's client trusts no authority but the one certificate. Not parallel: it sets the environment.
func TestServiceFabricCredential(t *testing.T) {
	n := newNode(t)
	wl, secret, system, _ := n.workload(t, "one")
	server := httptest.NewTLSServer(n.FabricHandler())
	t.Cleanup(server.Close)
	pin := sha1.Sum(server.Certificate().Raw)
	t.Setenv("IDENTITY_HEADER", secret.Reveal())
	for name, c := range map[string]struct {
		path, pin, audience string // the client keeps tokens by audience for the whole process
		ok                  bool
	}{
		"shared path":   {"/msi/fabric/token", hex.EncodeToString(pin[:]), "https://graph.microsoft.com", true},
		"own path":      {"/msi/" + wl.ID + "/fabric/token", hex.EncodeToString(pin[:]), "https://management.azure.com", true},
		"another's pin": {"/msi/fabric/token", strings.Repeat("00", sha1.Size), "https://rest.media.azure.net", false},
	} {
		t.Setenv("IDENTITY_ENDPOINT", server.URL+c.path)
		t.Setenv("IDENTITY_SERVER_THUMBPRINT", c.pin)
		credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: azcore.ClientOptions{Transport: &http.Client{}, Retry: policy.RetryOptions{MaxRetries: -1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.audience + "/.default"}})
		cancel()
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			n.checkCallerFor(t, token, system, c.audience)
		}
	}
	const q = "?api-version=2019-07-01-preview&resource=" + storageAud
	for name, c := range map[string]struct {
		h      http.Handler
		target string
		secret string
		status int
	}{
		"no secret":             {n.FabricHandler(), "/msi/fabric/token" + q, "", 401},
		"wrong secret":          {n.FabricHandler(), "/msi/fabric/token" + q, "x", 401},
		"another's path":        {n.FabricHandler(), "/msi/" + tenant + "/fabric/token" + q, secret.Reveal(), 401},
		"another version":       {n.FabricHandler(), "/msi/fabric/token?api-version=2018-02-01&resource=x", secret.Reveal(), 400},
		"other sources":         {n.FabricHandler(), "/msi/token" + q, secret.Reveal(), 404},
		"on the plain listener": {n.IdentityHandler(), "/msi/" + wl.ID + "/fabric/token" + q, secret.Reveal(), 404},
	} {
		r := imdsRequest(c.target)
		if r.Header.Del("Metadata"); c.secret != "" {
			r.Header.Set("Secret", c.secret)
		}
		if res, body := do(t, c.h, r); res.StatusCode != c.status || body["error"] == nil {
			t.Errorf("%s: %d %v", name, res.StatusCode, body)
		}
	}
}

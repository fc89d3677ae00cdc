package authority

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
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
	caller, err := n.Verify(t.Context(), token.Token, accepting(storageAud))
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

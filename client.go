package keyreel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/front"
)

// Client reaches a server whose data folder it can read: what the official SDKs need to know of it, without DNS and
// without trusting its CA beyond this process.
type Client struct {
	data  string
	where whereabouts
	pool  *x509.CertPool // the system's roots and the local CA
	hosts azure.Hosts

	transport *http.Transport // of every HTTPClient: they share its connections
}

// whereabouts is what a server writes down in its data folder when it listens (server.json).
type whereabouts struct {
	Addr           string `json:"addr"`     // of the TLS listener
	Identity       string `json:"identity"` // of the managed-identity endpoints
	Domain         string `json:"domain"`
	Port           string `json:"port"` // that clients see
	TenantID       string `json:"tenantId"`
	SubscriptionID string `json:"subscriptionId"`

	IMDS             string `json:"imds,omitempty"`   // address of the metadata listener, when it is on
	Arc              bool   `json:"arc,omitempty"`    // whether Azure Arc's endpoint is on
	Fabric           string `json:"fabric,omitempty"` // address of Service Fabric's endpoint, when it is on
	FabricThumbprint string `json:"fabricThumbprint,omitempty"`
}

// Files of a data folder that clients read.
const (
	serverFile      = "server.json"
	credentialsFile = "administrator.json"
	caFile          = "ca.pem"
	fabricFile      = "fabric.pem" // the server's alone
)

// Connect reads where the server of a data folder is. It does not call it.
func Connect(data string) (*Client, error) {
	c := &Client{data: data}
	text, err := os.ReadFile(filepath.Join(data, serverFile))
	if err != nil {
		return nil, fmt.Errorf("no server has run on the folder %s: %w", data, err)
	}
	if err := json.Unmarshal(text, &c.where); err != nil {
		return nil, fmt.Errorf("reading %s: %w", serverFile, err)
	}
	ca, err := os.ReadFile(c.CAPath())
	if err != nil {
		return nil, err
	}
	if c.pool, err = x509.SystemCertPool(); err != nil {
		c.pool = x509.NewCertPool() // a system without roots
	}
	if !c.pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", c.CAPath())
	}
	c.hosts = azure.Hosts{Domain: c.where.Domain, Port: c.where.Port}
	c.transport = &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{RootCAs: c.pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if _, ok := c.hosts.Parse(addr); !ok {
				return nil, fmt.Errorf("%s is not a host of this server", addr)
			}
			return (&net.Dialer{}).DialContext(ctx, network, c.where.Addr)
		},
	}
	return c, nil
}

// Addr is the address of the TLS listener.
func (c *Client) Addr() string { return c.where.Addr }

// IdentityURL is where the managed-identity endpoints are (plain HTTP on loopback).
func (c *Client) IdentityURL() string { return "http://" + c.where.Identity }

// MetadataURL is where the instance metadata service of imds-listen is; "" when it is off.
func (c *Client) MetadataURL() string {
	if c.where.IMDS == "" {
		return ""
	}
	return "http://" + c.where.IMDS
}

// TenantID is the server's tenant.
func (c *Client) TenantID() string { return c.where.TenantID }

// SubscriptionID is the subscription that the first start made.
func (c *Client) SubscriptionID() string { return c.where.SubscriptionID }

// CredentialsPath is where the administrator's Credentials are (JSON, mode 0600).
func (c *Client) CredentialsPath() string { return filepath.Join(c.data, credentialsFile) }

// CAPath is where the local CA's certificate is (PEM), for clients to trust.
func (c *Client) CAPath() string { return filepath.Join(c.data, caFile) }

// URLs names the server's hosts under its own domain.
func (c *Client) URLs() URLs { return URLs{azure.URLs{Hosts: c.hosts}} }

// URLs builds the URLs of the server's hosts: Login, Management, Vault(name), Blob(account), Streaming(endpoint, account),
// KeyDelivery(account).
type URLs struct{ azure.URLs }

// HTTPClient returns a client that trusts the local CA too, and reaches the server under every host name it answers for,
// without DNS. It refuses all other hosts, so that nothing meant for the server leaks elsewhere.
func (c *Client) HTTPClient() *http.Client { return &http.Client{Transport: c.transport} }

// ClientOptions are what any client of the official Azure SDK for Go needs to reach this server.
func (c *Client) ClientOptions() policy.ClientOptions {
	return policy.ClientOptions{
		Transport: c.HTTPClient(),
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: c.URLs().Login() + "/",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Audience: "https://management.azure.com", Endpoint: c.URLs().Management()},
			},
		},
	}
}

// Credential signs an application in to this server.
func (c *Client) Credential(clientID, secret string) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(c.where.TenantID, clientID, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            c.ClientOptions(),
		DisableInstanceDiscovery: true, // it would ask login.microsoftonline.com about this server
	})
}

// Administrator signs in with the credentials that the first start wrote.
func (c *Client) Administrator() (azcore.TokenCredential, error) {
	var credentials Credentials
	if err := readCredentials(c.CredentialsPath(), &credentials); err != nil {
		return nil, err
	}
	return c.Credential(credentials.ClientID, credentials.ClientSecret)
}

// Proxy returns an HTTP proxy (CONNECT) that leads to this server's hosts, Azure's public names for them among these.
// All other hosts are refused, or passed through to the network when others is true. It belongs on loopback.
func (c *Client) Proxy(others bool) http.Handler {
	return &front.Proxy{Hosts: c.hosts, Addr: c.where.Addr, Others: others}
}

// Metadata returns an instance metadata service that hands out the identities of a registered workload, by passing
// requests on to the server's. Whoever reaches it acts as the workload: it belongs where nobody else does.
func (c *Client) Metadata(workloadID string) (http.Handler, error) {
	target, err := url.Parse(c.IdentityURL() + "/msi/" + workloadID)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{}, // never through a proxy of the environment
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			for _, name := range []string{"X-Forwarded-For", "Forwarded"} { // the server refuses what came through a proxy before this one
				if values, ok := r.In.Header[name]; ok {
					r.Out.Header[name] = values
				}
			}
		},
	}, nil
}

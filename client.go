package keyreel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/front"
	"github.com/keyreel/keyreel/internal/store"
)

// Addr is the address of the TLS listener.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// IdentityURL is where the managed-identity endpoints are (plain HTTP on loopback).
func (s *Server) IdentityURL() string { return "http://" + s.identityListener.Addr().String() }

// URLs names the server's hosts under its own domain.
func (s *Server) URLs() URLs { return URLs{azure.URLs{Hosts: s.hosts}} }

// URLs builds the URLs of the server's hosts: Login, Management, Vault(name), Blob(account), Streaming(endpoint, account),
// KeyDelivery(account).
type URLs struct{ azure.URLs }

// HTTPClient returns a client that trusts the local CA and reaches the server under every host name it answers for,
// without DNS. It refuses all other hosts, so that nothing meant for the server leaks elsewhere.
func (s *Server) HTTPClient() *http.Client {
	dialer := &net.Dialer{}
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if _, ok := s.hosts.Parse(addr); !ok {
				return nil, fmt.Errorf("%s is not a host of this server", addr)
			}
			return dialer.DialContext(ctx, network, s.Addr())
		},
	}}
}

// ClientOptions are what any client of the official Azure SDK for Go needs to reach this server.
func (s *Server) ClientOptions() policy.ClientOptions {
	return policy.ClientOptions{
		Transport: s.HTTPClient(),
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: s.URLs().Login() + "/",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Audience: "https://management.azure.com", Endpoint: s.URLs().Management()},
			},
		},
	}
}

// Credential signs an application in to this server.
func (s *Server) Credential(clientID, secret string) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(s.install.TenantID, clientID, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            s.ClientOptions(),
		DisableInstanceDiscovery: true, // it would ask login.microsoftonline.com about this server
	})
}

// Administrator signs in with the credentials that the first start wrote.
func (s *Server) Administrator() (azcore.TokenCredential, error) {
	data, err := os.ReadFile(s.CredentialsPath())
	if err != nil {
		return nil, err
	}
	var c Credentials
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.CredentialsPath(), err)
	}
	return s.Credential(c.ClientID, c.ClientSecret)
}

// Proxy returns an HTTP proxy (CONNECT) that leads to this server's hosts and nowhere else. It belongs on loopback.
func (s *Server) Proxy() http.Handler { return &front.Proxy{Hosts: s.hosts, Addr: s.Addr()} }

// RegisterWorkload gives a process of yours the identities named by the ARM IDs of user-assigned identities, the first
// as its default, and returns the environment variables with which every Azure SDK in that process finds them and
// trusts the local CA. IDENTITY_HEADER in it is the process's secret, shown this once.
func (s *Server) RegisterWorkload(ctx context.Context, name string, identities ...string) ([]string, error) {
	w := directory.Workload{Name: name}
	err := s.db.View(ctx, func(tx *store.Tx) error {
		w.Identities = nil
		for _, id := range identities {
			parsed, err := azure.ParseResourceID(id)
			if err != nil {
				return err
			}
			principal, _, err := s.directory.UserAssigned(ctx, tx, parsed)
			if err != nil {
				return err
			}
			w.Identities = append(w.Identities, principal)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w, secret, err := s.directory.RegisterWorkload(ctx, w)
	if err != nil {
		return nil, err
	}
	base := s.IdentityURL() + "/msi/" + w.ID
	return []string{
		"IDENTITY_ENDPOINT=" + base + "/token", "IDENTITY_HEADER=" + string(secret),
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=" + base,
		"AZURE_AUTHORITY_HOST=" + s.URLs().Login() + "/", "AZURE_TENANT_ID=" + s.install.TenantID,
		"SSL_CERT_FILE=" + s.CAPath(), "REQUESTS_CA_BUNDLE=" + s.CAPath(), "NODE_EXTRA_CA_CERTS=" + s.CAPath(),
	}, nil
}

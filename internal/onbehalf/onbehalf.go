package onbehalf

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
)

// maxClients bounds how many clients are kept. Beyond it an arbitrary one is forgotten; it is made anew on need.
const maxClients = 4096

// Clients makes the official clients with which a resource acts as a managed identity. It is safe for concurrent use
// and must not be copied after first use.
type Clients struct {
	// Token gives a token of an identity; authority.IdentityToken.
	Token func(ctx context.Context, principalID, resourceID, audience string) (token string, expires time.Time, err error)
	// Transport carries the requests: to Keyreel's own hosts in-process, to all others over the network.
	Transport http.RoundTripper

	mu   sync.Mutex
	kept map[clientKey]any // *service.Client or *azkeys.Client
}

type clientKey struct {
	id       Identity
	kind     string
	endpoint string
}

// Identity is a managed identity and the resource that acts with it.
type Identity struct {
	PrincipalID string // object id
	ResourceID  string // ARM ID of the resource that acts
	IdentityID  string // ARM ID of the identity, for messages
}

// credential is an identity's tokens, as the official clients ask for them.
type credential struct {
	clients *Clients
	id      Identity
}

// Credential returns the identity's tokens for the official clients.
func (c *Clients) Credential(id Identity) azcore.TokenCredential { return credential{c, id} }

// GetToken implements azcore.TokenCredential. The scope is "{audience}/.default".
func (c credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, fmt.Errorf("getting a token of %s: one scope is needed, not %d", c.id.IdentityID, len(o.Scopes))
	}
	audience := strings.TrimSuffix(o.Scopes[0], "/.default")
	token, expires, err := c.clients.Token(ctx, c.id.PrincipalID, c.id.ResourceID, audience)
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("getting a token of %s for %s: %w", c.id.IdentityID, audience, err)
	}
	return azcore.AccessToken{Token: token, ExpiresOn: expires}, nil
}

// Blob returns a client of a storage account's Blob endpoint, e.g. "https://acct.blob.keyreel.localhost:8443".
func (c *Clients) Blob(id Identity, endpoint string) (*service.Client, error) {
	return keep(c, clientKey{id, "blob", endpoint}, func() (*service.Client, error) {
		return service.NewClient(endpoint, c.Credential(id), &service.ClientOptions{ClientOptions: c.options(maxBlobAnswer)})
	})
}

// BlobWithKey returns a client of a storage account's Blob endpoint that signs with one of the account's keys, in base64.
// It acts as no identity. It is not kept, so that the key is not either.
func (c *Clients) BlobWithKey(account, key, endpoint string) (*service.Client, error) {
	credential, err := service.NewSharedKeyCredential(account, key)
	if err != nil {
		return nil, fmt.Errorf("making a blob client of %s: the key cannot be read", endpoint)
	}
	client, err := service.NewClientWithSharedKeyCredential(endpoint, credential, &service.ClientOptions{ClientOptions: c.options(maxBlobAnswer)})
	if err != nil {
		return nil, fmt.Errorf("making a blob client of %s: %w", endpoint, err)
	}
	return client, nil
}

// Keys returns a client of a key vault, e.g. "https://v.vault.keyreel.localhost:8443".
func (c *Clients) Keys(id Identity, vault string) (*azkeys.Client, error) {
	return keep(c, clientKey{id, "keys", vault}, func() (*azkeys.Client, error) {
		return azkeys.NewClient(vault, c.Credential(id), &azkeys.ClientOptions{ClientOptions: c.options(maxVaultAnswer)})
	})
}

func (c *Clients) options(maxAnswer int64) azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport:       &http.Client{Transport: boundedAnswers{c.Transport, maxAnswer}, CheckRedirect: noRedirect},
		PerCallPolicies: []policy.Policy{foreignAnswers{}},
		Telemetry:       policy.TelemetryOptions{ApplicationID: "keyreel"},
		Retry: policy.RetryOptions{
			MaxRetries: 2, RetryDelay: 100 * time.Millisecond, MaxRetryDelay: 500 * time.Millisecond,
		},
	}
}

// noRedirect hands redirects to the caller: the endpoint that the customer named is the one that gets the request.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// foreignAnswers turns a panic of the client libraries into an error: they index into a challenge's authority without
// looking, and the endpoint that answers is one that a customer named.
type foreignAnswers struct{}

func (foreignAnswers) Do(req *policy.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, fmt.Errorf("%s gave an answer that the client cannot read: %v", req.Raw().URL.Host, p)
		}
	}()
	return req.Next()
}

func keep[T any](c *Clients, key clientKey, newClient func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.kept[key]; ok {
		return client.(T), nil
	}
	client, err := newClient()
	if err != nil {
		return client, fmt.Errorf("making a %s client of %s: %w", key.kind, key.endpoint, err)
	}
	if c.kept == nil {
		c.kept = map[clientKey]any{}
	}
	if len(c.kept) >= maxClients {
		for k := range c.kept {
			delete(c.kept, k)
			break
		}
	}
	c.kept[key] = client
	return client, nil
}

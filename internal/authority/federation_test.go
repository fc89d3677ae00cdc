package authority

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/outbound"
	"github.com/keyreel/keyreel/internal/store"
)

const exchange = "api://AzureADTokenExchange"

// platform is another issuer of tokens, over TLS on loopback.
type platform struct {
	*httptest.Server
	mu    sync.Mutex
	keys  map[string]*rsa.PrivateKey // that it publishes
	asked int
	serve http.HandlerFunc // instead of its documents
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{keys: map[string]*rsa.PrivateKey{"k0": testKeys()[0]}}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.answer))
	p.Server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that clients break off
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *platform) answer(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	switch {
	case p.serve != nil:
		p.serve(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	case r.URL.Path == "/keys":
		set := []any{map[string]any{"kty": "unknown"}, map[string]any{"kty": "EC", "crv": "P-256"}}
		for kid, key := range p.keys {
			set = append(set, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig", Algorithm: "RS256"})
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": set})
	default:
		http.NotFound(w, r)
	}
}

func (p *platform) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *platform) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	return pool
}

// federate gives a user-assigned identity a federated credential through the provider, as the resource manager does.
func (n *node) federate(t *testing.T, p directory.Principal, c directory.FederatedCredential) (remove func()) {
	t.Helper()
	identity, err := azure.ParseResourceID(p.IdentityID)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var typ arm.Type
	for _, candidate := range n.d.Provider().Types {
		if strings.HasSuffix(candidate.Name, "/federatedIdentityCredentials") {
			typ = candidate
		}
	}
	resource := &arm.Resource{ID: identity.Child("federatedIdentityCredentials", c.Name)}
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		w := &arm.Write{New: resource, Body: body}
		if err := typ.Validate(ctx, tx, w); err != nil {
			return err
		}
		return typ.Commit(ctx, tx, w)
	})
	return func() {
		n.update(t, func(ctx context.Context, tx *store.Tx) error { return typ.Delete(ctx, tx, resource) })
	}
}

func federatedClaims(p *platform) map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": p.URL, "sub": "system:serviceaccount:ns:sa", "aud": []string{exchange}, "iat": now, "nbf": now, "exp": now + 3600}
}

func federatedToken(t *testing.T, key any, kid string, claims map[string]any) string {
	t.Helper()
	return assert(t, jose.RS256, key, map[string]any{"kid": kid}, claims)
}

// federation is a node whose identity trusts a platform.
func federation(t *testing.T, private bool) (*node, *platform, directory.Principal, func()) {
	t.Helper()
	n, p := newNode(t), newPlatform(t)
	n.issuers = newIssuers(outbound.Options{PrivateNetworks: private, Roots: p.roots()})
	user := n.userAssigned(t, "ident")
	remove := n.federate(t, user, directory.FederatedCredential{Name: "pod", Issuer: p.URL, Subject: "system:serviceaccount:ns:sa", Audiences: []string{exchange}})
	return n, p, user, remove
}

func TestFederatedAssertion(t *testing.T) {
	t.Parallel()
	n, p, user, remove := federation(t, true)
	raw := federatedToken(t, testKeys()[0], "k0", federatedClaims(p))
	send := func(assertion string) (*http.Response, map[string]any) {
		return do(t, n.Handler(), postForm(tokenPath, assertionForm(user.AppID, assertion)))
	}
	for range 3 { // a file's content comes again, unlike a client's own assertion
		res, body := send(raw + "\n")
		if res.StatusCode != 200 {
			t.Fatalf("%d %v", res.StatusCode, body)
		}
		caller, err := n.Verify(t.Context(), body["access_token"].(string), accepting(storageAud))
		if err != nil || caller.ObjectID != user.ID || caller.IdentityID != user.IdentityID {
			t.Errorf("%+v %v", caller, err)
		}
	}
	if p.asked != 2 {
		t.Errorf("the issuer was asked %d times", p.asked)
	}
	remove()
	if res, body := send(raw); res.StatusCode != 401 || !cmp.Equal(body["error_codes"], []any{70021.0}) {
		t.Errorf("without its credential: %d %v", res.StatusCode, body)
	}
}

func TestFederatedAssertionRefused(t *testing.T) {
	t.Parallel()
	n, p, user, _ := federation(t, true)
	other := n.userAssigned(t, "other")
	claims, now := federatedClaims(p), time.Now().Unix()
	signed := func(name string, value any) string {
		return federatedToken(t, testKeys()[0], "k0", with(claims, name, value))
	}
	none := strings.Join([]string{"eyJhbGciOiJub25lIn0", strings.Split(signed("x", 1), ".")[1], ""}, ".")
	for i, c := range []struct {
		name      string
		client    string
		assertion string
		number    float64
	}{
		{"another identity", other.AppID, signed("x", 1), 70021},
		{"another issuer", user.AppID, signed("iss", p.URL+"/"), 70021},
		{"an issuer in other case", user.AppID, signed("iss", strings.ToUpper(p.URL)), 70021},
		{"a subject in other case", user.AppID, signed("sub", "system:serviceaccount:ns:SA"), 70021},
		{"a longer subject", user.AppID, signed("sub", "system:serviceaccount:ns:sa2"), 70021},
		{"no subject", user.AppID, signed("sub", nil), 70021},
		{"an audience in other case", user.AppID, signed("aud", strings.ToLower(exchange)), 70021},
		{"an audience more", user.AppID, signed("aud", []string{exchange, "https://other.example.org"}), 70021},
		{"no audience", user.AppID, signed("aud", nil), 70021},
		{"no exp", user.AppID, signed("exp", nil), 700024},
		{"expired", user.AppID, signed("exp", now-600), 700024},
		{"not yet", user.AppID, signed("nbf", now+600), 700024},
		{"another key", user.AppID, federatedToken(t, testKeys()[1], "k0", claims), 700027},
		{"an unknown key", user.AppID, federatedToken(t, testKeys()[1], "k1", claims), 700027},
		{"PS256", user.AppID, assert(t, jose.PS256, testKeys()[0], map[string]any{"kid": "k0"}, claims), 50027},
		{"none", user.AppID, none, 50027},
		{"a client id of nobody", tenant, signed("x", 1), 700016},
	} {
		r := postForm(tokenPath, assertionForm(c.client, c.assertion))
		r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i)
		res, body := do(t, n.Handler(), r)
		if res.StatusCode/100 != 4 || !cmp.Equal(body["error_codes"], []any{c.number}) || body["access_token"] != nil {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
		}
	}
	n.disable(t, user)
	if res, body := do(t, n.Handler(), postForm(tokenPath, assertionForm(user.AppID, signed("x", 1)))); res.StatusCode != 400 || !cmp.Equal(body["error_codes"], []any{7000112.0}) {
		t.Errorf("disabled: %d %v", res.StatusCode, body)
	}
}

// Whoever may write a federated credential must not be able to look around in the server's network with it, and what is
// asked for must not hurt.
func TestIssuerClientIsGuarded(t *testing.T) {
	t.Parallel()
	n, p, user, _ := federation(t, false)
	res, body := do(t, n.Handler(), postForm(tokenPath, assertionForm(user.AppID, federatedToken(t, testKeys()[0], "k0", federatedClaims(p)))))
	if res.StatusCode != 503 || !cmp.Equal(body["error_codes"], []any{50166.0}) || p.asked != 0 {
		t.Errorf("an issuer on loopback: %d %v, asked %d times", res.StatusCode, body, p.asked)
	}
	if text := fmt.Sprint(body); strings.Contains(text, "public internet") || strings.Contains(text, "refused") {
		t.Errorf("the answer tells about the network: %s", text)
	}

	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked over plain HTTP") }))
	t.Cleanup(plain.Close)
	discovery := func(body map[string]any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(body) }
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		say   string
	}{
		"redirect":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }, "redirects are not followed"},
		"not found":       {http.NotFound, "answered 404"},
		"no JSON":         {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, "JSON"},
		"too much":        {func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxIssuerAnswer+1)) }, "more than"},
		"another's":       {discovery(map[string]any{"issuer": "https://example.org", "jwks_uri": p.URL}), "its document is of"},
		"keys over HTTP":  {discovery(map[string]any{"issuer": p.URL, "jwks_uri": plain.URL}), "not an https URL"},
		"keys in a file":  {discovery(map[string]any{"issuer": p.URL, "jwks_uri": "file:///etc/passwd"}), "not an https URL"},
		"keys by user":    {discovery(map[string]any{"issuer": p.URL, "jwks_uri": "https://a:b@example.org"}), "not an https URL"},
		"endless headers": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 128<<10)) }, "header"},
	} {
		p.set(func() { p.serve = c.serve })
		if _, err := newIssuers(outbound.Options{PrivateNetworks: true, Roots: p.roots()}).key(t.Context(), p.URL, "k0"); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newIssuers(outbound.Options{PrivateNetworks: true}).key(t.Context(), p.URL, "k0"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
}

func TestIssuerKeysRotate(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := newIssuers(outbound.Options{PrivateNetworks: true, Roots: p.roots()})
	age := func(asked, fetched time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		k := s.known[p.URL]
		k.asked, k.fetched = k.asked.Add(-asked), k.fetched.Add(-fetched)
		s.known[p.URL] = k
	}
	check := func(what, kid string, ok bool, asked int) {
		t.Helper()
		k, err := s.key(t.Context(), p.URL, kid)
		if (err == nil) != ok || ok && !k.Equal(p.keys[kid].Public()) || p.asked != asked {
			t.Errorf("%s: %v, asked %d times and not %d", what, err, p.asked, asked)
		}
	}
	check("first", "k0", true, 2)
	check("known", "k0", true, 2)
	p.set(func() { p.keys = map[string]*rsa.PrivateKey{"k0": testKeys()[0], "k1": testKeys()[1]} })
	check("a new key at once", "k1", false, 2) // nor can anybody make us ask more often
	age(issuerAskAgain, issuerAskAgain)
	check("a new key", "k1", true, 4)
	p.set(func() { p.serve = http.NotFound })
	age(issuerAskAgain, issuerAskAgain)
	check("made up while the issuer is away", "k2", false, 5)
	check("the known one then", "k0", true, 5)
	age(issuerAskAgain, issuerKeysFor)
	check("old, and the issuer away", "k0", false, 6)
	p.set(func() { p.serve, p.keys = nil, map[string]*rsa.PrivateKey{"k1": testKeys()[1]} })
	check("not asked again so soon", "k1", false, 6)
	age(issuerAskAgain, 0)
	check("back", "k1", true, 8)
	check("withdrawn", "k0", false, 8)
	for i := range maxIssuers + 1 {
		s.known[fmt.Sprint(i)] = issuerKeys{}
	}
	age(issuerAskAgain, issuerKeysFor)
	check("one of many", "k1", true, 10)
	if len(s.known) > maxIssuers {
		t.Errorf("%d issuers are kept", len(s.known))
	}
}

// A caller that hangs up does not spoil the answer for others who wait for it.
func TestIssuerIsAskedOnceForAll(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := newIssuers(outbound.Options{PrivateNetworks: true, Roots: p.roots()})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.key(gone, p.URL, "k0"); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if _, err := s.key(t.Context(), p.URL, "k0"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if p.asked != 2 {
		t.Errorf("asked %d times", p.asked)
	}
}

func TestFederatedCredentialClients(t *testing.T) {
	t.Parallel()
	n, p, user, _ := federation(t, true)
	server := httptest.NewTLSServer(n.Handler())
	t.Cleanup(server.Close)
	raw := federatedToken(t, testKeys()[0], "k0", federatedClaims(p))
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(raw+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := azcore.ClientOptions{
		Transport: dialing(server), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: ownLogin + "/"}, Retry: policy.RetryOptions{MaxRetries: -1},
	}
	workload, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: true, ClientID: user.AppID, TenantID: tenant, TokenFilePath: file,
	})
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := azidentity.NewClientAssertionCredential(tenant, user.AppID, func(context.Context) (string, error) { return raw, nil },
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, credential := range map[string]azcore.TokenCredential{"WorkloadIdentityCredential": workload, "ClientAssertionCredential": assertion} {
		token, err := credential.GetToken(t.Context(), tokenOptions)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n.checkCaller(t, token, user)
	}
}

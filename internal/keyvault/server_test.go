package keyvault_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/keyvault"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	tenant       = "11111111-1111-1111-1111-111111111111"
	subscription = "22222222-2222-2222-2222-222222222222"
	group        = "/subscriptions/" + subscription + "/resourceGroups/rg"
	vaultsPath   = group + "/providers/Microsoft.KeyVault/vaults/"

	ownerRole         = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributorRole   = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	cryptoOfficerRole = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
	cryptoUserRole    = "12338af0-0e69-4776-bea7-57ae8d297424"
	serviceUserRole   = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
)

var schemas = []store.Schema{job.Schema, seal.Schema, audit.Schema, rbac.Schema, arm.Schema, keyvault.Schema}

// callers are who the tests' tokens stand for.
var callers = map[string]*azure.Caller{
	"owner":       {ObjectID: "aaaaaaaa-0000-0000-0000-000000000001", Type: azure.TypeUser, Name: "Olga"},
	"contributor": {ObjectID: "aaaaaaaa-0000-0000-0000-000000000002", Type: azure.TypeUser},
	"officer":     {ObjectID: "aaaaaaaa-0000-0000-0000-000000000003", Type: azure.TypeUser},
	"member":      {ObjectID: "aaaaaaaa-0000-0000-0000-000000000004", Type: azure.TypeUser, Groups: []string{"bbbbbbbb-0000-0000-0000-000000000001"}},
	"stranger":    {ObjectID: "aaaaaaaa-0000-0000-0000-000000000005", Type: azure.TypeUser},
	"media": {
		ObjectID: "aaaaaaaa-0000-0000-0000-000000000006", Type: azure.TypeServicePrincipal, AppID: "cccccccc-0000-0000-0000-000000000006",
		IdentityID: group + "/providers/Microsoft.Media/mediaservices/ma", ResourceID: group + "/providers/Microsoft.Media/mediaservices/ma",
	},
	"machine": {
		ObjectID: "aaaaaaaa-0000-0000-0000-000000000007", Type: azure.TypeServicePrincipal,
		ResourceID: group + "/providers/Microsoft.Compute/virtualMachines/vm",
	},
}

// verify takes tokens "name|audience".
func verify(_ context.Context, raw string, accepts func(string) bool) (*azure.Caller, error) {
	name, audience, _ := strings.Cut(raw, "|")
	known := callers[name]
	switch {
	case name == "expired":
		return nil, &azure.TokenError{Problem: azure.TokenExpired, Detail: "the token expired"}
	case name == "foreign":
		return nil, &azure.TokenError{Problem: azure.TokenIssuer, Found: "https://sts.windows.net/other/"}
	case known == nil:
		return nil, &azure.TokenError{Problem: azure.TokenSignature, Detail: "unknown key"}
	case !accepts(audience):
		return nil, &azure.TokenError{Problem: azure.TokenAudience, Found: audience}
	}
	c := *known
	c.TenantID, c.Issuer, c.Audience = tenant, "https://sts.windows.net/"+tenant+"/", audience
	return &c, nil
}

// credential is a client's credential for one of the callers.
type credential string

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(c) + "|" + strings.TrimSuffix(o.Scopes[0], "/.default"), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// server is a resource manager and the vaults' data plane on loopback.
type server struct {
	t       testing.TB
	db      *store.DB
	vaults  *keyvault.Vaults
	rbac    *rbac.RBAC
	log     *audit.Log
	manager http.Handler
	data    http.Handler
	hosts   azure.Hosts
	client  *http.Client
	remote  string // the address that requests seem to come from
}

type noIdentities struct{ arm.Identities }

func newServer(t testing.TB, db *store.DB) *server {
	t.Helper()
	return openServer(t, db, filepath.Join(t.TempDir(), "root.key"))
}

func openServer(t testing.TB, db *store.DB, rootPath string) *server {
	t.Helper()
	s := &server{t: t, db: db, remote: "192.0.2.10:4711"}
	ctx := t.Context()
	root, err := seal.FileRoot(rootPath)
	s.must(err)
	keyring, err := seal.OpenKeyring(ctx, db, root)
	s.must(err)
	s.rbac, err = rbac.New(ctx, db)
	s.must(err)
	s.log, err = audit.Open(ctx, db)
	s.must(err)
	t.Cleanup(func() { s.log.Close() })

	tlsServer := httptest.NewUnstartedServer(nil)
	_, port, _ := net.SplitHostPort(tlsServer.Listener.Addr().String())
	s.hosts = azure.Hosts{Domain: "keyreel.localhost", Port: port}
	manager := arm.New(arm.Options{
		DB: db, RBAC: s.rbac, Audit: s.log, Jobs: job.New(job.Options{DB: db}), Identities: noIdentities{}, Verify: verify,
		Hosts: s.hosts, TenantID: tenant, Locations: []string{"westeurope", "northeurope"},
	})
	s.vaults = keyvault.New(keyvault.Options{
		DB: db, Keyring: keyring, Manager: manager, RBAC: s.rbac, Audit: s.log, Verify: verify, Hosts: s.hosts, TenantID: tenant,
	})
	t.Cleanup(func() { s.vaults.Close() })
	s.must(manager.Register(s.vaults.Provider()))
	s.manager, s.data = manager.Handler(), s.vaults.Handler()
	s.must(db.Update(ctx, func(tx *store.Tx) error { return manager.CreateSubscription(ctx, tx, subscription, "test") }))
	s.assign("owner", ownerRole, "/subscriptions/"+subscription)
	s.arm("owner", "PUT", group, "2021-04-01", `{"location":"westeurope"}`)

	tlsServer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = s.remote
		handler := s.data
		if host, _ := s.hosts.Parse(r.Host); host.Service == azure.Management {
			handler = s.manager
		}
		handler.ServeHTTP(w, r.WithContext(azure.WithEvent(r.Context(), &azure.Event{RequestID: azure.NewGUID()})))
	})
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	s.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, tlsServer.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) assign(caller, role, scope string) rbac.Assignment {
	s.t.Helper()
	c := callers[caller]
	a := rbac.Assignment{ID: azure.NewGUID(), Scope: scope, RoleID: role, PrincipalID: c.ObjectID, PrincipalType: c.Type, Created: time.Now()}
	ctx := s.t.Context()
	err := s.db.Update(ctx, func(tx *store.Tx) error { return s.rbac.Assign(ctx, tx, a) })
	if err != nil && !strings.Contains(err.Error(), "RoleAssignmentExists") {
		s.t.Fatal(err)
	}
	return a
}

func (s *server) unassign(a rbac.Assignment) {
	s.t.Helper()
	s.must(s.db.Update(s.t.Context(), func(tx *store.Tx) error {
		_, _, err := s.rbac.Unassign(s.t.Context(), tx, a.Scope, a.ID)
		return err
	}))
}

// arm sends a request to the resource manager.
func (s *server) arm(caller, method, path, version, body string) (int, map[string]any) {
	s.t.Helper()
	r := httptest.NewRequest(method, "https://management."+s.hosts.Domain+path+"?api-version="+version, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+caller+"|https://management.azure.com/")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.manager.ServeHTTP(w, r)
	var answer map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			s.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Code, answer
}

// vault makes or changes a vault; props are added to a premium vault that authorizes by roles.
func (s *server) vault(name, props string) {
	s.t.Helper()
	body := `{"location":"westeurope","properties":{"tenantId":"` + tenant + `","sku":{"family":"A","name":"premium"},"enableRbacAuthorization":true` + props + `}}`
	if status, answer := s.arm("owner", "PUT", vaultsPath+name, "2024-11-01", body); status != http.StatusOK {
		s.t.Fatalf("PUT vault %s: %d %v", name, status, answer)
	}
	s.assign("officer", cryptoOfficerRole, vaultsPath+name)
}

func (s *server) url(vault string) string { return azure.URLs{Hosts: s.hosts}.Vault(vault) }

// keys is the official client of a vault.
func (s *server) keys(vault, caller string) *azkeys.Client {
	s.t.Helper()
	c, err := azkeys.NewClient(s.url(vault), credential(caller), &azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: s.client, Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	s.must(err)
	return c
}

// answer is what the data plane said.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (a answer) code() string { return a.field("error", "code") }

func (a answer) inner() string { return a.field("error", "innererror", "code") }

func (a answer) message() string { return a.field("error", "message") }

func (a answer) field(path ...string) string {
	var v any = a.body
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

// do sends a raw request to the data plane. A path without a query gets api-version 7.4.
func (s *server) do(vault, caller, method, path, body string) answer {
	s.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?api-version=7.4"
	}
	r, err := http.NewRequest(method, s.url(vault)+path, bytes.NewReader([]byte(body)))
	s.must(err)
	if caller != "" {
		if !strings.Contains(caller, "|") {
			caller += "|https://vault.azure.net"
		}
		r.Header.Set("Authorization", "Bearer "+caller)
	}
	resp, err := s.client.Do(r)
	s.must(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	s.must(err)
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			s.t.Fatalf("%s %s: %v: %s", method, path, err, raw)
		}
	}
	return a
}

// create makes a key as the officer.
func (s *server) create(vault, name, body string) answer {
	s.t.Helper()
	a := s.do(vault, "officer", "POST", "/keys/"+name+"/create", body)
	if a.status != http.StatusOK {
		s.t.Fatalf("creating %s: %d %s", name, a.status, a.raw)
	}
	return a
}

// expect fails unless the answer is an error of that shape.
func (s *server) expect(a answer, status int, code, inner string) {
	s.t.Helper()
	if a.status != status || a.code() != code || a.inner() != inner {
		s.t.Errorf("got %d %s/%s, want %d %s/%s: %s", a.status, a.code(), a.inner(), status, code, inner, a.raw)
	}
}

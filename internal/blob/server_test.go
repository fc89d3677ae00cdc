package blob

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azcontainer "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/object"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	testTenant       = "11111111-1111-1111-1111-111111111111"
	testSubscription = "22222222-2222-2222-2222-222222222222"
	testOwner        = "33333333-3333-3333-3333-333333333333"
	testGroup        = "/subscriptions/" + testSubscription + "/resourceGroups/rg"
	testAccount      = "acct1"
	testAccountID    = testGroup + "/providers/Microsoft.Storage/storageAccounts/" + testAccount

	ownerRole       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributorRole = "ba92f5b4-2d11-453d-a403-e96b0029c9fe" // Storage Blob Data Contributor
	readerRole      = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1" // Storage Blob Data Reader
)

var testSchemas = []store.Schema{seal.Schema, audit.Schema, rbac.Schema, job.Schema, arm.Schema, customerkey.Schema, Schema}

// server is a storage service behind TLS, with one account.
type server struct {
	*Storage
	db      *store.DB
	vault   *vault
	http    *httptest.Server
	client  *http.Client
	account *account
}

// config is what a test's server stands on. It can be opened again to see what survives.
type config struct {
	url       string
	dir       string
	objects   object.Store
	fault     func(string) error
	vault     *vault
	ttl, scan time.Duration // of account keys
}

func newConfig(t testing.TB, url string) config {
	dir := t.TempDir()
	objects, err := object.OpenDir(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return config{url: url, dir: dir, objects: objects, vault: newVault(), ttl: time.Hour, scan: time.Hour}
}

// each runs fn with a server on each kind of database.
func each(t *testing.T, fn func(t *testing.T, s *server)) {
	storetest.EachURL(t, func(t *testing.T, url string) { fn(t, open(t, newConfig(t, url))) })
}

// sqlite is a server for tests of what does not depend on the database.
func sqlite(t testing.TB) *server { return open(t, newConfig(t, storetest.SQLiteURL(t))) }

// open starts a server and makes the account when it is missing.
func open(t testing.TB, c config) *server {
	t.Helper()
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{URL: c.url, Schemas: testSchemas, Fault: c.fault})
	check(t, err)
	root, err := seal.FileRoot(filepath.Join(c.dir, "root.key"))
	check(t, err)
	keyring, err := seal.OpenKeyring(ctx, db, root)
	check(t, err)
	roles, err := rbac.New(ctx, db)
	check(t, err)
	log, err := audit.Open(ctx, db)
	check(t, err)
	hosts := azure.Hosts{Domain: "keyreel.test"}
	queue := job.New(job.Options{DB: db, Log: slog.New(slog.DiscardHandler)})
	manager := arm.New(arm.Options{
		DB: db, RBAC: roles, Audit: log, Jobs: queue, Identities: fakeIdentities{}, Verify: verifyFake, Hosts: hosts, TenantID: testTenant,
	})
	keys := customerkey.New(customerkey.Options{DB: db, Keyring: keyring, Clients: c.vault.clients(), Audit: log, TTL: c.ttl, Scan: c.scan})
	keys.Start()
	s := &server{db: db, vault: c.vault, Storage: New(Options{
		DB: db, Objects: c.objects, Keyring: keyring, Keys: keys, Manager: manager, RBAC: roles, Audit: log,
		Verify: verifyFake, Hosts: hosts, TenantID: testTenant, Log: slog.New(slog.DiscardHandler),
	})}
	check(t, s.Check())
	check(t, manager.Register(s.Provider()))
	management := manager.Handler()
	data := s.Handler()
	s.http = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if target, _ := hosts.Parse(r.Host); target.Service == azure.Management {
			management.ServeHTTP(w, r)
			return
		}
		data.ServeHTTP(w, r)
	}))
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.http.Listener.Addr().String())
	}
	s.client = &http.Client{Transport: &http.Transport{
		DialContext: dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 100,
	}}
	t.Cleanup(func() { s.stop(t) })
	s.seed(t, manager)
	return s
}

// seed makes the subscription, the owner and the account.
func (s *server) seed(t testing.TB, manager *arm.Manager) {
	t.Helper()
	ctx := context.Background()
	acct, err := s.Storage.account(ctx, testAccount)
	if err != nil {
		check(t, s.db.Update(ctx, func(tx *store.Tx) error {
			return errors.Join(
				manager.CreateSubscription(ctx, tx, testSubscription, "test"),
				s.Keys.Create(ctx, tx, testAccountID))
		}))
		key, err := s.Keys.Key(ctx, testAccountID)
		check(t, err)
		check(t, s.db.Update(ctx, func(tx *store.Tx) error {
			id, err := azure.ParseResourceID(testAccountID)
			if err != nil {
				return err
			}
			set, err := defaultProperties().settings()
			if err != nil {
				return err
			}
			set.SKU, set.Kind = "Standard_LRS", "StorageV2"
			return errors.Join(
				s.RBAC.Assign(ctx, tx, rbac.Assignment{
					ID: azure.NewGUID(), Scope: "/", RoleID: ownerRole, PrincipalID: testOwner, PrincipalType: azure.TypeUser, Created: time.Now(),
				}),
				s.createAccount(ctx, tx, id, set, newDataKey(key, testAccount)))
		}))
		acct, err = s.Storage.account(ctx, testAccount)
		check(t, err)
	}
	s.account = acct
}

// stop ends the server; it may be called twice.
func (s *server) stop(t testing.TB) {
	s.client.CloseIdleConnections()
	s.http.Close()
	for _, closing := range []func() error{s.Storage.Close, s.Keys.Close, s.Audit.Close, s.RBAC.Close, s.db.Close} {
		if err := closing(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeIdentities gives every resource and every name of an identity a principal that says which it is.
type fakeIdentities struct{}

func (fakeIdentities) AssignSystem(_ context.Context, _ *store.Tx, id azure.ResourceID) (string, string, error) {
	return "system-of-" + id.Name(), "client-of-" + id.Name(), nil
}

func (fakeIdentities) RemoveSystem(context.Context, *store.Tx, azure.ResourceID) error { return nil }

func (fakeIdentities) UserAssigned(_ context.Context, _ *store.Tx, id azure.ResourceID) (string, string, error) {
	return "user-" + id.Name(), "client-of-" + id.Name(), nil
}

func (fakeIdentities) PrincipalType(context.Context, *store.Tx, string) (string, error) {
	return azure.TypeServicePrincipal, nil
}
func (fakeIdentities) Living(context.Context, *store.Tx, string) (bool, error) { return true, nil }

// token is a fake bearer token: the caller as JSON in hexadecimal.
func token(c azure.Caller) string {
	if c.TenantID == "" {
		c.TenantID = testTenant
	}
	if c.Audience == "" {
		c.Audience = "https://storage.azure.com"
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

func verifyFake(_ context.Context, raw string, accepts func(string) bool) (*azure.Caller, error) {
	b, err := hex.DecodeString(raw)
	if err != nil {
		return nil, &azure.TokenError{Problem: azure.TokenMalformed, Detail: "not a test's token"}
	}
	var c azure.Caller
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, &azure.TokenError{Problem: azure.TokenMalformed, Detail: "not a test's token"}
	}
	if !accepts(c.Audience) {
		return nil, &azure.TokenError{Problem: azure.TokenAudience, Detail: c.Audience, Found: c.Audience}
	}
	return &c, nil
}

// credential hands out a fake token.
type credential azure.Caller

func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: token(azure.Caller(c)), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (s *server) assign(t testing.TB, principal, role, scope string) (id string) {
	t.Helper()
	id = azure.NewGUID()
	check(t, s.db.Update(t.Context(), func(tx *store.Tx) error {
		return s.RBAC.Assign(t.Context(), tx, rbac.Assignment{
			ID: id, Scope: scope, RoleID: role, PrincipalID: principal, PrincipalType: azure.TypeServicePrincipal, Created: time.Now(),
		})
	}))
	return id
}

func (s *server) url(path string) string {
	return "https://" + testAccount + ".blob.keyreel.test" + path
}

func (s *server) options() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: s.client, Retry: policy.RetryOptions{MaxRetries: -1}}
}

// signed is the official client with the account's first key.
func (s *server) signed(t testing.TB) *service.Client {
	t.Helper()
	cred, err := service.NewSharedKeyCredential(testAccount, s.account.keys[0].Value)
	check(t, err)
	c, err := service.NewClientWithSharedKeyCredential(s.url("/"), cred, &service.ClientOptions{ClientOptions: s.options()})
	check(t, err)
	return c
}

// as is the official client with a caller's token.
func (s *server) as(t testing.TB, caller azure.Caller) *service.Client {
	t.Helper()
	c, err := service.NewClient(s.url("/"), credential(caller), &service.ClientOptions{ClientOptions: s.options()})
	check(t, err)
	return c
}

// container makes a container and returns the official client for it.
func (s *server) container(t testing.TB, name string) *azcontainer.Client {
	t.Helper()
	c := s.signed(t).NewContainerClient(name)
	_, err := c.Create(t.Context(), nil)
	check(t, err)
	return c
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) code() string { return a.header.Get("X-Ms-Error-Code") }

// do sends a request as it stands, signed with the account's key unless it has an Authorization header already ("-" for none).
// headers are name, value, ...
func (s *server) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	req := s.request(t, method, path, strings.NewReader(body), headers...)
	resp, err := s.client.Do(req)
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (s *server) request(t testing.TB, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url(path), body)
	check(t, err)
	req.Header.Set("X-Ms-Version", serviceVersion)
	req.Header.Set("X-Ms-Date", httpDate(time.Now()))
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	switch req.Header.Get("Authorization") {
	case "":
		sign(req, s.account.name, s.account.keys[0].Value)
	case "-":
		req.Header.Del("Authorization")
	}
	return req
}

// put makes a blob.
func (s *server) put(t testing.TB, path string, data []byte, headers ...string) answer {
	t.Helper()
	a := s.do(t, "PUT", path, string(data), append([]string{"X-Ms-Blob-Type", "BlockBlob"}, headers...)...)
	if a.status != http.StatusCreated {
		t.Fatalf("PUT %s: %d %s", path, a.status, a.body)
	}
	return a
}

// objectCount counts the objects that are stored.
func objectCount(t testing.TB, objects object.Store) int {
	t.Helper()
	n := 0
	check(t, objects.List(t.Context(), func(object.Info) error { n++; return nil }))
	return n
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16*31)
	}
	return b
}

func equal(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that differ from the %d expected", what, len(got), len(want))
	}
}

func copyAll(w io.Writer, resp *http.Response) (int64, error) { return io.Copy(w, resp.Body) }

func unmarshal(s string, v any) error { return json.Unmarshal([]byte(s), v) }

// update gives the test's account new settings.
func (s *server) update(t testing.TB, set settings) error {
	t.Helper()
	return s.db.Update(t.Context(), func(tx *store.Tx) error { return s.saveSettings(t.Context(), tx, testAccount, set) })
}

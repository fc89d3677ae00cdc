package media

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	sub    = "11111111-1111-1111-1111-111111111111"
	tenant = "22222222-2222-2222-2222-222222222222"
	owner  = "aaaaaaaa-0000-0000-0000-000000000001"
	poor   = "aaaaaaaa-0000-0000-0000-000000000002" // Contributor of media alone: no storage

	group   = "/subscriptions/" + sub + "/resourceGroups/g1"
	storage = group + "/providers/Microsoft.Storage/storageAccounts/store1"
	acct    = group + "/providers/Microsoft.Media/mediaservices/acct1"
	system  = "bbbbbbbb-0000-0000-0000-000000000001" // principal of acct1's identity

	contributorRole = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	ownerRole       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	readerRole      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	blobOwnerRole   = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
	blobRole        = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	mediaAdminRole  = "054126f8-9a2b-4f1c-a9ad-eca461f08466"

	syncV  = "?api-version=2021-06-01"
	asyncV = "?api-version=2023-01-01"
)

var schemas = []store.Schema{arm.Schema, job.Schema, rbac.Schema, audit.Schema, seal.Schema, customerkey.Schema, Schema}

type identities struct{}

func (identities) AssignSystem(_ context.Context, _ *store.Tx, id azure.ResourceID) (string, string, error) {
	return "bbbbbbbb-0000-0000-0000-00000000000" + id.Name()[len(id.Name())-1:], "client", nil
}
func (identities) RemoveSystem(context.Context, *store.Tx, azure.ResourceID) error { return nil }
func (identities) UserAssigned(_ context.Context, _ *store.Tx, id azure.ResourceID) (string, string, error) {
	return "user-" + id.Name(), "client", nil
}

func (identities) PrincipalType(context.Context, *store.Tx, string) (string, error) {
	return azure.TypeServicePrincipal, nil
}

func (identities) Living(context.Context, *store.Tx, string) (bool, error) { return true, nil }

type world struct {
	*Service
	t    testing.TB
	db   *store.DB
	out  *outside
	arm  http.Handler
	rbac *rbac.RBAC
	jobs *job.Queue
	root string // file of the root key
	stop func()
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) { fn(t, newWorld(t, db)) })
}

func newWorld(t testing.TB, db *store.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, out: newOutside(), root: filepath.Join(t.TempDir(), "root.key")}
	w.start()
	t.Cleanup(func() { w.stop() })
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if err := w.o.Manager.CreateSubscription(t.Context(), tx, sub, "Test"); err != nil {
			return err
		}
		return w.rbac.Assign(t.Context(), tx, rbac.Assignment{ID: azure.NewGUID(), Scope: "/subscriptions/" + sub, RoleID: ownerRole, PrincipalID: owner, PrincipalType: azure.TypeUser})
	})
	if err != nil {
		t.Fatal(err)
	}
	w.put(group, "?api-version=2021-04-01", `{"location":"westeurope"}`).want(201)
	w.grant(poor, mediaAdminRole, group)
	w.put(storage, asyncV, `{"location":"westeurope","properties":{}}`).want(201)
	w.put(group+"/providers/Microsoft.KeyVault/vaults/v", asyncV, `{"location":"westeurope","properties":{"enableSoftDelete":true,"enablePurgeProtection":true}}`).want(201)
	return w
}

// start makes all services over the database, as a process does that begins with nothing in memory.
func (w *world) start() {
	w.t.Helper()
	ctx, db := w.t.Context(), w.db
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	root, err := seal.FileRoot(w.root)
	must(err)
	keyring, err := seal.OpenKeyring(ctx, db, root)
	must(err)
	log, err := audit.Open(ctx, db)
	must(err)
	w.rbac, err = rbac.New(ctx, db)
	must(err)
	w.jobs = job.New(job.Options{DB: db})
	hosts := azure.Hosts{Domain: "keyreel.test"}
	clients := &onbehalf.Clients{Token: w.out.token, Transport: &onbehalf.InProcess{
		Handler: w.out, Owns: func(host string) bool { return strings.HasSuffix(host, ".keyreel.test") }, Next: w.out,
	}}
	if w.out.carry != nil {
		clients.Transport = w.out.carry(clients.Transport)
	}
	keys := customerkey.New(customerkey.Options{DB: db, Keyring: keyring, Clients: clients, Audit: log, TTL: time.Hour, Scan: time.Hour})
	m := arm.New(arm.Options{
		DB: db, RBAC: w.rbac, Audit: log, Jobs: w.jobs, Identities: identities{}, Verify: verify, Hosts: hosts, TenantID: tenant,
		Locations: []string{"westeurope", "northeurope"},
	})
	w.Service, err = New(Options{
		DB: db, Keyring: keyring, Manager: m, RBAC: w.rbac, Audit: log, Jobs: w.jobs, Clients: clients, Keys: keys,
		Hosts: hosts, TenantID: tenant, WorkDir: w.t.TempDir(),
	})
	must(err)
	must(m.Register(w.Provider()))
	plain := func(name string) arm.Type {
		return arm.Type{
			Name: name, Versions: []string{"2023-01-01"}, Tracked: true, Unique: true,
			Validate: func(_ context.Context, _ *store.Tx, w *arm.Write) error { w.New.Properties = w.Body; return nil },
		}
	}
	accounts := plain(storageAccountType)
	accounts.Actions = []arm.Action{{Name: "listKeys", Handle: w.out.listKeys}}
	must(m.Register(arm.Provider{Namespace: "Microsoft.Storage", Types: []arm.Type{accounts}}))
	must(m.Register(arm.Provider{Namespace: "Microsoft.KeyVault", Types: []arm.Type{plain(vaultType)}}))
	w.arm = m.Handler()
	queue, service, roles := w.jobs, w.Service, w.rbac
	w.stop = func() {
		queue.Close()
		service.Close()
		keys.Close()
		roles.Close()
		log.Close()
	}
}

// restart is what a process that died and one that comes after it make of the database.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func (w *world) grant(principal, role, scope string) {
	w.t.Helper()
	w.grantIf(principal, role, scope, "")
}

// grantIf is grant under a condition; an empty one is none.
func (w *world) grantIf(principal, role, scope, condition string) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		return w.rbac.Assign(w.t.Context(), tx, rbac.Assignment{ID: azure.NewGUID(), Scope: scope, RoleID: role, PrincipalID: principal, PrincipalType: azure.TypeServicePrincipal, Condition: condition})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// answer is what the resource manager, the origin or key delivery said.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	raw    []byte
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d: %s", a.what, a.status, status, a.raw)
	}
	return a
}

// says checks that the answer holds each text.
func (a answer) says(texts ...string) answer {
	a.t.Helper()
	for _, s := range texts {
		if !strings.Contains(string(a.raw), s) {
			a.t.Errorf("%s: %q is not in %s", a.what, s, a.raw)
		}
	}
	return a
}

// at returns a value of the JSON answer by path, e.g. "properties.container".
func (a answer) at(path string) any {
	a.t.Helper()
	var v any
	if err := json.Unmarshal(a.raw, &v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, a.raw)
	}
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			var i int
			fmt.Sscan(part, &i)
			if i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (w *world) serve(h http.Handler, method, url, token, body string) answer {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, url, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	raw, err := io.ReadAll(rec.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{w.t, method + " " + url, rec.Code, rec.Result().Header, raw}
}

func (w *world) do(method, path, version, body string) answer {
	w.t.Helper()
	return w.serve(w.arm, method, "https://management.keyreel.test"+path+version, owner, body)
}

func (w *world) get(path string) answer { w.t.Helper(); return w.do("GET", path, asyncV, "") }
func (w *world) put(path, version, body string) answer {
	w.t.Helper()
	return w.do("PUT", path, version, body)
}
func (w *world) post(path string) answer { w.t.Helper(); return w.do("POST", path, asyncV, "{}") }
func (w *world) child(path, properties string) answer {
	w.t.Helper()
	return w.put(acct+path, asyncV, `{"properties":`+properties+`}`)
}

func (w *world) stream(method, path string) answer {
	w.t.Helper()
	return w.serve(w.StreamingHandler(), method, "https://default-acct1.streaming.keyreel.test"+path, "", "")
}

func (w *world) key(query, token string) answer {
	w.t.Helper()
	return w.serve(w.KeyDeliveryHandler(), "GET", "https://acct1.keydelivery.keyreel.test/"+query, token, "")
}

// letIn gives acct1's identity what it needs on the storage account.
func (w *world) letIn() {
	w.t.Helper()
	w.grant(system, readerRole, storage)
	w.grant(system, blobRole, storage)
	w.out.set(func() { w.out.allowed[system] = true })
}

const accountDoc = `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccounts":[{"id":"` + storage + `"}]%s}}`

// managed makes acct1 with managed-identity storage.
func (w *world) managed() {
	w.t.Helper()
	w.letIn()
	w.put(acct, syncV, fmt.Sprintf(accountDoc, `,"storageAuthentication":"ManagedIdentity"`)).want(201)
}

package arm

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	sub    = "11111111-1111-1111-1111-111111111111"
	tenant = "22222222-2222-2222-2222-222222222222"

	owner    = "aaaaaaaa-0000-0000-0000-000000000001" // Owner of the subscription
	reader   = "aaaaaaaa-0000-0000-0000-000000000002" // Reader of resource group g1
	stranger = "aaaaaaaa-0000-0000-0000-000000000003" // nothing
	builder  = "aaaaaaaa-0000-0000-0000-000000000004" // Contributor of the subscription's group g1

	ownerRole       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributorRole = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	readerRole      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"

	subPath = "/subscriptions/" + sub
	g1      = subPath + "/resourceGroups/g1"
	widgets = g1 + "/providers/Test.Things/widgets"
	rigs    = g1 + "/providers/Test.Things/rigs"

	sync1  = "?api-version=2023-01-01" // of rigs: synchronous
	async1 = "?api-version=2024-01-01" // of rigs: asynchronous
	groupV = "?api-version=2021-04-01"
)

// The fake service keeps one row a resource of its own, and the fake directory one a system-assigned identity, so that
// tests see whether they come and go with the resource.
var fakeSchema = store.Schema{Name: "fake", FS: fstest.MapFS{
	"0001_fake.sqlite.sql":   {Data: []byte(`CREATE TABLE fake_things (key TEXT PRIMARY KEY, body TEXT) STRICT; CREATE TABLE fake_identities (key TEXT PRIMARY KEY, principal TEXT) STRICT;`)},
	"0001_fake.postgres.sql": {Data: []byte(`CREATE TABLE fake_things (key TEXT PRIMARY KEY, body TEXT); CREATE TABLE fake_identities (key TEXT PRIMARY KEY, principal TEXT);`)},
}}

var testSchemas = []store.Schema{Schema, job.Schema, rbac.Schema, audit.Schema, seal.Schema, fakeSchema}

// fakeIdentities is a directory. User-assigned identities exist unless their name begins with "no".
type fakeIdentities struct{}

func (fakeIdentities) AssignSystem(ctx context.Context, tx *store.Tx, id azure.ResourceID) (string, string, error) {
	var principal string
	err := tx.QueryRow(ctx, `SELECT principal FROM fake_identities WHERE key = $1`, id.Key()).Scan(&principal)
	if errors.Is(err, sql.ErrNoRows) {
		principal = azure.NewGUID()
		_, err = tx.Exec(ctx, `INSERT INTO fake_identities (key, principal) VALUES ($1, $2)`, id.Key(), principal)
	}
	return principal, "client-" + principal, err
}

func (fakeIdentities) RemoveSystem(ctx context.Context, tx *store.Tx, id azure.ResourceID) error {
	_, err := tx.Exec(ctx, `DELETE FROM fake_identities WHERE key = $1`, id.Key())
	return err
}

func (fakeIdentities) UserAssigned(_ context.Context, _ *store.Tx, id azure.ResourceID) (string, string, error) {
	if strings.HasPrefix(id.Name(), "no") {
		return "", "", azure.Errorf(http.StatusNotFound, "ResourceNotFound", "no identity %s", id)
	}
	return "p-" + id.Name(), "c-" + id.Name(), nil
}

func (fakeIdentities) PrincipalType(_ context.Context, _ *store.Tx, id string) (string, error) {
	if !strings.HasPrefix(id, "aaaaaaaa") {
		return "", azure.Errorf(http.StatusBadRequest, "PrincipalNotFound", "Principal %s does not exist in the directory.", id)
	}
	return azure.TypeUser, nil
}

// Living knows all but those whom a test has taken away.
func (fakeIdentities) Living(ctx context.Context, tx *store.Tx, id string) (bool, error) {
	var gone int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM fake_things WHERE key = $1`, "gone "+id).Scan(&gone)
	return gone == 0, err
}

// world is a manager with a fake provider and four callers, whose tokens are their object ids.
type world struct {
	t       *testing.T
	m       *Manager
	db      *store.DB
	jobs    *job.Queue
	handler http.Handler

	mu            sync.Mutex
	prepare       func(w *Write) error
	prepareDelete func(res *Resource) error
	gate          func(res *Resource, op Op) error
	prepared      int
}

func verify(_ context.Context, raw string, accepts func(string) bool) (*azure.Caller, error) {
	for _, p := range []azure.TokenProblem{azure.TokenExpired, azure.TokenSignature, azure.TokenIssuer, azure.TokenAudience} {
		if raw == string(p) {
			return nil, &azure.TokenError{Problem: p, Detail: `it says "so"`, Found: "https://elsewhere"}
		}
	}
	if aud, ok := strings.CutPrefix(raw, "aud:"); ok {
		if !accepts(aud) {
			return nil, &azure.TokenError{Problem: azure.TokenAudience, Found: aud}
		}
		raw = owner
	}
	return &azure.Caller{ObjectID: raw, TenantID: tenant, Type: azure.TypeUser, Name: "caller " + raw[len(raw)-1:]}, nil
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	w := openWorld(t, db)
	w.seed()
	w.jobs.Start()
	return w
}

// openWorld is newWorld on a database that may hold something, with jobs not started.
func openWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	ctx := t.Context()
	rb, err := rbac.New(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	rootFile := filepath.Join(t.TempDir(), "root") // the same key each time, as a database may be opened again
	rootKey := "keyreel-root-key-1:" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	if err := os.WriteFile(rootFile, []byte(rootKey), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := seal.FileRoot(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := seal.OpenKeyring(ctx, db, root)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, jobs: job.New(job.Options{DB: db})}
	t.Cleanup(func() {
		w.jobs.Close()
		log.Close()
		rb.Close()
	})
	w.m = New(Options{
		DB: db, RBAC: rb, Audit: log, Keyring: keyring, Jobs: w.jobs, Identities: fakeIdentities{}, Verify: verify,
		Hosts: azure.Hosts{Domain: "keyreel.localhost", Port: "8443"}, TenantID: tenant, Locations: []string{"westeurope", "North Europe"},
	})
	if err := w.m.Register(w.provider()); err != nil {
		t.Fatal(err)
	}
	if err := w.m.Register(Provider{Namespace: "Microsoft.ManagedIdentity"}); err != nil {
		t.Fatal(err)
	}
	w.handler = w.m.Handler()
	return w
}

func (w *world) seed() {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		if err := w.m.CreateSubscription(w.t.Context(), tx, sub, "Test"); err != nil {
			return err
		}
		for i, a := range []rbac.Assignment{
			{Scope: subPath, RoleID: ownerRole, PrincipalID: owner},
			{Scope: g1, RoleID: readerRole, PrincipalID: reader},
			{Scope: g1, RoleID: contributorRole, PrincipalID: builder},
		} {
			a.ID, a.PrincipalType = fmt.Sprintf("bbbbbbbb-0000-0000-0000-%012d", i), azure.TypeUser
			if err := w.m.o.RBAC.Assign(w.t.Context(), tx, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(owner, "PUT", g1+groupV, `{"location":"West Europe"}`).want(201)
}

func (w *world) hook(fn func()) { w.mu.Lock(); defer w.mu.Unlock(); fn() }

func (w *world) provider() Provider {
	commit := func(ctx context.Context, tx *store.Tx, wr *Write) error {
		_, err := tx.Exec(ctx, `INSERT INTO fake_things (key, body) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET body = excluded.body`,
			wr.New.ID.Key(), string(wr.New.Properties))
		return err
	}
	remove := func(ctx context.Context, tx *store.Tx, res *Resource) error {
		n, err := tx.Exec(ctx, `DELETE FROM fake_things WHERE key = $1`, res.ID.Key())
		if err == nil && n != 1 {
			err = fmt.Errorf("deleting %s: it was not there", res.ID)
		}
		return err
	}
	validate := func(_ context.Context, _ *store.Tx, wr *Write) error {
		var p struct{ Size *int }
		if err := json.Unmarshal(wr.Body, &p); err != nil {
			return azure.Errorf(400, "BadSize", "%v", err)
		}
		if p.Size != nil && *p.Size < 0 {
			return azure.Errorf(400, "BadSize", "Size %d is negative.", *p.Size)
		}
		wr.New.Properties = wr.Body
		if string(wr.Body) == "null" {
			wr.New.Properties = json.RawMessage(`{}`)
		}
		wr.Private = map[string]int{"attempts": 1}
		return nil
	}
	versions := []string{"2023-01-01", "2024-01-01"}
	poke := Action{Name: "poke", Handle: func(rw http.ResponseWriter, r *azure.Request, res *Resource) error {
		return azure.WriteJSON(rw, 200, map[string]string{"poked": res.ID.Name(), "by": r.Caller.ObjectID})
	}}
	fail := Action{Name: "fail", Handle: func(http.ResponseWriter, *azure.Request, *Resource) error {
		return azure.Errorf(409, "CannotPoke", "It is not to be poked.")
	}}
	return Provider{
		Namespace: "Test.Things", OperationStatuses: "thingStatuses", OperationResults: "thingResults",
		Types: []Type{
			{
				Name: "Test.Things/widgets", Versions: versions, Tracked: true, Identity: true, Unique: true, TakenCode: "WidgetTaken",
				Validate: validate, Commit: commit, Delete: remove, Actions: []Action{poke, fail},
				Move: func(ctx context.Context, tx *store.Tx, res *Resource, old azure.ResourceID) error {
					if strings.HasPrefix(res.ID.Name(), "heavy") {
						return azure.Errorf(409, "TooHeavy", "It is too heavy.")
					}
					_, err := tx.Exec(ctx, `UPDATE fake_things SET key = $1 WHERE key = $2`, res.ID.Key(), old.Key())
					return err
				},
			},
			{Name: "Test.Things/widgets/parts", Versions: versions, PageSize: 3, ListKey: "@odata.nextLink", Validate: validate, Commit: commit, Delete: remove},
			{
				Name: "Test.Things/rigs", Versions: versions, Tracked: true, Identity: true, Validate: validate, Commit: commit, Delete: remove,
				Async: func(v string) bool { return v == "2024-01-01" },
				Prepare: func(ctx context.Context, wr *Write) error {
					w.mu.Lock()
					fn := w.prepare
					w.prepared++
					w.mu.Unlock()
					if fn == nil {
						return nil
					}
					return fn(wr)
				},
				PrepareDelete: func(_ context.Context, res *Resource) error {
					w.mu.Lock()
					fn := w.prepareDelete
					w.mu.Unlock()
					if fn == nil {
						return nil
					}
					return fn(res)
				},
				Gate: func(_ context.Context, res *Resource, op Op) error {
					w.mu.Lock()
					fn := w.gate
					w.mu.Unlock()
					if fn == nil {
						return nil
					}
					return fn(res, op)
				},
			},
			{Name: "Test.Things/rigs/bolts", Versions: versions, NoPatch: true, Validate: validate, Commit: commit, Delete: remove},
			{Name: "Test.Things/rigs/logs", Versions: versions, ReadOnly: true},
		},
		Commands: []Command{{
			Name: "CheckName", Method: "POST", Pattern: subPath[:len("/subscriptions/")] + "{subscription}/providers/Test.Things/checkNameAvailability",
			Action: "Test.Things/checkNameAvailability/read", Handle: func(rw http.ResponseWriter, r *azure.Request) error {
				return azure.WriteJSON(rw, 200, map[string]string{"subscription": r.Vars["subscription"], "scope": r.Scope})
			},
		}},
	}
}

// answer is an answer with what a test asks of it.
type answer struct {
	*httptest.ResponseRecorder
	w    *world
	what string
}

func (w *world) do(caller, method, path, body string, headers ...string) *answer {
	w.t.Helper()
	r := httptest.NewRequest(method, "https://management.keyreel.localhost:8443"+path, strings.NewReader(body))
	r = r.WithContext(w.t.Context())
	if caller != "" {
		r.Header.Set("Authorization", "Bearer "+caller)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return &answer{rec, w, method + " " + path}
}

func (a *answer) want(status int) *answer {
	a.w.t.Helper()
	if a.Code != status {
		a.w.t.Fatalf("%s: status %d, want %d: %s", a.what, a.Code, status, a.Body)
	}
	return a
}

// fails checks an error's status and code and returns its message.
func (a *answer) fails(status int, code string) string {
	a.w.t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.Body.Bytes(), &e); err != nil || a.Code != status || e.Error.Code != code {
		a.w.t.Fatalf("%s: %d %s, want %d %s: %s", a.what, a.Code, e.Error.Code, status, code, a.Body)
	}
	return e.Error.Message
}

func (a *answer) json() map[string]any {
	a.w.t.Helper()
	var v map[string]any
	if err := json.NewDecoder(bytes.NewReader(a.Body.Bytes())).Decode(&v); err != nil {
		a.w.t.Fatalf("%s: %v: %s", a.what, err, a.Body)
	}
	return v
}

// at returns the value under a path such as "properties.size"; nil when there is none.
func at(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (a *answer) at(path string) any { a.w.t.Helper(); return at(a.json(), path) }

// names returns the names of a list's items.
func (a *answer) names() []string {
	a.w.t.Helper()
	a.want(200)
	names := []string{}
	list, _ := a.json()["value"].([]any)
	for _, item := range list {
		names = append(names, fmt.Sprint(at(item, "name")))
	}
	return names
}

// follow polls a URL until it does not say that the operation is running.
func (w *world) follow(caller, url string) *answer {
	w.t.Helper()
	path := strings.TrimPrefix(url, "https://management.keyreel.localhost:8443")
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := w.do(caller, "GET", path, "")
		if a.Code != 202 && (a.Code != 200 || a.Body.Len() == 0 || a.at("status") != "InProgress") {
			return a
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is still running: %s", url, a.Body)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// consistent checks that rows, the service's own rows and identities go together and that nothing is on its way.
func (w *world) consistent() {
	w.t.Helper()
	ctx := w.t.Context()
	err := w.db.View(ctx, func(tx *store.Tx) error {
		all, err := query(ctx, tx, `type LIKE 'test.things/%'`)
		if err != nil {
			return err
		}
		things, identities := map[string]bool{}, map[string]bool{}
		for _, res := range all {
			if res.State == InProgress || res.State == Deleting || res.operation != "" {
				w.t.Errorf("%s is stuck in %s by %q", res.ID, res.State, res.operation)
			}
			if res.ready {
				things[res.ID.Key()] = true
			}
			if res.Identity.hasSystem() {
				identities[res.ID.Key()] = true
			}
		}
		for table, want := range map[string]map[string]bool{"fake_things": things, "fake_identities": identities} {
			rows, err := tx.Query(ctx, `SELECT key FROM `+table)
			if err != nil {
				return err
			}
			got := 0
			for rows.Next() {
				var key string
				if err := rows.Scan(&key); err != nil {
					return err
				}
				if got++; !want[key] {
					w.t.Errorf("%s holds %s, which no resource has", table, key)
				}
			}
			rows.Close()
			if got != len(want) {
				w.t.Errorf("%s holds %d rows for %d resources", table, got, len(want))
			}
		}
		var running int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM arm_operations WHERE status = 'InProgress'`).Scan(&running); err != nil {
			return err
		}
		if running > 0 {
			w.t.Errorf("%d operations are still in progress", running)
		}
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

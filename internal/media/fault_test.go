package media

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// faults fails one step: a commit, a call of the vault or one of storage.
type faults struct {
	mu    sync.Mutex
	armed bool
	kind  string // "store", "vault", "storage"
	after bool   // the step is applied, and reported as failed
	left  int    // steps of the kind until the one that fails
	fired bool
}

func (f *faults) arm(kind string, nth int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.kind, f.left, f.after, f.fired = true, kind, nth, after, false
}

func (f *faults) disarm() (fired bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.fired
}

// fails reports whether this step, or this end of it, is the one.
func (f *faults) fails(kind string, after bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed || f.fired || f.kind != kind || f.after != after {
		return false
	}
	f.left--
	f.fired = f.left == 0
	return f.fired
}

// lost is an error that no client tries again.
type lost struct{}

func (lost) Error() string { return "the connection was lost" }
func (lost) NonRetriable() {}

func (f *faults) commit(point string) error {
	if f.fails("store", point == "commit.after") {
		return errors.New("the database was lost")
	}
	return nil
}

type faultyCalls struct {
	*faults
	next http.RoundTripper
}

func (c faultyCalls) RoundTrip(r *http.Request) (*http.Response, error) {
	kind := "storage"
	if strings.Contains(r.URL.Host, ".vault.") {
		kind = "vault"
	}
	if c.fails(kind, false) {
		return nil, lost{}
	}
	resp, err := c.next.RoundTrip(r)
	if err == nil && c.fails(kind, true) {
		resp.Body.Close()
		return nil, lost{}
	}
	return resp, err
}

// TestFaults fails every store, vault and storage call of each operation on an account once as not applied and once as
// applied but reported as failed, and then starts the server anew. The account is on the old key or the new one, what
// was sealed under its key opens, and the operation can be done again.
func TestFaults(t *testing.T) {
	t.Parallel()
	user := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
	encryption := func(more string) string {
		return `"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"}` + more + `}`
	}
	patch := func(properties string) func(w *world) answer {
		return func(w *world) answer { return w.do("PATCH", acct, syncV, `{"properties":{`+properties+`}}`) }
	}
	create := func(w *world) answer {
		return w.put(acct+"2", syncV, fmt.Sprintf(`{"location":"westeurope","identity":{"type":"UserAssigned","userAssignedIdentities":{%q:{}}},
			"properties":{"storageAuthentication":"ManagedIdentity","storageAccounts":[{"id":%q,"identity":{"userAssignedIdentity":%q}}],%s}}`,
			user, storage, user, encryption(fmt.Sprintf(`,"identity":{"userAssignedIdentity":%q}`, user))))
	}
	remove := func(path string) func(w *world) answer {
		return func(w *world) answer { return w.do("DELETE", path, asyncV, "") }
	}
	child := func(path, body string) func(w *world) answer {
		return func(w *world) answer { return w.child(path, body) }
	}
	for _, op := range []struct {
		name     string
		do, undo func(w *world) answer
	}{
		{"to the customer's key and back", patch(encryption("")), patch(`"encryption":{"type":"SystemKey"}`)},
		{
			"the key as another identity", patch(encryption(fmt.Sprintf(`,"identity":{"userAssignedIdentity":%q}`, user))),
			patch(encryption(`,"identity":{"useSystemAssignedIdentity":true}`)),
		},
		{"storage by keys and by identity", patch(`"storageAuthentication":"System"`), patch(`"storageAuthentication":"ManagedIdentity"`)},
		{"an account", create, remove(acct + "2")},
		{"an asset", child("/assets/a", `{"container":"films"}`), remove(acct + "/assets/a")},
		{"a content key policy", child("/contentKeyPolicies/q", tokenPolicy()), remove(acct + "/contentKeyPolicies/q")},
		{
			"a locator with keys", child("/streamingLocators/l", `{"assetName":"kept","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"p"}`),
			remove(acct + "/streamingLocators/l"),
		},
	} {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			storetest.EachURL(t, func(t *testing.T, url string) { tryFaults(t, url, user, op.do, op.undo) })
		})
	}
}

func tryFaults(t *testing.T, url, user string, do, undo func(*world) answer) {
	f := &faults{}
	db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas, Fault: f.commit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := newWorld(t, db)
	w.out.carry = func(next http.RoundTripper) http.RoundTripper { return faultyCalls{f, next} }
	w.managed()
	w.grant("user-u1", readerRole, storage)
	w.grant("user-u1", blobRole, storage)
	w.out.set(func() { w.out.allowed["user-u1"], w.out.allowed[withKey] = true, true })
	w.do("PATCH", acct, syncV, fmt.Sprintf(`{"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{%q:{}}}}`, user)).want(200)
	w.child("/assets/kept", `{}`).want(201)
	w.child("/contentKeyPolicies/p", tokenPolicy()).want(201)

	cases := 0
	kinds := []string{"store"}
	if db.Kind() == "sqlite" { // the others do not depend on the database
		kinds = append(kinds, "vault", "storage")
	}
	for _, kind := range kinds {
		for _, after := range []bool{false, true} {
			for _, step := range []struct {
				name     string
				do, done func(*world) answer
			}{{"do", do, undo}, {"undo", undo, do}} {
				if step.name == "undo" {
					settle(t, w, do)
				}
				for nth := 1; ; nth++ {
					w.restart()
					f.arm(kind, nth, after)
					answered := step.do(w)
					fired := f.disarm()
					w.restart()
					what := fmt.Sprintf("%s, %s call %d, applied %v, answered %d", step.name, kind, nth, after, answered.status)
					coherent(t, w, what)
					settle(t, w, step.do)
					coherent(t, w, what+", done again")
					if !fired {
						break
					}
					cases++
					settle(t, w, step.done)
				}
			}
		}
	}
	t.Logf("%d faults", cases)
}

// settle does a step that nothing hinders; what was done already may answer so.
func settle(t *testing.T, w *world, step func(*world) answer) {
	t.Helper()
	if a := step(w); a.status >= 300 && !strings.Contains(string(a.raw), "streaming locator") && a.status != 409 {
		t.Fatalf("%s: %d %s", a.what, a.status, a.raw)
	}
}

// coherent checks that each account that is there says under which key it is, is under it, and that acct1 opens what was
// sealed.
func coherent(t *testing.T, w *world, what string) {
	t.Helper()
	var a answer
	for _, name := range []string{acct + "2", acct} {
		a = w.get(name)
		if a.status == 404 && name != acct {
			continue
		}
		if a.status != 200 || a.at("properties.provisioningState") != "Succeeded" {
			t.Fatalf("%s: the account: %d %s", what, a.status, a.raw)
		}
		state, err := w.o.Keys.State(t.Context(), name)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if says := a.at("properties.encryption.type") == customerKey; says != state.Customer {
			t.Fatalf("%s: the account says customer's key %v, its key is wrapped by it %v", what, says, state.Customer)
		}
		if _, err := w.o.Keys.Key(t.Context(), name); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if got := w.post(acct + "/contentKeyPolicies/p/getPolicyPropertiesWithSecrets"); got.status != 200 {
		t.Fatalf("%s: what was sealed does not open: %d %s", what, got.status, got.raw)
	}
	if a.at("properties.storageAuthentication") == storageSystem {
		if _, err := w.client(t.Context(), w.target(t)); err != nil {
			t.Fatalf("%s: the storage account's key: %v", what, err)
		}
	}
}

package keyvault_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A vault and a key that were used a moment ago are in memory. Whatever changes them decides the next request.
func TestNextRequestSeesTheChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", `,"networkAcls":{"defaultAction":"Allow"}`)
		s.assign("media", serviceUserRole, vaultsPath+"kv1")
		s.create("kv1", "k", `{"kty":"RSA"}`)
		wrap := func() answer { return s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody) }
		officer := func(method, path, body string) func() {
			return func() {
				if a := s.do("kv1", "officer", method, path, body); a.status >= 300 {
					t.Errorf("%s %s: %d %s", method, path, a.status, a.raw)
				}
			}
		}
		manager := func(method, path, body string) func() {
			return func() {
				if status, answer := s.arm("owner", method, path, "2024-11-01", body); status >= 300 {
					t.Errorf("%s %s: %d %v", method, path, status, answer)
				}
			}
		}
		vault := func(props string) func() { return func() { s.vault("kv1", props) } }
		first := wrap()
		unwrap := func() answer {
			return s.do("kv1", "media", "POST", path(first.field("kid"))+"/unwrapkey", `{"alg":"RSA-OAEP-256","value":"`+first.field("value")+`"}`)
		}
		policy := `{"properties":{"accessPolicies":[{"tenantId":"` + tenant + `","objectId":"` + callers["media"].ObjectID + `","permissions":{"keys":["wrapKey"]}}]}}`
		for _, step := range []struct {
			name           string
			change         func()
			wraps, unwraps int
		}{
			{"as made", func() {}, 200, 200},
			{"disabled", officer("PATCH", "/keys/k", `{"attributes":{"enabled":false}}`), 403, 403},
			{"enabled", officer("PATCH", "/keys/k", `{"attributes":{"enabled":true}}`), 200, 200},
			{"expired", officer("PATCH", "/keys/k", `{"attributes":{"exp":1000000}}`), 403, 200},
			{"a new version", officer("POST", "/keys/k/create", `{"kty":"RSA"}`), 200, 200},
			{"the old version disabled", officer("PATCH", path(first.field("kid")), `{"attributes":{"enabled":false}}`), 200, 403},
			{"the old version enabled", officer("PATCH", path(first.field("kid")), `{"attributes":{"enabled":true}}`), 200, 200},
			{"deleted", officer("DELETE", "/keys/k", ""), 404, 404},
			{"recovered", officer("POST", "/deletedkeys/k/recover", ""), 200, 200},
			{"the firewall closed", vault(`,"networkAcls":{"defaultAction":"Deny","bypass":"None"}`), 403, 403},
			{"the firewall open", vault(`,"networkAcls":{"defaultAction":"Allow"}`), 200, 200},
			{"access policies without one", vault(`,"enableRbacAuthorization":false,"accessPolicies":[]`), 403, 403},
			{"an access policy", manager("PUT", vaultsPath+"kv1/accessPolicies/add", policy), 200, 403},
			{"no access policy", manager("PUT", vaultsPath+"kv1/accessPolicies/remove", policy), 403, 403},
			{"roles", vault(`,"enableRbacAuthorization":true`), 200, 200},
			{"the vault deleted", manager("DELETE", vaultsPath+"kv1", ""), 404, 404},
			{"the vault recovered", func() { // its role assignments do not come back with it
				s.vault("kv1", `,"createMode":"recover"`)
				s.assign("media", serviceUserRole, vaultsPath+"kv1")
			}, 200, 200},
		} {
			step.change()
			w, u := wrap(), unwrap()
			if w.status != step.wraps || u.status != step.unwraps {
				t.Errorf("%s: wrapKey %d, unwrapKey %d; want %d, %d: %s %s", step.name, w.status, u.status, step.wraps, step.unwraps, w.raw, u.raw)
			}
			if newer := w.field("kid") != first.field("kid"); step.name == "a new version" && !newer {
				t.Errorf("%s: wrapKey still takes %s", step.name, w.field("kid"))
			}
		}
	})
}

// What one node changes another sees within 5 s.
func TestOtherNodesSeeTheChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		root := filepath.Join(t.TempDir(), "root.key")
		s, other := openServer(t, db, root), openServer(t, db, root)
		s.vault("kv1", "")
		s.vault("kv2", "")
		s.assign("media", serviceUserRole, group)
		wrapped := ""
		for _, vault := range []string{"kv1", "kv2"} {
			s.create(vault, "k", `{"kty":"RSA"}`)
			wrapped = s.do(vault, "media", "POST", "/keys/k//wrapkey", wrapBody).field("value")
			if a := other.do(vault, "media", "POST", "/keys/k//unwrapkey", `{"alg":"RSA-OAEP-256","value":"`+wrapped+`"}`); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.raw)
			}
		}
		s.do("kv1", "officer", "PATCH", "/keys/k", `{"attributes":{"enabled":false}}`)
		s.arm("owner", "DELETE", vaultsPath+"kv2", "2024-11-01", "")
		changed := time.Now()
		for vault, want := range map[string]int{"kv1": 403, "kv2": 404} {
			for {
				a := other.do(vault, "media", "POST", "/keys/k//unwrapkey", `{"alg":"RSA-OAEP-256","value":"`+wrapped+`"}`)
				if a.status == want {
					break
				}
				if time.Since(changed) > 5*time.Second {
					t.Fatalf("%s: still %d after %v", vault, a.status, time.Since(changed))
				}
			}
		}
	})
}

package keyvault_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// Each commit of each change to a vault and its keys fails in two ways: not applied, and applied with the answer lost.
// What was acknowledged is so, what was not applied is not, asking again ends where it should, and all of it is so after
// a restart, with every key whole.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []storetest.Fault{storetest.NotApplied, storetest.AnswerLost} {
		for at := range 3 { // the longest operation makes two commits: the record of its decision and its own
			t.Run(fmt.Sprintf("%s/%d", fault, at), func(t *testing.T) {
				t.Parallel()
				storetest.EachURL(t, func(t *testing.T, url string) { testFaults(t, url, fault, at) })
			})
		}
	}
}

func testFaults(t *testing.T, url string, fault storetest.Fault, at int) {
	rootPath := filepath.Join(t.TempDir(), "root.key")
	var faults storetest.Faults
	db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas, Fault: faults.Inject})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := openServer(t, db, rootPath)
	s.vault("kv1", "")
	s.assign("media", serviceUserRole, group)
	s.assign("officer", cryptoOfficerRole, group)
	s.create("kv1", "old", `{"kty":"RSA"}`)

	data := func(method, path, body string) func() int {
		return func() int {
			a := s.do("kv1", "officer", method, path, body)
			if strings.Contains(a.raw, storetest.ErrFault.Error()) {
				t.Errorf("%s %s: an internal error reaches the client: %s", method, path, a.raw)
			}
			return a.status
		}
	}
	manager := func(method, path, body string) func() int {
		return func() int { status, _ := s.arm("owner", method, path, "2024-11-01", body); return status }
	}
	vault := func(props string) string {
		return `{"location":"westeurope","properties":{"tenantId":"` + tenant + `","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true` + props + `}}`
	}
	get := func(path string, status int) func() bool {
		return func() bool { return s.do("kv1", "officer", "GET", path, "").status == status }
	}
	wraps := func(status int) func() bool {
		return func() bool { return s.do("kv1", "media", "POST", "/keys/old//wrapkey", wrapBody).status == status }
	}
	retention := func(want float64) func() bool {
		return func() bool {
			_, answer := s.arm("owner", "GET", vaultsPath+"kv2", "2024-11-01", "")
			properties, _ := answer["properties"].(map[string]any)
			return properties["softDeleteRetentionInDays"] == want
		}
	}
	bypass := func(want string) func() bool {
		return func() bool {
			_, answer := s.arm("owner", "GET", vaultsPath+"kv2", "2024-11-01", "")
			properties, _ := answer["properties"].(map[string]any)
			acls, _ := properties["networkAcls"].(map[string]any)
			return acls["bypass"] == want
		}
	}
	for _, step := range []struct {
		name  string
		run   func() int
		done  func() bool
		own   int // which commit is the change itself; before the resource manager's stands the record of its decision
		again int // what asking again may be answered with, beside success
	}{
		{"create", data("POST", "/keys/new/create", `{"kty":"RSA"}`), get("/keys/new", 200), 0, 0},
		{"disable", data("PATCH", "/keys/old", `{"attributes":{"enabled":false}}`), wraps(403), 0, 0},
		{"enable", data("PATCH", "/keys/old", `{"attributes":{"enabled":true}}`), wraps(200), 0, 0},
		{"delete", data("DELETE", "/keys/new", ""), get("/keys/new", 404), 0, 404},
		{"recover", data("POST", "/deletedkeys/new/recover", ""), get("/keys/new", 200), 0, 404},
		{"delete to purge", data("DELETE", "/keys/new", ""), get("/keys/new", 404), 0, 404},
		{"purge", data("DELETE", "/deletedkeys/new", ""), get("/deletedkeys/new", 404), 0, 404},
		{"make a vault", manager("PUT", vaultsPath+"kv2", vault(`,"softDeleteRetentionInDays":7`)), retention(7), 1, 0},
		{"change it", manager("PUT", vaultsPath+"kv2", vault(`,"networkAcls":{"defaultAction":"Allow","bypass":"None"}`)), bypass("None"), 1, 0},
		{"delete it", manager("DELETE", vaultsPath+"kv2", ""), retention(7), 1, http.StatusNoContent},
		{"recover it", manager("PUT", vaultsPath+"kv2", vault(`,"createMode":"recover"`)), retention(7), 1, http.StatusConflict},
	} {
		done := step.done
		if step.name == "delete it" {
			done = func() bool { return !step.done() }
		}
		if done() {
			t.Fatalf("%s: done before it was begun", step.name)
		}
		faults.Fail(fault, at)
		status := step.run()
		hit := faults.Clear()
		now := done()
		switch {
		case status < 300 && !now:
			t.Errorf("%s: %d, and it is not done", step.name, status)
		case hit && at == step.own && (status < 500 || now != (fault == storetest.AnswerLost)):
			t.Errorf("%s: %d, done %v", step.name, status, now)
		case !hit && status >= 300:
			t.Errorf("%s: %d without a fault", step.name, status)
		}
		if status = step.run(); status >= 300 && status != step.again || !done() {
			t.Errorf("%s again: %d, done %v", step.name, status, done())
		}
	}

	s.must(s.log.Close())
	s.must(s.vaults.Close())
	s.must(db.Close())
	s = openServer(t, openDB(t, url), rootPath)
	if _, _, err := s.log.Verify(t.Context()); err != nil {
		t.Errorf("the audit chain: %v", err)
	}
	for path, want := range map[string]int{"/keys/old": 200, "/keys/new": 404, "/deletedkeys/new": 404} {
		if a := s.do("kv1", "officer", "GET", path, ""); a.status != want {
			t.Errorf("after the restart: %s: %d, want %d", path, a.status, want)
		}
	}
	if status, _ := s.arm("owner", "GET", vaultsPath+"kv2", "2024-11-01", ""); status != 200 {
		t.Errorf("after the restart: the vault: %d", status)
	}
	// No key without a version, no version without a key, and every version opens.
	if n := s.count(`SELECT COUNT(*) FROM keyvault_keys k WHERE NOT EXISTS (SELECT 1 FROM keyvault_versions v WHERE v.vault = k.vault AND v.name = k.name AND v.serial = k.serial)`); n != 0 {
		t.Errorf("%d keys without their version", n)
	}
	if n := s.count(`SELECT COUNT(*) FROM keyvault_versions v WHERE NOT EXISTS (SELECT 1 FROM keyvault_keys k WHERE v.vault = k.vault AND v.name = k.name)`); n != 0 {
		t.Errorf("%d versions without their key", n)
	}
	var versions struct{ Value []struct{ KID string } }
	s.must(json.Unmarshal([]byte(s.do("kv1", "officer", "GET", "/keys/old/versions", "").raw), &versions))
	for _, v := range versions.Value {
		wrapped := s.do("kv1", "media", "POST", path(v.KID)+"/wrapkey", wrapBody)
		a := s.do("kv1", "media", "POST", path(v.KID)+"/unwrapkey", `{"alg":"RSA-OAEP-256","value":"`+wrapped.field("value")+`"}`)
		if got, _ := base64.RawURLEncoding.DecodeString(a.field("value")); string(got) != "thirty-two bytes of account key!" {
			t.Errorf("%s: %d %s", v.KID, a.status, a.raw)
		}
	}
}

package blob

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	films      = testGroup + "/providers/Microsoft.Storage/storageAccounts/films"
	filmsV     = films + "?api-version=2023-01-01"
	someone    = testGroup + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/someone"
	underVault = `"encryption":{"keySource":"Microsoft.Keyvault","keyvaultproperties":{"keyname":"k","keyvaulturi":"https://` + vaultHost + `/"}}`
	underOwn   = `"encryption":{"keySource":"Microsoft.Storage"}`
)

// makeFilms makes the account films with a system-assigned identity.
func (s *server) makeFilms(t testing.TB, properties string) {
	t.Helper()
	s.arm(t, "PUT", testGroup+"?api-version=2021-04-01", `{"location":"westeurope"}`)
	s.arm(t, "PUT", filmsV, `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"identity":{"type":"SystemAssigned"},"properties":{`+properties+`}}`)
}

// arm is a request of the resource manager that is to succeed.
func (s *server) arm(t testing.TB, method, path, body string) answer {
	t.Helper()
	a := s.armDo(t, method, path, body)
	if a.status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

func (s *server) filmsRequest(t testing.TB, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	acct, err := s.Storage.account(t.Context(), "films")
	check(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, "https://films.blob.keyreel.test"+path, body)
	check(t, err)
	req.Header.Set("X-Ms-Version", serviceVersion)
	req.Header.Set("X-Ms-Date", httpDate(time.Now()))
	if method == "PUT" {
		req.Header.Set("X-Ms-Blob-Type", "BlockBlob")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	sign(req, "films", acct.keys[0].Value)
	return req
}

// films sends a request to the account films, signed with its key.
func (s *server) films(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	resp, err := s.client.Do(s.filmsRequest(t, method, path, strings.NewReader(body), headers...))
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// fill stores a small blob and a large one; whole checks that they can be read.
func (s *server) fill(t testing.TB) {
	t.Helper()
	if a := s.films(t, "PUT", "/con?restype=container", ""); a.status != 201 && a.status != 409 {
		t.Fatalf("container: %d %s", a.status, a.body)
	}
	for path, body := range map[string]string{"/con/small": "small", "/con/large": string(pattern(40 << 10))} {
		if a := s.films(t, "PUT", path, body); a.status != 201 {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func (s *server) whole(t testing.TB, when string) {
	t.Helper()
	for path, want := range map[string]string{"/con/small": "small", "/con/large": string(pattern(40 << 10))} {
		if a := s.films(t, "GET", path, ""); a.status != 200 || a.body != want {
			t.Errorf("%s, %s: %d with %d bytes", when, path, a.status, len(a.body))
		}
	}
}

// shown is what the resource manager shows of an account's encryption.
func (s *server) shown(t testing.TB) (e encryption) {
	t.Helper()
	var res struct {
		Properties struct{ Encryption encryption }
	}
	check(t, json.Unmarshal([]byte(s.arm(t, "GET", filmsV, "").body), &res))
	return res.Properties.Encryption
}

// eventually waits until a condition holds and returns how long that took.
func eventually(t testing.TB, what string, holds func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for tick := time.Tick(20 * time.Millisecond); !holds(); <-tick {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("after 20 s not: %s", what)
		}
	}
	return time.Since(begun)
}

// TestCustomerKey: what is stored stays readable from the system key to the customer's, its next version and back.
func TestCustomerKey(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		c := newConfig(t, url)
		c.scan = 50 * time.Millisecond
		s := open(t, c)
		s.makeFilms(t, "")
		if e := s.shown(t); e.KeySource != keySourceStorage || e.KeyVault != nil || e.Services["blob"] == nil {
			t.Errorf("from the start: %+v", e)
		}
		s.fill(t)
		s.arm(t, "PATCH", filmsV, `{"properties":{`+underVault+`}}`)
		first := s.shown(t)
		if kv := first.KeyVault; first.KeySource != keySourceKeyvault || kv == nil || kv.KeyName != "k" || kv.KeyVersion != "" ||
			kv.Current != "https://"+vaultHost+"/keys/k/"+versionID(0) || kv.Rotated == "" {
			t.Errorf("under the customer's key: %+v %+v", first, first.KeyVault)
		}
		s.whole(t, "under the customer's key")
		s.fill(t)
		s.arm(t, "PATCH", filmsV, `{"tags":{"a":"b"}}`)
		if e := s.shown(t); *e.KeyVault != *first.KeyVault {
			t.Errorf("after a change of tags: %+v", e.KeyVault)
		}

		s.vault.set(func() { s.vault.keys = rsaKeys() })
		took := eventually(t, "the new version wraps", func() bool { return strings.HasSuffix(s.shown(t).KeyVault.Current, versionID(1)) })
		if e := s.shown(t); e.KeyVault.Rotated <= first.KeyVault.Rotated {
			t.Errorf("rotated at %s, before at %s", e.KeyVault.Rotated, first.KeyVault.Rotated)
		}
		t.Logf("the new version wrapped after %v", took)
		s.whole(t, "under the new version")

		s.arm(t, "PATCH", filmsV, `{"properties":{"encryption":{"keySource":"Microsoft.Keyvault","keyvaultproperties":{"keyname":"k","keyversion":"`+versionID(0)+`","keyvaulturi":"https://`+vaultHost+`"}}}}`)
		if e := s.shown(t); e.KeyVault.KeyVersion != versionID(0) || !strings.HasSuffix(e.KeyVault.Current, versionID(0)) {
			t.Errorf("pinned: %+v", e.KeyVault)
		}
		s.whole(t, "under a version")

		s.arm(t, "PATCH", filmsV, `{"properties":{`+underOwn+`}}`)
		if e := s.shown(t); e.KeySource != keySourceStorage || e.KeyVault != nil {
			t.Errorf("back: %+v", e)
		}
		s.vault.set(func() { s.vault.unreachable = true })
		s.stop(t)
		s = open(t, c)
		s.whole(t, "back under the system key")
		s.arm(t, "DELETE", filmsV, "")
		if _, err := s.Keys.Key(t.Context(), films); err == nil {
			t.Error("the account is deleted and its key is not")
		}
	})
}

// TestCustomerKeyAtCreation: with a user-assigned identity an account can begin under the customer's key.
func TestCustomerKeyAtCreation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.arm(t, "PUT", testGroup+"?api-version=2021-04-01", `{"location":"westeurope"}`)
		put := `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + someone + `":{}}},
			"properties":{"encryption":{"keySource":"Microsoft.Keyvault","identity":{"userAssignedIdentity":"` + someone + `"},"keyvaultproperties":{"keyname":"k","keyvaulturi":"https://` + vaultHost + `/"}}}}`
		s.vault.set(func() { s.vault.refuse = &refusal{403, "Forbidden", "ForbiddenByRbac"} })
		if a := s.armDo(t, "PUT", filmsV, put); a.status != 400 || !strings.Contains(a.body, "KeyVaultAuthenticationFailure") || !strings.Contains(a.body, someone) {
			t.Errorf("refused: %d %s", a.status, a.body)
		}
		if a := s.armDo(t, "GET", filmsV, ""); a.status != 404 {
			t.Errorf("after a refused creation: %d %s", a.status, a.body)
		}
		s.vault.set(func() { s.vault.refuse = nil })
		s.arm(t, "PUT", filmsV, put)
		if e := s.shown(t); e.Identity == nil || e.Identity.UserAssigned != someone || e.KeyVault.Current == "" {
			t.Errorf("%+v", e)
		}
		s.fill(t)
		s.whole(t, "from the start")
		if a := s.armDo(t, "PATCH", filmsV, `{"identity":{"type":"None"}}`); a.status != 400 || !strings.Contains(a.body, "encryption.keySource") {
			t.Errorf("without the identity: %d %s", a.status, a.body)
		}
	})
}

func TestEncryptionRefusals(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.makeFilms(t, "")
	s.fill(t)
	kv := func(more string) string {
		return `{"keySource":"Microsoft.Keyvault","keyvaultproperties":{"keyname":"k","keyvaulturi":"https://` + vaultHost + `"}` + more + `}`
	}
	for _, c := range []struct {
		name, encryption string
		vault            func()
		code, says       string
	}{
		{"no key", `{"keySource":"Microsoft.Keyvault"}`, nil, "MissingKeyvaultProperties", "keyname"},
		{"no vault", `{"keySource":"Microsoft.Keyvault","keyvaultproperties":{"keyname":"k"}}`, nil, "MissingKeyvaultProperties", "keyvaulturi"},
		{"no source", `{"keyvaultproperties":{"keyname":"k","keyvaulturi":"https://v"}}`, nil, "InvalidValuesForRequestParameters", "keySource"},
		{"other source", `{"keySource":"Mine"}`, nil, "InvalidValuesForRequestParameters", "Microsoft.Keyvault"},
		{"version in the name", `{"keySource":"Microsoft.Keyvault","keyvaultproperties":{"keyname":"k/1","keyvaulturi":"https://v"}}`, nil, "InvalidValuesForRequestParameters", "k/1"},
		{"not https", `{"keySource":"Microsoft.Keyvault","keyvaultproperties":{"keyname":"k","keyvaulturi":"http://v"}}`, nil, "InvalidValuesForRequestParameters", "http://v"},
		{"infrastructure", `{"requireInfrastructureEncryption":true}`, nil, "InvalidValuesForRequestParameters", "not built"},
		{"other tenant", kv(`,"identity":{"federatedIdentityClientId":"x"}`), nil, "InvalidValuesForRequestParameters", "not built"},
		{"identity of others", kv(`,"identity":{"userAssignedIdentity":"` + someone + `"}`), nil, "InvalidValuesForRequestParameters", "not assigned"},
		{"service off", `{"services":{"blob":{"enabled":false}}}`, nil, "InvalidValuesForRequestParameters", "switched off"},
		{"no grant", kv(""), func() { s.vault.refuse = &refusal{403, "Forbidden", "ForbiddenByRbac"} }, "KeyVaultAuthenticationFailure", "system-of-films"},
		{"purgeable", kv(""), func() { s.vault.recovery = "Recoverable+Purgeable" }, "KeyVaultPolicyError", "purge protection"},
		{"disabled", kv(""), func() { s.vault.disabled = true }, "InvalidValuesForRequestParameters", "disabled"},
		{"expired", kv(""), func() { s.vault.expires = 1 }, "InvalidValuesForRequestParameters", "expired"},
		{"no vault there", kv(""), func() { s.vault.unreachable = true }, "KeyVaultUnreachable", "connection refused"},
	} {
		if c.vault != nil {
			s.vault.set(c.vault)
		}
		a := s.armDo(t, "PATCH", filmsV, `{"properties":{"encryption":`+c.encryption+`}}`)
		if a.status != 400 || !strings.Contains(a.body, `"`+c.code+`"`) || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		s.vault.set(func() {
			s.vault.refuse, s.vault.recovery, s.vault.disabled, s.vault.expires, s.vault.unreachable = nil, "Recoverable", false, 0, false
		})
		if e := s.shown(t); e.KeySource != keySourceStorage {
			t.Errorf("%s: afterwards %+v", c.name, e)
		}
		s.whole(t, c.name)
	}
	s.arm(t, "PATCH", filmsV, `{"properties":{"encryption":{"requireInfrastructureEncryption":false,"services":{"blob":{"enabled":true}}}}}`)
}

// TestMoveUnderKeys: the account key goes with a moved account; one under a customer's key stays.
func TestMoveUnderKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		const target = "/subscriptions/" + testSubscription + "/resourceGroups/two"
		s.makeFilms(t, underVault)
		s.arm(t, "PUT", target+"?api-version=2021-04-01", `{"location":"westeurope"}`)
		s.fill(t)
		move := func() answer {
			return s.armDo(t, "POST", testGroup+"/moveResources?api-version=2021-04-01", `{"resources":["`+films+`"],"targetResourceGroup":"`+target+`"}`)
		}
		if a := move(); a.status != 409 || !strings.Contains(a.body, "ResourceMoveNotSupported") {
			t.Errorf("under a customer's key: %d %s", a.status, a.body)
		}
		s.whole(t, "not moved")
		s.arm(t, "PATCH", filmsV, `{"identity":{"type":"None"},"properties":{`+underOwn+`}}`)
		if a := move(); a.status != 204 {
			t.Errorf("under the system key: %d %s", a.status, a.body)
		}
		s.whole(t, "moved")
	})
}

// TestFaultsOfSwitch fails each commit and each call of the vault of a switch to the customer's key and of the way back,
// once as not applied and once as applied but reported as failed, and starts anew: the account is under the old key or
// the new one, says under which, and its blobs can be read.
func TestFaultsOfSwitch(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		faults := &storetest.Faults{}
		c := newConfig(t, url)
		c.fault = faults.Inject
		s := open(t, c)
		s.makeFilms(t, "")
		s.fill(t)
		verify := func(what string) {
			t.Helper()
			s.stop(t)
			s = open(t, c)
			s.whole(t, what)
			state, err := s.Keys.State(t.Context(), films)
			check(t, err)
			if e := s.shown(t); state.Customer != (e.KeySource == keySourceKeyvault) {
				t.Errorf("%s: shown %s, wrapped by the customer's key: %v", what, e.KeySource, state.Customer)
			}
		}
		settle := func(body string) {
			t.Helper()
			eventually(t, "a write succeeds", func() bool { return s.armDo(t, "PATCH", filmsV, body).status == 200 })
		}
		there, back := `{"properties":{`+underVault+`}}`, `{"properties":{`+underOwn+`}}`
		for _, way := range []struct{ name, body, undo string }{{"there", there, back}, {"back", back, there}} {
			settle(way.undo)
			for _, fault := range []storetest.Fault{storetest.NotApplied, storetest.AnswerLost} {
				for skip := 0; ; skip++ {
					what := fmt.Sprintf("%s, %s of commit %d", way.name, fault, skip)
					faults.Fail(fault, skip)
					s.armDo(t, "PATCH", filmsV, way.body)
					hit := faults.Clear()
					verify(what)
					settle(way.undo)
					if !hit {
						break
					}
				}
			}
			for _, after := range []bool{false, true} {
				for nth := 1; ; nth++ {
					s.vault.set(func() { s.vault.failCall, s.vault.failAfter = nth, after })
					s.armDo(t, "PATCH", filmsV, way.body)
					left := 0
					s.vault.set(func() { left, s.vault.failCall = s.vault.failCall, 0 })
					verify(fmt.Sprintf("%s, call %d of the vault, applied: %v", way.name, nth, after))
					settle(way.undo)
					if left > 0 {
						break
					}
				}
			}
		}
	})
}

package customerkey

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
)

const vaultHost = "v.vault.keyreel.test"

// vault is as much of a key vault as account keys need, with real RSA. It refuses when told to.
type vault struct {
	mu          sync.Mutex
	versions    []*version // of the key "k", oldest first
	refuse      map[string]*refusal
	unreachable bool
	noToken     map[string]bool // principals that get none
	swapped     bool            // unwraps to something else
	calls       map[string]int
}

type version struct {
	id       string
	key      *rsa.PrivateKey
	disabled bool
	kty      string
	ops      []string
	expires  int64
	recovery string
}

type refusal struct {
	status            int
	code, inner, text string
}

var rsaKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 3)
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

func newVault() *vault {
	v := &vault{refuse: map[string]*refusal{}, calls: map[string]int{}}
	v.rotate()
	return v
}

// rotate makes a new version of the key and returns it.
func (v *vault) rotate() *version {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := len(v.versions)
	made := &version{
		id: fmt.Sprintf("%032x", n+1), key: rsaKeys()[n], kty: "RSA", recovery: "Recoverable",
		ops: []string{"encrypt", "decrypt", "wrapKey", "unwrapKey"},
	}
	v.versions = append(v.versions, made)
	return made
}

func (v *vault) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *vault) count(operation string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[operation]
}

func (v *vault) clients() *onbehalf.Clients {
	in := &onbehalf.InProcess{Handler: v, Owns: func(host string) bool { return host == vaultHost }}
	return &onbehalf.Clients{
		Token: func(_ context.Context, principal, _, _ string) (string, time.Time, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.noToken[principal] {
				return "", time.Time{}, azure.Errorf(400, "invalid_request", "Identity not found.")
			}
			return "tok", time.Now().Add(time.Millisecond), nil // asked for anew each time
		},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			v.mu.Lock()
			gone := v.unreachable
			v.mu.Unlock()
			if gone {
				return nil, noNetwork{}
			}
			return in.RoundTrip(r)
		}),
	}
}

// noNetwork is not retried, so that tests do not wait.
type noNetwork struct{}

func (noNetwork) Error() string { return "connection refused" }
func (noNetwork) NonRetriable() {}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "" {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.keyreel.test/t", resource="https://vault.keyreel.test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // keys, k, version, operation
	operation := "get"
	if len(parts) == 4 {
		operation = strings.ToLower(parts[3])
	} else if len(parts) == 3 && parts[2] == "versions" {
		operation = "list"
	}
	v.calls[operation]++
	if no := v.refuse[operation]; no != nil {
		v.fail(w, no.status, no.code, no.inner, no.text)
		return
	}
	if parts[1] != "k" {
		v.fail(w, 404, "KeyNotFound", "", "A key with (name/id) "+parts[1]+" was not found in this key vault.")
		return
	}
	if operation == "list" {
		var list []any
		for i, ver := range v.versions {
			list = append(list, map[string]any{"kid": ver.kid(), "attributes": map[string]any{"enabled": !ver.disabled, "created": 1000 + i}})
		}
		reply(w, map[string]any{"value": list})
		return
	}
	ver := v.versions[len(v.versions)-1]
	if len(parts) > 2 && parts[2] != "" {
		ver = nil
		for _, have := range v.versions {
			if have.id == parts[2] {
				ver = have
			}
		}
		if ver == nil {
			v.fail(w, 404, "KeyNotFound", "", "There is no such version.")
			return
		}
	}
	if operation == "get" {
		attributes := map[string]any{"enabled": !ver.disabled, "created": 1000, "recoveryLevel": ver.recovery}
		if ver.expires != 0 {
			attributes["exp"] = ver.expires
		}
		reply(w, map[string]any{"key": map[string]any{
			"kid": ver.kid(), "kty": ver.kty, "key_ops": ver.ops, "e": "AQAB",
			"n": base64.RawURLEncoding.EncodeToString(ver.key.N.Bytes()),
		}, "attributes": attributes})
		return
	}
	if ver.disabled {
		v.fail(w, 403, "Forbidden", "KeyDisabled", "Operation "+operation+" is not allowed on a disabled key.")
		return
	}
	var body struct{ Alg, Value string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Alg != "RSA-OAEP-256" {
		v.fail(w, 400, "BadParameter", "", "bad operation")
		return
	}
	value, err := base64.RawURLEncoding.DecodeString(body.Value)
	if err == nil && operation == "wrapkey" {
		value, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &ver.key.PublicKey, value, nil)
	} else if err == nil {
		value, err = ver.key.Decrypt(nil, value, &rsa.OAEPOptions{Hash: crypto.SHA256})
		if v.swapped {
			value = make([]byte, 32)
		}
	}
	if err != nil {
		v.fail(w, 400, "BadParameter", "", "the value does not fit the key")
		return
	}
	reply(w, map[string]any{"kid": ver.kid(), "value": base64.RawURLEncoding.EncodeToString(value)})
}

func (ver *version) kid() string { return "https://" + vaultHost + "/keys/k/" + ver.id }

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (v *vault) fail(w http.ResponseWriter, status int, code, inner, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := map[string]any{"code": code, "message": text}
	if inner != "" {
		e["innererror"] = map[string]any{"code": inner}
	}
	json.NewEncoder(w).Encode(map[string]any{"error": e})
}

func TestUnusableKeys(t *testing.T) {
	t.Parallel()
	small := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}}
	tests := []struct {
		name   string
		change func(*version)
		code   string
	}{
		{"elliptic curve", func(v *version) { v.kty = "EC" }, "KeyTypeNotSupported"},
		{"1024 bits", func(v *version) { v.key = small }, "KeySizeNotSupported"},
		{"disabled", func(v *version) { v.disabled = true }, "KeyDisabled"},
		{"expired", func(v *version) { v.expires = 1 }, "KeyExpired"},
		{"may not unwrap", func(v *version) { v.ops = []string{"wrapKey"} }, "KeyOperationNotPermitted"},
		{"no purge protection", func(v *version) { v.recovery = "Recoverable+Purgeable" }, "PurgeProtectionRequired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := newVault()
			tt.change(v.versions[0])
			_, err := vaultKey{v.clients(), identity, KeyID{Vault: "https://" + vaultHost, Name: "k", Version: v.versions[0].id}}.current(t.Context())
			var p *Problem
			if !errors.As(err, &p) || p.Code != tt.code || !p.Denied || !p.Unusable {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUsableKeys(t *testing.T) {
	t.Parallel()
	for _, kty := range []string{"RSA", "RSA-HSM"} {
		for _, bits := range []uint{2048, 3072, 4096} {
			v := newVault()
			v.versions[0].kty = kty
			v.versions[0].key = &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}}
			_, err := vaultKey{v.clients(), identity, KeyID{Vault: "https://" + vaultHost, Name: "k"}}.current(t.Context())
			if err != nil {
				t.Errorf("%s of %d bits: %v", kty, bits, err)
			}
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*vault)
		denied bool
		code   string
		says   string
	}{
		{"no grant", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource."}
		}, true, "Forbidden", "Key Vault Crypto Service Encryption User"},
		{"no role, in full", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\n" +
				"If role assignments were changed recently, please observe propagation time.\r\nCaller: appid=1;oid=2\r\n" +
				"Action: 'Microsoft.KeyVault/vaults/keys/unwrap/action'\r\nResource: '/subscriptions/s/k'\r\nAssignment: (not found)\r\n"}
		}, true, "Forbidden", "It has no role with 'Microsoft.KeyVault/vaults/keys/unwrap/action' at '/subscriptions/s/k'. Grant the identity get, wrapKey and unwrapKey: the role"},
		{"no access policy", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{403, "Forbidden", "ForbiddenByPolicy", "The user, group or application 'appid=1;oid=2;numgroups=0' does not have keys unwrapKey permission on key vault 'v;location=westeurope'. Add it."}
		}, true, "Forbidden", "It has no access policy with keys unwrapKey in the vault 'v'. Give object '" + identity.PrincipalID + "' get, wrapKey and unwrapKey"},
		{"operation taken", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{403, "Forbidden", "KeyOperationForbidden", "Operation unwrapKey is not permitted on this key."}
		}, true, "Forbidden", "key_ops"},
		{"no public access", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{403, "Forbidden", "ForbiddenByConnection", "Public network access is disabled."}
		}, true, "Forbidden", "AzureServices"},
		{"other key material", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{400, "BadParameter", "", "The parameter is incorrect.\r\n"}
		}, true, "BadParameter", "incorrect. The version has to hold"},
		{"firewall", func(v *vault) {
			v.refuse["unwrapkey"] = &refusal{403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized."}
		}, true, "Forbidden", "AzureServices"},
		{"key deleted", func(v *vault) { v.refuse["unwrapkey"] = &refusal{404, "KeyNotFound", "", "not found"} }, true, "KeyNotFound", "Recover"},
		{"key disabled", func(v *vault) { v.versions[0].disabled = true }, true, "KeyDisabled", "Enable"},
		{"token refused", func(v *vault) { v.refuse["unwrapkey"] = &refusal{401, "Unauthorized", "", "expired"} }, true, "Unauthorized", "expired"},
		{"identity deleted", func(v *vault) { v.noToken = map[string]bool{identity.PrincipalID: true} }, true, "IdentityNotFound", "Identity not found"},
		{"vault fails", func(v *vault) { v.refuse["unwrapkey"] = &refusal{500, "InternalError", "", "oops"} }, false, "Unreachable", "500"},
		{"throttled", func(v *vault) { v.refuse["unwrapkey"] = &refusal{429, "Throttled", "", "slow down"} }, false, "Unreachable", "429"},
		{"no network", func(v *vault) { v.unreachable = true }, false, "Unreachable", "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := newVault()
			tt.change(v)
			_, err := vaultKey{v.clients(), identity, KeyID{Vault: "https://" + vaultHost, Name: "k", Version: v.versions[0].id}}.unwrap(t.Context(), make([]byte, 256))
			var p *Problem
			if !errors.As(err, &p) || p.Denied != tt.denied || p.Code != tt.code {
				t.Fatalf("got %v", err)
			}
			if len(p.Detail) > 500 {
				t.Errorf("%d bytes: %s", len(p.Detail), p.Detail)
			}
			for _, want := range []string{tt.says, identity.IdentityID, identity.PrincipalID, "unwrapKey", "/keys/k/"} {
				if !strings.Contains(p.Detail, want) {
					t.Errorf("%q is not in %q", want, p.Detail)
				}
			}
		})
	}
}

func FuzzParseKeyID(f *testing.F) {
	for _, s := range []string{
		"https://v.vault.azure.net/keys/k", "https://v.vault.azure.net:8443/keys/k-1/0123456789abcdef0123456789abcdef",
		"https://v/keys/", "http://v/keys/k", "https://u@v/keys/k", "https://v/secrets/k", "https://v/keys/k/1/2", "https://v/keys/%6b", "https://v/keys/k?x", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseKeyID(s)
		if err != nil {
			return
		}
		again, err := ParseKeyID(id.String())
		if err != nil || again != id {
			t.Errorf("%q is %+v, and again %+v, %v", s, id, again, err)
		}
	})
}

func TestParseKeyID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in string
		ok bool
	}{
		{"https://v.vault.azure.net/keys/k", true},
		{"https://v.vault.azure.net/keys/k/", true},
		{"https://v.vault.keyreel.test:8443/keys/k-1/0123456789abcdef0123456789abcdef", true},
		{"http://v.vault.azure.net/keys/k", false},
		{"https://user@v.vault.azure.net/keys/k", false},
		{"https:///keys/k", false},
		{"https://v.vault.azure.net/keys/", false},
		{"https://v.vault.azure.net/secrets/k", false},
		{"https://v.vault.azure.net/keys/k/1/2", false},
		{"https://v.vault.azure.net/keys/k%2f1", false},
		{"https://v.vault.azure.net/keys/k?x=1", false},
	}
	for _, tt := range tests {
		if _, err := ParseKeyID(tt.in); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.in, err)
		}
	}
}

package blob

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
)

const vaultHost = "v.vault.keyreel.test"

// vault is as much of a key vault as account keys need: one key "k" with real RSA. Its fields are changed by set.
type vault struct {
	mu          sync.Mutex
	keys        []*rsa.PrivateKey // versions, oldest first
	disabled    bool
	expires     int64
	recovery    string
	refuse      *refusal        // of every call
	noToken     map[string]bool // principals that get none
	unreachable bool
	calls       []string
	failCall    int // counts down to the call that fails; 0 fails none
	failAfter   bool
}

type refusal struct {
	status      int
	code, inner string
}

var rsaKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 2)
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

func newVault() *vault {
	return &vault{recovery: "Recoverable", noToken: map[string]bool{}}
}

func (v *vault) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func versionID(i int) string { return fmt.Sprintf("%032x", i+1) }

func (v *vault) clients() *onbehalf.Clients {
	in := &onbehalf.InProcess{Handler: v, Owns: func(host string) bool { return host == vaultHost }}
	return &onbehalf.Clients{
		Token: func(_ context.Context, principal, _, _ string) (string, time.Time, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.noToken[principal] {
				return "", time.Time{}, azure.Errorf(400, "invalid_request", "Identity not found.")
			}
			return principal, time.Now().Add(time.Millisecond), nil // asked for anew each time
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
	if len(v.keys) == 0 {
		v.keys = rsaKeys()[:1]
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // keys, k, version, operation
	operation := "get"
	if len(parts) == 4 {
		operation = strings.ToLower(parts[3])
	}
	v.calls = append(v.calls, operation)
	fails := false
	if v.failCall > 0 {
		v.failCall--
		fails = v.failCall == 0
	}
	if fails && !v.failAfter {
		fail(w, http.StatusBadRequest, "Injected", "")
		return
	}
	if v.refuse != nil {
		fail(w, v.refuse.status, v.refuse.code, v.refuse.inner)
		return
	}
	status, body := v.answer(r, parts, operation)
	if fails {
		status, body = http.StatusBadRequest, nil
	}
	if body == nil {
		fail(w, status, "Injected", "")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}

// answer does an operation; a nil body is a refusal with the status.
func (v *vault) answer(r *http.Request, parts []string, operation string) (status int, body any) {
	version := len(v.keys) - 1
	if len(parts) > 2 {
		for version = range v.keys {
			if versionID(version) == parts[2] {
				break
			}
		}
	}
	key, kid := v.keys[version], "https://"+vaultHost+"/keys/k/"+versionID(version)
	if parts[1] != "k" {
		return http.StatusNotFound, nil
	}
	if operation == "get" {
		attributes := map[string]any{"enabled": !v.disabled, "created": 1000, "recoveryLevel": v.recovery}
		if v.expires != 0 {
			attributes["exp"] = v.expires
		}
		return http.StatusOK, map[string]any{"attributes": attributes, "key": map[string]any{
			"kid": kid, "kty": "RSA", "key_ops": []string{"wrapKey", "unwrapKey"}, "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		}}
	}
	var in struct{ Value string }
	if v.disabled || json.NewDecoder(r.Body).Decode(&in) != nil {
		return http.StatusForbidden, nil
	}
	value, err := base64.RawURLEncoding.DecodeString(in.Value)
	if err == nil && operation == "wrapkey" {
		value, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil)
	} else if err == nil {
		value, err = key.Decrypt(nil, value, &rsa.OAEPOptions{Hash: crypto.SHA256})
	}
	if err != nil {
		return http.StatusBadRequest, nil
	}
	return http.StatusOK, map[string]any{"kid": kid, "value": base64.RawURLEncoding.EncodeToString(value)}
}

func fail(w http.ResponseWriter, status int, code, inner string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := map[string]any{"code": code, "message": "refused by the test"}
	if inner != "" {
		e["innererror"] = map[string]any{"code": inner}
	}
	json.NewEncoder(w).Encode(map[string]any{"error": e})
}

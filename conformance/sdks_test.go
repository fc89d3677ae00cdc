package conformance

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sdkWorld is what the scripts of the other languages work on, and who works: an identity of their own, with no more
// than the roles that the work needs.
func sdkWorld(t *testing.T) (f *foreign, identity []string) {
	t.Helper()
	s := start(t)
	f = s.foreign(t)
	storage := s.storage(t, "sdkstore", nil)
	vault := s.newVault(t, "sdkvault", nil)
	account := s.createAccount(t, "sdkmedia", storage)
	for _, role := range []string{blobContributor, reader} {
		s.assign(t, storage, role, *account.Identity.PrincipalID)
	}
	check(t, s.updateAccount(t, "sdkmedia", managedIdentity()))
	id := s.identity(t, "worker")
	principal := *id.Properties.PrincipalID
	s.assign(t, storage, blobContributor, principal)
	s.assign(t, vault, cryptoOfficer, principal)
	s.assign(t, s.groupID(), contributor, principal)
	env, err := s.RegisterWorkload(t.Context(), "worker", *id.ID)
	check(t, err)
	return f, append(env, "AZURE_CLIENT_ID="+*id.Properties.ClientID)
}

func found(t testing.TB, out string) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return got
}

func list(values ...any) []any { return append([]any{}, values...) }

// TestPythonSDK runs Debian's azure-identity, azure-storage-blob, azure-keyvault-keys and azure-mgmt-media as a managed
// identity.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	f, identity := sdkWorld(t)
	script, err := filepath.Abs("testdata/python/clients.py")
	check(t, err)
	got := found(t, f.run(t, identity, "/usr/bin/python3", script, f.group, "sdkstore", "sdkvault", "sdkmedia"))
	want := map[string]any{
		"blocks": "keyreelkeyreel", "same": true, "range": "re", "metadata": map[string]any{"a": "b"}, "blobs": list("large", "small ü.txt"),
		"exists": list(409.0, "BlobAlreadyExists"), "no blob": list(404.0, "BlobNotFound"), "etag": list(412.0, "ConditionNotMet"), "containers": list(),
		"key": list("RSA", "python", true), "unwrapped": "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", "verified": true, "keys": list("python"), "versions": 1.0,
		"disabled": list(403.0, "Forbidden"), "no key": list(404.0, "KeyNotFound"), "deleted": list("python"), "recovered": "python",
		"account": list("sdkmedia", "ManagedIdentity", "SystemKey"), "assets": list("python"), "locators": list("python"), "no asset": list(404.0, "ResourceNotFound"),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// node returns the program and the arguments that run a script of testdata/node: Node itself comes from npm too, pinned
// with the packages, because Debian's is too old for them.
func node(t testing.TB, script string, args ...string) (name string, all []string) {
	t.Helper()
	dir, err := filepath.Abs("testdata/node")
	check(t, err)
	programs, err := filepath.Glob(filepath.Join(dir, "node_modules", "node-linux-*", "bin", "node"))
	check(t, err)
	if len(programs) == 0 {
		t.Fatal("the packages from npm are missing; run: npm ci --prefix conformance/testdata/node")
	}
	return programs[0], append([]string{filepath.Join(dir, script)}, args...)
}

// TestNodeSDK runs @azure/identity, @azure/storage-blob, @azure/keyvault-keys and @azure/arm-mediaservices as a managed
// identity.
func TestNodeSDK(t *testing.T) {
	t.Parallel()
	f, identity := sdkWorld(t)
	program, args := node(t, "clients.mjs", f.group, "sdkstore", "sdkvault", "sdkmedia")
	got := found(t, f.run(t, identity, program, args...))
	want := map[string]any{
		"same": true, "blocks": 9.0, "range": "re", "metadata": map[string]any{"a": "b"}, "blobs": list("large", "small ü.txt"),
		"exists": list(409.0, "BlobAlreadyExists"), "no blob": list(404.0, "BlobNotFound"), "etag": list(412.0, "ConditionNotMet"), "containers": list(),
		"key": list("RSA", "node", true), "unwrapped": "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", "verified": true, "keys": list("node"), "versions": 1.0,
		"disabled": list(403.0, "Forbidden"), "no key": list(404.0, "KeyNotFound"), "deleted": list("node"), "recovered": "node",
		"account": list("sdkmedia", "ManagedIdentity", "SystemKey"), "assets": list("node"), "locators": list("node"), "no asset": list(404.0, "ResourceNotFound"),
		"tags": map[string]any{"a": "b"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

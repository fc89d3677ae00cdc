package conformance

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resourceWorld is a server and an identity that owns its subscription, for the management SDKs of the other languages.
func resourceWorld(t *testing.T) (f *foreign, identity []string) {
	t.Helper()
	s := start(t)
	id := s.identity(t, "owner")
	s.assign(t, "/subscriptions/"+s.sub, owner, *id.Properties.PrincipalID)
	env, err := s.RegisterWorkload(t.Context(), "owner", *id.ID)
	check(t, err)
	return s.foreign(t), append(env, "AZURE_CLIENT_ID="+*id.Properties.ClientID)
}

// TestPythonResources runs Debian's azure-mgmt-resource, -msi, -storage, -authorization and -keyvault as a managed
// identity: all is made, changed, listed and deleted again.
func TestPythonResources(t *testing.T) {
	t.Parallel()
	f, identity := resourceWorld(t)
	script, err := filepath.Abs("testdata/python/resources.py")
	check(t, err)
	got := found(t, f.run(t, identity, "/usr/bin/python3", script, f.sub))
	want := map[string]any{
		"subscriptions": list(true), "group": map[string]any{"a": "b"}, "exists": list(true, false), "provider": "Registered",
		"identities": list("worker"),
		"name":       true, "taken": "AlreadyExists", "keys": list("key1", "key2"), "updated": map[string]any{"c": "d"}, "containers": list("things"),
		"twice": list(409.0, "RoleAssignmentExists"), "assignments": list(true), "role": "Python's", "permissions": true,
		"policies": 1.0, "vault": true, "deleted": list("pythonarm"), "left": list(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestNodeResources runs @azure/arm-resources, arm-msi, arm-storage, arm-authorization and arm-keyvault likewise.
func TestNodeResources(t *testing.T) {
	t.Parallel()
	f, identity := resourceWorld(t)
	program, args := node(t, "resources.mjs", f.sub)
	got := found(t, f.run(t, identity, program, args...))
	want := map[string]any{
		"groups": 1.0, "exists": list(true, false), "federated": "s",
		"endpoint": "https://nodearm.blob.core.windows.net/", "keys": 2.0, "containers": list("things"),
		"twice": list(409.0, "RoleAssignmentExists"), "assignments": 1.0,
		"vault": "https://nodearm.vault.azure.net/", "deleted": list("nodearm"), "left": 0.0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

package keyreel_test

import (
	"database/sql"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/keyreeltest"
)

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func TestServerKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	onData := func(c *keyreel.Config) { c.Data = data }
	first := keyreeltest.Start(t, onData)
	in := first.Installation()
	var creds keyreel.Credentials
	readJSON(t, first.CredentialsPath(), &creds)
	first.Stop(t)()

	second := keyreeltest.Start(t, onData)
	if d := cmp.Diff(in, second.Installation()); d != "" {
		t.Errorf("the installation changed with a restart (-first +second):\n%s", d)
	}
	var again keyreel.Credentials
	readJSON(t, second.CredentialsPath(), &again)
	if creds != again || creds.ClientID != in.AdminAppID {
		t.Error("the administrator changed with a restart")
	}
	for _, name := range []string{"administrator.json", "root.key", "ca.key"} {
		info, err := os.Stat(data + "/" + name)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// A person has a user to sign in as: made with the first start, or with the next one of an installation from before
// there was one, whose application keeps its secret. One that was deleted is not made again.
func TestFirstUser(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	onData := func(c *keyreel.Config) { c.Data = data }
	first := keyreeltest.Start(t, onData)
	var creds keyreel.Credentials
	readJSON(t, first.CredentialsPath(), &creds)
	if creds.UserName != "admin@keyreel.localhost" || creds.UserName != first.Installation().AdminUser || len(creds.Password) != 24 {
		t.Errorf("user %q with a password of %d characters; the installation's is %q", creds.UserName, len(creds.Password), first.Installation().AdminUser)
	}
	user := func(srv *keyreeltest.Server) string {
		var me struct {
			ID string `json:"id"`
		}
		graph(t, srv, http.MethodGet, "/v1.0/users/"+creds.UserName, &me)
		return me.ID
	}
	id := user(first)
	var assignments struct {
		Value []struct {
			Properties struct{ RoleDefinitionID, Scope string }
		}
	}
	manage(t, first, http.MethodGet, "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter=principalId%20eq%20'"+id+"'", &assignments)
	if len(assignments.Value) != 1 || assignments.Value[0].Properties.Scope != "/" || !strings.HasSuffix(assignments.Value[0].Properties.RoleDefinitionID, "8e3af657-a8ff-443c-a75c-2fe8c4bcb635") {
		t.Errorf("the user's roles are %+v", assignments)
	}
	first.Stop(t)()

	// An installation from before: no user, and a file without one.
	database, err := sql.Open("sqlite", filepath.Join(data, "keyreel.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"UPDATE install_tenant SET admin_user_id = ''", "DELETE FROM directory_passwords", "DELETE FROM directory_principals WHERE kind = 'User'",
	} {
		if _, err := database.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := json.Marshal(map[string]string{"tenantId": creds.TenantID, "subscriptionId": creds.SubscriptionID, "clientId": creds.ClientID, "clientSecret": creds.ClientSecret})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.CredentialsPath(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	second := keyreeltest.Start(t, onData)
	var again keyreel.Credentials
	readJSON(t, second.CredentialsPath(), &again)
	if again.UserName != creds.UserName || again.Password == "" || again.Password == creds.Password || again.ClientSecret != creds.ClientSecret {
		t.Errorf("the upgraded file names user %q", again.UserName)
	}

	graph(t, second, http.MethodDelete, "/v1.0/users/"+creds.UserName, nil)
	second.Stop(t)()
	third := keyreeltest.Start(t, onData)
	if name := third.Installation().AdminUser; name != "" {
		t.Errorf("a deleted user was made again: %s", name)
	}
}

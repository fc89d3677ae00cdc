package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/keyreeltest"
)

const (
	rgRead   = "Microsoft.Resources/subscriptions/resourceGroups/read"
	blobRead = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
)

// explainWorld is a server with an identity, 'developer', and the administrator to ask as.
func explainWorld(t *testing.T) (data, sub, identity string, r *runner) {
	t.Helper()
	srv := keyreeltest.Start(t)
	data = filepath.Dir(srv.CAPath())
	r, err := newRunner(runOptions{data: data})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(r.dir) })
	if identity, err = r.resolve(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	return data, "/subscriptions/" + srv.SubscriptionID(), identity, r
}

func TestExplain(t *testing.T) {
	t.Parallel()
	data, sub, identity, r := explainWorld(t)
	group := sub + "/resourceGroups/" + runGroup
	who, err := r.principal(t.Context(), identity)
	if err != nil {
		t.Fatal(err)
	}
	var app struct {
		AppID string `json:"appId"`
	}
	if err := r.directory(t.Context(), "servicePrincipals/"+who.ID, &app); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (int, string) {
		t.Helper()
		var out bytes.Buffer
		err := explain(t.Context(), append([]string{"--data", data}, args...), &out, io.Discard)
		var failed *failure
		switch {
		case err == nil:
			return 0, out.String()
		case errors.As(err, &failed):
			if failed.err != nil {
				out.WriteString(failed.err.Error())
			}
			return failed.code, out.String()
		}
		t.Fatal(err)
		return 0, ""
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"by its ARM ID", []string{"--principal", identity, "--action", rgRead, "--scope", group}, 0, []string{"ALLOWED", "'Contributor'", who.ID, sub}},
		{"by its object id", []string{"--principal", who.ID, "--action", rgRead, "--scope", group}, 0, []string{"ALLOWED", "'developer'"}},
		{"by its client id", []string{"--principal", app.AppID, "--action", rgRead, "--scope", group}, 0, []string{"ALLOWED", "'developer'"}},
		{"by its name", []string{"--principal", "developer", "--action", rgRead, "--scope", group}, 0, []string{"ALLOWED"}},
		{"a user", []string{"--principal", "admin@keyreel.localhost", "--action", "Microsoft.Resources/subscriptions/write", "--scope", "/"}, 0, []string{"User 'admin@keyreel.localhost'", "'Owner'"}},
		{"for want of a role", []string{"--principal", "developer", "--action", "Microsoft.Authorization/roleAssignments/write", "--scope", group}, 1, []string{
			"NOT ALLOWED", "does not hold the action", "az role assignment create --assignee-object-id " + who.ID + " --assignee-principal-type ServicePrincipal --role ", "--scope " + group,
		}},
		{"a data action", []string{"--principal", "developer", "--data-action", "--action", blobRead, "--scope", group}, 1, []string{"NOT ALLOWED", `--role "Storage Blob Data Reader"`}},
		{"a data action taken for another", []string{"--principal", "developer", "--action", blobRead + "x", "--scope", group}, 0, []string{"ALLOWED"}},
		{"misspelt", []string{"--principal", "developer", "--data-action", "--action", "Microsoft.Nothing/x/read", "--scope", group}, 1, []string{"ask without --data-action"}},
		{"as JSON", []string{"--principal", "developer", "--json", "--action", rgRead, "--scope", group}, 0, []string{`"accessDecision": "Allowed"`, `"type": "ServicePrincipal"`}},
		{"nobody", []string{"--principal", "nobody", "--action", rgRead, "--scope", group}, 2, []string{`no principal "nobody"`}},
		{"no such id", []string{"--principal", "11111111-2222-4333-8444-555555555555", "--action", rgRead, "--scope", group}, 2, []string{"no principal"}},
		{"no such user", []string{"--principal", "x@y", "--action", rgRead, "--scope", group}, 2, []string{"no principal x@y"}},
		{"a resource without an identity", []string{"--principal", group + "/providers/Microsoft.Storage/storageAccounts/none", "--action", rgRead, "--scope", group}, 2, []string{"storageAccounts/none"}},
		{"half a question", []string{"--principal", "developer"}, 2, []string{"--action"}},
		{"a scope that is none", []string{"--principal", "developer", "--action", rgRead, "--scope", "rg"}, 2, []string{"begins with /"}},
		{"an argument", []string{"now"}, 2, []string{"now"}},
		{"an unknown flag", []string{"--who", "x"}, 2, []string{"who"}},
		{"no server", []string{"--data", t.TempDir(), "--principal", "x", "--action", "x", "--scope", "/"}, 2, []string{"no server"}},
	} {
		code, out := ask(tt.args...)
		if code != tt.code {
			t.Errorf("%s: exit status %d, want %d:\n%s", tt.name, code, tt.code, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: the answer lacks %q:\n%s", tt.name, want, out)
			}
		}
	}
}

// What explain says would mend it does: the role that it names, given at the scope that it names.
func TestExplainNamesTheMend(t *testing.T) {
	t.Parallel()
	data, sub, _, r := explainWorld(t)
	group := sub + "/resourceGroups/" + runGroup
	if err := r.call(t.Context(), http.MethodPut, group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other"+identityVersion, map[string]any{"location": "westeurope"}, nil); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", data, "--principal", "other", "--action", rgRead, "--scope", group}
	var out bytes.Buffer
	var failed *failure
	if err := explain(t.Context(), args, &out, io.Discard); !errors.As(err, &failed) || failed.code != 1 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	mend := regexp.MustCompile(`--assignee-object-id (\S+) --assignee-principal-type ServicePrincipal --role "([^"]+)" --scope (\S+)`).FindStringSubmatch(out.String())
	if mend == nil {
		t.Fatalf("no mend in:\n%s", out.String())
	}
	var roles struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	if err := r.call(t.Context(), http.MethodGet, mend[3]+"/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=roleName%20eq%20'"+strings.ReplaceAll(mend[2], " ", "%20")+"'", nil, &roles); err != nil || len(roles.Value) != 1 {
		t.Fatalf("%v %v", roles, err)
	}
	err := r.call(t.Context(), http.MethodPut, mend[3]+"/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-555555555555?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{"roleDefinitionId": roles.Value[0].ID, "principalId": mend[1], "principalType": "ServicePrincipal"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := explain(t.Context(), args, &out, io.Discard); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

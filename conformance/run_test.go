package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreel/keyreel"
)

// buildKeyreel builds the command and returns the path of its program.
func buildKeyreel(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "keyreel")
	build := exec.Command("go", "build", "-o", program, "./cmd/keyreel")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// TestKeyreelRun: programs that know Azure and nothing of Keyreel, started by `keyreel run` with no configuration, work as
// an identity of this server; az too, which was never signed in.
func TestKeyreelRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	binary := buildKeyreel(t)
	f := &foreign{server: s, dir: t.TempDir()}
	f.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "LANG=C.UTF-8", "AZURE_CORE_COLLECT_TELEMETRY=false", "AZURE_CLIENT_SECRET=stray", "AZURE_CLIENT_ID=stray", "AZURE_TENANT_ID=stray"}
	run := []string{"run", "--data", filepath.Dir(s.CAPath()), "--others", "refuse", "--"}
	az := func(line string) string {
		t.Helper()
		return f.run(t, nil, binary, append(append(append([]string{}, run...), "az"), append(strings.Fields(line), "-o", "tsv")...)...)
	}
	if got := az("group list --query [].name"); got != "keyreel-run\nrg" && got != "rg\nkeyreel-run" {
		t.Errorf("az group list printed %q", got)
	}
	if got := az("storage account create -g rg -n runstore -l westeurope --sku Standard_LRS --query provisioningState"); got != "Succeeded" {
		t.Errorf("az storage account create printed %q", got)
	}
	var admin keyreel.Credentials
	data, err := os.ReadFile(s.CredentialsPath())
	check(t, err)
	check(t, json.Unmarshal(data, &admin))
	for who, login := range map[string]string{
		admin.UserName: "az login -u " + admin.UserName + " -p " + admin.Password,
		admin.ClientID: "az login --service-principal --tenant " + admin.TenantID + " -u " + admin.ClientID + " -p " + admin.ClientSecret,
	} {
		shell := login + " --query [].user.name -o tsv && az group show -n rg --query name -o tsv"
		if got := f.run(t, nil, binary, append(append([]string{}, run...), "sh", "-c", shell)...); got != who+"\nrg" {
			t.Errorf("the administrator's az printed %q, want %s", got, who)
		}
	}
	developer := strings.Fields(az("identity show -g keyreel-run -n developer --query [principalId,clientId]"))
	for _, language := range signers {
		for _, kind := range []string{"default", "managed", "msal managed"} {
			if kind == "msal managed" && language.language != "Node" {
				continue
			}
			env, name, words := language.command(t, kind)
			var answer signedIn
			out := f.run(t, env, binary, append(append(append([]string{}, run...), name), words...)...)
			if err := json.Unmarshal([]byte(out), &answer); err != nil {
				t.Fatalf("%s: %v\n%s", language.language, err, out)
			}
			answer.is(t, language.language+" "+kind, developer[0])
			if answer.Claims["appid"] != developer[1] {
				t.Errorf("%s: appid %v", language.language, answer.Claims["appid"])
			}
		}
	}
}

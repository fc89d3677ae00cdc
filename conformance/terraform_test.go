//go:build terraform

package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTerraform applies, changes and destroys with OpenTofu through `keyreel run`, by each provider and each way to sign
// in. OpenTofu and its providers take long to compile, so it is not part of every run: `make conformance-terraform`.
func TestTerraform(t *testing.T) {
	t.Parallel()
	const account = "system:serviceaccount:ci:terraform"
	c := newCluster(t)
	s := start(t, c.trusted)
	r := s.keyreelRun(t, "terraform", owner)
	id := s.identity(t, "terraform") // it is there: this returns it
	s.assign(t, "/", owner, *id.Properties.PrincipalID)
	s.federate(t, "terraform", c, account)
	admin := s.foreign(t).admin
	for name, env := range map[string][]string{
		"managed-identity": nil, // as `keyreel run` leaves it
		"client-secret":    {"ARM_USE_MSI=false", "ARM_CLIENT_ID=" + admin.ClientID, "ARM_CLIENT_SECRET=" + admin.ClientSecret},
		"workload-identity": {
			"ARM_USE_MSI=false", "ARM_USE_OIDC=true", "ARM_CLIENT_ID=" + *id.Properties.ClientID, "ARM_OIDC_TOKEN_FILE_PATH=" + c.project(t, account),
		},
	} {
		for _, provider := range []string{"azapi", "azuread"} {
			t.Run(provider+"/"+name, func(t *testing.T) {
				testTerraform(t, r, env, provider, "tf"+strings.ReplaceAll(name, "-", "")[:6])
			})
		}
	}
}

func testTerraform(t *testing.T, r *runner, env []string, provider, name string) {
	dir := t.TempDir()
	config, err := os.ReadFile("testdata/terraform/" + provider + ".tf")
	check(t, err)
	write(t, filepath.Join(dir, "main.tf"), string(config))
	rc := filepath.Join(dir, "tofu.rc")
	write(t, rc, "provider_installation {\n  dev_overrides {\n"+
		fmt.Sprintf("    %q = %q\n    %q = %q\n", "azure/azapi", programs(t, "terraform-provider-azapi"), "hashicorp/azuread", programs(t, "terraform-provider-azuread"))+
		"  }\n  direct {}\n}\n")
	env = append(env, "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "TF_VAR_name="+name)
	for _, step := range []struct {
		what string
		args []string
	}{
		{"create", []string{"apply", "-no-color", "-auto-approve", "-var=note=one"}},
		{"no drift after that", []string{"plan", "-no-color", "-detailed-exitcode", "-var=note=one"}},
		{"change", []string{"apply", "-no-color", "-auto-approve", "-var=note=two"}},
		{"no drift after that", []string{"plan", "-no-color", "-detailed-exitcode", "-var=note=two"}},
		{"destroy", []string{"destroy", "-no-color", "-auto-approve", "-var=note=two"}},
		{"nothing left", []string{"state", "list"}},
	} {
		out, errOut, err := r.try(env, "tofu", append([]string{"-chdir=" + dir}, step.args...)...)
		if err != nil {
			t.Fatalf("%s: %v\n%s\n%s", step.what, err, out, errOut)
		}
		if step.args[0] == "state" && out != "" {
			t.Errorf("left: %s", out)
		}
	}
}

// programs returns the folder in PATH that holds a program.
func programs(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; run: make conformance-terraform", err)
	}
	return filepath.Dir(path)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/keyreel/keyreel/keyreeltest"
)

// child is a program that knows Azure and nothing of Keyreel: it lists resource groups with DefaultAzureCredential.
func child() int {
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	client, err := armresources.NewResourceGroupsClient(os.Getenv("AZURE_SUBSCRIPTION_ID"), cred, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for pager := client.NewListPager(nil); pager.More(); {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			fmt.Println(err)
			return 1
		}
		for _, group := range page.Value {
			fmt.Println("group", *group.Name)
		}
	}
	if host := os.Getenv("TEST_KEYREEL_CLOSED"); host != "" { // which only the way past the proxy would reach
		if conn, err := net.DialTimeout("tcp", host, time.Second); err == nil {
			conn.Close()
			fmt.Println("the network is open")
		}
	}
	fmt.Println("endpoint", os.Getenv("IDENTITY_ENDPOINT"), "header", os.Getenv("IDENTITY_HEADER"))
	if _, err := http.Get("https://elsewhere.example/"); err != nil {
		fmt.Println("elsewhere:", err)
	}
	return 7
}

func TestRun(t *testing.T) {
	t.Setenv("TEST_KEYREEL_CHILD", "1")
	t.Setenv("AZURE_CLIENT_SECRET", "a stray that would hijack the sign-in")
	t.Setenv("AZURE_CLIENT_ID", "11111111-2222-4333-8444-555555555555")
	t.Setenv("AZURE_TENANT_ID", "11111111-2222-4333-8444-555555555555")
	srv := keyreeltest.Start(t)
	data := filepath.Dir(srv.CAPath())
	var out bytes.Buffer
	err := runCommand(t.Context(), []string{"--data", data, "--others", "refuse", "--", os.Args[0]}, &out, io.Discard)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"group " + runGroup, "elsewhere:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the program's output lacks %q:\n%s", want, out.String())
		}
	}

	// The secret died with the program.
	var endpoint, header string
	for line := range strings.Lines(out.String()) {
		fmt.Sscanf(line, "endpoint %s header %s", &endpoint, &header)
	}
	if status := msi(t, endpoint, header); status != http.StatusUnauthorized {
		t.Errorf("the secret of a program that has ended answers %d", status)
	}
}

// msi asks an App Service endpoint for a token and returns the status.
func msi(t testing.TB, endpoint, header string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, endpoint+"?api-version=2019-08-01&resource=https://vault.azure.net", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-IDENTITY-HEADER", header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestRunEnvironment: nothing of the caller's own sign-in reaches the program, and everything else does.
func TestRunEnvironment(t *testing.T) {
	srv := keyreeltest.Start(t)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, []byte("# a company's own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AZURE_CLIENT_SECRET": "stray", "AZURE_CLIENT_CERTIFICATE_PATH": "stray", "AZURE_TOKEN_CREDENTIALS": "stray", "ARM_CLIENT_SECRET": "stray", "ARM_OIDC_TOKEN": "stray",
		"ARM_USE_CLI": "stray", "ARM_ACCESS_KEY": "stray", "AZCOPY_SPA_CLIENT_SECRET": "stray", "AZCOPY_MSI_CLIENT_ID": "stray", "RCLONE_AZUREBLOB_KEY": "stray",
		"AZURE_STORAGE_KEY": "stray", "IDENTITY_SERVER_THUMBPRINT": "stray", "MSI_SECRET": "stray", "AZURE_KUBERNETES_TOKEN_PROXY": "stray", "ALL_PROXY": "stray",
		"SSL_CERT_FILE": roots, "ARM_SKIP_PROVIDER_REGISTRATION": "kept", "AZCOPY_CONCURRENCY_VALUE": "kept",
	} {
		t.Setenv(name, value)
	}
	data := filepath.Dir(srv.CAPath())
	var out bytes.Buffer
	err := runCommand(t.Context(), []string{"--data", data, "--", "sh", "-c", `env; echo ROOTS; cat "$SSL_CERT_FILE"; stat -c %a "$SSL_CERT_FILE"`}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	env, bundle, _ := strings.Cut(out.String(), "\nROOTS\n")
	for _, want := range []string{
		"IDENTITY_ENDPOINT=" + srv.IdentityURL() + "/msi/", "\nIDENTITY_HEADER=", "\nMSI_ENDPOINT=", "\nARM_USE_MSI=true\n", "\nARM_MSI_ENDPOINT=",
		"\nARM_SUBSCRIPTION_ID=" + srv.SubscriptionID() + "\n", "\nAZCOPY_AUTO_LOGIN_TYPE=MSI\n", "\nRCLONE_AZUREBLOB_ENV_AUTH=true\n",
		"\nHTTPS_PROXY=http://127.0.0.1:", "\nREQUESTS_CA_BUNDLE=", "\nNODE_EXTRA_CA_CERTS=", "\nCURL_CA_BUNDLE=", "\nAZURE_CONFIG_DIR=",
		"\nARM_SKIP_PROVIDER_REGISTRATION=kept\n", "\nAZCOPY_CONCURRENCY_VALUE=kept\n",
	} {
		if !strings.Contains("\n"+env+"\n", want) {
			t.Errorf("the program's environment lacks %q", want)
		}
	}
	for line := range strings.Lines(env) {
		if strings.Contains(line, "stray") {
			t.Errorf("the program got %s", line)
		}
	}
	if !strings.Contains(bundle, "BEGIN CERTIFICATE") || !strings.Contains(bundle, "a company's own") || !strings.HasSuffix(bundle, "600\n") {
		t.Errorf("the CA bundle:\n%s", bundle)
	}

	out.Reset()
	if err := runCommand(t.Context(), []string{"--data", data, "--source", "machine-learning", "--", "env"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "MSI_SECRET=") || strings.Contains(out.String(), "IDENTITY_ENDPOINT=") {
		t.Errorf("with a source of its own:\n%s", out.String())
	}
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	srv := keyreeltest.Start(t)
	data := filepath.Dir(srv.CAPath())
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no command":          {[]string{"--data", data}, "no command"},
		"no server":           {[]string{"--data", t.TempDir(), "--", "true"}, "no server"},
		"no such identity":    {[]string{"--data", data, "--identity", "nobody", "--", "true"}, `"nobody"`},
		"a broken ID":         {[]string{"--data", data, "--identity", "/subscriptions//x", "--", "true"}, "InvalidResourceId"},
		"no such source":      {[]string{"--data", data, "--source", "vm", "--", "true"}, "app-service"},
		"a source that's off": {[]string{"--data", data, "--source", "arc", "--", "true"}, "arc-tokens"},
		"a short lease":       {[]string{"--data", data, "--lease", "1s", "--", "true"}, "--lease"},
		"two sources":         {[]string{"--data", data, "--imds", "--source", "arc", "--", "true"}, "--imds"},
		"bad choice":          {[]string{"--data", data, "--others", "maybe", "--", "true"}, "--others"},
		"no such executable":  {[]string{"--data", data, "--", "/no/such/program"}, "/no/such/program"},
	} {
		if err := runCommand(t.Context(), tt.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLease: a registration ends with its lease, is renewed by its own secret alone.
func TestLease(t *testing.T) {
	t.Parallel()
	srv := keyreeltest.Start(t)
	r, err := newRunner(runOptions{data: filepath.Dir(srv.CAPath())})
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(r.dir)
	if r.identity, err = r.resolve(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := r.lease(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.lease(t.Context(), time.Minute); err != nil {
		t.Errorf("renewal: %v", err)
	}
	stolen := *r
	stolen.workload.Secret = "wrong"
	if err := stolen.lease(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "WorkloadNotFound") {
		t.Errorf("another secret: %v", err)
	}
	for _, life := range []time.Duration{-time.Second, time.Hour + time.Second} {
		if err := r.lease(t.Context(), life); err == nil || !strings.Contains(err.Error(), "InvalidLease") {
			t.Errorf("%v: %v", life, err)
		}
	}
	if err := r.lease(t.Context(), 0); err != nil {
		t.Errorf("end: %v", err)
	}
	if err := r.lease(t.Context(), time.Minute); err == nil {
		t.Error("a lease was renewed after its end")
	}
}

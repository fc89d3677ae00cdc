package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the secret of a program that has ended answers %d", resp.StatusCode)
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
		"no command":         {[]string{"--data", data}, "no command"},
		"no server":          {[]string{"--data", t.TempDir(), "--", "true"}, "no server"},
		"no such identity":   {[]string{"--data", data, "--identity", "nobody", "--", "true"}, `"nobody"`},
		"a broken ID":        {[]string{"--data", data, "--identity", "/subscriptions//x", "--", "true"}, "InvalidResourceId"},
		"bad choice":         {[]string{"--data", data, "--others", "maybe", "--", "true"}, "--others"},
		"no such executable": {[]string{"--data", data, "--", "/no/such/program"}, "/no/such/program"},
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
	r, err := newRunner(filepath.Dir(srv.CAPath()))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(r.dir)
	if r.identity, err = r.resolve(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := r.lease(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	if err := r.lease(t.Context(), 60); err != nil {
		t.Errorf("renewal: %v", err)
	}
	stolen := *r
	stolen.workload.Secret = "wrong"
	if err := stolen.lease(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "WorkloadNotFound") {
		t.Errorf("another secret: %v", err)
	}
	for _, seconds := range []int{-1, 3601} {
		if err := r.lease(t.Context(), seconds); err == nil || !strings.Contains(err.Error(), "InvalidLease") {
			t.Errorf("%d seconds: %v", seconds, err)
		}
	}
	if err := r.lease(t.Context(), 0); err != nil {
		t.Errorf("end: %v", err)
	}
	if err := r.lease(t.Context(), 60); err == nil {
		t.Error("a lease was renewed after its end")
	}
}

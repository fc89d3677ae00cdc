package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/internal/azure"
)

const (
	leaseSeconds = 120 // how long the identity outlives a `keyreel run` that was killed
	renewEvery   = 40 * time.Second

	identityVersion = "?api-version=2023-01-31"
	defaultIdentity = "developer" // made in the group runGroup when no identity is named
	runGroup        = "keyreel-run"
	roleContributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

// runCommand runs a program as a managed identity. The program needs no configuration: its environment says where its
// identity is, a proxy of its own leads the host names of Azure and of Keyreel to the server, and the local CA is
// trusted in it alone.
func runCommand(ctx context.Context, args []string, out, errOut io.Writer) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.Usage = func() {
		fmt.Fprintln(errOut, "usage: keyreel run [--data FOLDER] [--identity NAME-OR-ID] [--others pass|refuse] -- COMMAND [ARGUMENT ...]")
		fs.PrintDefaults()
	}
	data := fs.String("data", keyreel.DefaultConfig().Data, "data folder of the running server")
	identity := fs.String("identity", "", "name or ARM ID of a user-assigned identity; empty is one of your own, Contributor of the subscription")
	others := fs.String("others", "pass", "what the proxy does with hosts that are not the server's: pass or refuse")
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch {
	case fs.NArg() == 0:
		return errors.New("no command: keyreel run -- COMMAND [ARGUMENT ...]")
	case *others != "pass" && *others != "refuse":
		return fmt.Errorf("--others is %q, not pass or refuse", *others)
	}
	r, err := newRunner(*data)
	if err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if r.identity, err = r.resolve(ctx, *identity); err != nil {
		return err
	}
	if err := r.lease(ctx, leaseSeconds); err != nil {
		return err
	}
	defer r.end()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: r.client.Proxy(*others == "pass"), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(proxy)
	defer server.Close()
	env, err := r.environment(proxy.Addr().String(), os.Environ())
	if err != nil {
		return err
	}
	renewing, stop := context.WithCancel(ctx)
	defer stop()
	go r.renew(renewing, errOut)
	return execute(fs.Args(), env, out, errOut)
}

// runner is what `keyreel run` keeps while its program runs.
type runner struct {
	client   *keyreel.Client
	pipeline runtime.Pipeline
	dir      string // scratch: CA bundle, az's configuration
	identity string // ARM ID

	workload struct {
		ID          string `json:"id"`
		Secret      string `json:"secret"`
		ClientID    string `json:"clientId"`
		PrincipalID string `json:"principalId"`
	}
}

func newRunner(data string) (*runner, error) {
	r := &runner{}
	var err error
	if r.client, err = keyreel.Connect(data); err != nil {
		return nil, err
	}
	admin, err := r.client.Administrator()
	if err != nil {
		return nil, err
	}
	client, err := arm.NewClient("keyreel-run", "v0.0.0", admin, &arm.ClientOptions{ClientOptions: r.client.ClientOptions()})
	if err != nil {
		return nil, err
	}
	r.pipeline = client.Pipeline()
	r.dir, err = os.MkdirTemp("", "keyreel-run-")
	return r, err
}

// call sends a request to the resource manager and decodes the answer into v, when v is not nil.
func (r *runner) call(ctx context.Context, method, path string, body, v any) error {
	req, err := runtime.NewRequest(ctx, method, r.client.URLs().Management()+path)
	if err != nil {
		return err
	}
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return err
		}
	}
	resp, err := r.pipeline.Do(req)
	if err != nil {
		return err
	}
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated) {
		return runtime.NewResponseError(resp)
	}
	if v == nil {
		return nil
	}
	return runtime.UnmarshalAsJSON(resp, v)
}

type identityResource struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		PrincipalID string `json:"principalId"`
	} `json:"properties"`
}

// resolve finds an identity by name or ARM ID; "" is the developer's own, made on first use.
func (r *runner) resolve(ctx context.Context, name string) (string, error) {
	sub := "/subscriptions/" + r.client.SubscriptionID()
	if strings.HasPrefix(name, "/") {
		id, err := azure.ParseResourceID(name)
		return id.String(), err
	}
	if name == "" {
		return r.developer(ctx, sub)
	}
	var found []string
	for next := sub + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities" + identityVersion; next != ""; {
		var page struct {
			Value    []identityResource `json:"value"`
			NextLink string             `json:"nextLink"`
		}
		if err := r.call(ctx, http.MethodGet, next, nil, &page); err != nil {
			return "", err
		}
		for _, id := range page.Value {
			if strings.EqualFold(id.Name, name) {
				found = append(found, id.ID)
			}
		}
		next = strings.TrimPrefix(page.NextLink, r.client.URLs().Management())
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no user-assigned identity %q in subscription %s", name, r.client.SubscriptionID())
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d identities are called %q; name one by its ID: %s", len(found), name, strings.Join(found, ", "))
}

// developer makes the default identity with Contributor on the subscription. Each step is idempotent.
func (r *runner) developer(ctx context.Context, sub string) (string, error) {
	group := sub + "/resourceGroups/" + runGroup
	location := map[string]any{"location": "westeurope"}
	id := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + defaultIdentity
	var made identityResource
	if r.call(ctx, http.MethodGet, id+identityVersion, nil, &made) != nil {
		if err := r.call(ctx, http.MethodPut, group+"?api-version=2021-04-01", location, nil); err != nil {
			return "", err
		}
		if err := r.call(ctx, http.MethodPut, id+identityVersion, location, &made); err != nil {
			return "", err
		}
	}
	err := r.call(ctx, http.MethodPut, sub+"/providers/Microsoft.Authorization/roleAssignments/"+made.Properties.PrincipalID+"?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{
			"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + roleContributor,
			"principalId":      made.Properties.PrincipalID, "principalType": azure.TypeServicePrincipal,
		},
	}, nil)
	return made.ID, err
}

// lease registers the workload, or renews or (0 seconds) ends its lease.
func (r *runner) lease(ctx context.Context, seconds int) error {
	body := map[string]any{"seconds": seconds, "name": fmt.Sprintf("keyreel run, process %d", os.Getpid())}
	if r.workload.ID != "" {
		body["id"], body["secret"] = r.workload.ID, r.workload.Secret
		return r.call(ctx, http.MethodPost, r.identity+"/assign"+identityVersion, body, nil)
	}
	return r.call(ctx, http.MethodPost, r.identity+"/assign"+identityVersion, body, &r.workload)
}

func (r *runner) renew(ctx context.Context, errOut io.Writer) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := r.lease(ctx, leaseSeconds); err != nil && ctx.Err() == nil {
				fmt.Fprintf(errOut, "keyreel run: renewing the identity's lease: %v\n", err)
			}
		}
	}
}

// end lets the workload's secret die with the program, however this process was told to stop.
func (r *runner) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.lease(ctx, 0); err != nil {
		fmt.Fprintf(os.Stderr, "keyreel run: ending the identity's lease: %v\n", err)
	}
}

// strays are variables that would make a program sign in as somebody else or look elsewhere.
var strays = []string{
	"AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_USERNAME", "AZURE_PASSWORD",
	"AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT", "MSI_SECRET",
	"NO_PROXY", "no_proxy", "ARM_CLIENT_ID", "ARM_CLIENT_SECRET", "ARM_TENANT_ID",
}

// environment gives the program the variables of every SDK and tool.
func (r *runner) environment(proxy string, environ []string) ([]string, error) {
	bundle := filepath.Join(r.dir, "ca.pem")
	if err := r.writeBundle(bundle); err != nil {
		return nil, err
	}
	if err := r.writeProfile(); err != nil {
		return nil, err
	}
	identity, err := url.Parse(r.client.IdentityURL())
	if err != nil {
		return nil, err
	}
	base, proxyURL := r.client.IdentityURL()+"/msi/"+r.workload.ID, "http://"+proxy
	set := map[string]string{
		"IDENTITY_ENDPOINT": base + "/token", "IDENTITY_HEADER": r.workload.Secret, "MSI_ENDPOINT": base + "/oauth2/token",
		"AZURE_POD_IDENTITY_AUTHORITY_HOST": base,
		"ARM_USE_MSI":                       "true", "ARM_MSI_ENDPOINT": base + "/metadata/identity/oauth2/token",
		"ARM_SUBSCRIPTION_ID": r.client.SubscriptionID(), "ARM_TENANT_ID": r.client.TenantID(), "AZURE_SUBSCRIPTION_ID": r.client.SubscriptionID(),
		"AZCOPY_AUTO_LOGIN_TYPE": "MSI", "RCLONE_AZUREBLOB_ENV_AUTH": "true",
		"HTTPS_PROXY": proxyURL, "https_proxy": proxyURL,
		"NO_PROXY": identity.Hostname(), "no_proxy": identity.Hostname(), // Azure's SDK for JavaScript sends plain HTTP through HTTPS_PROXY too
		"SSL_CERT_FILE": bundle, "REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle, "NODE_EXTRA_CA_CERTS": r.client.CAPath(),
		"AZURE_CONFIG_DIR": filepath.Join(r.dir, "azure"),
	}
	var env []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, own := set[name]; !own && !slices.Contains(strays, name) {
			env = append(env, kv)
		}
	}
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	return env, nil
}

// systemRoots is where Linux distributions keep the roots that programs trust.
var systemRoots = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// writeBundle puts the local CA beside the system's roots, for programs that take one file for all.
func (r *runner) writeBundle(path string) error {
	ca, err := os.ReadFile(r.client.CAPath())
	if err != nil {
		return err
	}
	for _, file := range systemRoots {
		if roots, err := os.ReadFile(file); err == nil {
			ca = bytes.Join([][]byte{ca, roots}, []byte("\n"))
			break
		}
	}
	return os.WriteFile(path, ca, 0o600)
}

// writeProfile writes what `az login --identity` would have left, so that az needs no login.
func (r *runner) writeProfile() error {
	dir := filepath.Join(r.dir, "azure")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	profile, err := json.Marshal(map[string]any{
		"installationId": azure.NewGUID(),
		"subscriptions": []any{map[string]any{
			"id": r.client.SubscriptionID(), "name": "Keyreel", "state": "Enabled", "isDefault": true,
			"tenantId": r.client.TenantID(), "homeTenantId": r.client.TenantID(), "environmentName": "AzureCloud", "managedByTenants": []any{},
			"user": map[string]any{"name": "systemAssignedIdentity", "type": "servicePrincipal", "assignedIdentityInfo": "MSI"},
		}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "azureProfile.json"), profile, 0o600)
}

// execute runs the program, hands signals on to it and returns its failure.
func execute(args, env []string, out, errOut io.Writer) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, out, errOut
	if err := cmd.Start(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			cmd.Process.Signal(s)
		case err := <-done:
			return err
		}
	}
}

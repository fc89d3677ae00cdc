package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// strays are variables that would make a program sign in as somebody else or look elsewhere.
var strays = []string{
	"AZURE_TENANT_ID", "AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS",
	"AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_REGIONAL_AUTHORITY_NAME", "AZURE_ADDITIONALLY_ALLOWED_TENANTS", "DEFAULT_IDENTITY_CLIENT_ID",
	"AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_AUTH_MODE",
	"IMDS_ENDPOINT", "ARM_TENANT_ID", "ARM_ENVIRONMENT", "ARM_METADATA_HOSTNAME", "ARM_METADATA_HOST", "ARM_CLOUD_METADATA_URL", "ARM_ACCESS_KEY", "ARM_SAS_TOKEN",
	"APPSETTING_WEBSITE_SITE_NAME", "AZCOPY_AUTO_LOGIN_TYPE", "AZCOPY_TENANT_ID", "AZCOPY_ACTIVE_DIRECTORY_ENDPOINT", "AZCOPY_OAUTH_TOKEN_INFO",
	"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
}

// strayPrefixes begin the names of more of them.
var strayPrefixes = []string{
	"IDENTITY_", "MSI_", "AZURE_CLIENT_", "AZURE_KUBERNETES_", "ARM_CLIENT_", "ARM_OIDC_", "ARM_USE_", "ARM_MSI_", "AZCOPY_SPA_", "AZCOPY_MSI_",
	"RCLONE_AZUREBLOB_",
}

func stray(name string) bool {
	return slices.Contains(strays, name) || slices.ContainsFunc(strayPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// environment gives the program the variables of every SDK and tool.
func (r *runner) environment(proxy string, environ []string) ([]string, error) {
	bundle := filepath.Join(r.dir, "ca.pem")
	if err := r.writeBundle(bundle, environ); err != nil {
		return nil, err
	}
	if err := r.writeProfile(); err != nil {
		return nil, err
	}
	set := map[string]string{}
	direct := metadataHost // not through the proxy: Azure's SDK for JavaScript sends plain HTTP through HTTPS_PROXY too
	if !r.options.imds {
		identity, err := url.Parse(r.client.IdentityURL())
		if err != nil {
			return nil, err
		}
		direct = identity.Hostname()
		if set, err = r.client.Variables(r.options.source, r.workload.ID, r.workload.Secret); err != nil {
			return nil, err
		}
	}
	proxyURL := "http://" + proxy
	for name, value := range map[string]string{
		"ARM_USE_MSI": "true", "ARM_SUBSCRIPTION_ID": r.client.SubscriptionID(), "ARM_TENANT_ID": r.client.TenantID(),
		"AZURE_SUBSCRIPTION_ID": r.client.SubscriptionID(), "AZCOPY_AUTO_LOGIN_TYPE": "MSI", "RCLONE_AZUREBLOB_ENV_AUTH": "true",
		"HTTPS_PROXY": proxyURL, "https_proxy": proxyURL, "NO_PROXY": direct, "no_proxy": direct,
		"NODE_USE_ENV_PROXY": "1", // from 22.21 on; msal-node and whatever calls fetch look at no variable themselves
		"SSL_CERT_FILE":      bundle, "REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle, "NODE_EXTRA_CA_CERTS": bundle,
		"AZURE_CONFIG_DIR": filepath.Join(r.dir, "azure"),
	} {
		set[name] = value
	}
	var env []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, own := set[name]; !own && !stray(name) {
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

// writeBundle puts the local CA beside the roots that the environment names, or else the system's, for programs that
// take one file for all.
func (r *runner) writeBundle(path string, environ []string) error {
	bundle, err := os.ReadFile(r.client.CAPath())
	if err != nil {
		return err
	}
	files := systemRoots
	for _, kv := range environ {
		if file, ok := strings.CutPrefix(kv, "SSL_CERT_FILE="); ok && file != "" {
			files = append([]string{file}, files...)
		}
	}
	for _, file := range files {
		if roots, err := os.ReadFile(file); err == nil {
			bundle = bytes.Join([][]byte{bundle, roots}, []byte("\n"))
			break
		}
	}
	return os.WriteFile(path, bundle, 0o600)
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

package keyreel_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/keyreeltest"
)

func TestListenersStayOnTheMachine(t *testing.T) {
	t.Parallel()
	identity := "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		edit func(*keyreel.Config)
		want string
	}{
		"identity endpoints":         {func(c *keyreel.Config) { c.IdentityListen = "0.0.0.0:0" }, "identity-listen: 0.0.0.0 is not"},
		"no identity endpoints":      {func(c *keyreel.Config) { c.IdentityListen = "" }, "identity-listen"},
		"metadata":                   {func(c *keyreel.Config) { c.IMDSListen, c.IMDSIdentities = "192.0.2.1:0", identity }, "imds-listen: 192.0.2.1 is not"},
		"metadata everywhere":        {func(c *keyreel.Config) { c.IMDSListen, c.IMDSIdentities = ":0", identity }, "imds-listen"},
		"metadata of nobody":         {func(c *keyreel.Config) { c.IMDSListen = "127.0.0.1:0" }, "imds-identities"},
		"metadata of something else": {func(c *keyreel.Config) { c.IMDSListen, c.IMDSIdentities = "127.0.0.1:0", "worker" }, `"worker"`},
		"Service Fabric":             {func(c *keyreel.Config) { c.FabricListen = "[::]:0" }, "fabric-listen"},
		"Arc's folder is open":       {func(c *keyreel.Config) { c.ArcTokens = open }, "chmod o-w"},
		"Arc's folder is a file":     {func(c *keyreel.Config) { c.ArcTokens = notPEM }, "not a folder"},
		"issuers' CA is missing":     {func(c *keyreel.Config) { c.IssuerCA = filepath.Join(open, "none") }, "issuer-ca"},
		"issuers' CA is none":        {func(c *keyreel.Config) { c.IssuerCA = notPEM }, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := keyreel.DefaultConfig()
			c.Data, c.Listen, c.IdentityListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
			tt.edit(&c)
			srv, err := keyreel.Open(t.Context(), c, slog.New(slog.DiscardHandler))
			if err == nil {
				srv.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// The thumbprint that clients hold outlives a restart, and Arc's folder is made with a group that its keys inherit.
func TestIdentityListenersAreKept(t *testing.T) {
	t.Parallel()
	data, arc := t.TempDir(), filepath.Join(t.TempDir(), "azcmagent", "tokens")
	on := func(c *keyreel.Config) { c.Data, c.FabricListen, c.ArcTokens = data, "127.0.0.1:0", arc }
	first := keyreeltest.Start(t, on)
	one, err := first.Variables("service-fabric", "w", "s")
	if err != nil {
		t.Fatal(err)
	}
	first.Stop(t)()
	two, err := keyreeltest.Start(t, on).Variables("service-fabric", "w", "s")
	if err != nil {
		t.Fatal(err)
	}
	if one["IDENTITY_SERVER_THUMBPRINT"] != two["IDENTITY_SERVER_THUMBPRINT"] || len(one["IDENTITY_SERVER_THUMBPRINT"]) != 40 {
		t.Errorf("thumbprints %v and %v", one, two)
	}
	if info, err := os.Stat(arc); err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|0o750 {
		t.Errorf("Arc's folder: %v %v", info.Mode(), err)
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	srv := keyreeltest.Start(t)
	for source, want := range map[string]string{"arc": "arc-tokens", "service-fabric": "fabric-listen", "vm": "app-service, imds"} {
		if _, err := srv.Variables(source, "w", "s"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", source, err)
		}
	}
	for _, source := range keyreel.Sources() {
		if source == "arc" || source == "service-fabric" {
			continue
		}
		if env, err := srv.Variables(source, "w", "s"); err != nil || len(env) == 0 {
			t.Errorf("%s: %v %v", source, env, err)
		}
	}
}

// Whoever reaches the metadata listener acts as the configured identity, from the moment that it is made until it is
// deleted, and nothing but IMDS's own path answers there.
func TestMetadataListener(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	first := keyreeltest.Start(t, func(c *keyreel.Config) { c.Data = data })
	id := "/subscriptions/" + first.SubscriptionID() + "/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/worker"
	first.Stop(t)()
	srv := keyreeltest.Start(t, func(c *keyreel.Config) { c.Data, c.IMDSListen, c.IMDSIdentities = data, "127.0.0.1:0", id })
	get := func(path string, metadata bool) (int, map[string]string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, srv.MetadataURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if metadata {
			req.Header.Set("Metadata", "true")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		body := map[string]string{}
		if err := json.Unmarshal(text, &body); err != nil {
			t.Logf("%s: %v", text, err)
		}
		return resp.StatusCode, body
	}
	const token = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
	if status, body := get(token, true); status != http.StatusBadRequest || body["error_description"] != "Identity not found" {
		t.Errorf("before the identity is made: %d %v", status, body)
	}
	manage(t, srv, http.MethodPut, "/subscriptions/"+srv.SubscriptionID()+"/resourceGroups/g?api-version=2021-04-01", nil)
	manage(t, srv, http.MethodPut, id+"?api-version=2023-01-31", nil)
	if status, body := get(token, true); status != http.StatusOK || body["access_token"] == "" {
		t.Errorf("with the identity: %d %v", status, body)
	}
	for name, tt := range map[string]struct {
		path     string
		metadata bool
		status   int
	}{
		"probe without the header": {"/metadata/identity/oauth2/token", false, 400},
		"version 2's probe":        {"/metadata/identity/getplatformmetadata?cred-api-version=2.0", false, 404},
		"App Service":              {"/msi/token?api-version=2019-08-01&resource=https://vault.azure.net", true, 404},
		"another workload":         {"/msi/x" + token, true, 404},
	} {
		if status, body := get(tt.path, tt.metadata); status != tt.status {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
	manage(t, srv, http.MethodDelete, id+"?api-version=2023-01-31", nil)
	if status, body := get(token, true); status != http.StatusBadRequest {
		t.Errorf("after the identity was deleted: %d %v", status, body)
	}
}

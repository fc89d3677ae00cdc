package keyreel_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/keyreeltest"
)

var update = flag.Bool("update", false, "write docs/compat/operations.md anew")

const (
	operationsFile = "docs/compat/operations.md"
	inGroup        = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/"
)

var serviceTitles = []struct{ service, title string }{
	{azure.Login, "Authority"},
	{azure.Management, "Resource manager"},
	{azure.Graph, "Microsoft Graph"},
	{azure.Vault, "Key vaults (data plane)"},
	{azure.Blob, "Blob storage (data plane)"},
	{azure.Streaming, "Streaming and key delivery"},
}

// TestOperationsDocument keeps the list of operations true: it is printed from the rows that serve.
func TestOperationsDocument(t *testing.T) {
	t.Parallel()
	ops := keyreeltest.Start(t).Operations()
	var b strings.Builder
	b.WriteString("# Operations\n\nPrinted from the route tables by `go test -run TestOperationsDocument -update .`; do not edit.\n" +
		"What is not listed is not built. `…/` stands for `" + inGroup + "`; `data` marks actions that need a role's dataActions.\n")
	for _, s := range serviceTitles {
		fmt.Fprintf(&b, "\n## %s\n\n| operation | request | needs |\n| --- | --- | --- |\n", s.title)
		for _, row := range ops[s.service] {
			fmt.Fprintf(&b, "| %s | `%s %s%s` | %s |\n", row.Name, row.Method, strings.Replace(row.Pattern, inGroup, "…/", 1), queryText(row.Query), needs(&row))
		}
	}
	if *update {
		if err := os.WriteFile(operationsFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(operationsFile)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), b.String()); d != "" {
		t.Errorf("%s is out of date (go test -run TestOperationsDocument -update .):\n%s", operationsFile, d)
	}
}

func queryText(q map[string]string) string {
	var parts []string
	for key, value := range q {
		if value != "" {
			parts = append(parts, key+"="+value)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "?" + strings.Join(parts, "&")
}

func needs(row *azure.Route) string {
	switch {
	case row.Public != "":
		return "public: " + row.Public
	case row.Data:
		return "data `" + row.Action + "`"
	}
	return "`" + row.Action + "`"
}

// TestPublicOperations lists what anybody may call. A row that becomes public is a decision, made here.
func TestPublicOperations(t *testing.T) {
	t.Parallel()
	var public []string
	for _, rows := range keyreeltest.Start(t).Operations() {
		for _, row := range rows {
			if row.Public != "" {
				public = append(public, row.Name)
			}
		}
	}
	slices.Sort(public)
	want := []string{
		"KeyDelivery.Get", "KeyDelivery.Post", "KeyDelivery.Preflight", // the content key policy decides
		"Login.Authorize", "Login.AuthorizePost", "Login.AuthorizePostV2", "Login.AuthorizeV2", "Login.Consent",
		"Login.Device", "Login.DeviceAlias", "Login.DeviceCode", "Login.DeviceCodeV2", "Login.DeviceForm",
		"Login.Discovery", "Login.DiscoveryV2", "Login.InstanceDiscovery", "Login.Keys", "Login.KeysV2", "Login.NativeClient",
		"Login.SignIn", "Login.SignOut", "Login.SignOutPost", "Login.SignOutPostV2", "Login.SignOutV2",
		"Login.Token", "Login.TokenPreflight", "Login.TokenPreflightV2", "Login.TokenV2",
		"Login.UserInfo", "Login.UserInfoPost", "Login.UserInfoPreflight", "Login.UserRealm",
		"Microsoft.Resources/metadata.Endpoints", "Microsoft.Resources/providers.ListOperations",
		"Streaming.Get", "Streaming.Head", "Streaming.Preflight", // the locator decides
	}
	if d := cmp.Diff(want, slices.Compact(public)); d != "" {
		t.Errorf("public operations (-want +got):\n%s", d)
	}
}

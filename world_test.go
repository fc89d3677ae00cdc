package keyreel_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/keyreel/keyreel/keyreeltest"
)

// manage sends a request to the resource manager as the administrator and decodes the answer into v, when v is not nil.
func manage(t testing.TB, srv *keyreeltest.Server, method, path string, v any) {
	t.Helper()
	ask(t, srv, method, srv.URLs().Management()+path, "https://management.azure.com", v)
}

// graph is manage for Microsoft Graph.
func graph(t testing.TB, srv *keyreeltest.Server, method, path string, v any) {
	t.Helper()
	ask(t, srv, method, srv.URLs().Graph()+path, "https://graph.microsoft.com", v)
}

func ask(t testing.TB, srv *keyreeltest.Server, method, url, resource string, v any) {
	t.Helper()
	token, err := srv.Admin.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	var body io.Reader
	if method == http.MethodPut {
		body = strings.NewReader(`{"location":"westeurope"}`)
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	resp, err := srv.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, url, resp.StatusCode, text)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

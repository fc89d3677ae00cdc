package conformance

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyreel/keyreel/keyreeltest"
)

// TestBadInput sends what no SDK would to a whole server and looks for Azure's answer.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.assign(t, s.groupID(), blobContributor, s.adminID(t))
	s.assign(t, s.groupID(), cryptoOfficer, s.adminID(t))
	s.storage(t, "badstore", nil)
	s.newVault(t, "badvault", nil)
	mgmt, blobs, vault := s.URLs().Management(), s.URLs().Blob("badstore"), s.URLs().Vault("badvault")
	arm, storage, kv := s.token(t, s.Admin, "https://management.azure.com"), s.token(t, s.Admin, "https://storage.azure.com"), s.token(t, s.Admin, "https://vault.azure.net")
	s.raw(t, "PUT", blobs+"/con?restype=container", storage, "", "x-ms-version", "2024-11-04")
	group := mgmt + s.groupID()
	forged := func(edit func(header, claims map[string]any)) string { return forge(t, arm, edit) }
	const list = `<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>bm9uZQ==</Latest></BlockList>`

	tests := []struct {
		name, method, url, token, body string
		status                         int
		code                           string
	}{
		{"no token at the resource manager", "GET", group + "?api-version=2021-04-01", "", "", 401, "AuthenticationFailed"},
		{"a token for another audience", "GET", group + "?api-version=2021-04-01", storage, "", 401, "InvalidAuthenticationToken"},
		{"a token for another audience at a vault", "GET", vault + "/keys?api-version=7.4", arm, "", 401, "Unauthorized"},
		{"a token for another audience at a blob", "GET", blobs + "/con?restype=container&comp=list", kv, "", 401, "InvalidAuthenticationInfo"},
		{"alg none", "GET", group + "?api-version=2021-04-01", forged(func(h, _ map[string]any) { h["alg"] = "none" }), "", 401, "InvalidAuthenticationToken"},
		{"signed by another key", "GET", group + "?api-version=2021-04-01", resign(t, arm), "", 401, "InvalidAuthenticationToken"},
		{"claims changed", "GET", group + "?api-version=2021-04-01", forged(func(_, c map[string]any) { c["oid"] = "x" }), "", 401, "InvalidAuthenticationToken"},
		{"not a JWT", "GET", group + "?api-version=2021-04-01", "nonsense", "", 401, "InvalidAuthenticationToken"},
		{"no api-version", "GET", group, arm, "", 400, "MissingApiVersionParameter"},
		{"unknown api-version", "GET", group + "/providers/Microsoft.Storage/storageAccounts/badstore?api-version=1999-01-01", arm, "", 400, "NoRegisteredProviderFound"},
		{"unknown api-version at a vault", "GET", vault + "/keys?api-version=1.0", kv, "", 400, "BadParameter"},
		{"malformed JSON", "PUT", mgmt + "/subscriptions/" + s.sub + "/resourceGroups/bad?api-version=2021-04-01", arm, `{"location":`, 400, "InvalidRequestContent"},
		{"malformed JSON at a vault", "POST", vault + "/keys/k/create?api-version=7.4", kv, `{`, 400, "BadParameter"},
		{"a group's name is missing", "GET", mgmt + "/subscriptions/" + s.sub + "/resourceGroups//providers/Microsoft.Storage/storageAccounts/x?api-version=2023-05-01", arm, "", 400, "InvalidResourceId"},
		{"odd case", "GET", mgmt + "/SUBSCRIPTIONS/" + strings.ToUpper(s.sub) + "/RESOURCEGROUPS/RG?API-VERSION=2021-04-01", arm, "", 200, ""},
		{"unknown namespace", "GET", group + "/providers/Microsoft.Nothing/things/x?api-version=2021-04-01", arm, "", 404, "InvalidResourceNamespace"},
		{"unknown type", "GET", group + "/providers/Microsoft.Storage/things/x?api-version=2021-04-01", arm, "", 404, "InvalidResourceType"},
		{"missing resource", "GET", group + "/providers/Microsoft.Storage/storageAccounts/none?api-version=2023-05-01", arm, "", 404, "ResourceNotFound"},
		{"missing group", "PUT", mgmt + "/subscriptions/" + s.sub + "/resourceGroups/none/providers/Microsoft.Storage/storageAccounts/xyz?api-version=2023-05-01", arm, `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, 404, "ResourceGroupNotFound"},
		{"a block list names a missing block", "PUT", blobs + "/con/b?comp=blocklist", storage, list, 400, "InvalidBlockList"},
		{"a block list that is no XML", "PUT", blobs + "/con/b?comp=blocklist", storage, "<Block", 400, "InvalidXmlDocument"},
		{"a body over the limit", "PUT", mgmt + "/subscriptions/" + s.sub + "/resourceGroups/big?api-version=2021-04-01", arm, `{"location":"westeurope","tags":{"a":"` + strings.Repeat("x", 5<<20) + `"}}`, 413, "RequestBodyTooLarge"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			resp, body := s.raw(t, tt.method, tt.url, tt.token, tt.body, "x-ms-version", "2024-11-04", "Content-Type", "application/json")
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.code) {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tt.status, tt.code)
			}
			if resp.StatusCode == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Error("401 without a challenge")
			}
		})
	}
}

// forge changes a token's header and claims and keeps its signature.
func forge(t testing.TB, token string, edit func(header, claims map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	decoded := make([]map[string]any, 2)
	for i := range decoded {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		check(t, err)
		check(t, json.Unmarshal(text, &decoded[i]))
	}
	edit(decoded[0], decoded[1])
	for i := range decoded {
		text, err := json.Marshal(decoded[i])
		check(t, err)
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	return strings.Join(parts, ".")
}

// resign signs a token's own header and claims with a key of the attacker's.
func resign(t testing.TB, token string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	check(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: parsed.Signatures[0].Header.KeyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	check(t, err)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	check(t, err)
	signed, err := signer.Sign(payload)
	check(t, err)
	text, err := signed.CompactSerialize()
	check(t, err)
	return text
}

// TestClientHangsUp: an upload that ends in the middle leaves no blob and no block.
func TestClientHangsUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	account := s.storage(t, "hangup", nil)
	s.assign(t, account, blobContributor, s.adminID(t))
	token := s.token(t, s.Admin, "https://storage.azure.com")
	base := s.URLs().Blob("hangup")
	s.raw(t, "PUT", base+"/con?restype=container", token, "", "x-ms-version", "2024-11-04")
	for _, target := range []string{"/con/b", "/con/b?comp=block&blockid=MDAwMQ=="} {
		body, feed := io.Pipe()
		req, err := http.NewRequest("PUT", base+target, body)
		check(t, err)
		req.ContentLength = 1 << 20
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("x-ms-version", "2024-11-04")
		req.Header.Set("x-ms-blob-type", "BlockBlob")
		done := make(chan error, 1)
		go func() {
			resp, err := s.HTTPClient().Do(req)
			if err == nil {
				resp.Body.Close()
				err = fmt.Errorf("answered %d", resp.StatusCode)
			}
			done <- err
		}()
		if _, err = feed.Write(make([]byte, 512<<10)); err != nil {
			t.Fatalf("%s: %v; the request ended with %v", target, err, <-done)
		}
		feed.CloseWithError(net.ErrClosed)
		if err := <-done; err != nil && strings.Contains(err.Error(), "answered 201") {
			t.Errorf("%s: %v", target, err)
		}
	}
	keyreeltest.Within(t, 5*time.Second, func() error {
		resp, body := s.raw(t, "GET", base+"/con?restype=container&comp=list", token, "", "x-ms-version", "2024-11-04")
		if resp.StatusCode != 200 || strings.Contains(body, "<Blob>") {
			return fmt.Errorf("%d %s", resp.StatusCode, body)
		}
		resp, body = s.raw(t, "GET", base+"/con/b?comp=blocklist&blocklisttype=all", token, "", "x-ms-version", "2024-11-04")
		if resp.StatusCode != 404 {
			return fmt.Errorf("%d %s", resp.StatusCode, body)
		}
		return nil
	})
}

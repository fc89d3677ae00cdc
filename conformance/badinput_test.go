package conformance

import (
	"bytes"
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

	big := strings.Repeat("x", 5<<20)
	s.raw(t, "PUT", blobs+"/con/kept", storage, "kept", "x-ms-version", "2024-11-04", "x-ms-blob-type", "BlockBlob")
	tests := []struct {
		name, method, url, token, body string
		status                         int
		code                           string
		header                         []string
	}{
		{"no token at the resource manager", "GET", group + "?api-version=2021-04-01", "", "", 401, "AuthenticationFailed", nil},
		{"a token for another audience", "GET", group + "?api-version=2021-04-01", storage, "", 401, "InvalidAuthenticationToken", nil},
		{"a token for another audience at a vault", "GET", vault + "/keys?api-version=7.4", arm, "", 401, "Unauthorized", nil},
		{"a token for another audience at a blob", "GET", blobs + "/con?restype=container&comp=list", kv, "", 401, "InvalidAuthenticationInfo", nil},
		{"alg none", "GET", group + "?api-version=2021-04-01", forged(func(h, _ map[string]any) { h["alg"] = "none" }), "", 401, "InvalidAuthenticationToken", nil},
		{"signed by another key", "GET", group + "?api-version=2021-04-01", resign(t, arm), "", 401, "InvalidAuthenticationToken", nil},
		{"claims changed", "GET", group + "?api-version=2021-04-01", forged(func(_, c map[string]any) { c["oid"] = "x" }), "", 401, "InvalidAuthenticationToken", nil},
		{"not a JWT", "GET", group + "?api-version=2021-04-01", "nonsense", "", 401, "InvalidAuthenticationToken", nil},
		{"no api-version", "GET", group, arm, "", 400, "MissingApiVersionParameter", nil},
		{"unknown api-version", "GET", group + "/providers/Microsoft.Storage/storageAccounts/badstore?api-version=1999-01-01", arm, "", 400, "NoRegisteredProviderFound", nil},
		{"unknown api-version at a vault", "GET", vault + "/keys?api-version=1.0", kv, "", 400, "BadParameter", nil},
		{"malformed JSON", "PUT", mgmt + "/subscriptions/" + s.sub + "/resourceGroups/bad?api-version=2021-04-01", arm, `{"location":`, 400, "InvalidRequestContent", nil},
		{"malformed JSON at a vault", "POST", vault + "/keys/k/create?api-version=7.4", kv, `{`, 400, "BadParameter", nil},
		{"a group's name is missing", "GET", mgmt + "/subscriptions/" + s.sub + "/resourceGroups//providers/Microsoft.Storage/storageAccounts/x?api-version=2023-05-01", arm, "", 400, "InvalidResourceId", nil},
		{"odd case", "GET", mgmt + "/SUBSCRIPTIONS/" + strings.ToUpper(s.sub) + "/RESOURCEGROUPS/RG?API-VERSION=2021-04-01", arm, "", 200, "", nil},
		{"unknown namespace", "GET", group + "/providers/Microsoft.Nothing/things/x?api-version=2021-04-01", arm, "", 404, "InvalidResourceNamespace", nil},
		{"unknown type", "GET", group + "/providers/Microsoft.Storage/things/x?api-version=2021-04-01", arm, "", 404, "InvalidResourceType", nil},
		{"missing resource", "GET", group + "/providers/Microsoft.Storage/storageAccounts/none?api-version=2023-05-01", arm, "", 404, "ResourceNotFound", nil},
		{"missing group", "PUT", mgmt + "/subscriptions/" + s.sub + "/resourceGroups/none/providers/Microsoft.Storage/storageAccounts/xyz?api-version=2023-05-01", arm, `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, 404, "ResourceGroupNotFound", nil},
		{"a block list names a missing block", "PUT", blobs + "/con/b?comp=blocklist", storage, list, 400, "InvalidBlockList", nil},
		{"a block list that is no XML", "PUT", blobs + "/con/b?comp=blocklist", storage, "<Block", 400, "InvalidXmlDocument", nil},
		{"a body over the limit", "PUT", mgmt + "/subscriptions/" + s.sub + "/resourceGroups/big?api-version=2021-04-01", arm, `{"location":"westeurope","tags":{"a":"` + strings.Repeat("x", 5<<20) + `"}}`, 413, "RequestBodyTooLarge", nil},

		{"alg none at a vault", "GET", vault + "/keys?api-version=7.4", forge(t, kv, func(h, _ map[string]any) { h["alg"] = "none" }), "", 401, "Unauthorized", nil},
		{"signed by another key at a vault", "GET", vault + "/keys?api-version=7.4", resign(t, kv), "", 401, "Unauthorized", nil},
		{"not a JWT at a vault", "GET", vault + "/keys?api-version=7.4", "nonsense", "", 401, "Unauthorized", nil},
		{"no api-version at a vault", "GET", vault + "/keys", kv, "", 400, "BadParameter", nil},
		{"a body over the limit at a vault", "POST", vault + "/keys/k/create?api-version=7.4", kv, `{"kty":"RSA","tags":{"a":"` + big + `"}}`, 413, "RequestBodyTooLarge", nil},
		{"JSON of another shape at a vault", "POST", vault + "/keys/k/create?api-version=7.4", kv, `{"kty":["RSA"]}`, 400, "BadParameter", nil},
		{"an empty body at a vault", "POST", vault + "/keys/k/create?api-version=7.4", kv, ``, 400, "BadParameter", nil},
		{"a bad name at a vault", "GET", vault + "/keys/a_b?api-version=7.4", kv, "", 400, "BadParameter", nil},
		{"a slash in a vault's key name", "GET", vault + "/keys/a%2Fb?api-version=7.4", kv, "", 400, "BadParameter", nil},
		{"an escape that is none at a vault", "GET", vault + "/keys/a?api-version=7.4&x=%zz", kv, "", 404, "KeyNotFound", nil},
		{"odd case at a vault", "GET", vault + "/KEYS?API-VERSION=7.4", kv, "", 400, "BadParameter", nil},
		{"odd case of a vault's path", "GET", vault + "/KEYS?api-version=7.4", kv, "", 200, `"value"`, nil},
		{"odd case of a vault's host", "GET", strings.Replace(vault, "badvault", "BadVault", 1) + "/keys?api-version=7.4", kv, "", 200, `"value"`, nil},
		{"an unknown vault", "GET", strings.Replace(vault, "badvault", "novault", 1) + "/keys?api-version=7.4", kv, "", 404, "VaultNotFound", nil},

		{"alg none at a blob", "GET", blobs + "/con/kept", forge(t, storage, func(h, _ map[string]any) { h["alg"] = "none" }), "", 401, "InvalidAuthenticationInfo", nil},
		{"signed by another key at a blob", "GET", blobs + "/con/kept", resign(t, storage), "", 401, "InvalidAuthenticationInfo", nil},
		{"no token at a blob", "GET", blobs + "/con/kept", "", "", 401, "NoAuthenticationInformation", nil},
		{"a version that is none", "GET", blobs + "/con/kept", storage, "", 400, "InvalidHeaderValue", []string{"x-ms-version", "nonsense"}},
		{"a version to come", "GET", blobs + "/con/kept", storage, "", 200, "kept", []string{"x-ms-version", "2099-01-01"}},
		{"a block's id that is no base64", "PUT", blobs + "/con/b?comp=block&blockid=!", storage, "x", 400, "InvalidQueryParameterValue", nil},
		{"a block list of another shape", "PUT", blobs + "/con/b?comp=blocklist", storage, "<Blocks></Blocks>", 400, "InvalidXml", nil},
		{"a block list with a document type", "PUT", blobs + "/con/b?comp=blocklist", storage, `<!DOCTYPE x [<!ENTITY a "aaaa">]><BlockList><Latest>&a;</Latest></BlockList>`, 400, "InvalidXmlDocument", nil},
		{"Content-MD5 of other bytes", "PUT", blobs + "/con/b", storage, "x", 400, "Md5Mismatch", []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		{"Content-MD5 that is none", "PUT", blobs + "/con/b", storage, "x", 400, "InvalidMd5", []string{"Content-MD5", "x"}},
		{"x-ms-blob-content-md5 of other bytes", "PUT", blobs + "/con/b", storage, "x", 400, "Md5Mismatch", []string{"x-ms-blob-content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		{"x-ms-content-crc64 of other bytes", "PUT", blobs + "/con/b", storage, "x", 400, "Crc64Mismatch", []string{"x-ms-content-crc64", "AAAAAAAAAAE="}},
		{"Content-MD5 of other bytes of a large blob", "PUT", blobs + "/con/b", storage, big, 400, "Md5Mismatch", []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		{"Content-MD5 of other bytes of a block", "PUT", blobs + "/con/b?comp=block&blockid=MDAwMQ==", storage, big, 400, "Md5Mismatch", []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		{"x-ms-content-crc64 of other bytes of a block", "PUT", blobs + "/con/b?comp=block&blockid=MDAwMQ==", storage, "x", 400, "Crc64Mismatch", []string{"x-ms-content-crc64", "AAAAAAAAAAE="}},
		{"Content-MD5 of another block list", "PUT", blobs + "/con/b?comp=blocklist", storage, "<BlockList></BlockList>", 400, "Md5Mismatch", []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		{"a block list over the limit", "PUT", blobs + "/con/b?comp=blocklist", storage, "<BlockList>" + strings.Repeat(" ", 16<<20) + "</BlockList>", 413, "RequestBodyTooLarge", nil},
		{"no blob type", "PUT", blobs + "/con/b", storage, "x", 400, "MissingRequiredHeader", []string{"x-ms-blob-type", ""}},
		{"metadata over the limit", "PUT", blobs + "/con/b", storage, "x", 400, "MetadataTooLarge", []string{"x-ms-meta-a", strings.Repeat("x", 9<<10)}},
		{"odd case of a blob's name", "GET", blobs + "/con/KEPT", storage, "", 404, "BlobNotFound", nil},
		{"odd case of a container's name", "PUT", blobs + "/CON?restype=container", storage, "", 400, "InvalidResourceName", nil},
		{"odd case of an operation", "GET", blobs + "/con?RESTYPE=Container&COMP=LIST", storage, "", 200, "kept", nil},
		{"odd case of an operation that writes", "PUT", blobs + "/con/kept?COMP=Metadata", storage, "", 200, "", nil},
		{"odd case of an account's host", "GET", strings.Replace(blobs, "badstore", "BadStore", 1) + "/con/kept", storage, "", 200, "kept", nil},
		{"a range that is none", "GET", blobs + "/con/kept", storage, "", 400, "InvalidHeaderValue", []string{"x-ms-range", "bytes=5-1"}},
		{"an unknown account", "GET", strings.Replace(blobs, "badstore", "nostore", 1) + "/con/kept", storage, "", 404, "ResourceNotFound", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			header := append([]string{"x-ms-version", "2024-11-04", "Content-Type", "application/json", "x-ms-blob-type", "BlockBlob"}, tt.header...)
			resp, body := s.raw(t, tt.method, tt.url, tt.token, tt.body, header...)
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

// TestClientHangsUp: an upload that ends in the middle leaves no blob, no block and no key.
func TestClientHangsUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	account := s.storage(t, "hangup", nil)
	s.assign(t, account, blobContributor, s.adminID(t))
	vault := s.newVault(t, "hangup", nil)
	s.assign(t, vault, cryptoOfficer, s.adminID(t))
	token, keys := s.token(t, s.Admin, "https://storage.azure.com"), s.token(t, s.Admin, "https://vault.azure.net")
	base, create := s.URLs().Blob("hangup"), s.URLs().Vault("hangup")+"/keys/k/create?api-version=7.4"
	s.raw(t, "PUT", base+"/con?restype=container", token, "", "x-ms-version", "2024-11-04")
	for _, target := range []string{base + "/con/b", base + "/con/b?comp=block&blockid=MDAwMQ==", create} {
		body, feed := io.Pipe()
		method, bearer := "PUT", token
		if target == create {
			method, bearer = "POST", keys
		}
		req, err := http.NewRequest(method, target, body)
		check(t, err)
		req.ContentLength = 1 << 20
		req.Header.Set("Authorization", "Bearer "+bearer)
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
		part := append([]byte(`{"kty":"RSA"}`), bytes.Repeat([]byte(" "), 512<<10)...)
		if _, err = feed.Write(part); err != nil {
			t.Fatalf("%s: %v; the request ended with %v", target, err, <-done)
		}
		feed.CloseWithError(net.ErrClosed)
		if err := <-done; err != nil && strings.Contains(err.Error(), "answered 20") {
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
		if resp, body = s.raw(t, "GET", s.URLs().Vault("hangup")+"/keys/k?api-version=7.4", keys, ""); resp.StatusCode != 404 {
			return fmt.Errorf("%d %s", resp.StatusCode, body)
		}
		return nil
	})
}

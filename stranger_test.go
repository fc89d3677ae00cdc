package keyreel_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/keyreeltest"
)

// hostile sends requests as they are, odd paths and all.
type hostile struct {
	t      testing.TB
	srv    *keyreeltest.Server
	sub    string
	client *http.Client
}

func newHostile(t testing.TB) *hostile {
	t.Helper()
	srv := keyreeltest.Start(t)
	return &hostile{t: t, srv: srv, sub: srv.Installation().SubscriptionID, client: srv.HTTPClient()}
}

func (h *hostile) token(credential azcore.TokenCredential, resource string) string {
	h.t.Helper()
	token, err := credential.GetToken(h.t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return token.Token
}

// do sends a request whose path, with its query, is not cleaned.
func (h *hostile) do(token, method, base, path, body string, headers ...string) (int, string) {
	u, err := url.Parse(base)
	if err != nil {
		h.t.Error(err)
		return 0, ""
	}
	u.RawPath, u.RawQuery, _ = strings.Cut(path, "?")
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		h.t.Error(err)
		return 0, ""
	}
	req := (&http.Request{Method: method, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}).WithContext(context.Background())
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Ms-Version", "2024-11-04")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// must is do by the administrator; it returns the answer's JSON.
func (h *hostile) must(resource, method, base, path, body string) map[string]any {
	h.t.Helper()
	status, text := h.do(h.token(h.srv.Admin, resource), method, base, path, body)
	if status >= 300 {
		h.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil && text != "" {
		h.t.Fatal(err)
	}
	return v
}

// stranger makes an application without any role and signs it in.
func (h *hostile) stranger() azcore.TokenCredential {
	h.t.Helper()
	const resource = "https://graph.microsoft.com"
	base := h.srv.URLs().Graph()
	app := h.must(resource, "POST", base, "/v1.0/applications", `{"displayName":"stranger"}`)
	h.must(resource, "POST", base, "/v1.0/servicePrincipals", fmt.Sprintf(`{"appId":%q}`, app["appId"]))
	secret := h.must(resource, "POST", base, fmt.Sprintf("/v1.0/applications/%s/addPassword", app["id"]), `{}`)
	credential, err := h.srv.Credential(app["appId"].(string), secret["secretText"].(string))
	if err != nil {
		h.t.Fatal(err)
	}
	return credential
}

// odd are ways to write a path that some servers read as another one than that on which they decided.
var odd = []struct {
	name    string
	change  func(path string) string
	headers []string
}{
	{"plain", func(p string) string { return p }, nil},
	{"upper case", func(p string) string { return strings.ToUpper(p) }, nil},
	{"slashes in front", func(p string) string { return "///" + p }, nil},
	{"slash behind", func(p string) string { return p + "/" }, nil},
	{"dot", func(p string) string { return "/." + p }, nil},
	{"dots", func(p string) string { return "/x/.." + p }, nil},
	{"encoded dots", func(p string) string { return "/%2e%2e" + p }, nil},
	{"encoded letters", func(p string) string {
		return strings.NewReplacer("s", "%73", "k", "%6B", "v", "%76", "con", "%63on").Replace(p)
	}, nil},
	{"encoded slashes", func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%2f") }, nil},
	{"long s", func(p string) string { return strings.Replace(p, "s", "%C5%BF", 1) }, nil},
	{"semicolon", func(p string) string { return p + ";a=b" }, nil},
	{"other headers", func(p string) string { return p }, []string{
		"X-HTTP-Method-Override", "GET", "X-Original-URL", "/metadata/endpoints", "X-Rewrite-URL", "/metadata/endpoints", "X-Forwarded-Host", "login.keyreel.localhost",
		"X-Forwarded-For", "127.0.0.1", "X-Ms-Client-Principal-Id", "admin", "X-Ms-Authorization-Auxiliary", "Bearer x",
	}},
}

// mine are operations that show a caller no more than it may read, whoever it is. One more is a decision, made here.
var mine = regexp.MustCompile(`/(tenants|subscriptions)\.List$|/providers\.\w+AtTenant$|/providerOperations\.|/checkAccess\.|/explain\.|^Graph\.me\.`)

// TestStranger tries every operation of a whole server in every odd way, without a token and as a caller without a role.
func TestStranger(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	srv := h.srv
	const arm, group = "https://management.azure.com", "hostile"
	urls := srv.URLs()
	groupPath := "/subscriptions/" + h.sub + "/resourceGroups/" + group
	resource := groupPath + "/providers/"
	h.must(arm, "PUT", urls.Management(), groupPath+"?api-version=2021-04-01", `{"location":"westeurope"}`)
	h.must(arm, "PUT", urls.Management(), resource+"Microsoft.Storage/storageAccounts/strangestore?api-version=2023-05-01",
		`{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	h.must(arm, "PUT", urls.Management(), resource+"Microsoft.KeyVault/vaults/strangevault?api-version=2023-07-01", fmt.Sprintf(
		`{"location":"westeurope","properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`, srv.Installation().TenantID))
	h.must(arm, "PUT", urls.Management(), resource+"Microsoft.ManagedIdentity/userAssignedIdentities/strange?api-version=2023-01-31", `{"location":"westeurope"}`)

	fill := strings.NewReplacer("{subscription}", h.sub, "{resourceGroup}", group, "{scope}", groupPath, "{namespace}", "Microsoft.Storage",
		"{storageAccountsName}", "strangestore", "{vaultsName}", "strangevault", "{userAssignedIdentitiesName}", "strange", "{location}", "westeurope",
		"{container}", "con", "{blob...}", "a/b", "{account}", "strangestore", "{name}", "strangevault", "{version}", strings.Repeat("0", 32))
	variable := regexp.MustCompile(`\{[^}]*\}`)
	stranger := h.stranger()
	type try struct {
		token, base string
		row         azure.Route
		path        string
	}
	tries := make(chan try)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for x := range tries {
				h.attack(x.token, x.base, x.row, x.path)
			}
		})
	}
	for service, where := range map[string]struct{ base, resource string }{
		azure.Management: {urls.Management(), arm}, azure.Graph: {urls.Graph(), "https://graph.microsoft.com"},
		azure.Vault: {urls.Vault("strangevault"), "https://vault.azure.net"}, azure.Blob: {urls.Blob("strangestore"), "https://storage.azure.com"},
	} {
		token := h.token(stranger, where.resource)
		for _, row := range srv.Operations()[service] {
			if row.Public != "" || mine.MatchString(row.Name) || service == azure.Graph && strings.HasSuffix(row.Action, "directoryObjects/read") {
				continue
			}
			path := variable.ReplaceAllString(fill.Replace(row.Pattern), "11111111-1111-1111-1111-111111111111")
			tries <- try{"", where.base, row, path}
			tries <- try{token, where.base, row, path}
		}
	}
	close(tries)
	workers.Wait()
}

// attack sends an operation in every odd way and reports those that succeed.
func (h *hostile) attack(token, base string, row azure.Route, path string) {
	query := url.Values{}
	for name, value := range row.Query {
		if value != "" {
			query.Set(name, value)
		}
	}
	if !query.Has("comp") && !query.Has("restype") {
		query.Set("api-version", h.version(token, row, base, path))
	}
	ways := odd
	if token == "" {
		ways = odd[:1]
	}
	for _, o := range ways {
		status, text := h.do(token, row.Method, base, o.change(path)+"?"+query.Encode(), `{}`, o.headers...)
		if status < 300 || status >= 500 {
			h.t.Errorf("%s, token %t, %s: %s %s?%s: %d %.300s", row.Name, token != "", o.name, row.Method, o.change(path), query.Encode(), status, text)
		}
	}
}

var supported = regexp.MustCompile(`supported api-versions are '([^',]*)`)

// version finds an api-version that an operation understands: its own refusal names them.
func (h *hostile) version(token string, row azure.Route, base, path string) string {
	if strings.HasPrefix(path, "/keys") || strings.HasPrefix(path, "/deletedkeys") {
		return "7.4"
	}
	_, text := h.do(token, row.Method, base, path+"?api-version=1900-01-01", `{}`)
	if m := supported.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return "2023-01-01"
}

// A body is what a parser makes of it, and its depth is for the caller to choose.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	token := h.token(h.srv.Admin, "https://management.azure.com")
	group := "/subscriptions/" + h.sub + "/resourceGroups/deep?api-version=2021-04-01"
	deep := bytes.Repeat([]byte(`{"a":`), 400_000)
	for name, body := range map[string]string{
		"objects": string(deep), "arrays": `{"properties":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`,
		"tags": `{"location":"westeurope","tags":{"a":` + string(deep) + `}}`,
	} {
		if status, text := h.do(token, "PUT", h.srv.URLs().Management(), group, body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %.200s", name, status, text)
		}
	}
}

// TestHostileRequestLines sends what no HTTP client sends. Nothing of it may succeed, or break a handler.
func TestHostileRequestLines(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	urls := h.srv.URLs()
	for _, base := range []string{urls.Login(), urls.Management(), urls.Graph(), urls.Vault("v"), urls.Blob("b"), urls.Streaming("e", "m"), urls.KeyDelivery("m"), "https://elsewhere.example"} {
		host := strings.TrimPrefix(base, "https://")
		for name, head := range map[string]string{
			"connect":                "CONNECT " + host + " HTTP/1.1\r\nHost: " + host,
			"connect to a path":      "CONNECT /x HTTP/1.1\r\nHost: " + host,
			"asterisk":               "OPTIONS * HTTP/1.1\r\nHost: " + host,
			"get asterisk":           "GET * HTTP/1.1\r\nHost: " + host,
			"absolute":               "GET https://" + host + "?a HTTP/1.1\r\nHost: x",
			"opaque":                 "GET https:opaque HTTP/1.1\r\nHost: " + host,
			"query alone":            "GET ?a=b HTTP/1.1\r\nHost: " + host,
			"slashes":                "GET //// HTTP/1.1\r\nHost: " + host,
			"broken escape":          "GET /%zz HTTP/1.1\r\nHost: " + host,
			"broken query":           "GET /?%zz=%&;=& HTTP/1.1\r\nHost: " + host,
			"NUL":                    "GET /%00/%00?%00=%00 HTTP/1.1\r\nHost: " + host,
			"bytes":                  "GET /\xff\xfe/%ff%fe HTTP/1.1\r\nHost: " + host,
			"long path":              "GET /" + strings.Repeat("a/", 20_000) + " HTTP/1.1\r\nHost: " + host,
			"providers":              "PUT " + strings.Repeat("/providers/a/b/c", 3_000) + "?api-version=2021-04-01 HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0",
			"no host":                "GET / HTTP/1.1",
			"two hosts":              "GET / HTTP/1.1\r\nHost: " + host + "\r\nHost: x",
			"two lengths":            "POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\nContent-Length: 5",
			"length and chunks":      "POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metadata/endpoints HTTP/1.1\r\nHost: " + host,
			"odd transfer encoding":  "POST / HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: xchunked",
			"long headers":           "GET / HTTP/1.1\r\nHost: " + host + "\r\nX: " + strings.Repeat("a", 80<<10),
			"odd version":            "GET / HTTP/9.9\r\nHost: " + host,
			"a header in the header": "GET / HTTP/1.1\r\nHost: " + host + "\r\nX-Ms-Client-Request-Id: a\x01b\r\nAuthorization: Bearer \x7f",
		} {
			status := h.raw(host, head+"\r\n\r\n")
			if status >= 200 && status < 300 && name != "asterisk" || status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported {
				t.Errorf("%s, %s: %d", host, name, status)
			}
		}
	}
}

// raw sends bytes to the server under a name and returns the status of the first answer; 0 for none.
func (h *hostile) raw(host, text string) int {
	conn, err := tls.Dial("tcp", h.srv.Addr(), &tls.Config{InsecureSkipVerify: true, ServerName: "login.keyreel.localhost"})
	if err != nil {
		h.t.Error(err)
		return 0
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		h.t.Error(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return 0 // refused before its end
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

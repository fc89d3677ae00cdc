package authority

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

const ownLogin = "https://login.keyreel.localhost:8443"

// do sends a request to a handler and returns status and JSON body.
func do(t testing.TB, h http.Handler, r *http.Request) (*http.Response, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	var body map[string]any
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatalf("%s %s: %d %s: %v", r.Method, r.URL, res.StatusCode, b, err)
	}
	return res, body
}

func get(t testing.TB, h http.Handler, target string) (int, map[string]any) {
	t.Helper()
	res, body := do(t, h, httptest.NewRequest(http.MethodGet, target, nil))
	return res.StatusCode, body
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const public = "https://login.microsoftonline.com"
	for _, c := range []struct{ url, issuer, token, keys string }{
		{
			ownLogin + "/" + tenant + "/v2.0/.well-known/openid-configuration?", ownLogin + "/" + tenant + "/v2.0",
			ownLogin + "/" + tenant + "/oauth2/v2.0/token", ownLogin + "/" + tenant + "/discovery/v2.0/keys",
		},
		{
			ownLogin + "/" + strings.ToUpper(tenant) + "/.well-known/openid-configuration", "https://sts.windows.net/" + tenant + "/",
			ownLogin + "/" + tenant + "/oauth2/token", ownLogin + "/" + tenant + "/discovery/keys",
		},
		{
			public + "/" + tenant + "/v2.0/.well-known/openid-configuration", public + "/" + tenant + "/v2.0",
			public + "/" + tenant + "/oauth2/v2.0/token", public + "/" + tenant + "/discovery/v2.0/keys",
		},
		{
			public + "/common/.well-known/openid-configuration", "https://sts.windows.net/{tenantid}/",
			public + "/common/oauth2/token", public + "/common/discovery/keys",
		},
		{
			public + "/Organizations/v2.0/.well-known/openid-configuration", public + "/{tenantid}/v2.0",
			public + "/organizations/oauth2/v2.0/token", public + "/organizations/discovery/v2.0/keys",
		},
		{ownLogin + "/adfs/.well-known/openid-configuration", ownLogin + "/adfs", ownLogin + "/adfs/oauth2/token", ownLogin + "/adfs/discovery/keys"},
	} {
		status, got := get(t, n.Handler(), c.url)
		if status != 200 || got["issuer"] != c.issuer || got["token_endpoint"] != c.token || got["jwks_uri"] != c.keys {
			t.Errorf("%s: %d %v", c.url, status, got)
		}
		for _, needed := range []string{"authorization_endpoint", "device_authorization_endpoint"} {
			if got[needed] == nil {
				t.Errorf("%s: MSAL needs %s", c.url, needed)
			}
		}
	}
	for _, path := range []string{"/" + hosts.Domain + "/v2.0/.well-known/openid-configuration", "//.well-known/openid-configuration", "/x/discovery/keys"} {
		status, got := get(t, n.Handler(), ownLogin+path)
		if status != 400 || got["error"] != "invalid_request" || !cmp.Equal(got["error_codes"], []any{90002.0}) {
			t.Errorf("%s: %d %v", path, status, got)
		}
	}
	if status, got := get(t, n.Handler(), ownLogin+"/"+tenant+"/kerberos"); status != 404 || got["error"] == nil {
		t.Errorf("unknown path: %d %v", status, got)
	}
	if status, got := get(t, n.Handler(), ownLogin+"/"+tenant+"/oauth2/token"); status != 405 || !cmp.Equal(got["error_codes"], []any{900561.0}) {
		t.Errorf("GET of the token endpoint: %d %v", status, got)
	}
}

// A client that knows nothing of this package can check a token with the published keys.
func TestJWKS(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := n.system(t, "acct")
	raw, _, err := n.IdentityToken(t.Context(), p.ID, p.IdentityID, storageAud)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/common/discovery/keys", "/" + tenant + "/discovery/keys", "/" + tenant + "/discovery/v2.0/keys"} {
		w := httptest.NewRecorder()
		n.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, ownLogin+path, nil))
		if strings.Contains(w.Body.String(), `"d"`) {
			t.Fatalf("%s shows a private key", path)
		}
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
			t.Fatal(err)
		}
		signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		keys := set.Key(signed.Signatures[0].Header.KeyID)
		if len(keys) != 1 {
			t.Fatalf("%s: %d keys for the token's kid", path, len(keys))
		}
		if _, err := signed.Verify(keys[0]); err != nil {
			t.Error(err)
		}
		thumbprint := sha1.Sum(keys[0].Certificates[0].Raw)
		if base64.RawURLEncoding.EncodeToString(thumbprint[:]) != keys[0].KeyID || keys[0].Use != "sig" {
			t.Error("kid is not the certificate's thumbprint")
		}
	}
}

func TestInstanceDiscovery(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ask := func(endpoint string) (int, map[string]any) {
		return get(t, n.Handler(), "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint="+url.QueryEscape(endpoint))
	}
	status, got := ask(ownLogin + "/" + strings.ToUpper(tenant) + "/oauth2/v2.0/authorize")
	host := strings.TrimPrefix(ownLogin, "https://")
	want := map[string]any{
		"api-version": "1.1", "tenant_discovery_endpoint": ownLogin + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"metadata": []any{map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []any{host}}},
	}
	if diff := cmp.Diff(want, got); status != 200 || diff != "" {
		t.Error(status, diff)
	}
	status, got = ask("https://login.microsoftonline.com/common/oauth2/v2.0/authorize")
	if status != 200 || got["tenant_discovery_endpoint"] != "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration" {
		t.Error(status, got)
	}
	for _, bad := range []string{"", "https://login.example.org/common", "https://vault.azure.net/common", "http://login.microsoftonline.com/common", "%zz"} {
		if status, got := ask(bad); status != 400 || got["error"] != "invalid_instance" {
			t.Errorf("%q: %d %v", bad, status, got)
		}
	}
}

func postForm(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, ownLogin+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, secret := n.application(t)
	accept := accepting(storageAud, storageAud+"/")
	v2 := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_secret": {string(secret)},
		"scope": {storageAud + "/.default openid offline_access profile"}, "client_info": {"1"},
	}
	v1 := url.Values{"grant_type": {"client_credentials"}, "client_id": {strings.ToUpper(app.AppID)}, "client_secret": {string(secret)}, "resource": {storageAud + "/"}}

	var multi bytes.Buffer
	m := multipart.NewWriter(&multi)
	for name, values := range v1 {
		if err := m.WriteField(name, values[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	multipartRequest := httptest.NewRequest(http.MethodPost, ownLogin+"/"+tenant+"/oauth2/token", &multi)
	multipartRequest.Header.Set("Content-Type", m.FormDataContentType())
	basic := postForm("/"+tenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "scope": v2["scope"]})
	basic.SetBasicAuth(url.QueryEscape(app.AppID), url.QueryEscape(string(secret)))
	untyped := postForm("/"+tenant+"/oauth2/token", v1)
	untyped.Header.Del("Content-Type")
	adfs := url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_secret": {string(secret)}, "scope": {storageAud + "//.default"}}

	for name, c := range map[string]struct {
		r       *http.Request
		numbers bool // what is a number comes as one, not as text
		aud     string
	}{
		"v2":              {postForm("/"+tenant+"/oauth2/v2.0/token?client-request-id=x", v2), true, storageAud},
		"v2, upper case":  {postForm("/"+strings.ToUpper(tenant)+"/OAUTH2/v2.0/token", v2), true, storageAud},
		"v2, Basic":       {basic, true, storageAud},
		"v1":              {postForm("/"+tenant+"/oauth2/token", v1), false, storageAud + "/"},
		"v1, multipart":   {multipartRequest, false, storageAud + "/"},
		"v1, no type":     {untyped, false, storageAud + "/"},
		"adfs with scope": {postForm("/adfs/oauth2/token", adfs), true, storageAud + "/"},
	} {
		res, body := do(t, n.Handler(), c.r)
		if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" || body["token_type"] != "Bearer" {
			t.Errorf("%s: %d %v", name, res.StatusCode, body)
			continue
		}
		caller, err := n.Verify(t.Context(), body["access_token"].(string), accept)
		if err != nil || caller.ObjectID != app.ID || caller.Audience != c.aud {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
		if c.numbers {
			if life, ok := body["expires_in"].(float64); !ok || life < 3599 || life > 5400 {
				t.Errorf("%s: %v", name, body)
			}
			continue
		}
		for _, field := range []string{"expires_in", "ext_expires_in", "expires_on", "not_before", "resource"} {
			if s, _ := body[field].(string); s == "" {
				t.Errorf("%s: %s is no text: %v", name, field, body[field])
			}
		}
		if body["resource"] != c.aud {
			t.Errorf("%s: resource %s", name, body["resource"])
		}
	}
	rs := n.records(t, "Token.ClientCredentials")
	if len(rs) != 7 || rs[0].Principal != app.ID || rs[0].Result != "Success" || rs[0].Category != "SignIn" || rs[0].ClientIP == "" {
		t.Errorf("audit: %+v", rs)
	}
}

func TestClientCredentialsRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, secret := n.application(t)
	disabled, disabledSecret := n.application(t)
	n.disable(t, disabled)
	good := func() url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_secret": {string(secret)}, "scope": {storageAud + "/.default"}}
	}
	with := func(name string, values ...string) url.Values {
		f := good()
		f[name] = values
		return f
	}
	disabledForm := with("client_id", disabled.AppID)
	disabledForm.Set("client_secret", string(disabledSecret))
	assertion := with("client_assertion", "x.y.z")
	assertion.Del("client_secret")

	for i, c := range []struct {
		name   string
		tenant string
		form   url.Values
		status int
		code   string
		number float64
	}{
		{"unknown tenant", app.ID, good(), 400, "invalid_request", 90002},
		{"no grant", tenant, with("grant_type"), 400, "invalid_request", 900144},
		{"other grant", tenant, with("grant_type", "implicit"), 400, "unsupported_grant_type", 70003},
		{"no client", tenant, with("client_id"), 400, "invalid_request", 900144},
		{"no secret", tenant, with("client_secret"), 401, "invalid_client", 7000218},
		{"assertion of no type", tenant, assertion, 400, "invalid_request", 900144},
		{"no scope", tenant, with("scope"), 400, "invalid_request", 900144},
		{"only tolerated scopes", tenant, with("scope", "openid profile"), 400, "invalid_request", 900144},
		{"scope without .default", tenant, with("scope", "https://storage.azure.com/user_impersonation"), 400, "invalid_scope", 1002012},
		{"two scopes", tenant, with("scope", storageAud+"/.default https://vault.azure.net/.default"), 400, "invalid_scope", 70011},
		{"unknown application", tenant, with("client_id", tenant), 400, "unauthorized_client", 700016},
		{"client id of another shape", tenant, with("client_id", "\xff\x00'\n"), 400, "unauthorized_client", 700016},
		{"wrong secret", tenant, with("client_secret", "wrong"), 401, "invalid_client", 7000215},
		{"disabled", tenant, disabledForm, 400, "unauthorized_client", 7000112},
		{"unknown resource", tenant, with("scope", "https://example.org/.default"), 400, "invalid_resource", 500011},
		{"twice", tenant, with("scope", storageAud+"/.default", storageAud+"/.default"), 400, "invalid_request", 90100},
	} {
		before := len(n.records(t, "Token.ClientCredentials"))
		r := postForm("/"+c.tenant+"/oauth2/v2.0/token", c.form)
		r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i) // refusals of one address are counted
		res, body := do(t, n.Handler(), r)
		if res.StatusCode != c.status || body["error"] != c.code || !cmp.Equal(body["error_codes"], []any{c.number}) || body["access_token"] != nil {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
		}
		if strings.Contains(body["error_description"].(string), string(secret)) {
			t.Errorf("%s: the answer shows the secret", c.name)
		}
		if c.number == 90002 {
			continue // nobody's credentials were looked at
		}
		rs := n.records(t, "Token.ClientCredentials")
		if len(rs) != before+1 || rs[before].Result != "Failure" || rs[before].Status != c.status || strings.Contains(rs[before].Reason, string(secret)) {
			t.Errorf("%s: audit %+v", c.name, rs[before:])
		}
	}

	other := postForm("/"+tenant+"/oauth2/v2.0/token", good())
	other.SetBasicAuth(disabled.AppID, string(disabledSecret))
	if res, body := do(t, n.Handler(), other); res.StatusCode != 400 || !cmp.Equal(body["error_codes"], []any{90100.0}) {
		t.Errorf("two clients: %d %v", res.StatusCode, body)
	}
	text := postForm("/"+tenant+"/oauth2/v2.0/token", good())
	text.Header.Set("Content-Type", "application/json")
	if res, body := do(t, n.Handler(), text); res.StatusCode != 400 || body["error"] != "invalid_request" {
		t.Errorf("JSON: %d %v", res.StatusCode, body)
	}
	if res, body := do(t, n.Handler(), postForm("/"+tenant+"/oauth2/v2.0/token", with("x", strings.Repeat("x", maxForm)))); res.StatusCode != 413 || body["error"] != "invalid_request" {
		t.Errorf("too large: %d %v", res.StatusCode, body)
	}
}

func TestAppLifetime(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 100 {
		minutes := appLifetime().Minutes()
		if minutes < 60 || minutes > 90 {
			t.Errorf("%v minutes", minutes)
		}
		seen[int(minutes)] = true
	}
	if len(seen) < 5 {
		t.Error("lifetimes are not spread")
	}
}

func FuzzParseForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", []byte("a=b&c=%20&&=;"))
	f.Add("", []byte("grant_type=client_credentials"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"))
	f.Add("multipart/form-data", []byte("--x"))
	f.Add(`text/plain; charset="`, []byte{0xff})
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		form, err := parseForm(contentType, body)
		if err == nil && form == nil {
			t.Error("neither a form nor an error")
		}
	})
}

func FuzzResourceOf(f *testing.F) {
	f.Add("https://vault.azure.net/.default openid", true)
	f.Add("/.default", false)
	f.Add(" ", true)
	f.Fuzz(func(t *testing.T, scope string, v2 bool) {
		audience, err := resourceOf(url.Values{"scope": {scope}}, v2)
		if err == nil && (audience == "" || !strings.Contains(scope, audience+"/.default")) {
			t.Errorf("%q gives %q", scope, audience)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IngifQ.e30.AA")
	f.Fuzz(func(t *testing.T, raw string) {
		signed, kid, err := parse(raw)
		if err == nil && (len(signed.Signatures) != 1 || kid == "" || signed.Signatures[0].Protected.Algorithm != "RS256") {
			t.Errorf("%q was let through", raw)
		}
	})
}

func TestShown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a'b": "a'b", "a\nb": `a\nb`, "\xff": "\uFFFD", strings.Repeat("a", 300): strings.Repeat("a", 200) + "..."} {
		if got := shown(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// What discovery names is there.
func TestDiscoveryTellsTheTruth(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, at := range []string{"/" + tenant + "/v2.0", "/" + tenant, "/common/v2.0", "/adfs"} {
		_, document := get(t, n.Handler(), ownLogin+at+"/.well-known/openid-configuration")
		for name, method := range map[string]string{
			"authorization_endpoint": http.MethodGet, "token_endpoint": http.MethodPost, "device_authorization_endpoint": http.MethodPost,
			"end_session_endpoint": http.MethodGet, "jwks_uri": http.MethodGet, "userinfo_endpoint": http.MethodGet,
		} {
			w := httptest.NewRecorder()
			n.Handler().ServeHTTP(w, httptest.NewRequest(method, document[name].(string), nil))
			if w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed || strings.Contains(w.Body.String(), "AADSTS90002") {
				t.Errorf("%s: %s: %d %s", at, name, w.Code, w.Body)
			}
		}
		for _, grant := range document["grant_types_supported"].([]any) {
			_, got := n.askAt(t, tokenPath, url.Values{"grant_type": {grant.(string)}})
			if got["error"] == "unsupported_grant_type" {
				t.Errorf("%s: %s is not there", at, grant)
			}
		}
	}
}

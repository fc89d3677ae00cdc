package authority

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
)

const acting = group + "/providers/Microsoft.Compute/virtualMachines/vm"

// workload registers a workload with a system-assigned and a user-assigned identity.
func (n *node) workload(t testing.TB, name string) (wl directory.Workload, secret seal.Secret, system, user directory.Principal) {
	t.Helper()
	system, user = n.systemOf(t, "Microsoft.Compute/virtualMachines/"+name), n.userAssigned(t, name)
	wl, secret, err := n.d.RegisterWorkload(t.Context(), directory.Workload{Name: name, ResourceID: acting, Identities: []string{system.ID, user.ID}})
	if err != nil {
		t.Fatal(err)
	}
	return wl, secret, system, user
}

const (
	imdsPath  = "/metadata/identity/oauth2/token"
	imdsQuery = "?api-version=2018-02-01&resource=" + storageAud
)

func imdsRequest(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "169.254.169.254"
	r.URL.Scheme, r.URL.Host = "", ""
	r.Header.Set("Metadata", "true")
	return r
}

func appServiceRequest(target string, secret seal.Secret) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "127.0.0.1:8480"
	r.Header.Set("X-IDENTITY-HEADER", string(secret))
	return r
}

func TestIMDS(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	wl, _, system, user := n.workload(t, "one")
	shared, alone := n.IdentityHandler(), n.WorkloadHandler(strings.ToUpper(wl.ID))
	for _, c := range []struct {
		name   string
		h      http.Handler
		target string
		want   directory.Principal
	}{
		{"by path", shared, "/msi/" + wl.ID + imdsPath + imdsQuery, system},
		{"any case and slashes", shared, "//MSI/" + strings.ToUpper(wl.ID) + "//Metadata/Identity/OAuth2/Token/" + imdsQuery, system},
		{"listener of its own", alone, imdsPath + imdsQuery, system},
		{"JavaScript's slash", alone, imdsPath + "/" + imdsQuery, system},
		{"Java's slash", alone, "/" + imdsPath + imdsQuery, system},
		{"client_id", alone, imdsPath + imdsQuery + "&client_id=" + strings.ToUpper(user.AppID), user},
		{"client_id of its own", alone, imdsPath + imdsQuery + "&client_id=" + system.AppID, system},
		{"empty client_id", alone, imdsPath + imdsQuery + "&client_id=", system},
		{"empty client_id beside another", alone, imdsPath + imdsQuery + "&client_id=&object_id=" + user.ID, user},
		{"object_id", alone, imdsPath + imdsQuery + "&object_id=" + user.ID, user},
		{"principal_id", alone, imdsPath + imdsQuery + "&Principal_Id=" + user.ID, user},
		{"msi_res_id", alone, imdsPath + imdsQuery + "&msi_res_id=" + url.QueryEscape(user.IdentityID), user},
		{"mi_res_id", alone, imdsPath + imdsQuery + "&mi_res_id=" + url.QueryEscape(strings.ToLower(user.IdentityID)), user},
		{"msi-res-id", alone, imdsPath + imdsQuery + "&msi-res-id=" + url.QueryEscape(user.IdentityID), user},
	} {
		res, body := do(t, c.h, imdsRequest(c.target))
		if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
			continue
		}
		for name, v := range body {
			if _, ok := v.(string); !ok {
				t.Errorf("%s: %s is no text: %v", c.name, name, v)
			}
		}
		caller, err := n.Verify(t.Context(), body["access_token"].(string), accepting(storageAud))
		if err != nil || caller.ObjectID != c.want.ID || body["client_id"] != c.want.AppID || body["resource"] != storageAud || body["token_type"] != "Bearer" {
			t.Errorf("%s: %+v, %v, %v", c.name, caller, err, body)
			continue
		}
		resource := acting
		if c.want.ID == system.ID {
			resource = system.IdentityID
		}
		if caller.IdentityID != c.want.IdentityID || caller.ResourceID != resource {
			t.Errorf("%s: acts as %s for %s", c.name, caller.IdentityID, caller.ResourceID)
		}
		in, _ := strconv.Atoi(body["expires_in"].(string))
		on, _ := strconv.ParseInt(body["expires_on"].(string), 10, 64)
		if left := int(time.Until(time.Unix(on, 0)).Seconds()); in < 86300 || in > 86400 || left-in > 1 || in-left > 1 {
			t.Errorf("%s: expires in %d, on %d", c.name, in, on)
		}
	}
	w := httptest.NewRecorder()
	alone.ServeHTTP(w, imdsRequest(imdsPath+imdsQuery))
	if text := w.Body.String(); strings.Index(text, `"expires_in"`) > strings.Index(text, `"expires_on"`) {
		t.Errorf("expires_in stands after expires_on: %s", text)
	}
	issued := n.records(t, "Token.ManagedIdentity")
	if len(issued) != 2 || issued[0].Details["workload"] != "one" || issued[0].Identity != system.IdentityID {
		t.Errorf("audit of what was issued: %+v", issued)
	}
	again := n.records(t, "Identity.IMDS")
	if len(again) == 0 || again[0].Result != "Success" || again[0].Principal != system.ID || again[0].Details["tokenId"] == "" {
		t.Errorf("audit of what was handed out again: %+v", again)
	}
}

func TestIMDSRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	wl, secret, _, _ := n.workload(t, "one")
	_, _, foreign, _ := n.workload(t, "two")
	shared, alone := n.IdentityHandler(), n.WorkloadHandler(wl.ID)
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	none := func(*http.Request) {}
	const notFound, noHeader = "Identity not found", "Required metadata header not specified"
	for _, c := range []struct {
		name   string
		h      http.Handler
		target string
		change func(*http.Request)
		status int
		say    string
	}{
		{"probe", shared, imdsPath, header("Metadata"), 400, noHeader},
		{"probe of its own listener", alone, imdsPath + imdsQuery, header("Metadata"), 400, noHeader},
		{"Metadata: false", alone, imdsPath + imdsQuery, header("Metadata", "false"), 400, noHeader},
		{"Metadata twice", alone, imdsPath + imdsQuery, header("Metadata", "true", "true"), 400, noHeader},
		{"through a proxy", alone, imdsPath + imdsQuery, header("X-Forwarded-For", "10.0.0.1"), 400, "X-Forwarded-For"},
		{"through a proxy, empty", alone, imdsPath + imdsQuery, header("X-Forwarded-For", ""), 400, "X-Forwarded-For"},
		{"through RFC 7239's proxy", alone, imdsPath + imdsQuery, header("Forwarded", "for=10.0.0.1"), 400, "Forwarded"},
		{"as a proxy", alone, imdsPath + imdsQuery, func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", "169.254.169.254" }, 400, "proxy"},
		{"a rebound name", alone, imdsPath + imdsQuery, func(r *http.Request) { r.Host = "evil.example.org:80" }, 400, "is not the metadata service"},
		{"a rebound name on the shared listener", shared, "/msi/" + wl.ID + imdsPath + imdsQuery, func(r *http.Request) { r.Host = "evil.example.org" }, 400, "is not the metadata service"},
		{"no name", alone, imdsPath + imdsQuery, func(r *http.Request) { r.Host = "" }, 400, "is not the metadata service"},
		{"HEAD", alone, imdsPath + imdsQuery, func(r *http.Request) { r.Method = http.MethodPost }, 405, "not allowed"},
		{"twice", alone, imdsPath + imdsQuery + "&resource=x", none, 400, "more than once"},
		{"twice in other case", alone, imdsPath + imdsQuery + "&RESOURCE=x", none, 400, "more than once"},
		{"bad query", alone, imdsPath + "?%zz", none, 400, "cannot be read"},
		{"no resource", alone, imdsPath + "?api-version=2018-02-01", none, 400, "Required query variable 'resource' is missing"},
		{"no version", alone, imdsPath + "?resource=" + storageAud, none, 400, "api-version was not specified"},
		{"old version", alone, imdsPath + "?api-version=2017-01-01&resource=" + storageAud, none, 400, "api-version"},
		{"no version at all", alone, imdsPath + "?api-version=x&resource=" + storageAud, none, 400, "api-version"},
		{"unknown resource", alone, imdsPath + "?api-version=2018-02-01&resource=https://example.org", none, 400, "AADSTS500011"},
		{"unknown identity", alone, imdsPath + imdsQuery + "&client_id=" + tenant, none, 400, notFound},
		{"another's identity", alone, imdsPath + imdsQuery + "&object_id=" + foreign.ID, none, 400, notFound},
		{"two selectors", alone, imdsPath + imdsQuery + "&client_id=" + foreign.AppID + "&object_id=" + foreign.ID, none, 400, "More than one"},
		{"nobody's path", shared, imdsPath + imdsQuery, none, 400, notFound},
		{"nobody's path with a secret", shared, imdsPath + imdsQuery, header("X-Identity-Header", string(secret)), 400, notFound},
		{"unknown workload", shared, "/msi/" + tenant + imdsPath + imdsQuery, none, 400, notFound},
		{"no workload", shared, "/msi/%00" + imdsPath + imdsQuery, none, 400, notFound},
		{"another workload on a listener", alone, "/msi/" + tenant + imdsPath + imdsQuery, none, 404, ""},
		{"version 2", alone, "/metadata/identity/getplatformmetadata?cred-api-version=2.0", header("Metadata"), 404, ""},
		{"version 2, issue", shared, "/metadata/identity/issuecredential?cred-api-version=2.0", func(r *http.Request) { r.Method = http.MethodPost }, 404, ""},
		{"version 2, preview", shared, "/metadata/identity/credential?cred-api-version=1.0", func(r *http.Request) { r.Method = http.MethodPost }, 404, ""},
		{"instance", alone, "/metadata/instance?api-version=2021-02-01", none, 404, ""},
		{"root", shared, "/", none, 404, ""},
	} {
		r := imdsRequest(c.target)
		c.change(r)
		res, body := do(t, c.h, r)
		if res.StatusCode != c.status || body["error"] == nil || !strings.Contains(fmt.Sprint(body), c.say) || body["access_token"] != nil {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
		}
	}
	if rs := n.records(t, "Identity.IMDS"); len(rs) == 0 || rs[0].Result != "Failure" {
		t.Errorf("audit of refusals: %+v", rs)
	}
}

// A client that was told that its token is revoked names it, and must not get it again.
func TestTokenToRefresh(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	wl, _, _, _ := n.workload(t, "one")
	get := func(more string) string {
		t.Helper()
		_, body := do(t, n.WorkloadHandler(wl.ID), imdsRequest(imdsPath+imdsQuery+more))
		return body["access_token"].(string)
	}
	first := get("")
	if get("") != first {
		t.Error("a new token each time")
	}
	hash := sha256.Sum256([]byte(first))
	second := get("&xms_cc=CP1&token_sha256_to_refresh=" + hex.EncodeToString(hash[:]))
	if second == first {
		t.Error("the token that is to be refreshed came again")
	}
	if get("&token_sha256_to_refresh="+hex.EncodeToString(hash[:])) != second {
		t.Error("another token is not handed out again")
	}
}

func TestAppService(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	wl, secret, system, user := n.workload(t, "one")
	two, otherSecret, _, _ := n.workload(t, "two")
	h := n.IdentityHandler()
	const q = "?api-version=2019-08-01&resource=" + storageAud
	const old = "?api-version=2017-09-01&resource=" + storageAud
	oldHeader := func(target string, secret seal.Secret) *http.Request {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Host = "localhost:8480"
		r.Header.Set("secret", string(secret))
		return r
	}
	for _, c := range []struct {
		name string
		r    *http.Request
		want directory.Principal
	}{
		{"shared path", appServiceRequest("/msi/token"+q, secret), system},
		{"own path", appServiceRequest("/msi/"+wl.ID+"/token"+q, secret), system},
		{"empty client_id", appServiceRequest("/msi/token"+q+"&client_id=", secret), system},
		{"client_id", appServiceRequest("/msi/token"+q+"&client_id="+user.AppID, secret), user},
		{"mi_res_id", appServiceRequest("/msi/token"+q+"&mi_res_id="+url.QueryEscape(user.IdentityID), secret), user},
		{"2017", oldHeader("/msi/token/"+old, secret), system},
		{"2017, clientid", oldHeader("/msi/token"+old+"&clientid="+user.AppID, secret), user},
	} {
		c.r.URL.Scheme, c.r.URL.Host = "", ""
		res, body := do(t, h, c.r)
		if res.StatusCode != 200 || body["client_id"] != c.want.AppID {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
			continue
		}
		if strings.HasPrefix(c.name, "2017") {
			if _, err := time.Parse("01/02/2006 15:04:05 -07:00", body["expires_on"].(string)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		} else if _, err := strconv.Atoi(body["expires_on"].(string)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	both := appServiceRequest("/msi/token"+q, secret)
	both.Header.Set("Secret", string(secret))
	proxied := appServiceRequest("/msi/token"+q, secret)
	without := appServiceRequest("/msi/token"+q, "")
	without.Header.Del("X-Identity-Header")
	rebound := appServiceRequest("/msi/token"+q, secret)
	rebound.Host = "evil.example.org:8480"
	proxied.Header.Set("X-Forwarded-For", "10.0.0.1")
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"no secret", without, 401},
		{"a rebound name", rebound, 400},
		{"empty secret", appServiceRequest("/msi/token"+q, ""), 401},
		{"wrong secret", appServiceRequest("/msi/token"+q, secret+"x"), 401},
		{"the id for a secret", appServiceRequest("/msi/token"+q, seal.Secret(wl.ID)), 401},
		{"another workload's secret", appServiceRequest("/msi/"+wl.ID+"/token"+q, otherSecret), 401},
		{"another workload's path", appServiceRequest("/msi/"+two.ID+"/token"+q, secret), 401},
		{"two secrets", both, 401},
		{"through a proxy", proxied, 400},
		{"no resource", appServiceRequest("/msi/token?api-version=2019-08-01", secret), 400},
		{"other version", appServiceRequest("/msi/token?api-version=2018-02-01&resource="+storageAud, secret), 400},
		{"unknown identity", appServiceRequest("/msi/token"+q+"&client_id="+tenant, secret), 400},
	} {
		c.r.URL.Scheme, c.r.URL.Host = "", ""
		res, body := do(t, h, c.r)
		if res.StatusCode != c.status || !cmp.Equal(body["statusCode"], float64(c.status)) || body["message"] == "" || body["access_token"] != nil {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
		}
	}
	if err := n.d.RemoveWorkload(t.Context(), wl.ID); err != nil {
		t.Fatal(err)
	}
	r := appServiceRequest("/msi/token"+q, secret)
	r.URL.Scheme, r.URL.Host = "", ""
	if res, body := do(t, h, r); res.StatusCode != 401 {
		t.Errorf("a removed workload: %d %v", res.StatusCode, body)
	}
}

func TestCloudShell(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	wl, _, system, _ := n.workload(t, "one")
	request := func(path string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("resource="+url.QueryEscape(storageAud)))
		r.URL.Scheme, r.URL.Host = "", ""
		r.Host = "Login.KeyReel.LocalHost"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Metadata", "true")
		return r
	}
	path := "/msi/" + wl.ID + "/oauth2/token"
	if res, body := do(t, n.IdentityHandler(), request(path)); res.StatusCode != 200 || body["client_id"] != system.AppID {
		t.Errorf("%d %v", res.StatusCode, body)
	}
	if res, body := do(t, n.IdentityHandler(), request(path+"?resource=x")); res.StatusCode != 400 {
		t.Errorf("the resource twice: %d %v", res.StatusCode, body)
	}
	plain := request(path)
	plain.Header.Del("Metadata")
	if res, body := do(t, n.IdentityHandler(), plain); res.StatusCode != 400 {
		t.Errorf("without Metadata: %d %v", res.StatusCode, body)
	}
}

// The firewalls of vaults and storage accounts let pass whoever acts as a media or storage account. No process outside
// the server may, even if somebody registers it with such an identity.
func TestWorkloadCannotActAsServersOwnResource(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	account, user := n.system(t, "acct"), n.userAssigned(t, "ident")
	for name, wl := range map[string]directory.Workload{
		"its own identity": {Identities: []string{account.ID}},
		"another's":        {Identities: []string{user.ID}, ResourceID: strings.ToUpper(group) + "/providers/microsoft.storage/storageACCOUNTS/st"},
	} {
		wl, _, err := n.d.RegisterWorkload(t.Context(), wl)
		if err != nil {
			t.Fatal(err)
		}
		res, body := do(t, n.WorkloadHandler(wl.ID), imdsRequest(imdsPath+imdsQuery))
		if res.StatusCode != 400 || body["access_token"] != nil {
			t.Errorf("%s: %d %v", name, res.StatusCode, body)
		}
	}
}

func FuzzIdentityRequest(f *testing.F) {
	n := newNode(f)
	wl, _, _, _ := n.workload(f, "one")
	f.Add(imdsPath, "api-version=2018-02-01&resource=https://example.org", "true", "x")
	f.Add("/msi//token", "%zz", "", "")
	f.Add("/msi/\x00/token", "resource=\xff&client_id=%00", "true", "y")
	f.Fuzz(func(t *testing.T, path, query, metadata, secret string) {
		for _, h := range []http.Handler{n.IdentityHandler(), n.WorkloadHandler(wl.ID), n.FabricHandler()} {
			clear(n.limits.workloads)
			r := &http.Request{
				Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Host: "127.0.0.1",
				Header: http.Header{"Metadata": {metadata}, "X-Identity-Header": {secret}},
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 || w.Code >= 300 && w.Code < 400 {
				t.Errorf("%d for %q %q: %s", w.Code, path, query, w.Body)
			}
		}
	})
}

package keyvault_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

var wrapBody = `{"alg":"RSA-OAEP-256","value":"` + base64.RawURLEncoding.EncodeToString([]byte("thirty-two bytes of account key!")) + `"}`

func TestChallenge(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	// No token: the challenge comes before every other check.
	a := s.do("kv1", "", "POST", "/keys/k/create?", "")
	s.expect(a, 401, "Unauthorized", "")
	if !strings.HasPrefix(a.message(), "AKV10000: ") {
		t.Error(a.message())
	}
	want := fmt.Sprintf(`Bearer authorization="https://login.keyreel.localhost:%s/%s", resource="https://vault.keyreel.localhost:%s"`, s.hosts.Port, tenant, s.hosts.Port)
	if got := a.header.Get("WWW-Authenticate"); got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
	for _, h := range []string{"X-Ms-Keyvault-Region", "X-Ms-Keyvault-Service-Version", "X-Ms-Request-Id", "X-Ms-Keyvault-Network-Info", "Strict-Transport-Security"} {
		if a.header.Get(h) == "" {
			t.Errorf("no header %s", h)
		}
	}
	for token, message := range map[string]string{
		"officer|https://vault.azure.net/":            "AKV10022: Invalid audience. Expected https://vault.azure.net or cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
		"officer|https://management.azure.com/":       "AKV10022: Invalid audience.",
		"foreign|https://vault.azure.net":             "AKV10032: Invalid issuer.",
		"nobody|https://vault.azure.net":              "AKV10046: Unable to resolve the key used for signature validation.",
		"expired|https://vault.azure.net":             "[TokenRefused] Error validating token: the token expired",
		"officer|https://kv1.vault.keyreel.localhost": "AKV10022: ",
	} {
		a := s.do("kv1", token, "GET", "/keys", "")
		s.expect(a, 401, "Unauthorized", "")
		if !strings.HasPrefix(a.message(), message) || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %s", token, a.message())
		}
	}
	for _, audience := range []string{"https://vault.azure.net", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093", "https://vault.keyreel.localhost:" + s.hosts.Port} {
		if a := s.do("kv1", "officer|"+audience, "GET", "/keys", ""); a.status != 200 {
			t.Errorf("audience %s: %s", audience, a.raw)
		}
	}
	// Public names are answered with public names.
	r := httptest.NewRequest("GET", "https://kv1.vault.azure.net/keys?api-version=7.4", nil)
	w := httptest.NewRecorder()
	s.data.ServeHTTP(w, r)
	if got := w.Header().Get("WWW-Authenticate"); got != `Bearer authorization="https://login.microsoftonline.com/`+tenant+`", resource="https://vault.azure.net"` {
		t.Error(got)
	}
}

func TestAPIVersion(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	for _, version := range []string{"7.0", "7.4", "7.6", "2025-07-01", "2026-04-01", "7.6-preview.2"} {
		if a := s.do("kv1", "officer", "GET", "/keys?api-version="+version, ""); a.status != 200 {
			t.Errorf("%s: %s", version, a.raw)
		}
	}
	for _, query := range []string{"?", "?api-version=", "?api-version=6.0", "?api-version=7.4x", "?api-version=2019-09-01"} {
		s.expect(s.do("kv1", "officer", "GET", "/keys"+query, ""), 400, "BadParameter", "")
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	s.assign("officer", cryptoUserRole, vaultsPath+"kv1")
	kid := s.create("kv1", "versions", `{"kty":"RSA"}`).field("key", "kid")
	version := kid[strings.LastIndexByte(kid, '/')+1:]
	s.create("kv1", "wrapkey", `{"kty":"RSA"}`)
	for _, path := range []string{
		"POST /keys/versions//wrapkey", "POST /keys/versions/wrapkey", "POST /Keys/VERSIONS/WrapKey", "POST /keys/versions/" + version + "/wrapKey",
		"POST /keys/versions/" + strings.ToUpper(version) + "/wrapkey", "GET /keys/versions/", "GET /keys/versions", "GET /KEYS/versions/" + version,
		"GET /keys/versions/versions", "POST /keys/wrapkey/wrapkey", "POST /keys/wrapkey//wrapkey", "GET /keys/wrapkey/", "PATCH /keys/versions/",
		"PATCH /keys/versions",
	} {
		method, path, _ := strings.Cut(path, " ")
		if a := s.do("kv1", "officer", method, path, wrapBody); a.status != 200 {
			t.Errorf("%s %s: %d %s", method, path, a.status, a.raw)
		}
	}
	for _, tt := range []struct {
		request string
		status  int
		code    string
		in      string
	}{
		{"GET /keys/versions/rotationpolicy", 404, "NotImplemented", "does not serve rotationpolicy of keys"},
		{"GET /keys/versions/" + version + "/attestation", 404, "NotImplemented", ""},
		{"POST /keys/versions/backup", 404, "NotImplemented", ""},
		{"POST /keys/restore", 404, "NotImplemented", ""},
		{"POST /keys/versions/rotate", 404, "NotImplemented", ""},
		{"POST /keys/versions//release", 404, "NotImplemented", ""},
		{"PUT /keys/versions", 404, "NotImplemented", "import of keys"},
		{"GET /secrets", 404, "NotImplemented", "secrets"},
		{"PUT /secrets/s", 404, "NotImplemented", ""},
		{"GET /certificates/contacts", 404, "NotImplemented", ""},
		{"GET /keys/versions/0123", 404, "KeyNotFound", "versions/0123"},
		{"GET /keys/versions/" + strings.Repeat("0", 32), 404, "KeyNotFound", ""},
		{"GET /keys/absent", 404, "KeyNotFound", "A key with (name/id) absent was not found in this key vault."},
		{"POST /keys/absent//wrapkey", 404, "KeyNotFound", ""},
		{"PATCH /keys/absent", 404, "KeyNotFound", ""},
		{"DELETE /keys/absent", 404, "KeyNotFound", ""},
		{"GET /deletedkeys/absent", 404, "KeyNotFound", "Deleted Key not found: absent"},
		{"POST /deletedkeys/versions/recover", 404, "KeyNotFound", ""},
		{"GET /keys//", 400, "BadParameter", "invalid name"},
		{"GET /keys/a_b", 400, "BadParameter", "invalid name: a_b"},
		{"GET /keys/a%2fb", 400, "BadParameter", "invalid name: a/b"},
		{"GET /keys/..", 400, "BadParameter", "invalid name: .."},
		{"POST /keys/" + strings.Repeat("x", 128) + "/create", 400, "BadParameter", ""},
		{"GET /nothing", 404, "NotFound", ""},
		{"GET /", 404, "NotFound", ""},
		{"POST /keys", 405, "BadParameter", "GET"},
		{"PUT /deletedkeys/versions", 405, "BadParameter", ""},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		a := s.do("kv1", "officer", method, path, wrapBody)
		if a.status != tt.status || a.code() != tt.code || !strings.Contains(a.message(), tt.in) {
			t.Errorf("%s: %d %s", tt.request, a.status, a.raw)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	s.assign("officer", cryptoUserRole, vaultsPath+"kv1")
	s.create("kv1", "k", `{"kty":"rsa","key_ops":[]}`)
	s.create("kv1", "wrap-only", `{"kty":"RSA-HSM","key_size":2048,"key_ops":["wrapkey","unwrapKey","wrapKey"]}`)
	tooManyTags := `{"kty":"RSA","tags":{"0":""`
	for i := range 15 {
		tooManyTags += fmt.Sprintf(`,"t%d":""`, i)
	}
	value := base64.RawURLEncoding.EncodeToString(make([]byte, 300))
	for name, tt := range map[string]struct{ path, body, code, in string }{
		"empty body":           {"/keys/n/create", ``, "BadParameter", ""},
		"not JSON":             {"/keys/n/create", `{`, "BadParameter", ""},
		"an array":             {"/keys/n/create", `[]`, "BadParameter", ""},
		"null":                 {"/keys/n/create", `null`, "BadParameter", "kty"},
		"no kty":               {"/keys/n/create", `{}`, "BadParameter", "kty"},
		"EC":                   {"/keys/n/create", `{"kty":"EC","crv":"P-256"}`, "BadParameter", "'EC'"},
		"oct-HSM":              {"/keys/n/create", `{"kty":"oct-HSM"}`, "BadParameter", "'oct-HSM'"},
		"1024 bits":            {"/keys/n/create", `{"kty":"RSA","key_size":1024}`, "BadParameter", "key_size"},
		"size as text":         {"/keys/n/create", `{"kty":"RSA","key_size":"2048"}`, "BadParameter", ""},
		"exponent 3":           {"/keys/n/create", `{"kty":"RSA","public_exponent":3}`, "BadParameter", "public_exponent"},
		"unknown op":           {"/keys/n/create", `{"kty":"RSA","key_ops":["fly"]}`, "BadParameter", "'fly'"},
		"exportable":           {"/keys/n/create", `{"kty":"RSA","attributes":{"exportable":true}}`, "BadParameter", "exportable"},
		"release policy":       {"/keys/n/create", `{"kty":"RSA","release_policy":{"data":"e30"}}`, "BadParameter", "release_policy"},
		"expires before valid": {"/keys/n/create", `{"kty":"RSA","attributes":{"nbf":2000000000,"exp":1900000000}}`, "BadParameter", "attributes.exp"},
		"negative time":        {"/keys/n/create", `{"kty":"RSA","attributes":{"nbf":-1}}`, "BadParameter", "attributes.nbf"},
		"time out of range":    {"/keys/n/create", `{"kty":"RSA","attributes":{"exp":9223372036854775807}}`, "BadParameter", "attributes.exp"},
		"too many tags":        {"/keys/n/create", tooManyTags + "}}", "BadParameter", "16 entries"},
		"long tag":             {"/keys/n/create", `{"kty":"RSA","tags":{"a":"` + strings.Repeat("x", 257) + `"}}`, "BadParameter", "tags"},
		"no alg":               {"/keys/k/wrapkey", `{"value":"AAAA"}`, "BadParameter", "alg"},
		"alg of another use":   {"/keys/k/wrapkey", `{"alg":"RS256","value":"AAAA"}`, "BadParameter", "'RS256'"},
		"alg of another kty":   {"/keys/k/wrapkey", `{"alg":"A256KW","value":"AAAA"}`, "BadParameter", "'A256KW'"},
		"RSNULL":               {"/keys/k/sign", `{"alg":"RSNULL","value":"AAAA"}`, "BadParameter", "'RSNULL'"},
		"no value":             {"/keys/k/wrapkey", `{"alg":"RSA-OAEP"}`, "BadParameter", "value"},
		"standard base64":      {"/keys/k/wrapkey", `{"alg":"RSA-OAEP","value":"+/+/"}`, "BadParameter", "base64url"},
		"trailing bits":        {"/keys/k/wrapkey", `{"alg":"RSA-OAEP","value":"AB"}`, "BadParameter", "base64url"},
		"value too long":       {"/keys/k/wrapkey", `{"alg":"RSA-OAEP-256","value":"` + value + `"}`, "BadParameter", "at most 190"},
		"value too long, 1_5":  {"/keys/k/encrypt", `{"alg":"RSA1_5","value":"` + value + `"}`, "BadParameter", "at most 245"},
		"ciphertext too long":  {"/keys/k/unwrapkey", `{"alg":"RSA-OAEP-256","value":"` + value + `"}`, "BadParameter", "The parameter is incorrect."},
		"digest missing":       {"/keys/k/verify", `{"alg":"RS256","value":"AAAA"}`, "BadParameter", "digest"},
		"digest too short":     {"/keys/k/verify", `{"alg":"RS256","value":"AAAA","digest":"AAAA"}`, "BadParameter", "32 bytes"},
	} {
		a := s.do("kv1", "officer", "POST", tt.path, tt.body)
		if a.status != 400 || a.code() != tt.code || !strings.Contains(a.message(), tt.in) {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	s.expect(s.do("kv1", "officer", "POST", "/keys/n/create", `{"kty":"RSA","x":"`+strings.Repeat("x", 2<<20)+`"}`), 413, "RequestBodyTooLarge", "")
	s.expect(s.do("kv1", "officer", "GET", "/keys/n", ""), 404, "KeyNotFound", "")
	for _, op := range []string{"encrypt", "decrypt"} {
		a := s.do("kv1", "officer", "POST", "/keys/wrap-only/"+op, wrapBody)
		s.expect(a, 403, "Forbidden", "KeyOperationForbidden")
		if want := "Operation " + op + " is not permitted on this key."; a.message() != want {
			t.Errorf("%q, want %q", a.message(), want)
		}
	}
	if a := s.do("kv1", "officer", "POST", "/keys/wrap-only/wrapkey", wrapBody); a.status != 200 {
		t.Error(a.raw)
	}
	s.vault("kv2", `,"sku":{"family":"A","name":"standard"}`)
	a := s.do("kv2", "officer", "POST", "/keys/n/create", `{"kty":"RSA-HSM"}`)
	s.expect(a, 403, "Forbidden", "")
	if a.message() != "Hardware key operation not allowed on standard vault" {
		t.Error(a.message())
	}
}

func TestDisabledAndTimeWindow(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	s.assign("officer", cryptoUserRole, vaultsPath+"kv1")
	s.create("kv1", "k", `{"kty":"RSA"}`)
	wrapped := s.do("kv1", "officer", "POST", "/keys/k//wrapkey", wrapBody).field("value")
	digest := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	signature := s.do("kv1", "officer", "POST", "/keys/k//sign", `{"alg":"RS256","value":"`+digest+`"}`).field("value")
	bodies := map[string]string{
		"encrypt": wrapBody, "wrapKey": wrapBody,
		"decrypt": `{"alg":"RSA-OAEP-256","value":"` + wrapped + `"}`, "unwrapKey": `{"alg":"RSA-OAEP-256","value":"` + wrapped + `"}`,
		"sign": `{"alg":"RS256","value":"` + digest + `"}`, "verify": `{"alg":"RS256","digest":"` + digest + `","value":"` + signature + `"}`,
	}
	now := time.Now().Unix()
	for _, state := range []struct {
		patch   string
		inner   string
		protect bool // encrypt, wrapKey and sign are refused
		read    bool // decrypt, unwrapKey and verify are refused
	}{
		{`{}`, "", false, false},
		{`{"attributes":{"enabled":false}}`, "KeyDisabled", true, true},
		{`{"attributes":{"enabled":true}}`, "", false, false},
		{fmt.Sprintf(`{"attributes":{"nbf":%d,"exp":%d}}`, now+1000, now+2000), "KeyNotYetValid", true, false},
		{fmt.Sprintf(`{"attributes":{"nbf":%d,"exp":%d}}`, now-2000, now-1000), "KeyExpired", true, false},
		{fmt.Sprintf(`{"attributes":{"nbf":%d,"exp":%d}}`, now-2000, now+1000), "", false, false},
	} {
		if a := s.do("kv1", "officer", "PATCH", "/keys/k", state.patch); a.status != 200 {
			t.Fatal(a.raw)
		}
		if a := s.do("kv1", "officer", "GET", "/keys/k", ""); a.status != 200 {
			t.Errorf("%s: get: %s", state.patch, a.raw)
		}
		for op, body := range bodies {
			refused := state.protect
			if op == "decrypt" || op == "unwrapKey" || op == "verify" {
				refused = state.read
			}
			a := s.do("kv1", "officer", "POST", "/keys/k//"+op, body)
			switch {
			case !refused && a.status != 200:
				t.Errorf("%s: %s: %s", state.patch, op, a.raw)
			case refused:
				s.expect(a, 403, "Forbidden", state.inner)
				if state.inner == "KeyDisabled" && a.message() != "Operation "+op+" is not allowed on a disabled key." {
					t.Error(a.message())
				}
			}
		}
	}
}

func TestFirewall(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	for _, caller := range []string{"media", "machine", "officer"} {
		s.assign(caller, serviceUserRole, vaultsPath+"kv1")
	}
	s.create("kv1", "k", `{"kty":"RSA"}`)
	for _, tt := range []struct {
		props                   string
		officer, machine, media int
		inner                   string
	}{
		{`"networkAcls":{"bypass":"None","defaultAction":"Allow"}`, 200, 200, 200, ""},
		{`"networkAcls":{"bypass":"AzureServices","defaultAction":"Deny"}`, 403, 403, 200, "ForbiddenByFirewall"},
		{`"networkAcls":{"defaultAction":"Deny"}`, 403, 403, 200, "ForbiddenByFirewall"},
		{`"networkAcls":{"bypass":"None","defaultAction":"Deny"}`, 403, 403, 403, "ForbiddenByFirewall"},
		{`"networkAcls":{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"198.51.100.0/24"},{"value":"192.0.2.10"}]}`, 200, 200, 200, ""},
		{`"networkAcls":{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"192.0.2.0/29"}]}`, 403, 403, 403, "ForbiddenByFirewall"},
		{`"networkAcls":{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"192.0.2.0/28"}]},"publicNetworkAccess":"disabled"`, 403, 403, 403, "ForbiddenByConnection"},
		{`"networkAcls":{"bypass":"AzureServices","defaultAction":"Allow"},"publicNetworkAccess":"Disabled"`, 403, 403, 200, "ForbiddenByConnection"},
		{`"publicNetworkAccess":"Enabled"`, 200, 200, 200, ""},
	} {
		if status, answer := s.arm("owner", "PATCH", vaultsPath+"kv1", "2024-11-01", `{"properties":{`+tt.props+`}}`); status != 200 {
			t.Fatalf("%s: %d %v", tt.props, status, answer)
		}
		for caller, want := range map[string]int{"officer": tt.officer, "machine": tt.machine, "media": tt.media} {
			a := s.do("kv1", caller, "GET", "/keys/k", "")
			if a.status != want || want == 403 && a.inner() != tt.inner {
				t.Errorf("%s: %s: %d %s", tt.props, caller, a.status, a.raw)
			}
		}
	}
	// Nothing but the trusted service's own right lets it in.
	s.expect(s.do("kv1", "media", "DELETE", "/keys/k", ""), 403, "Forbidden", "ForbiddenByRbac")
	if a := s.do("kv1", "", "GET", "/keys/k", ""); a.status != 401 {
		t.Errorf("without a token: %d", a.status)
	}
	s.arm("owner", "PATCH", vaultsPath+"kv1", "2024-11-01", `{"properties":{"networkAcls":{"defaultAction":"Deny"}}}`)
	a := s.do("kv1", "officer", "GET", "/keys/k", "")
	if !strings.HasPrefix(a.message(), "Client address (192.0.2.10) is not authorized and caller is not a trusted service.\r\n") {
		t.Error(a.message())
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		s.assign("media", serviceUserRole, vaultsPath+"kv1")
		kid := s.create("kv1", "k", `{"kty":"RSA"}`).field("key", "kid")
		s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody)
		s.do("kv1", "media", "POST", "/keys/k//unwrapkey", wrapBody)
		s.do("kv1", "stranger", "POST", "/keys/k//wrapkey", wrapBody)
		s.do("kv1", "nobody", "GET", "/keys/k", "")
		type line struct {
			Operation, Action, Resource, Principal, Identity, ClientIP, Result string
			Status                                                             int
			ID, Alg                                                            string
		}
		records, err := s.log.Query(t.Context(), audit.Filter{Resource: vaultsPath + "kv1"})
		s.must(err)
		var got []line
		for _, r := range records {
			if r.Category == "AuditEvent" {
				got = append(got, line{r.Operation, r.Action, r.Resource, r.Principal, r.Identity, r.ClientIP, r.Result, r.Status, r.Details["id"], r.Details["alg"]})
				if strings.Contains(fmt.Sprint(r), "account key") {
					t.Errorf("a secret is in the log: %v", r)
				}
			}
		}
		const action = "Microsoft.KeyVault/vaults/keys/"
		scope, ip := vaultsPath+"kv1/keys/k", "192.0.2.10"
		media := callers["media"]
		want := []line{
			{"KeyCreate", action + "create/action", scope, callers["officer"].ObjectID, "", ip, "Success", 200, kid, ""},
			{"KeyWrap", action + "wrap/action", scope, media.ObjectID, media.ResourceID, ip, "Success", 200, kid, "RSA-OAEP-256"},
			{"KeyUnwrap", action + "unwrap/action", scope, media.ObjectID, media.ResourceID, ip, "Failure", 400, kid, "RSA-OAEP-256"},
			{"KeyWrap", action + "wrap/action", scope, callers["stranger"].ObjectID, "", ip, "Denied", 403, "", ""},
			{"KeyGet", action + "read", vaultsPath + "kv1", "", "", "", "Denied", 401, "", ""}, // its address is in the details
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		// What cannot be recorded is not answered.
		s.must(s.log.Close())
		a := s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody)
		if a.status != 500 || a.field("value") != "" {
			t.Errorf("without a log: %d %s", a.status, a.raw)
		}
	})
}

func TestRestart(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		rootPath := filepath.Join(t.TempDir(), "root.key")
		var wrapped, kid string
		t.Run("before", func(t *testing.T) {
			s := openServer(t, openDB(t, url), rootPath)
			s.vault("kv1", "")
			s.assign("media", serviceUserRole, vaultsPath+"kv1")
			kid = s.create("kv1", "k", `{"kty":"RSA"}`).field("key", "kid")
			wrapped = s.do("kv1", "media", "POST", "/keys/k//wrapkey", wrapBody).field("value")
			s.create("kv1", "gone", `{"kty":"RSA"}`)
			s.do("kv1", "officer", "DELETE", "/keys/gone", "")
		})
		t.Run("after", func(t *testing.T) {
			s := openServer(t, openDB(t, url), rootPath)
			a := s.do("kv1", "media", "POST", "/keys/k//unwrapkey", `{"alg":"RSA-OAEP-256","value":"`+wrapped+`"}`)
			if got, _ := base64.RawURLEncoding.DecodeString(a.field("value")); string(got) != "thirty-two bytes of account key!" || path(a.field("kid")) != path(kid) {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if a := s.do("kv1", "officer", "GET", "/deletedkeys/gone", ""); a.status != 200 {
				t.Error(a.raw)
			}
			s.expect(s.do("kv1", "officer", "GET", "/keys/gone", ""), 404, "KeyNotFound", "")
		})
	})
}

// path is an identifier without its host, whose port changes with the server.
func path(id string) string { return id[strings.Index(id, "/keys/"):] }

func openDB(t *testing.T, url string) *store.DB {
	db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// A private key that was moved to another row does not open.
func TestSealedToItsRow(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	s.assign("media", serviceUserRole, vaultsPath+"kv1")
	s.create("kv1", "a", `{"kty":"RSA"}`)
	s.create("kv1", "b", `{"kty":"RSA"}`)
	wrapped := s.do("kv1", "media", "POST", "/keys/a//wrapkey", wrapBody).field("value")
	s.exec(`UPDATE keyvault_versions SET private = (SELECT private FROM keyvault_versions WHERE name = 'b') WHERE name = 'a'`)
	if a := s.do("kv1", "media", "POST", "/keys/a//unwrapkey", `{"alg":"RSA-OAEP-256","value":"`+wrapped+`"}`); a.status != 500 || strings.Contains(a.raw, "private") {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func (s *server) exec(query string, args ...any) {
	s.t.Helper()
	s.must(s.db.Update(s.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(context.Background(), query, args...)
		return err
	}))
}

func TestRoutesAreGuarded(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	for _, r := range s.vaults.Routes() {
		if r.Action == "" || !r.Data || r.Public != "" {
			t.Errorf("%s %s is not guarded by a data action", r.Method, r.Pattern)
		}
	}
	s.vault("kv1", "")
	for _, r := range s.vaults.Routes() {
		p := strings.NewReplacer("{name}", "k", "{version}", strings.Repeat("0", 32)).Replace(r.Pattern)
		if a := s.do("kv1", "", r.Method, p, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d", r.Method, p, a.status)
		}
		if a := s.do("kv1", "stranger", r.Method, p, ""); a.status != http.StatusForbidden {
			t.Errorf("%s %s by a stranger: %d", r.Method, p, a.status)
		}
	}
}

// Versions made at once are all kept, each in a place of its own, and one of them is current.
func TestVersionsMadeAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		made := map[string]bool{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				kid := s.do("kv1", "officer", "POST", "/keys/k/create", `{"kty":"RSA"}`).field("key", "kid")
				mu.Lock()
				defer mu.Unlock()
				made[kid] = true
			})
		}
		wg.Wait()
		listed := map[string]bool{}
		for _, item := range s.do("kv1", "officer", "GET", "/keys/k/versions", "").body["value"].([]any) {
			listed[item.(map[string]any)["kid"].(string)] = true
		}
		if diff := cmp.Diff(made, listed); diff != "" || len(made) != 4 {
			t.Errorf("%d made: %s", len(made), diff)
		}
		if current := s.do("kv1", "officer", "GET", "/keys/k", "").field("key", "kid"); !made[current] {
			t.Errorf("current is %q", current)
		}
	})
}

// The answers have the fields that recordings of Azure have, and no others.
func TestShapes(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", `,"softDeleteRetentionInDays":7`)
	s.assign("officer", cryptoUserRole, vaultsPath+"kv1")
	var shape func(v any) any
	shape = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := map[string]any{}
			for k, e := range v {
				out[k] = shape(e)
			}
			return out
		case []any:
			if len(v) == 0 {
				return []any{}
			}
			return []any{shape(v[0])}
		case nil:
			return nil
		}
		return fmt.Sprintf("%T", v)
	}
	attributes := map[string]any{
		"enabled": "bool", "created": "float64", "updated": "float64", "recoveryLevel": "string", "recoverableDays": "float64", "exportable": "bool",
	}
	windowed := map[string]any{"nbf": "float64", "exp": "float64"}
	for k, v := range attributes {
		windowed[k] = v
	}
	jwk := map[string]any{"kid": "string", "kty": "string", "key_ops": []any{"string"}, "n": "string", "e": "string"}
	tags := map[string]any{"a": "string"}
	item := map[string]any{"kid": "string", "attributes": windowed, "tags": tags}
	deletedItem := map[string]any{"kid": "string", "attributes": windowed, "tags": tags, "recoveryId": "string", "deletedDate": "float64", "scheduledPurgeDate": "float64"}
	use := map[string]any{"kid": "string", "value": "string"}
	for _, tt := range []struct {
		request, body string
		want          any
	}{
		{"POST /keys/plain/create", `{"kty":"RSA"}`, map[string]any{"key": jwk, "attributes": attributes}},
		{"DELETE /keys/plain", ``, map[string]any{"key": jwk, "attributes": attributes, "recoveryId": "string", "deletedDate": "float64", "scheduledPurgeDate": "float64"}},
		{"DELETE /deletedkeys/plain", ``, nil},
		{"POST /keys/k/create", `{"kty":"RSA","attributes":{"nbf":1600000000,"exp":4000000000},"tags":{"a":"b"}}`, map[string]any{"key": jwk, "attributes": windowed, "tags": tags}},
		{"GET /keys", ``, map[string]any{"value": []any{item}, "nextLink": nil}},
		{"GET /keys/k/versions", ``, map[string]any{"value": []any{item}, "nextLink": nil}},
		{"GET /keys/absent/versions", ``, map[string]any{"value": []any{}, "nextLink": nil}},
		{"POST /keys/k//wrapkey", wrapBody, use},
		{"POST /keys/k//encrypt", wrapBody, use},
		{"POST /keys/k//verify", `{"alg":"RS256","value":"AAAA","digest":"` + strings.Repeat("A", 43) + `"}`, map[string]any{"value": "bool"}},
		{"GET /keys/k/" + strings.Repeat("0", 32), ``, map[string]any{"error": map[string]any{"code": "string", "message": "string"}}},
		{"DELETE /keys/k", ``, map[string]any{"key": jwk, "attributes": windowed, "tags": tags, "recoveryId": "string", "deletedDate": "float64", "scheduledPurgeDate": "float64"}},
		{"GET /deletedkeys", ``, map[string]any{"value": []any{deletedItem}, "nextLink": nil}},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		a := s.do("kv1", "officer", method, path, tt.body)
		var got any
		if a.body != nil {
			got = shape(a.body)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.request, diff)
		}
	}
}

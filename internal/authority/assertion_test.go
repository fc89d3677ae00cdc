package authority

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const tokenPath = "/" + tenant + "/oauth2/v2.0/token"

// keyPair is a key and its certificate with which an application signs in.
type keyPair struct {
	key *rsa.PrivateKey
	der []byte
}

// testKeys are made once: it takes a while.
var testKeys = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

// newKeyPair returns one with key 0, 1 or 2 and a certificate for an hour.
func newKeyPair(t testing.TB, i int) keyPair {
	t.Helper()
	key := testKeys()[i]
	return keyPair{key, certificateOf(t, key, time.Now().Add(time.Hour))}
}

func certificateOf(t testing.TB, key *rsa.PrivateKey, notAfter time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (n *node) addCertificate(t testing.TB, p directory.Principal, der []byte) (c directory.Certificate) {
	t.Helper()
	n.update(t, func(ctx context.Context, tx *store.Tx) (err error) {
		c, err = n.d.AddCertificate(ctx, tx, p.ID, der)
		return err
	})
	return c
}

// assert signs claims with a header as given.
func assert(t testing.TB, alg jose.SignatureAlgorithm, key any, header, claims map[string]any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (s keyPair) header() map[string]any {
	hash := sha256.Sum256(s.der)
	return map[string]any{"x5t#S256": base64.StdEncoding.EncodeToString(hash[:])}
}

func claimsOf(clientID string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"aud": ownLogin + tokenPath, "iss": clientID, "sub": clientID, "jti": azure.NewGUID(), "nbf": now, "iat": now, "exp": now + 600,
	}
}

func assertionForm(clientID, assertion string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "scope": {storageAud + "/.default"},
		"client_assertion_type": {jwtBearer}, "client_assertion": {assertion},
	}
}

func with(m map[string]any, name string, value any) map[string]any {
	m = maps.Clone(m)
	if m[name] = value; value == nil {
		delete(m, name)
	}
	return m
}

func TestClientAssertion(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, _ := n.application(t)
	s := newKeyPair(t, 0)
	n.addCertificate(t, app, newKeyPair(t, 1).der) // of another key
	n.addCertificate(t, app, s.der)
	hash1, hash256 := sha1.Sum(s.der), sha256.Sum256(s.der)
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	claims := claimsOf(app.AppID)
	for _, c := range []struct {
		name   string
		alg    jose.SignatureAlgorithm
		header map[string]any
		change map[string]any
	}{
		{"PS256 and x5t#S256, as MSAL", jose.PS256, map[string]any{"x5t#S256": std.EncodeToString(hash256[:])}, nil},
		{"base64url", jose.PS256, map[string]any{"x5t#S256": raw.EncodeToString(hash256[:])}, nil},
		{"RS256 and x5t, as ADFS", jose.RS256, map[string]any{"x5t": std.EncodeToString(hash1[:])}, nil},
		{"x5t in padded base64url and kid, as Terraform", jose.RS256, map[string]any{"x5t": base64.URLEncoding.EncodeToString(hash1[:]), "kid": "anything"}, nil},
		{"kid alone", jose.RS256, map[string]any{"kid": raw.EncodeToString(hash1[:])}, nil},
		{"the issuer is meant", jose.PS256, s.header(), map[string]any{"aud": "https://sts.windows.net/" + tenant + "/"}},
		{"version 2's issuer is meant", jose.PS256, s.header(), map[string]any{"aud": "https://login.microsoftonline.com/" + tenant + "/v2.0"}},
		{"aud is a list of one", jose.PS256, s.header(), map[string]any{"aud": []string{ownLogin + "/" + strings.ToUpper(tenant) + "/oauth2/token"}}},
		{"no jti, nbf, iat", jose.PS256, s.header(), map[string]any{"jti": nil, "nbf": nil, "iat": nil}},
		{"an hour ahead", jose.PS256, s.header(), map[string]any{"exp": time.Now().Add(time.Hour).Unix()}},
		{"a moment late", jose.PS256, s.header(), map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}},
	} {
		claims := with(claims, "jti", azure.NewGUID())
		for name, value := range c.change {
			claims = with(claims, name, value)
		}
		form := assertionForm(strings.ToUpper(app.AppID), assert(t, c.alg, s.key, c.header, claims)+"\n")
		res, body := do(t, n.Handler(), postForm(tokenPath, form))
		if res.StatusCode != 200 {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
			continue
		}
		caller, err := n.Verify(t.Context(), body["access_token"].(string), accepting(storageAud))
		if err != nil || caller.ObjectID != app.ID {
			t.Errorf("%s: %+v %v", c.name, caller, err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(body["access_token"].(string), ".")[1])
		if err != nil || !strings.Contains(string(payload), `"appidacr":"2"`) {
			t.Errorf("%s: %s %v", c.name, payload, err)
		}
	}
}

func TestClientAssertionRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, secret := n.application(t)
	other, _ := n.application(t)
	disabled, _ := n.application(t)
	n.disable(t, disabled)
	s, foreign := newKeyPair(t, 0), newKeyPair(t, 1)
	n.addCertificate(t, app, s.der)
	n.addCertificate(t, other, foreign.der)
	n.addCertificate(t, disabled, s.der)
	removed := newKeyPair(t, 2)
	gone := n.addCertificate(t, app, removed.der)
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := n.d.RemoveCertificate(ctx, tx, app.ID, gone.ID)
		return err
	})
	claims := claimsOf(app.AppID)
	signed := func(claims map[string]any) string { return assert(t, jose.PS256, s.key, s.header(), claims) }
	rs256 := func(claims map[string]any) string { return assert(t, jose.RS256, s.key, s.header(), claims) }
	now := time.Now().Unix()
	public := s.key.Public().(*rsa.PublicKey)
	mac := assert(t, jose.HS256, x509.MarshalPKCS1PublicKey(public), s.header(), claims)
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + strings.Split(signed(claims), ".")[1] + "."
	embedded := assert(t, jose.PS256, foreign.key, map[string]any{
		"x5t#S256": s.header()["x5t#S256"], "x5c": []string{base64.StdEncoding.EncodeToString(foreign.der)},
	}, claims)
	for i, c := range []struct {
		name      string
		client    string
		assertion string
		number    float64
	}{
		{"not a JWT", app.AppID, "x", 50027},
		{"too long", app.AppID, strings.Repeat("x", maxToken+1), 50027},
		{"none", app.AppID, none, 50027},
		{"a MAC with the public key", app.AppID, mac, 50027},
		{"no thumbprint", app.AppID, assert(t, jose.PS256, s.key, nil, claims), 50027},
		{"a thumbprint of another length", app.AppID, assert(t, jose.PS256, s.key, map[string]any{"x5t#S256": "AAAA"}, claims), 50027},
		{"a thumbprint that is no text", app.AppID, assert(t, jose.PS256, s.key, map[string]any{"x5t": 5}, claims), 50027},
		{"claims that are no object", app.AppID, assert(t, jose.PS256, s.key, s.header(), nil), 50027},
		{"another key under our thumbprint", app.AppID, assert(t, jose.PS256, foreign.key, s.header(), claims), 700027},
		{"another key in the header", app.AppID, embedded, 700027},
		{"another application's certificate", app.AppID, assert(t, jose.PS256, foreign.key, foreign.header(), claims), 700027},
		{"a removed certificate", app.AppID, assert(t, jose.PS256, removed.key, removed.header(), claims), 700027},
		{"another application's name", app.AppID, signed(with(claims, "sub", other.AppID)), 700021},
		{"another issuer", app.AppID, rs256(with(claims, "iss", "https://idp.example.org")), 70021},
		{"no audience", app.AppID, signed(with(claims, "aud", nil)), 700023},
		{"two audiences", app.AppID, signed(with(claims, "aud", []string{ownLogin + tokenPath, "https://other.example.org"})), 700023},
		{"another authority", app.AppID, signed(with(claims, "aud", "https://login.example.org/"+tenant+"/oauth2/v2.0/token")), 700023},
		{"another tenant of Azure", app.AppID, signed(with(claims, "aud", "https://login.microsoftonline.com/"+app.ID+"/oauth2/v2.0/token")), 700023},
		{"any tenant of Azure", app.AppID, signed(with(claims, "aud", "https://login.microsoftonline.com/common/oauth2/v2.0/token")), 700023},
		{"a resource", app.AppID, signed(with(claims, "aud", storageAud)), 700023},
		{"no exp", app.AppID, signed(with(claims, "exp", nil)), 700024},
		{"expired", app.AppID, signed(with(claims, "exp", now-600)), 700024},
		{"good for a day", app.AppID, signed(with(claims, "exp", now+86400)), 700024},
		{"good for ever", app.AppID, signed(with(claims, "exp", now+10*365*86400)), 700024},
		{"a number that is none", app.AppID, signed(with(claims, "exp", 1e300)), 50027},
		{"not yet", app.AppID, signed(with(claims, "nbf", now+600)), 700024},
		{"made tomorrow", app.AppID, signed(with(claims, "iat", now+86400)), 700024},
		{"exp is no number", app.AppID, signed(with(claims, "exp", "soon")), 50027},
		{"unknown application", tenant, signed(claims), 700016},
		{"a disabled application", disabled.AppID, signed(claimsOf(disabled.AppID)), 7000112},
	} {
		r := postForm(tokenPath, assertionForm(c.client, c.assertion))
		r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i)
		res, body := do(t, n.Handler(), r)
		if res.StatusCode/100 != 4 || !cmp.Equal(body["error_codes"], []any{c.number}) || body["access_token"] != nil {
			t.Errorf("%s: %d %v", c.name, res.StatusCode, body)
		}
	}

	basic := postForm(tokenPath, assertionForm(app.AppID, signed(claims)))
	basic.SetBasicAuth(app.AppID, secret.Reveal())
	for name, c := range map[string]struct {
		r      *http.Request
		number float64
	}{
		"two ways at once": {postForm(tokenPath, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "scope": {storageAud + "/.default"},
			"client_assertion_type": {jwtBearer}, "client_assertion": {signed(claims)}, "client_secret": {secret.Reveal()},
		}), 90100},
		"Basic and an assertion": {basic, 90100},
		"no type": {postForm(tokenPath, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "scope": {storageAud + "/.default"}, "client_assertion": {signed(claims)},
		}), 900144},
		"another type": {postForm(tokenPath, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "scope": {storageAud + "/.default"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, "client_assertion": {signed(claims)},
		}), 90100},
	} {
		if res, body := do(t, n.Handler(), c.r); res.StatusCode != 400 || !cmp.Equal(body["error_codes"], []any{c.number}) {
			t.Errorf("%s: %d %v", name, res.StatusCode, body)
		}
	}
}

// A certificate is good until it expires, and a new one may stand beside it under the same key.
func TestExpiredCertificateIsRefused(t *testing.T) {
	t.Parallel()
	s := newKeyPair(t, 0)
	other := certificateOf(t, s.key, time.Now().Add(48*time.Hour))
	parse := func(der []byte) directory.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return directory.Certificate{X509: c}
	}
	signed, err := jose.ParseSignedCompact(assert(t, jose.PS256, s.key, s.header(), claimsOf("x")), assertionAlgorithms)
	if err != nil {
		t.Fatal(err)
	}
	both := []directory.Certificate{parse(other), parse(s.der)}
	if _, err := verifyWith(signed, both, time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := verifyWith(signed, both, time.Now().Add(2*time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end: %v", err)
	}
}

// An assertion is good once: not again, not on another node, not after a restart, and from nowhere else.
func TestAssertionIsUsedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		root := newRoot(t)
		n, second := open(t, db, root), open(t, db, root)
		app, _ := n.application(t)
		s := newKeyPair(t, 0)
		n.addCertificate(t, app, s.der)
		for _, jti := range []any{azure.NewGUID(), nil} {
			raw := assert(t, jose.PS256, s.key, s.header(), with(claimsOf(app.AppID), "jti", jti))
			send := func(n *node, resource, from string) (int, any) {
				t.Helper()
				form := assertionForm(app.AppID, raw)
				form.Set("scope", resource+"/.default")
				r := postForm(tokenPath, form)
				r.RemoteAddr = from + ":1"
				res, body := do(t, n.Handler(), r)
				return res.StatusCode, body["error_codes"]
			}
			const here, there = "192.0.2.1", "192.0.2.2"
			replay := []any{50013.0}
			for _, c := range []struct {
				name     string
				n        *node
				resource string
				from     string
				status   int
				code     any
			}{
				{"for what is not served", n, "https://example.org", here, 400, []any{500011.0}},
				{"first", n, storageAud, here, 200, nil},
				{"again", n, storageAud, here, 401, replay},
				{"again, spelled otherwise", n, "HTTPS://Storage.azure.com/", here, 401, replay},
				{"on another node", second, storageAud, here, 401, replay},
				{"for another resource, as msal-node does", second, "https://vault.azure.net", here, 200, nil},
				{"for that again", n, "https://vault.azure.net", here, 401, replay},
				{"for a third from elsewhere", n, "https://management.azure.com", there, 401, replay},
			} {
				if status, code := send(c.n, c.resource, c.from); status != c.status || !cmp.Equal(code, c.code) {
					t.Errorf("%s: %d %v", c.name, status, code)
				}
			}
		}
		n.update(t, func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE authority_assertions SET expires = 1`); err != nil {
				return err
			}
			return nil
		})
		if err := n.useOnce(t.Context(), proof{clientID: "c", id: "i", expires: time.Now()}, storageAud, ""); err != nil {
			t.Fatal(err)
		}
		n.update(t, func(ctx context.Context, tx *store.Tx) error {
			var left int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM authority_assertions`).Scan(&left); err != nil {
				return err
			}
			if left != 2 {
				t.Errorf("%d rows are left, want those of the last", left)
			}
			return nil
		})
	})
}

func TestClientCertificateCredential(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, _ := n.application(t)
	s := newKeyPair(t, 0)
	added := n.addCertificate(t, app, s.der)
	server := httptest.NewTLSServer(n.Handler())
	t.Cleanup(server.Close)
	for name, chain := range map[string]bool{"thumbprint alone": false, "with the chain": true} {
		credential, err := azidentity.NewClientCertificateCredential(tenant, app.AppID, []*x509.Certificate{added.X509}, s.key, &azidentity.ClientCertificateCredentialOptions{
			DisableInstanceDiscovery: true, SendCertificateChain: chain,
			ClientOptions: azcore.ClientOptions{
				Transport: dialing(server), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: ownLogin + "/"}, Retry: policy.RetryOptions{MaxRetries: -1},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range []string{storageAud, "https://vault.azure.net"} {
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope + "/.default"}})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if caller, err := n.Verify(t.Context(), token.Token, accepting(scope)); err != nil || caller.ObjectID != app.ID {
				t.Errorf("%s: %+v %v", name, caller, err)
			}
		}
	}
}

func FuzzAssertion(f *testing.F) {
	n := newNode(f)
	app, _ := n.application(f)
	f.Add([]byte(`{"iss":"x","sub":"x","aud":"y","exp":1}`))
	f.Add([]byte(`{"aud":[],"exp":1e400}`))
	f.Add([]byte(`{"iss":"` + app.AppID + `","sub":"` + app.AppID + `","aud":"` + ownLogin + tokenPath + `","exp":-9223372036854775808}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if used, err := n.checkAssertionClaims(payload, app.AppID, time.Now()); err == nil && (used.id == "" || time.Until(used.expires) > longestAssertion+skew) {
			t.Errorf("%s was let through: %+v", payload, used)
		}
		raw := string(payload)
		if signed, err := jose.ParseSignedCompact(raw, assertionAlgorithms); err == nil {
			if _, err := verifyWith(signed, []directory.Certificate{}, time.Now()); err == nil {
				t.Errorf("%s was let through", raw)
			}
		}
	})
}

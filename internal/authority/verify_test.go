package authority

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// forge signs claims in any way a caller might.
func forge(t testing.TB, alg jose.SignatureAlgorithm, signingKey any, typ, kid string, c any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: signingKey, KeyID: kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
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

func TestVerify(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	system, app := n.system(t, "acct"), func() string { p, _ := n.application(t); return p.ID }()
	user := n.userAssigned(t, "ident")
	const host = group + "/providers/Microsoft.Media/mediaServices/other"

	raw, expires, err := n.IdentityToken(t.Context(), system.ID, strings.ToUpper(system.IdentityID), storageAud)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(expires); left < 24*time.Hour-time.Minute || left > 24*time.Hour {
		t.Errorf("a managed identity's token lives for %v", left)
	}
	for range 2 { // the second time from memory
		got, err := n.Verify(t.Context(), raw, accepting(storageAud))
		if err != nil {
			t.Fatal(err)
		}
		want := &azure.Caller{
			ObjectID: system.ID, TenantID: tenant, AppID: system.AppID, Type: azure.TypeServicePrincipal, Name: "acct",
			Issuer: "https://sts.windows.net/" + tenant + "/", Audience: storageAud, TokenID: got.TokenID,
			IdentityID: system.IdentityID, ResourceID: system.IdentityID,
		}
		if diff := cmp.Diff(want, got); diff != "" || got.TokenID == "" {
			t.Error(diff)
		}
	}
	raw, _, err = n.IdentityToken(t.Context(), user.ID, host, storageAud+"/")
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Verify(t.Context(), raw, accepting(storageAud+"/"))
	if err != nil || got.IdentityID != user.IdentityID || got.ResourceID != host {
		t.Errorf("%+v, %v", got, err)
	}
	tok, err := n.sign(n.principal(t, app), storageAud, appLifetime(), claims{AppIDACR: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := n.Verify(t.Context(), tok.raw, accepting(storageAud)); err != nil || got.IdentityID != "" || got.ResourceID != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := n.userAssigned(t, "ident")
	const host = group + "/providers/Microsoft.Media/mediaServices/acct"
	raw, expires, err := n.IdentityToken(t.Context(), p.ID, host, "https://management.azure.com/")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	decode := func(part string) map[string]any {
		t.Helper()
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	kid := n.keys.Load().keys[0].id
	if diff := cmp.Diff(map[string]any{"alg": "RS256", "typ": "JWT", "kid": kid, "x5t": kid}, decode(parts[0])); diff != "" {
		t.Error(diff)
	}
	got := decode(parts[1])
	for _, opaque := range []string{"aio", "rh", "uti"} {
		if s, _ := got[opaque].(string); s == "" {
			t.Errorf("%s is missing", opaque)
		}
		delete(got, opaque)
	}
	iss := "https://sts.windows.net/" + tenant + "/"
	begin := float64(expires.Add(-24*time.Hour - 5*time.Minute).Unix())
	want := map[string]any{
		"aud": "https://management.azure.com/", "iss": iss, "idp": iss, "tid": tenant, "ver": "1.0", "idtyp": "app",
		"oid": p.ID, "sub": p.ID, "appid": p.AppID, "appidacr": "2", "iat": begin, "nbf": begin, "exp": float64(expires.Unix()),
		"xms_mirid": p.IdentityID, "xms_az_rid": host,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := n.system(t, "acct")
	own := n.keys.Load().keys[0]
	foreign, err := newKey(9, time.Now(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(own.public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	now := time.Now()
	with := func(change func(c *claims)) claims {
		c := claims{
			Audience: storageAud, Issuer: n.issuer(), TenantID: tenant, ObjectID: p.ID, Subject: p.ID, AppID: p.AppID, IDType: appToken,
			IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix(), TokenID: "uti",
		}
		change(&c)
		return c
	}
	good := with(func(*claims) {})
	sign := func(c any) string { return forge(t, jose.RS256, own.private, "JWT", own.id, c) }
	valid := sign(good)
	parts := strings.Split(valid, ".")
	encode := base64.RawURLEncoding.EncodeToString
	payload, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name, raw string
		want      azure.TokenProblem // empty: accepted
	}{
		{"good", valid, ""},
		{"expired within the skew", sign(with(func(c *claims) { c.Expires = now.Add(-4 * time.Minute).Unix() })), ""},
		{"not yet valid within the skew", sign(with(func(c *claims) { c.NotBefore = now.Add(4 * time.Minute).Unix() })), ""},

		{"none", "", azure.TokenMissing},
		{"no JWT", "abc", azure.TokenMalformed},
		{"two parts", parts[0] + "." + parts[1], azure.TokenMalformed},
		{"four parts", valid + ".x", azure.TokenMalformed},
		{"too long", valid + strings.Repeat("A", maxToken), azure.TokenMalformed},
		{"alg none", encode([]byte(`{"alg":"none","typ":"JWT","kid":"`+own.id+`"}`)) + "." + parts[1] + ".", azure.TokenMalformed},
		{"HS256 with the public key", forge(t, jose.HS256, publicPEM, "JWT", own.id, good), azure.TokenMalformed},
		{"PS256", forge(t, jose.PS256, own.private, "JWT", own.id, good), azure.TokenMalformed},
		{"no typ", forge(t, jose.RS256, own.private, "", own.id, good), azure.TokenMalformed},
		{"other typ", forge(t, jose.RS256, own.private, "at+jwt", own.id, good), azure.TokenMalformed},
		{"no kid", forge(t, jose.RS256, own.private, "JWT", "", good), azure.TokenMalformed},
		{"JSON serialization", `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`, azure.TokenMalformed},
		{"claims of another shape", sign(map[string]any{"aud": []string{storageAud}}), azure.TokenMalformed},

		{"unknown key", forge(t, jose.RS256, foreign.private, "JWT", foreign.id, good), azure.TokenSignature},
		{"other key under our id", forge(t, jose.RS256, foreign.private, "JWT", own.id, good), azure.TokenSignature},
		{"changed payload", parts[0] + "." + encode([]byte(strings.Replace(string(payload), "uti", "utj", 1))) + "." + parts[2], azure.TokenSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", azure.TokenSignature},

		{"expired", sign(with(func(c *claims) { c.Expires = now.Add(-6 * time.Minute).Unix() })), azure.TokenExpired},
		{"no exp", sign(with(func(c *claims) { c.Expires = 0 })), azure.TokenExpired},
		{"not yet valid", sign(with(func(c *claims) { c.NotBefore = now.Add(6 * time.Minute).Unix() })), azure.TokenNotYetValid},
		{"other audience", sign(with(func(c *claims) { c.Audience = "https://vault.azure.net" })), azure.TokenAudience},
		{"no audience", sign(with(func(c *claims) { c.Audience = "" })), azure.TokenAudience},
		{"other issuer", sign(with(func(c *claims) { c.Issuer = "https://sts.windows.net/" + p.ID + "/" })), azure.TokenIssuer},
		{"other tenant", sign(with(func(c *claims) { c.TenantID = p.ID })), azure.TokenIssuer},
		{"unknown principal", sign(with(func(c *claims) { c.ObjectID = tenant })), azure.TokenPrincipal},
		{"no principal", sign(with(func(c *claims) { c.ObjectID = "" })), azure.TokenPrincipal},
		{"no access token", sign(with(func(c *claims) { c.IDType = "" })), azure.TokenMalformed},
		{"a user's token for what is no user", sign(with(func(c *claims) { c.IDType = userToken })), azure.TokenPrincipal},
		{"another's client id", sign(with(func(c *claims) { c.AppID = tenant })), azure.TokenPrincipal},
	} {
		caller, err := n.Verify(t.Context(), c.raw, accepting(storageAud))
		var e *azure.TokenError
		switch {
		case c.want == "" && (err != nil || caller == nil):
			t.Errorf("%s: refused: %v", c.name, err)
		case c.want != "" && (!errors.As(err, &e) || e.Problem != c.want || caller != nil):
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// A token dies with its principal, at once where that is deleted and soon on other nodes.
func TestVerifyLivingPrincipal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, root := storetest.SQLite(t, schemas...), newRoot(t)
		here, there := open(t, db, root), open(t, db, root)
		p := here.system(t, "acct")
		raw, _, err := here.IdentityToken(t.Context(), p.ID, p.IdentityID, storageAud)
		if err != nil {
			t.Fatal(err)
		}
		verify := func(n *node) azure.TokenProblem {
			t.Helper()
			_, err := n.Verify(t.Context(), raw, accepting(storageAud))
			var e *azure.TokenError
			if err != nil && !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e == nil {
				return ""
			}
			return e.Problem
		}
		check := func(step string, n *node, want azure.TokenProblem) {
			t.Helper()
			if got := verify(n); got != want {
				t.Errorf("%s: got %q, want %q", step, got, want)
			}
		}
		check("alive, here", here, "")
		check("alive, there", there, "")
		enable := func(on bool) {
			here.update(t, func(ctx context.Context, tx *store.Tx) error { return here.d.SetEnabled(ctx, tx, p.ID, on) })
		}
		enable(false)
		check("disabled, here", here, azure.TokenPrincipal)
		if _, _, err := here.IdentityToken(t.Context(), p.ID, p.IdentityID, storageAud); !errors.Is(err, errIdentityNotFound) {
			t.Errorf("a disabled identity is given the token it had: %v", err)
		}
		time.Sleep(2 * time.Second)
		check("disabled, there", there, azure.TokenPrincipal)
		enable(true)
		check("enabled, here", here, "")
		time.Sleep(2 * time.Second)
		check("enabled, there", there, "")
		here.update(t, func(ctx context.Context, tx *store.Tx) error { return here.d.Delete(ctx, tx, p.ID) })
		check("deleted, here", here, azure.TokenPrincipal)
		if _, _, err := here.IdentityToken(t.Context(), p.ID, p.IdentityID, storageAud); !errors.Is(err, errIdentityNotFound) {
			t.Errorf("a deleted identity is given the token it had: %v", err)
		}
		time.Sleep(2 * time.Second)
		check("deleted, there", there, azure.TokenPrincipal)
	})
}

func TestIdentityToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		p, other := n.system(t, "acct"), n.system(t, "other")
		app, _ := n.application(t)
		get := func() string {
			t.Helper()
			raw, _, err := n.IdentityToken(t.Context(), p.ID, p.IdentityID, storageAud)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		first := get()
		time.Sleep(12*time.Hour - time.Minute)
		if get() != first {
			t.Error("a token is not handed out again before half of its life is over")
		}
		time.Sleep(2 * time.Minute)
		if get() == first {
			t.Error("a token is handed out again after half of its life")
		}
		if got := n.records(t, "Token.ManagedIdentity"); len(got) != 2 || got[0].Principal != p.ID || got[0].Identity != p.IdentityID ||
			got[0].Result != "Success" || got[0].Details["audience"] != storageAud || got[0].Details["tokenId"] == "" || got[0].Details["keyId"] == "" {
			t.Errorf("audit: %+v", got)
		}
		for _, c := range []struct {
			name, principal, resource, audience, code string
		}{
			{"another's own identity", other.ID, p.IdentityID, storageAud, "invalid_request"},
			{"unknown identity", tenant, p.IdentityID, storageAud, "invalid_request"},
			{"no managed identity", app.ID, p.IdentityID, storageAud, "invalid_request"},
			{"unknown resource", p.ID, p.IdentityID, "https://example.org", "invalid_resource"},
		} {
			_, _, err := n.IdentityToken(t.Context(), c.principal, c.resource, c.audience)
			var e *azure.Error
			if !errors.As(err, &e) || e.Code != c.code || e.Status != 400 {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got := n.records(t, "Token.ManagedIdentity"); len(got) != 6 || got[5].Result != "Failure" || got[5].Status != 400 || got[5].Reason == "" {
			t.Errorf("audit of refusals: %+v", got)
		}
	})
}

func TestServes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, _ := n.application(t)
	for audience, want := range map[string]bool{
		"https://management.azure.com": true, "https://management.azure.com/": true, "https://MANAGEMENT.core.windows.net/": true,
		"https://vault.azure.net": true, "https://storage.azure.com/": true, "https://graph.microsoft.com": true,
		"https://graph.windows.net/": true, "https://rest.media.azure.net": true, "api://AzureADTokenExchange": true,
		"https://acct.blob.core.windows.net": true, "https://acct.blob.core.windows.net/": true,
		"https://vault.keyreel.localhost:8443": true, "https://management.keyreel.localhost:8443/": true, "https://acct.blob.keyreel.localhost:8443": true,
		app.AppID: true, strings.ToUpper(app.AppID): true, "api://" + app.AppID: true,

		"": false, "/": false, "https://": false, "https://example.org": false, "https://storage.azure.com//": false, "http://storage.azure.com": false,
		"https://storage.azure.com.example.org": false, "https://acct.blob.core.windows.net/c": false, "https://acct.blob.core.windows.net:444": false,
		"https://vault.keyreel.localhost": false, "https://acct.blob.keyreel.localhost": false, "https://u@acct.blob.core.windows.net": false,
		tenant: false, "api://" + tenant: false, "https://a.b.blob.core.windows.net": false, "https://acct.vault.azure.net": false, "%zz": false,
	} {
		got, err := n.serves(t.Context(), audience)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", audience, got, err)
		}
	}
}

package media

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyreel/keyreel/internal/store"
)

const openPolicy = `{"options":[{"configuration":{"@odata.type":"#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration"},"restriction":{"@odata.type":"#Microsoft.Media.ContentKeyPolicyOpenRestriction"}}]}`

// secret is the token key of tokenPolicy; planted so that its traces can be looked for.
var secret = []byte("PLANTED-SECRET-0123456789abcdef!")

func tokenPolicy() string {
	return `{"description":"d","options":[{"name":"o","configuration":{"@odata.type":"#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration"},
	"restriction":{"@odata.type":"#Microsoft.Media.ContentKeyPolicyTokenRestriction","issuer":"https://i","audience":"aud","restrictionTokenType":"Jwt",
	"primaryVerificationKey":{"@odata.type":"#Microsoft.Media.ContentKeyPolicySymmetricTokenKey","keyValue":"` + base64.StdEncoding.EncodeToString(secret) + `"},
	"requiredClaims":[{"claimType":"urn:microsoft:azure:mediaservices:contentkeyidentifier"}]}}]}`
}

func signed(t *testing.T, key []byte, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAssets(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		a := w.child("/assets/a1", `{"description":"d"}`).want(201)
		container := a.at("properties.container").(string)
		if container != "asset-"+a.at("properties.assetId").(string) || a.at("properties.storageAccountName") != "store1" {
			t.Errorf("%s", a.raw)
		}
		if w.out.containers[container] == nil {
			t.Error("the container was not made")
		}
		b := w.child("/assets/a1", `{"alternateId":"x"}`).want(200)
		if b.at("properties.container") != container || b.at("properties.description") != "d" || b.at("properties.alternateId") != "x" {
			t.Errorf("again: %s", b.raw)
		}
		w.child("/assets/a1", `{"container":"another"}`).want(400)
		w.child("/assets/a2", `{"container":"Bad_Name"}`).want(400)
		w.child("/assets/a2", `{"storageAccountName":"elsewhere"}`).want(400)
		w.child("/assets/a3", `{"container":"own-container"}`).want(201)
		w.post(acct + "/assets/a1/getEncryptionKey").want(400).says("does not exist")
		w.post(acct + "/assets/a1/listStreamingLocators").want(200)
		w.get(acct+"/assets").want(200).says("a1", "a3")
		w.put(acct+"/assets/a.b", asyncV, `{"properties":{}}`).want(400)
		w.do("DELETE", acct+"/assets/a1", asyncV, "").want(200)
		w.get(acct + "/assets/a1").want(404)
	})
}

func TestContentKeyPolicySecrets(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		value := base64.StdEncoding.EncodeToString(secret)
		for _, a := range []answer{
			w.child("/contentKeyPolicies/p", tokenPolicy()).want(201),
			w.get(acct + "/contentKeyPolicies/p").want(200),
			w.get(acct + "/contentKeyPolicies").want(200),
			w.do("PATCH", acct+"/contentKeyPolicies/p", asyncV, `{"properties":{"description":"e"}}`).want(200),
		} {
			if bytes.Contains(a.raw, []byte(value)) {
				t.Errorf("%s shows the secret: %s", a.what, a.raw)
			}
		}
		w.post(acct+"/contentKeyPolicies/p/getPolicyPropertiesWithSecrets").want(200).says(value, `"description":"e"`)
		w.child("/assets/a", `{}`).want(201)
		w.child("/streamingLocators/l", `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"p"}`).want(201)
		keys := w.post(acct + "/streamingLocators/l/listContentKeys").want(200)
		content, err := base64.StdEncoding.DecodeString(keys.at("contentKeys.0.value").(string))
		if err != nil || len(content) != 16 {
			t.Fatalf("%s", keys.raw)
		}
		for _, needle := range [][]byte{secret, []byte(value), content, []byte(base64.StdEncoding.EncodeToString(content))} {
			w.notAtRest(needle)
		}
		w.do("DELETE", acct+"/contentKeyPolicies/p", asyncV, "").want(200)
		w.post(acct + "/contentKeyPolicies/p/getPolicyPropertiesWithSecrets").want(404)
	})
}

// notAtRest looks for bytes in every column of the tables that could hold them.
func (w *world) notAtRest(needle []byte) {
	w.t.Helper()
	for _, q := range []string{
		`SELECT sealed, kid FROM media_content_keys`, `SELECT sealed, policy FROM media_policy_secrets`,
		`SELECT properties, key FROM arm_resources`, `SELECT sealed, owner FROM customerkey_keys`,
	} {
		err := w.db.View(w.t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(w.t.Context(), q)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var col []byte
				var name string
				if err := rows.Scan(&col, &name); err != nil {
					return err
				}
				if bytes.Contains(col, needle) {
					w.t.Errorf("%s: %s holds a secret", q, name)
				}
			}
			return rows.Err()
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestBadContentKeyPolicies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		for _, change := range [][2]string{
			{"ClearKeyConfiguration", "WidevineConfiguration"},
			{"TokenRestriction", "UnknownRestriction"},
			{`"Jwt"`, `"Swt"`},
			{`"issuer":"https://i",`, ``},
			{base64.StdEncoding.EncodeToString(secret), "c2hvcnQ="},
			{base64.StdEncoding.EncodeToString(secret), "***"},
			{"SymmetricTokenKey", "X509CertificateTokenKey"},
			{"contentkeyidentifier", "maxuses"},
		} {
			w.child("/contentKeyPolicies/p", strings.Replace(tokenPolicy(), change[0], change[1], 1)).want(400)
		}
		w.child("/contentKeyPolicies/p", `{"options":[]}`).want(400)
		w.get(acct + "/contentKeyPolicies/p").want(404)
	})
}

func TestStreamingPoliciesAndLocators(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.child("/assets/a", `{}`).want(201)
		w.child("/contentKeyPolicies/p", openPolicy).want(201)
		clear := `{"noEncryption":{"enabledProtocols":{"hls":true}}}`
		w.child("/streamingPolicies/hls", clear).want(201)
		w.child("/streamingPolicies/hls", clear).want(409)
		w.child("/streamingPolicies/Predefined_Mine", clear).want(400)
		w.child("/streamingPolicies/drm", `{"commonEncryptionCenc":{"drm":{}}}`).want(400)
		w.child("/streamingPolicies/none", `{}`).want(400)
		w.child("/streamingPolicies/enc", `{"envelopeEncryption":{"enabledProtocols":{"hls":true},"contentKeys":{"defaultKey":{"label":"k","policyName":"nobody"}}}}`).want(400)

		id := "cccccccc-0000-0000-0000-00000000000a"
		l := w.child("/streamingLocators/l", `{"assetName":"a","streamingPolicyName":"hls","streamingLocatorId":"`+strings.ToUpper(id)+`"}`).want(201)
		if l.at("properties.streamingLocatorId") != id {
			t.Errorf("%s", l.raw)
		}
		for name, doc := range map[string]string{
			"no asset":        `{"assetName":"none","streamingPolicyName":"hls"}`,
			"no policy":       `{"assetName":"a","streamingPolicyName":"none"}`,
			"drm":             `{"assetName":"a","streamingPolicyName":"Predefined_MultiDrmStreaming"}`,
			"no key policy":   `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey"}`,
			"no such policy":  `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"none"}`,
			"bad id":          `{"assetName":"a","streamingPolicyName":"hls","streamingLocatorId":"x"}`,
			"times":           `{"assetName":"a","streamingPolicyName":"hls","startTime":"2030-01-01T00:00:00Z","endTime":"2029-01-01T00:00:00Z"}`,
			"filters":         `{"assetName":"a","streamingPolicyName":"hls","filters":["f"]}`,
			"useless key":     `{"assetName":"a","streamingPolicyName":"hls","contentKeys":[{"id":"` + id + `","value":"AAAAAAAAAAAAAAAAAAAAAA=="}]}`,
			"key too short":   `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"p","contentKeys":[{"id":"` + id + `","value":"AAAA"}]}`,
			"malformed value": `{"assetName":1}`,
		} {
			if a := w.child("/streamingLocators/bad", doc); a.status != 400 {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
		}
		w.child("/streamingLocators/other", `{"assetName":"a","streamingPolicyName":"hls","streamingLocatorId":"`+id+`"}`).want(409).says("already exists")
		w.get(acct + "/streamingLocators/other").want(404)
		w.child("/streamingLocators/l", `{"assetName":"a","streamingPolicyName":"hls"}`).want(409)
		w.child("/streamingLocators/own", `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"p","contentKeys":[{"id":"`+id+`","value":"AAAAAAAAAAAAAAAAAAAAAA=="}]}`).want(201)
		w.post(acct+"/streamingLocators/own/listContentKeys").want(200).says(id, "AAAAAAAAAAAAAAAAAAAAAA==", `"policyName":"p"`)
		w.post(acct+"/assets/a/listStreamingLocators").want(200).says(`"name":"l"`, `"name":"own"`)
		w.do("DELETE", acct+"/streamingLocators/own", asyncV, "").want(200)
		w.key("?kid="+id, "").want(404)
	})
}

func TestStreamingEndpoints(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.put(acct+"/streamingEndpoints/e1", asyncV, `{"location":"westeurope","properties":{}}`).want(201).says(`"resourceState":"Stopped"`)
		w.post(acct + "/streamingEndpoints/e1/start").want(200)
		w.get(acct + "/streamingEndpoints/e1").want(200).says(`"resourceState":"Running"`)
		w.post(acct + "/streamingEndpoints/e1/stop").want(200)
		w.get(acct + "/streamingEndpoints/e1").want(200).says(`"resourceState":"Stopped"`)
		w.put(acct+"/streamingEndpoints/e2", asyncV+"&autoStart=true", `{"location":"westeurope","properties":{}}`).want(201).says(`"resourceState":"Running"`)
		w.put(acct+"/streamingEndpoints/-bad", asyncV, `{"location":"westeurope","properties":{}}`).want(400)
	})
}

func TestKeyDelivery(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.child("/assets/a", `{}`).want(201)
		w.child("/contentKeyPolicies/open", openPolicy).want(201)
		w.child("/contentKeyPolicies/token", tokenPolicy()).want(201)
		kid := map[string]string{}
		for _, p := range []string{"open", "token"} {
			w.child("/streamingLocators/"+p, `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"`+p+`"}`).want(201)
			kid[p] = w.post(acct + "/streamingLocators/" + p + "/listContentKeys").want(200).at("contentKeys.0.id").(string)
		}
		if a := w.key("?kid="+kid["open"], "").want(200); len(a.raw) != 16 || a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %x", a.header, a.raw)
		}
		good := func() map[string]any {
			return map[string]any{"iss": "https://i", "aud": "aud", "exp": time.Now().Add(time.Hour).Unix(), contentKeyIDClaim: kid["token"]}
		}
		w.key("?kid="+kid["token"], signed(t, secret, good())).want(200)
		w.key("?kid="+kid["token"]+"&token="+signed(t, secret, good()), "").want(200)
		w.key("?kid="+kid["token"], "").want(403).says("token")
		w.key("?kid="+kid["token"], "rubbish").want(403)
		other := make([]byte, 32)
		rand.Read(other)
		w.key("?kid="+kid["token"], signed(t, other, good())).want(403)
		for name, change := range map[string]func(map[string]any){
			"issuer":      func(c map[string]any) { c["iss"] = "https://j" },
			"audience":    func(c map[string]any) { c["aud"] = "b" },
			"expired":     func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
			"no expiry":   func(c map[string]any) { delete(c, "exp") },
			"not yet":     func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() },
			"another key": func(c map[string]any) { c[contentKeyIDClaim] = kid["open"] },
			"no claim":    func(c map[string]any) { delete(c, contentKeyIDClaim) },
		} {
			c := good()
			change(c)
			if a := w.key("?kid="+kid["token"], signed(t, secret, c)); a.status != 403 {
				t.Errorf("%s: %d", name, a.status)
			}
		}
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
		claims, _ := json.Marshal(good())
		w.key("?kid="+kid["token"], none+"."+base64.RawURLEncoding.EncodeToString(claims)+".").want(403)
		w.key("", "").want(400)
		w.key("?kid=dddddddd-0000-0000-0000-000000000000", "").want(404)

		w.put(acct, syncV, fmt.Sprintf(accountDoc, `,"keyDelivery":{"accessControl":{"defaultAction":"Deny","ipAllowList":["10.0.0.0/8"]}}`)).want(200)
		w.key("?kid="+kid["open"], "").want(403).says("ipAllowList")
		w.put(acct, syncV, fmt.Sprintf(accountDoc, `,"keyDelivery":{"accessControl":{"defaultAction":"Deny","ipAllowList":["192.0.2.0/24"]}}`)).want(200)
		w.key("?kid="+kid["open"], "").want(200)
		w.do("DELETE", acct+"/contentKeyPolicies/open", asyncV, "").want(200)
		w.key("?kid="+kid["open"], "").want(403)
	})
}

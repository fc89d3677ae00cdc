package authority

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestOnBehalfOf(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		api, secret := n.web(t)
		other, otherSecret := n.web(t)
		n.consent(t, api.AppID, armApp, ada.ID, "user_impersonation")
		form := func(assertion any, more ...map[string]string) url.Values {
			f := url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "requested_token_use": {"on_behalf_of"}, "assertion": {assertion.(string)},
				"client_id": {api.AppID}, "client_secret": {string(secret)}, "scope": {armAud + "/.default offline_access openid"},
			}
			for _, m := range more {
				for name, value := range m {
					f.Set(name, value)
					if value == "" {
						f.Del(name)
					}
				}
			}
			return f
		}
		toAPI := request(azureCLI, cliLogin, map[string]string{"scope": "api://" + api.AppID + "/read openid offline_access"})
		_, code := n.signedIn(t, toAPI)
		status, first := n.ask(t, redeem(azureCLI, cliLogin, code))
		if status != http.StatusOK || told(t, first["access_token"])["scp"] != "read" {
			t.Fatalf("%d %v", status, first)
		}
		status, got := n.ask(t, form(first["access_token"]))
		if status != http.StatusOK || got["refresh_token"] == nil {
			t.Fatalf("%d %v", status, got)
		}
		c := told(t, got["access_token"])
		if c["oid"] != ada.ID || c["appid"] != api.AppID || c["aud"] != armAud || c["appidacr"] != "1" || c["upn"] != adaName {
			t.Errorf("%v", c)
		}
		byID := request(azureCLI, cliLogin, map[string]string{"scope": api.AppID + "/.default"})
		_, code2 := n.signedIn(t, byID)
		_, byIDTokens := n.ask(t, redeem(azureCLI, cliLogin, code2))
		if status, got := n.ask(t, form(byIDTokens["access_token"])); status != http.StatusOK {
			t.Errorf("by client id: %d %v", status, got)
		}

		_, appOnly := n.ask(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {other.AppID}, "client_secret": {string(otherSecret)}, "scope": {"api://" + api.AppID + "/.default"}})
		for name, c := range map[string]struct {
			form   url.Values
			code   string
			number float64
		}{
			"no use":                {form(first["access_token"], map[string]string{"requested_token_use": ""}), "invalid_request", 900144},
			"no assertion":          {form(""), "invalid_request", 900144},
			"without a secret":      {form(first["access_token"], map[string]string{"client_secret": ""}), "invalid_client", 7000218},
			"wrong secret":          {form(first["access_token"], map[string]string{"client_secret": "x"}), "invalid_client", 7000215},
			"for another client":    {form(first["access_token"], map[string]string{"client_id": other.AppID, "client_secret": string(otherSecret)}), "invalid_grant", 500131},
			"a token for ARM":       {form(got["access_token"]), "invalid_grant", 500131},
			"an ID token":           {form(first["id_token"]), "invalid_grant", 50013},
			"no token":              {form("x"), "invalid_grant", 50013},
			"an application's":      {form(appOnly["access_token"]), "invalid_request", 7000114},
			"for no known resource": {form(first["access_token"], map[string]string{"scope": "https://example.org/.default"}), "invalid_resource", 500011},
		} {
			_, got := n.ask(t, c.form)
			refusedWith(t, name, got, c.code, c.number)
		}

		// What came of a sign-in dies with it.
		if _, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); err != nil {
			t.Error(err)
		}
		n.ask(t, redeem(azureCLI, cliLogin, code)) // again
		if _, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); err == nil {
			t.Error("the token on behalf of a revoked sign-in is good")
		}
		_, refused := n.ask(t, form(first["access_token"]))
		refusedWith(t, "the token of a revoked sign-in", refused, "invalid_grant", 50013)
		_, refused = n.ask(t, refreshForm(api.AppID, got["refresh_token"], map[string]string{"client_secret": string(secret)}))
		refusedWith(t, "the refresh token on behalf of a revoked sign-in", refused, "invalid_grant", 70000)

		_, before := n.ask(t, redeem(azureCLI, cliLogin, func() string { _, c := n.signedIn(t, toAPI); return c }()))
		n.changePassword(t, ada, adaSecret)
		_, refused = n.ask(t, form(before["access_token"]))
		refusedWith(t, "after a new password", refused, "invalid_grant", 50173)
	})
}

// An API may go by an identifier URI of its own.
func TestIdentifierURI(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	api, _ := n.registered(t, `{"identifierUris":["api://orders"],"api":{"oauth2PermissionScopes":[{"id":"`+tenant+`","value":"read"}]}}`)
	n.exec(t, `INSERT INTO directory_identifier_uris (uri_key, app_id) VALUES ('api://orders', $1)`, api.AppID)
	_, code := n.signedIn(t, request(azureCLI, cliLogin, map[string]string{"scope": "api://orders/read"}))
	status, got := n.ask(t, redeem(azureCLI, cliLogin, code))
	if c := told(t, got["access_token"]); status != http.StatusOK || c["aud"] != "api://orders" || c["scp"] != "read" {
		t.Errorf("%d %v", status, c)
	}
}

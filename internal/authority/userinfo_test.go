package authority

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

func TestUserInfo(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	app, secret := n.application(t)
	n.exec(t, `UPDATE directory_principals SET attributes = '{"displayName":"Ada L","givenName":"Ada","mail":"a@l"}' WHERE id = $1`, ada.ID)
	got := n.tokens(t, request(azureCLI, cliLogin, map[string]string{"scope": "openid profile email offline_access User.Read"}), nil)
	id := told(t, got["id_token"])
	if id["name"] != "Ada L" || id["email"] != "a@l" || told(t, got["access_token"])["scp"] != "User.Read email openid profile" {
		t.Errorf("ID token %v, access token %v", id, told(t, got["access_token"]))
	}
	ask := func(token string) (int, map[string]any) {
		r := httptest.NewRequest(http.MethodGet, ownLogin+"/"+tenant+"/openid/userinfo", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, body := do(t, n.Handler(), r)
		return res.StatusCode, body
	}
	status, info := ask(got["access_token"].(string))
	if status != http.StatusOK || info["sub"] != id["sub"] || info["name"] != "Ada L" || info["given_name"] != "Ada" || info["email"] != "a@l" {
		t.Errorf("%d %v", status, info)
	}
	_, appToken := n.ask(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_secret": {string(secret)}, "scope": {graphResource + "/.default"}})
	arm := n.tokens(t, request(azureCLI, cliLogin), nil)
	for name, token := range map[string]string{
		"none": "", "malformed": "x", "an ID token": got["id_token"].(string), "an application's": appToken["access_token"].(string), "for another resource": arm["access_token"].(string),
	} {
		if status, body := ask(token); status != http.StatusUnauthorized || body["error"] != "invalid_token" {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
}

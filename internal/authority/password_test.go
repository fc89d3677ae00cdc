package authority

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestPasswordGrant(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	web, secret := n.web(t)
	n.consent(t, web.AppID, armApp, ada.ID, "user_impersonation")
	form := func(more ...map[string]string) url.Values {
		f := url.Values{"grant_type": {"password"}, "client_id": {azureCLI}, "username": {adaName}, "password": {adaSecret}, "scope": {armAud + "/.default openid offline_access"}}
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
	for name, f := range map[string]url.Values{
		"public": form(), "confidential": form(map[string]string{"client_id": web.AppID, "client_secret": string(secret)}),
		"upper case": form(map[string]string{"username": strings.ToUpper(adaName)}),
	} {
		status, got := n.ask(t, f)
		if status != http.StatusOK || told(t, got["access_token"])["oid"] != ada.ID || got["refresh_token"] == nil || got["id_token"] == nil {
			t.Errorf("%s: %d %v", name, status, got)
		}
	}
	v1 := form(map[string]string{"scope": "openid", "resource": armAud + "/"})
	if status, got := n.askAt(t, "/common/oauth2/token", v1); status != http.StatusOK || got["resource"] != armAud+"/" || told(t, got["id_token"])["upn"] != adaName {
		t.Errorf("version 1: %d %v", status, got)
	}
	adfs := form(map[string]string{"scope": armAud + "//.default openid"})
	if status, got := n.askAt(t, "/adfs/oauth2/token", adfs); status != http.StatusOK || told(t, got["access_token"])["aud"] != armAud+"/" {
		t.Errorf("AD FS: %d %v", status, got)
	} else if _, ok := got["expires_in"].(float64); !ok {
		t.Errorf("AD FS answers in numbers: %v", got)
	}
	for _, c := range []struct {
		name   string
		form   url.Values
		code   string
		number float64
	}{
		{"no name", form(map[string]string{"username": ""}), "invalid_request", 900144},
		{"no password", form(map[string]string{"password": ""}), "invalid_request", 900144},
		{"wrong password", form(map[string]string{"password": "x"}), "invalid_grant", 50126},
		{"nobody", form(map[string]string{"username": "x@y"}), "invalid_grant", 50126},
		{"confidential without its secret", form(map[string]string{"client_id": web.AppID}), "invalid_client", 7000218},
		{"unknown client", form(map[string]string{"client_id": tenant}), "unauthorized_client", 700016},
		{"no scope", form(map[string]string{"scope": ""}), "invalid_request", 900144},
	} {
		_, got := n.ask(t, c.form)
		refusedWith(t, c.name, got, c.code, c.number)
	}
	n.disable(t, ada)
	_, got := n.ask(t, form())
	refusedWith(t, "disabled", got, "invalid_grant", 50057)
	_, got = n.ask(t, form(map[string]string{"password": "x"}))
	refusedWith(t, "disabled, wrong password", got, "invalid_grant", 50126)
}

func TestUserRealm(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, user := range []string{adaName, "nobody@elsewhere.example", "x"} {
		status, got := get(t, n.Handler(), "https://login.microsoftonline.com/common/UserRealm/"+url.PathEscape(user)+"?api-version=1.0")
		if status != http.StatusOK || got["account_type"] != "Managed" || got["cloud_instance_name"] != "microsoftonline.com" {
			t.Errorf("%s: %d %v", user, status, got)
		}
	}
}
